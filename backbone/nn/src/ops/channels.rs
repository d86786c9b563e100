//! Splitting, joining, adding and scaling along channels (the last axis).
//!
//! candle's own `cat` and `narrow` have right gradients, but pad every part with zeros by concatenation.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::backward;

/// a + b, of equal shapes.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_shape("add", a, b)?;
    apply(Add { shape: a.dims().to_vec() }, &[a, b])
}

/// x · scale, one factor per channel.
///
/// # Shapes
/// `x [.., C]`, `scale [C]` → `[.., C]`.
pub fn scale_channels(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    one_per_channel("scale_channels", x.dims(), scale)?;
    apply(Scale { shape: x.dims().to_vec() }, &[x, scale])
}

/// shortcut + x · scale in one pass: layer scale and residual.
///
/// # Shapes
/// `shortcut` and `x` `[.., C]`, `scale [C]` → `[.., C]`.
pub fn scale_add(shortcut: &Tensor, x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    apply(ScaleAdd::new(shortcut.dims(), x.dims(), scale)?, &[shortcut, x, scale])
}

/// Joins tensors along the last axis; all other axes must be equal.
///
/// # Shapes
/// `[.., C1]`, `[.., C2]`, … → `[.., C1 + C2 + …]`.
pub fn cat_channels(parts: &[&Tensor]) -> Result<Tensor> {
    match parts {
        [] => Err(Error::internal("cat_channels of nothing")),
        [only] => Ok((*only).clone()),
        [_, _] | [_, _, _] => cat(parts),
        // A custom op takes three tensors: join the first three and go on.
        [a, b, c, rest @ ..] => {
            let first = cat(&[a, b, c])?;
            let mut parts = vec![&first];
            parts.extend(rest);
            cat_channels(&parts)
        }
    }
}

fn cat(parts: &[&Tensor]) -> Result<Tensor> {
    let shapes: Vec<&[usize]> = parts.iter().map(|p| p.dims()).collect();
    apply(Cat::new(&shapes)?, parts)
}

/// Channels `start..start + len`.
///
/// # Shapes
/// `x [.., C]` → `[.., len]`.
pub fn narrow_channels(x: &Tensor, start: usize, len: usize) -> Result<Tensor> {
    let shape = x.dims().to_vec();
    match shape.last() {
        Some(&c) if start + len <= c => apply(Narrow { shape, start, len }, &[x]),
        _ => Err(Error::internal(format!("channels {start}..{} of {shape:?}", start + len))),
    }
}

/// Consecutive parts of the given widths, which must add up to the number of channels.
pub fn split_channels(x: &Tensor, widths: &[usize]) -> Result<Vec<Tensor>> {
    if x.dims().last().copied() != Some(widths.iter().sum()) {
        return Err(Error::internal(format!("split of {:?} into {widths:?}", x.dims())));
    }
    let mut start = 0;
    let parts = widths.iter().map(|&len| {
        start += len;
        narrow_channels(x, start - len, len)
    });
    parts.collect()
}

fn same_shape(op: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() == b.dims() {
        return Ok(());
    }
    Err(Error::internal(format!("{op} of {:?} and {:?}", a.dims(), b.dims())))
}

fn one_per_channel(op: &str, x: &[usize], scale: &Tensor) -> Result<()> {
    match x.last() {
        Some(&c) if c > 0 && scale.dims() == [c] => Ok(()),
        _ => Err(Error::internal(format!("{op}: factors {:?} for {x:?}", scale.dims()))),
    }
}

struct Add {
    shape: Vec<usize>,
}

impl SliceOp for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::add(inputs[0], inputs[1], out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        at.wanted.iter().map(|&wanted| if wanted { Grad::Same } else { Grad::None }).collect()
    }
}

struct Scale {
    shape: Vec<usize>,
}

impl SliceOp for Scale {
    fn name(&self) -> &'static str {
        "scale_channels"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::scale_channels(inputs[0], inputs[1], out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let (x, scale) = (at.inputs[0], at.inputs[1]);
        let dx = at.filled(0, |dx| backward::scale_channels(at.grad, scale, dx));
        vec![dx, at.made(1, || backward::column_dots(at.grad, x, scale.len()))]
    }
}

pub(super) struct ScaleAdd {
    shape: Vec<usize>,
}

impl ScaleAdd {
    /// For inputs of these shapes.
    pub(super) fn new(shortcut: &[usize], x: &[usize], scale: &Tensor) -> Result<Self> {
        if shortcut != x {
            return Err(Error::internal(format!("scale_add of {shortcut:?} and {x:?}")));
        }
        one_per_channel("scale_add", x, scale)?;
        Ok(Self { shape: x.to_vec() })
    }
}

impl SliceOp for ScaleAdd {
    fn name(&self) -> &'static str {
        "scale_add"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::scale_add(inputs[0], inputs[1], inputs[2], out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let (x, scale) = (at.inputs[1], at.inputs[2]);
        let shortcut = if at.wanted[0] { Grad::Same } else { Grad::None };
        let dx = at.filled(1, |dx| backward::scale_channels(at.grad, scale, dx));
        vec![shortcut, dx, at.made(2, || backward::column_dots(at.grad, x, scale.len()))]
    }
}

pub(super) struct Cat {
    lead: Vec<usize>,
    widths: Vec<usize>,
}

impl Cat {
    /// For parts of these shapes.
    pub(super) fn new(parts: &[&[usize]]) -> Result<Self> {
        let mut lead = None;
        let mut widths = Vec::with_capacity(parts.len());
        for part in parts {
            match part.split_last() {
                Some((&width, rest)) if lead.is_none_or(|lead| lead == rest) => {
                    lead = Some(rest);
                    widths.push(width);
                }
                _ => return Err(Error::internal(format!("cat_channels of {parts:?}"))),
            }
        }
        let lead = lead.ok_or_else(|| Error::internal("cat_channels of nothing"))?;
        Ok(Self { lead: lead.to_vec(), widths })
    }
}

impl SliceOp for Cat {
    fn name(&self) -> &'static str {
        "cat_channels"
    }

    fn out_shape(&self) -> Vec<usize> {
        let mut shape = self.lead.clone();
        shape.push(self.widths.iter().sum());
        shape
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let total = self.widths.iter().sum();
        let mut start = 0;
        for (x, &width) in inputs.iter().zip(&self.widths) {
            backward::copy_columns((x, width, 0), (out, total, start), width);
            start += width;
        }
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let total = self.widths.iter().sum();
        let mut start = 0;
        let grads = self.widths.iter().enumerate().map(|(i, &width)| {
            start += width;
            at.filled(i, |dx| backward::copy_columns((at.grad, total, start - width), (dx, width, 0), width))
        });
        grads.collect()
    }
}

struct Narrow {
    shape: Vec<usize>,
    start: usize,
    len: usize,
}

impl Narrow {
    fn channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }
}

impl SliceOp for Narrow {
    fn name(&self) -> &'static str {
        "narrow_channels"
    }

    fn out_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape.pop();
        shape.push(self.len);
        shape
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::copy_columns((inputs[0], self.channels(), self.start), (out, self.len, 0), self.len);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        vec![at.filled(0, |dx| {
            backward::copy_columns((at.grad, self.len, 0), (dx, self.channels(), self.start), self.len);
        })]
    }
}
