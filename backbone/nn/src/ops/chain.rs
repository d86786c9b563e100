//! Several ops in a row as one node of candle's graph.
//!
//! candle's backward pass gives every node a fresh zeroed gradient and adds to it, three passes over memory per node, and keeps a
//! tensor per node. Inside a chain a gradient is handed from link to link, and intermediate results lie in pooled memory. What is
//! computed, and in which order, is that of the single ops: the same bits.
//!
//! A custom op takes at most three tensors, so the parameters of all links travel as one flat tensor (they are small).

use super::conv::{Conv, Depthwise, LevelsConv};
use super::norm::BatchNorm;
use super::slice_op::{Backward, Grad, SliceOp, apply};
use super::{act, norm};
use crate::{BatchStats, Error, Result};
use candle_core::Tensor;
use care_kernels::backward;
use care_kernels::scratch::{self, Scratch};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A chain under construction: `Chain::on(x).conv2d(..)?.relu()?.run()`.
pub struct Chain {
    x: Tensor,
    shape: Vec<usize>,
    links: Vec<Link>,
    params: Vec<Tensor>,
    floats: usize,
    /// Batch norms that measure, where their statistics go, and under which name.
    measured: Vec<(Arc<norm::Measured>, BatchStats, String)>,
    residual: bool,
}

/// One op, which writes every element of its result, and where its parameters lie in the flat tensor.
struct Link {
    op: Box<dyn SliceOp>,
    params: Vec<Range<usize>>,
    floats: usize,
}

impl Chain {
    /// Begins with `x`.
    pub fn on(x: &Tensor) -> Self {
        Self {
            x: x.clone(),
            shape: x.dims().to_vec(),
            links: Vec::new(),
            params: Vec::new(),
            floats: 0,
            measured: Vec::new(),
            residual: false,
        }
    }

    fn link(mut self, op: impl SliceOp, params: &[&Tensor]) -> Result<Self> {
        let mut ranges = Vec::with_capacity(params.len());
        for param in params {
            let count = param.elem_count();
            ranges.push(self.floats..self.floats + count);
            self.floats += count;
            self.params.push(param.flatten_all()?);
        }
        self.shape = op.out_shape();
        let floats = self.shape.iter().product();
        self.links.push(Link { op: Box::new(op), params: ranges, floats });
        Ok(self)
    }

    /// As [`ops::conv2d`](super::conv2d).
    pub fn conv2d(self, w: &Tensor, b: Option<&Tensor>, stride: usize, pad: (usize, usize)) -> Result<Self> {
        let op = Conv::new(&self.shape, w, b, stride, pad)?;
        self.link(op, &[Some(w), b].into_iter().flatten().collect::<Vec<_>>())
    }

    /// One "same" convolution over the pixels of several grids `[N, H, W]` that follow each other.
    ///
    /// # Shapes
    /// `[pixels of all grids, ci]` → `[.., co]`, `w [co, ci, k, k]`, `b [co]`.
    pub fn conv2d_levels(self, grids: &[[usize; 3]], w: &Tensor, b: Option<&Tensor>) -> Result<Self> {
        let op = LevelsConv::new(&self.shape, grids, w, b)?;
        self.link(op, &[Some(w), b].into_iter().flatten().collect::<Vec<_>>())
    }

    /// As [`ops::depthwise_conv2d`](super::depthwise_conv2d).
    pub fn depthwise_conv2d(self, w: &Tensor, b: Option<&Tensor>) -> Result<Self> {
        let op = Depthwise::new(&self.shape, w, b)?;
        self.link(op, &[Some(w), b].into_iter().flatten().collect::<Vec<_>>())
    }

    /// As [`ops::gelu`](super::gelu).
    pub fn gelu(self) -> Result<Self> {
        let op = act::Activation::gelu(&self.shape);
        self.link(op, &[])
    }

    /// As [`ops::relu`](super::relu).
    pub fn relu(self) -> Result<Self> {
        let op = act::Activation::relu(&self.shape);
        self.link(op, &[])
    }

    /// As [`ops::batch_norm_train`](super::batch_norm_train); what is measured goes to `record` under the name `layer`.
    pub fn batch_norm_train(
        mut self,
        w: &Tensor,
        b: &Tensor,
        eps: f64,
        (record, layer): (&BatchStats, &str),
    ) -> Result<Self> {
        let (op, measured) = BatchNorm::measuring(&self.shape, &[w, b], eps)?;
        self.measured.push((measured, record.clone(), layer.to_owned()));
        self.link(op, &[w, b])
    }

    /// As [`ops::batch_norm_frozen`](super::batch_norm_frozen).
    pub fn batch_norm_frozen(
        self,
        w: &Tensor,
        b: &Tensor,
        stats: (&Tensor, &Tensor),
        eps: f64,
    ) -> Result<Self> {
        let op = BatchNorm::frozen(&self.shape, &[w, b], stats, eps)?;
        self.link(op, &[w, b])
    }

    /// Adds the chain's input to its result, which must have the same shape. The last link must not be an activation, whose
    /// gradient needs its own result.
    ///
    /// # Errors
    /// `Internal` when the chain is not so.
    pub fn plus_input(mut self) -> Result<Self> {
        let last = self.links.last().filter(|link| !link.op.needs_output());
        if last.is_none() || self.shape != self.x.dims() {
            let (from, to) = (self.x.dims(), &self.shape);
            return Err(Error::internal(format!("a residual of {from:?} for a chain to {to:?}")));
        }
        self.residual = true;
        Ok(self)
    }

    /// Computes it all and records it as one node.
    ///
    /// # Errors
    /// `Internal` for an empty chain, `Unsupported` for tensors that are not f32 on the CPU.
    pub fn run(self) -> Result<Tensor> {
        let Self { x, shape, links, params, measured, residual, .. } = self;
        if links.is_empty() {
            return Err(Error::internal("a chain without links"));
        }
        let keeps = x.track_op() || params.iter().any(Tensor::track_op);
        let op = Chained { links, shape, residual, keeps, saved: Mutex::default() };
        let y =
            if params.is_empty() { apply(op, &[&x])? } else { apply(op, &[&x, &Tensor::cat(&params, 0)?])? };
        for (stats, record, layer) in measured {
            let (mean, var) = stats.tensors(y.device())?;
            record.push(&layer, mean, var);
        }
        Ok(y)
    }
}

struct Chained {
    links: Vec<Link>,
    shape: Vec<usize>,
    residual: bool,
    /// Whether a backward pass will ask for the intermediate results.
    keeps: bool,
    /// Results of all links but the last.
    saved: Mutex<Option<Vec<Scratch>>>,
}

impl Chained {
    /// Runs the links; the last writes into `out`. Returns the results of the others.
    fn links(&self, inputs: &[&[f32]], out: &mut [f32]) -> Vec<Scratch> {
        let flat = inputs.get(1).copied().unwrap_or_default();
        let mut results: Vec<Scratch> = Vec::with_capacity(self.links.len());
        for (k, link) in self.links.iter().enumerate() {
            let previous: &[f32] = results.last().map_or(inputs[0], |r| r);
            let arguments = arguments(link, previous, flat);
            if k + 1 == self.links.len() {
                link.op.forward(&arguments, out);
            } else {
                let mut result = scratch::take(link.floats);
                link.op.forward(&arguments, &mut result);
                if !self.keeps {
                    results.clear();
                }
                results.push(result);
            }
        }
        results
    }
}

fn arguments<'a>(link: &Link, x: &'a [f32], flat: &'a [f32]) -> Vec<&'a [f32]> {
    std::iter::once(x).chain(link.params.iter().map(|range| &flat[range.clone()])).collect()
}

impl SliceOp for Chained {
    fn name(&self) -> &'static str {
        "chain"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let results = self.links(inputs, out);
        if self.residual {
            backward::add_to(inputs[0], out);
        }
        if self.keeps {
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(results);
        }
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        // a second backward pass over the same graph computes them again
        let mut results = saved.unwrap_or_else(|| {
            let mut out = scratch::take(at.output.len());
            self.links(&at.inputs, &mut out)
        });
        let flat = at.inputs.get(1).copied().unwrap_or_default();
        let params_wanted = at.wanted.get(1).copied().unwrap_or(false);
        let mut flat_grad = vec![0.0; if params_wanted { flat.len() } else { 0 }];
        let mut grad: Option<Vec<f32>> = None; // of the present link's result; the chain's own at first
        let mut output: Option<Scratch> = None;
        for (k, link) in self.links.iter().enumerate().rev() {
            let previous = results.pop();
            let x: &[f32] = previous.as_deref().unwrap_or(at.inputs[0]);
            let mut wanted = vec![params_wanted; 1 + link.params.len()];
            wanted[0] = k > 0 || at.wanted[0];
            let result = output.as_deref().unwrap_or(at.output);
            let here = Backward {
                inputs: arguments(link, x, flat),
                output: result,
                grad: grad.as_deref().unwrap_or(at.grad),
                wanted,
            };
            let mut grads = link.op.backward(&here).into_iter();
            let to_input = grads.next();
            for (range, grad) in link.params.iter().zip(grads) {
                if let Grad::Values(values) = grad {
                    flat_grad[range.clone()].copy_from_slice(&values);
                }
            }
            grad = match to_input {
                Some(Grad::Values(values)) => Some(values),
                Some(Grad::Same) => grad.or_else(|| Some(at.grad.to_vec())),
                _ => None,
            };
            output = previous;
        }
        let to_x = match grad {
            Some(mut values) if at.wanted[0] => {
                if self.residual {
                    backward::add_to(at.grad, &mut values);
                }
                Grad::Values(values)
            }
            _ => Grad::None,
        };
        let to_params = if params_wanted { Grad::Values(flat_grad) } else { Grad::None };
        if at.inputs.len() > 1 { vec![to_x, to_params] } else { vec![to_x] }
    }
}
