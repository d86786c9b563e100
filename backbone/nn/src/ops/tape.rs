//! Many ops as one node of candle's graph.
//!
//! candle's backward pass gives every node a fresh zeroed gradient and adds to it, three passes over memory per node, and keeps a
//! tensor per node. On a tape a gradient goes from step to step as it is, is added to in place where a value is used twice, and
//! everything in between lies in pooled memory. What a step computes is what the single op computes.
//!
//! A custom op takes at most three tensors: one or two inputs, and the parameters of all steps as one flat tensor (they are small).

use super::act::Activation;
use super::attention::Attention;
use super::channels::{Cat, ScaleAdd};
use super::conv::{Conv, Depthwise, LevelsConv};
use super::norm::{BatchNorm, Measured};
use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{BatchStats, Error, Result};
use candle_core::Tensor;
use care_kernels::backward;
use care_kernels::scratch::{self, Scratch};
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// A value on a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// A tape under construction: steps are added in the order in which they run; [`Tape::run`] computes them all.
pub struct Tape {
    inputs: Vec<Tensor>,
    /// Of every node: the inputs, then the results of the steps.
    shapes: Vec<Vec<usize>>,
    steps: Vec<Step>,
    params: Vec<Tensor>,
    floats: usize,
    /// Batch norms that measure, where their statistics go, and under which name.
    measured: Vec<(Arc<Measured>, BatchStats, String)>,
}

/// One op, the nodes it reads, and where its parameters lie in the flat tensor.
struct Step {
    work: Work,
    nodes: Vec<usize>,
    params: Vec<Range<usize>>,
}

enum Work {
    /// An op that writes every element of its result and of its gradients.
    Op(Box<dyn SliceOp>),
    /// Some channels; the gradient is added to theirs in place.
    Narrow { start: usize },
    /// The sum of two nodes.
    Add,
}

impl Tape {
    /// A tape that begins with `x`, and its node.
    pub fn on(x: &Tensor) -> (Self, Node) {
        (Self::of(vec![x.clone()]), Node(0))
    }

    /// A tape that begins with two tensors, and their nodes.
    pub fn on_two(a: &Tensor, b: &Tensor) -> (Self, [Node; 2]) {
        (Self::of(vec![a.clone(), b.clone()]), [Node(0), Node(1)])
    }

    fn of(inputs: Vec<Tensor>) -> Self {
        let shapes = inputs.iter().map(|x| x.dims().to_vec()).collect();
        Self { inputs, shapes, steps: Vec::new(), params: Vec::new(), floats: 0, measured: Vec::new() }
    }

    /// Shape of a value.
    pub fn shape(&self, node: Node) -> &[usize] {
        &self.shapes[node.0]
    }

    fn step(&mut self, op: impl SliceOp, nodes: &[Node], params: &[&Tensor]) -> Result<Node> {
        let mut ranges = Vec::with_capacity(params.len());
        for param in params {
            let count = param.elem_count();
            ranges.push(self.floats..self.floats + count);
            self.floats += count;
            self.params.push(param.flatten_all()?);
        }
        let shape = op.out_shape();
        Ok(self.push(Work::Op(Box::new(op)), nodes, ranges, shape))
    }

    fn push(&mut self, work: Work, nodes: &[Node], params: Vec<Range<usize>>, shape: Vec<usize>) -> Node {
        self.steps.push(Step { work, nodes: nodes.iter().map(|n| n.0).collect(), params });
        self.shapes.push(shape);
        Node(self.shapes.len() - 1)
    }

    /// As [`ops::conv2d`](super::conv2d).
    pub fn conv2d(
        &mut self,
        x: Node,
        (w, b): (&Tensor, Option<&Tensor>),
        stride: usize,
        pad: (usize, usize),
    ) -> Result<Node> {
        let op = Conv::new(self.shape(x), w, b, stride, pad)?;
        self.step(op, &[x], &weight_and_bias(w, b))
    }

    /// One "same" convolution over the pixels of several grids `[N, H, W]` that follow each other.
    ///
    /// # Shapes
    /// `x [pixels of all grids, ci]`, `w [co, ci, k, k]`, `b [co]` → `[.., co]`.
    pub fn conv2d_levels(
        &mut self,
        x: Node,
        grids: &[[usize; 3]],
        (w, b): (&Tensor, Option<&Tensor>),
    ) -> Result<Node> {
        let op = LevelsConv::new(self.shape(x), grids, w, b)?;
        self.step(op, &[x], &weight_and_bias(w, b))
    }

    /// As [`ops::depthwise_conv2d`](super::depthwise_conv2d).
    pub fn depthwise_conv2d(&mut self, x: Node, (w, b): (&Tensor, Option<&Tensor>)) -> Result<Node> {
        let op = Depthwise::new(self.shape(x), w, b)?;
        self.step(op, &[x], &weight_and_bias(w, b))
    }

    /// As [`ops::linear_attention`](super::linear_attention).
    pub fn linear_attention(&mut self, qk: Node, v: Node, head_dim: usize) -> Result<Node> {
        let op = Attention::new(self.shape(qk), self.shape(v), head_dim)?;
        self.step(op, &[qk, v], &[])
    }

    /// As [`ops::gelu`](super::gelu).
    pub fn gelu(&mut self, x: Node) -> Result<Node> {
        let op = Activation::gelu(self.shape(x));
        self.step(op, &[x], &[])
    }

    /// As [`ops::relu`](super::relu).
    pub fn relu(&mut self, x: Node) -> Result<Node> {
        let op = Activation::relu(self.shape(x));
        self.step(op, &[x], &[])
    }

    /// As [`ops::batch_norm_train`](super::batch_norm_train); what is measured goes to `record` under the name `layer`.
    pub fn batch_norm_train(
        &mut self,
        x: Node,
        (w, b): (&Tensor, &Tensor),
        eps: f64,
        (record, layer): (&BatchStats, &str),
    ) -> Result<Node> {
        let (op, measured) = BatchNorm::measuring(self.shape(x), &[w, b], eps)?;
        self.measured.push((measured, record.clone(), layer.to_owned()));
        self.step(op, &[x], &[w, b])
    }

    /// As [`ops::batch_norm_frozen`](super::batch_norm_frozen).
    pub fn batch_norm_frozen(
        &mut self,
        x: Node,
        (w, b): (&Tensor, &Tensor),
        stats: (&Tensor, &Tensor),
        eps: f64,
    ) -> Result<Node> {
        let op = BatchNorm::frozen(self.shape(x), &[w, b], stats, eps)?;
        self.step(op, &[x], &[w, b])
    }

    /// As [`ops::narrow_channels`](super::narrow_channels).
    pub fn narrow_channels(&mut self, x: Node, start: usize, len: usize) -> Result<Node> {
        let mut shape = self.shape(x).to_vec();
        match shape.last_mut() {
            Some(c) if start + len <= *c => *c = len,
            _ => return Err(Error::internal(format!("channels {start}..{} of {shape:?}", start + len))),
        }
        Ok(self.push(Work::Narrow { start }, &[x], Vec::new(), shape))
    }

    /// As [`ops::cat_channels`](super::cat_channels), of two or three.
    pub fn cat_channels(&mut self, parts: &[Node]) -> Result<Node> {
        let shapes: Vec<&[usize]> = parts.iter().map(|p| self.shape(*p)).collect();
        let op = Cat::new(&shapes)?;
        self.step(op, parts, &[])
    }

    /// a + b, of equal shapes.
    pub fn add(&mut self, a: Node, b: Node) -> Result<Node> {
        let shape = self.shape(a).to_vec();
        if self.shape(b) != shape {
            return Err(Error::internal(format!("add of {shape:?} and {:?}", self.shape(b))));
        }
        Ok(self.push(Work::Add, &[a, b], Vec::new(), shape))
    }

    /// As [`ops::scale_add`](super::scale_add).
    pub fn scale_add(&mut self, shortcut: Node, x: Node, scale: &Tensor) -> Result<Node> {
        let op = ScaleAdd::new(self.shape(shortcut), self.shape(x), scale)?;
        self.step(op, &[shortcut, x], &[scale])
    }

    /// Computes everything and records it as one node of the graph. `result` must be the value of the last step.
    ///
    /// # Errors
    /// `Internal` when it is not, `Unsupported` for tensors that are not f32 on the CPU.
    pub fn run(self, result: Node) -> Result<Tensor> {
        let Self { inputs, shapes, steps, params, measured, .. } = self;
        if steps.is_empty() || result.0 + 1 != shapes.len() {
            return Err(Error::internal("the result of a tape is that of its last step"));
        }
        let keeps = inputs.iter().chain(&params).any(Tensor::track_op);
        let flat = (!params.is_empty()).then(|| Tensor::cat(&params, 0)).transpose()?;
        let op = Recorded { inputs: inputs.len(), shapes, steps, keeps, saved: Mutex::default() };
        let y = apply(op, &inputs.iter().chain(&flat).collect::<Vec<_>>())?;
        for (stats, record, layer) in measured {
            let (mean, var) = stats.tensors(y.device())?;
            record.push(&layer, mean, var);
        }
        Ok(y)
    }
}

fn weight_and_bias<'a>(w: &'a Tensor, b: Option<&'a Tensor>) -> Vec<&'a Tensor> {
    std::iter::once(w).chain(b).collect()
}

struct Recorded {
    inputs: usize,
    shapes: Vec<Vec<usize>>,
    steps: Vec<Step>,
    /// Whether a backward pass will ask for the values in between.
    keeps: bool,
    /// Results of all steps but the last, whose result is the op's own.
    saved: Mutex<Option<Vec<Option<Scratch>>>>,
}

impl Recorded {
    fn channels(&self, node: usize) -> usize {
        self.shapes[node].last().copied().unwrap_or(1)
    }

    fn floats(&self, node: usize) -> usize {
        self.shapes[node].iter().product()
    }

    /// What a step reads: values, then parameters.
    fn arguments<'a>(
        &self,
        step: &Step,
        inputs: &[&'a [f32]],
        values: &'a [Option<Scratch>],
    ) -> Vec<&'a [f32]> {
        let value = |&node: &usize| match node.checked_sub(self.inputs) {
            None => inputs[node],
            Some(k) => values[k].as_deref().unwrap_or_default(),
        };
        let flat = inputs.get(self.inputs).copied().unwrap_or_default();
        step.nodes.iter().map(value).chain(step.params.iter().map(|range| &flat[range.clone()])).collect()
    }

    fn forward_step(&self, step: &Step, arguments: &[&[f32]], (node, out): (usize, &mut [f32])) {
        match &step.work {
            Work::Op(op) => op.forward(arguments, out),
            Work::Add => backward::add(arguments[0], arguments[1], out),
            Work::Narrow { start } => {
                let (from, len) = (self.channels(step.nodes[0]), self.channels(node));
                backward::copy_columns((arguments[0], from, *start), (out, len, 0), len);
            }
        }
    }

    /// Runs the steps; the last writes into `out`. Unless `keep`, a value is let go after its last use.
    fn compute(&self, inputs: &[&[f32]], out: &mut [f32], keep: bool) -> Vec<Option<Scratch>> {
        let last = self.steps.len() - 1;
        let mut values: Vec<Option<Scratch>> = Vec::with_capacity(last);
        for (k, step) in self.steps[..last].iter().enumerate() {
            let node = self.inputs + k;
            let mut result = scratch::take(self.floats(node));
            self.forward_step(step, &self.arguments(step, inputs, &values), (node, &mut result));
            values.push(Some(result));
            if !keep {
                let later = |node: usize| self.steps[k + 1..].iter().any(|s| s.nodes.contains(&node));
                for &node in step.nodes.iter().filter(|&&n| n >= self.inputs && !later(n)) {
                    values[node - self.inputs] = None;
                }
            }
        }
        let step = &self.steps[last];
        self.forward_step(step, &self.arguments(step, inputs, &values), (self.inputs + last, out));
        values
    }

    /// Hands the gradient `grad` of step `k` on to what it read.
    fn backward_step(&self, k: usize, at: &Backward<'_>, pass: &mut Pass, grad: &[f32]) {
        let (step, node) = (&self.steps[k], self.inputs + k);
        let wanted = |n: usize| n >= self.inputs || at.wanted[n];
        let op = match &step.work {
            Work::Op(op) => op,
            Work::Add => {
                step.nodes.iter().filter(|&&n| wanted(n)).for_each(|&n| pass.add_slice(n, grad));
                return;
            }
            Work::Narrow { start } => {
                let (from, len) = (step.nodes[0], self.channels(node));
                if wanted(from) {
                    let to = pass.zeros_unless_begun(from, self.floats(from));
                    backward::add_columns((grad, len), (to, self.channels(from), *start));
                }
                return;
            }
        };
        let params_wanted = at.wanted.get(self.inputs).copied().unwrap_or(false);
        let grads = {
            let output = pass.values.get(k).and_then(|v| v.as_deref()).unwrap_or(at.output);
            let of_nodes = step.nodes.iter().map(|&n| wanted(n));
            op.backward(&Backward {
                inputs: self.arguments(step, &at.inputs, &pass.values),
                output,
                grad,
                wanted: of_nodes.chain(step.params.iter().map(|_| params_wanted)).collect(),
                pooled: true,
            })
        };
        let (to_nodes, to_params) = (step.nodes.len(), step.params.iter());
        let mut grads = grads.into_iter();
        for (&n, made) in step.nodes.iter().zip(grads.by_ref().take(to_nodes)) {
            match made {
                Grad::None => {}
                Grad::Same => pass.add_slice(n, grad),
                Grad::Values(values) => pass.add(n, Buffer::Own(values)),
                Grad::Pooled(values) => pass.add(n, Buffer::Pooled(values)),
            }
        }
        for (range, made) in to_params.zip(grads) {
            match made {
                Grad::Values(values) => pass.flat[range.clone()].copy_from_slice(&values),
                Grad::Pooled(values) => pass.flat[range.clone()].copy_from_slice(&values),
                Grad::None | Grad::Same => {}
            }
        }
    }
}

/// Values of a gradient on its way.
enum Buffer {
    Own(Vec<f32>),
    Pooled(Scratch),
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Buffer::Own(values) => values,
            Buffer::Pooled(values) => values,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Buffer::Own(values) => values,
            Buffer::Pooled(values) => values,
        }
    }
}

impl Buffer {
    fn into_vec(self) -> Vec<f32> {
        match self {
            Buffer::Own(values) => values,
            Buffer::Pooled(values) => values.to_vec(),
        }
    }
}

/// A backward pass: what is left of the values, the gradients so far, and those of the parameters.
struct Pass {
    values: Vec<Option<Scratch>>,
    grads: Vec<Option<Buffer>>,
    flat: Vec<f32>,
}

impl Pass {
    fn add(&mut self, node: usize, grad: Buffer) {
        match &mut self.grads[node] {
            Some(sum) => backward::add_to(&grad, sum),
            none => *none = Some(grad),
        }
    }

    fn add_slice(&mut self, node: usize, grad: &[f32]) {
        match &mut self.grads[node] {
            Some(sum) => backward::add_to(grad, sum),
            none => {
                let mut copy = scratch::take(grad.len());
                copy.copy_from_slice(grad);
                *none = Some(Buffer::Pooled(copy));
            }
        }
    }

    fn zeros_unless_begun(&mut self, node: usize, floats: usize) -> &mut [f32] {
        self.grads[node].get_or_insert_with(|| Buffer::Pooled(scratch::take_zeroed(floats)))
    }
}

impl SliceOp for Recorded {
    fn name(&self) -> &'static str {
        "tape"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shapes.last().cloned().unwrap_or_default()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let values = self.compute(inputs, out, self.keeps);
        if self.keeps {
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(values);
        }
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        // a second backward pass over the same graph computes them again
        let values =
            saved.unwrap_or_else(|| self.compute(&at.inputs, &mut scratch::take(at.output.len()), true));
        let params_wanted = at.wanted.get(self.inputs).copied().unwrap_or(false);
        let flat = if params_wanted { at.inputs[self.inputs].len() } else { 0 };
        let grads = (0..self.shapes.len()).map(|_| None).collect();
        let mut pass = Pass { values, grads, flat: vec![0.0; flat] };
        let last = self.steps.len() - 1;
        self.backward_step(last, at, &mut pass, at.grad);
        for k in (0..last).rev() {
            // a value that nothing read has no gradient
            if let Some(grad) = pass.grads[self.inputs + k].take() {
                self.backward_step(k, at, &mut pass, &grad);
            }
            pass.values[k] = None;
        }
        let input = |n: usize| match (at.wanted[n], pass.grads[n].take()) {
            (false, _) => Grad::None,
            (true, Some(grad)) => Grad::Values(grad.into_vec()),
            (true, None) => Grad::Values(vec![0.0; self.floats(n)]),
        };
        let mut all: Vec<Grad> = (0..self.inputs).map(input).collect();
        if at.inputs.len() > self.inputs {
            all.push(if params_wanted { Grad::Values(pass.flat) } else { Grad::None });
        }
        all
    }
}
