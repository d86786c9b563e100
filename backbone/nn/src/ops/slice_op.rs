//! The one bridge between candle's graph and kernels on slices.
//!
//! An op is written as two functions on slices ([`SliceOp`]); [`apply`] makes the inputs contiguous, checks type and
//! device, and puts the op into candle's graph as a custom op of one, two or three tensors.

use crate::{Error, Result};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result as CandleResult, Shape,
    Storage, StorageRef, Tensor,
};
use care_kernels::scratch::{self, Scratch};
use std::ops::{Deref, Range};

/// The gradient of one input.
pub(super) enum Grad {
    /// The input tracks no gradient.
    None,
    /// The gradient of the result itself (sums): nothing is copied.
    Same,
    /// As long as the input.
    Values(Vec<f32>),
    /// The same in pooled memory.
    Pooled(Scratch),
}

/// What a backward pass sees; everything is contiguous.
pub(super) struct Backward<'a> {
    /// The inputs of the forward pass.
    pub(super) inputs: Vec<&'a [f32]>,
    /// Its result.
    pub(super) output: &'a [f32],
    /// The gradient of the result.
    pub(super) grad: &'a [f32],
    /// Per input: whether its gradient is asked for.
    pub(super) wanted: Vec<bool>,
    /// Gradients may be in pooled memory, which is not zeroed: only for ops that write every element.
    pub(super) pooled: bool,
}

impl Backward<'_> {
    /// A gradient as long as input `i`, filled by `fill`, unless nobody asks for it.
    pub(super) fn filled(&self, i: usize, fill: impl FnOnce(&mut [f32])) -> Grad {
        if self.wanted[i] && self.pooled {
            let mut grad = scratch::take(self.inputs[i].len());
            fill(&mut grad);
            return Grad::Pooled(grad);
        }
        self.made(i, || {
            let mut grad = vec![0.0; self.inputs[i].len()];
            fill(&mut grad);
            grad
        })
    }

    /// The gradient of input `i`, unless nobody asks for it.
    pub(super) fn made(&self, i: usize, make: impl FnOnce() -> Vec<f32>) -> Grad {
        if self.wanted[i] { Grad::Values(make()) } else { Grad::None }
    }
}

/// An op as a pair of functions on slices; sizes live in the implementor.
pub(super) trait SliceOp: Send + Sync + 'static {
    /// For error messages.
    fn name(&self) -> &'static str;
    /// Shape of the result.
    fn out_shape(&self) -> Vec<usize>;
    /// Fills `out`, which is zeroed and as long as `out_shape` says.
    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]);
    /// One [`Grad`] per input, in order.
    fn backward(&self, at: &Backward<'_>) -> Vec<Grad>;
}

/// Runs `op` on one to three tensors and records it in the graph.
pub(super) fn apply<O: SliceOp>(op: O, inputs: &[&Tensor]) -> Result<Tensor> {
    for (i, x) in inputs.iter().enumerate() {
        check(op.name(), i, x)?;
    }
    let op = Adapter(op);
    Ok(match inputs {
        [a] => a.contiguous()?.apply_op1(op)?,
        [a, b] => a.contiguous()?.apply_op2(&b.contiguous()?, op)?,
        [a, b, c] => a.contiguous()?.apply_op3(&b.contiguous()?, &c.contiguous()?, op)?,
        _ => return Err(Error::internal(format!("{} on {} tensors", op.0.name(), inputs.len()))),
    })
}

fn check(op: &str, i: usize, x: &Tensor) -> Result<()> {
    if x.dtype() != DType::F32 || !matches!(x.device(), Device::Cpu) {
        return Err(Error::unsupported(format!(
            "{op}: input {i} is {:?} on {:?}; this op runs on f32 tensors on the CPU",
            x.dtype(),
            x.device().location()
        )));
    }
    Ok(())
}

/// An error when one of `inputs` tracks gradients, for ops (or arguments) that have none: never a silent constant.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), naming the op and the argument.
pub fn refuse_tracked(op: &str, inputs: &[(&str, &Tensor)]) -> Result<()> {
    match inputs.iter().find(|(_, x)| x.track_op()) {
        Some((name, _)) => Err(Error::unsupported(format!(
            "{op}: `{name}` tracks gradients, but none flow through it; detach it if it is meant as a constant"
        ))),
        None => Ok(()),
    }
}

/// The contiguous f32 values of a CPU tensor, borrowed; held only as long as needed, since it locks the storage.
pub struct Values<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("checked by `values`"),
        }
    }
}

/// Borrows the values of a contiguous f32 CPU tensor without copying.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for another type, device or layout.
pub fn values(x: &Tensor) -> Result<Values<'_>> {
    let (storage, layout) = x.storage_and_layout();
    let range = match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => start..end,
        _ => {
            return Err(Error::unsupported(format!(
                "a contiguous f32 tensor on the CPU is needed, not {:?} {:?} with strides {:?}",
                x.dtype(),
                x.dims(),
                x.stride()
            )));
        }
    };
    Ok(Values { storage, range })
}

/// Makes a [`SliceOp`] a candle op.
struct Adapter<O>(O);

impl<O: SliceOp> Adapter<O> {
    fn forward(&self, inputs: &[(&CpuStorage, &Layout)]) -> CandleResult<(CpuStorage, Shape)> {
        let slices =
            inputs.iter().map(|(s, l)| slice(self.0.name(), s, l)).collect::<CandleResult<Vec<_>>>()?;
        let shape = Shape::from(self.0.out_shape());
        let mut out = vec![0.0f32; shape.elem_count()];
        self.0.forward(&slices, &mut out);
        Ok((CpuStorage::F32(out), shape))
    }

    fn backward(&self, args: &[&Tensor], res: &Tensor, grad: &Tensor) -> CandleResult<Vec<Option<Tensor>>> {
        let grad = grad.contiguous()?;
        let grads = {
            let inputs = args.iter().map(|x| values(x)).collect::<Result<Vec<_>>>()?;
            let (output, grad) = (values(res)?, values(&grad)?);
            self.0.backward(&Backward {
                inputs: inputs.iter().map(|v| &**v).collect(),
                output: &output,
                grad: &grad,
                wanted: args.iter().map(|x| x.track_op()).collect(),
                pooled: false,
            })
        };
        let tensors = grads.into_iter().zip(args).map(|(g, x)| match g {
            Grad::None => Ok(None),
            Grad::Same => Ok(Some(grad.clone())),
            Grad::Values(v) => Tensor::from_vec(v, x.shape(), x.device()).map(Some),
            Grad::Pooled(v) => Tensor::from_slice(&v, x.shape(), x.device()).map(Some),
        });
        tensors.collect()
    }
}

fn slice<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> CandleResult<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => Err(candle_core::Error::Msg(format!("{op}: inputs must be contiguous f32 tensors"))),
    }
}

impl<O: SliceOp> CustomOp1 for Adapter<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        self.forward(&[(s, l)])
    }

    fn bwd(&self, x: &Tensor, res: &Tensor, grad: &Tensor) -> CandleResult<Option<Tensor>> {
        Ok(self.backward(&[x], res, grad)?.pop().flatten())
    }
}

impl<O: SliceOp> CustomOp2 for Adapter<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        self.forward(&[(s1, l1), (s2, l2)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let mut grads = self.backward(&[a, b], res, grad)?.into_iter();
        Ok((grads.next().flatten(), grads.next().flatten()))
    }
}

impl<O: SliceOp> CustomOp3 for Adapter<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        self.forward(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut grads = self.backward(&[a, b, c], res, grad)?.into_iter();
        Ok((grads.next().flatten(), grads.next().flatten(), grads.next().flatten()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use candle_core::Var;

    #[test]
    fn tracked_inputs_are_refused_by_name() {
        let x = Var::zeros(3, DType::F32, &Device::Cpu).unwrap();
        let derived = (x.as_tensor() + 1.0).unwrap();
        for x in [x.as_tensor(), &derived] {
            let e = refuse_tracked("iou_loss", &[("target", x)]).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported);
            assert!(e.to_string().contains("iou_loss: `target`"), "{e}");
        }
        refuse_tracked("iou_loss", &[("target", &derived.detach())]).unwrap();
    }

    #[test]
    fn values_need_contiguous_f32() {
        let x = Tensor::arange(0f32, 6f32, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        assert_eq!(*values(&x.narrow(0, 1, 1).unwrap()).unwrap(), [3.0, 4.0, 5.0]);
        assert!(values(&x.t().unwrap()).is_err());
        assert!(values(&x.to_dtype(DType::F64).unwrap()).is_err());
        let err = crate::ops::relu(&x.to_dtype(DType::F64).unwrap()).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unsupported);
    }
}
