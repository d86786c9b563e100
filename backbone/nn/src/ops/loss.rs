//! Losses per element or per row, unreduced: heads weight and average them as their framework does.
//!
//! Predictions get gradients; targets are constants, and a target that tracks gradients is refused.

use super::slice_op::{Backward, Grad, SliceOp, apply, refuse_tracked};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use care_kernels::backward::{self, PixelLabels};

/// Sigmoid focal loss per logit: −α (1 − p)^γ ln p for the class of the row, −(1 − α) p^γ ln(1 − p) for all others.
///
/// # Shapes
/// `pred [M, C]`, `target [M]` (integers; `C` is background) → `[M, C]`.
///
/// # Errors
/// [`ErrorKind::Input`](crate::ErrorKind::Input) for a target outside of `0..=C`.
pub fn sigmoid_focal(pred: &Tensor, target: &Tensor, gamma: f64, alpha: f64) -> Result<Tensor> {
    let (m, c) = pred.dims2()?;
    let targets = class_targets("sigmoid_focal", target, m, c + 1, None)?;
    if c == 0 {
        return Err(Error::internal("sigmoid_focal: no classes"));
    }
    apply(Focal { targets, c, gamma: gamma as f32, alpha: alpha as f32 }, &[pred])
}

/// Σ of [`sigmoid_focal`] over all logits, each row times its weight, divided by `divisor`; the single losses never exist.
///
/// # Shapes
/// `pred [M, C]`, `target [M]` (integers; `C` is background), `weights` M factors → scalar.
///
/// # Errors
/// As [`sigmoid_focal`].
pub fn sigmoid_focal_sum(
    pred: &Tensor,
    (target, weights): (&Tensor, Vec<f32>),
    gamma: f64,
    alpha: f64,
    divisor: f64,
) -> Result<Tensor> {
    let (m, c) = pred.dims2()?;
    let targets = class_targets("sigmoid_focal_sum", target, m, c + 1, None)?;
    if c == 0 || weights.len() != m {
        return Err(Error::internal(format!(
            "sigmoid_focal_sum: {} weights for {:?}",
            weights.len(),
            pred.dims()
        )));
    }
    let loss = Focal { targets, c, gamma: gamma as f32, alpha: alpha as f32 };
    apply(FocalSum { loss, weights, divisor }, &[pred])
}

/// −ln softmax(logits)[target] per row.
///
/// # Shapes
/// `logits [M, C]`, `target [M]` (integers in `0..C`) → `[M]`.
///
/// # Errors
/// [`ErrorKind::Input`](crate::ErrorKind::Input) for a target outside of `0..C`.
pub fn cross_entropy(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    cross_entropy_of(logits, target, None)
}

/// [`cross_entropy`], but rows whose target is `ignore` have loss and gradient 0.
pub fn cross_entropy_ignoring(logits: &Tensor, target: &Tensor, ignore: i64) -> Result<Tensor> {
    cross_entropy_of(logits, target, Some(ignore))
}

fn cross_entropy_of(logits: &Tensor, target: &Tensor, ignore: Option<i64>) -> Result<Tensor> {
    let (m, c) = logits.dims2()?;
    let targets = class_targets("cross_entropy", target, m, c, ignore)?;
    if c == 0 {
        return Err(Error::internal("cross_entropy: no classes"));
    }
    apply(CrossEntropy { targets, c }, &[logits])
}

/// Σ over pixels of weight · cross-entropy, divided by `divisor`: logits on a coarse grid are resized to the labels (bilinear,
/// `align_corners` false) without ever existing at that size. Pixels of the value `ignore` do not count.
///
/// # Shapes
/// `logits [N, h, w, C]`, `labels` N maps of `size` (height, width), one weight per class → scalar.
///
/// # Errors
/// [`ErrorKind::Input`](crate::ErrorKind::Input) for a label that is neither a class nor `ignore`.
pub fn pixel_cross_entropy(
    logits: &Tensor,
    (labels, size, ignore): (Vec<u8>, [usize; 2], u8),
    weights: Vec<f32>,
    divisor: f64,
) -> Result<Tensor> {
    let (n, h, w, c) = logits.dims4()?;
    let most = usize::from(u8::MAX);
    if labels.len() != n * size[0] * size[1] || weights.len() != c || h * w * c == 0 || c > most {
        let (labels, weights) = (labels.len(), weights.len());
        return Err(Error::internal(format!(
            "pixel_cross_entropy: logits {:?}, {labels} labels of {size:?}, {weights} weights",
            logits.dims()
        )));
    }
    if let Some(at) = labels.iter().position(|&l| l != ignore && usize::from(l) >= c) {
        let (picture, pixel) = (at / (size[0] * size[1]), at % (size[0] * size[1]));
        return Err(Error::input(format!(
            "pixel_cross_entropy: the label of row {}, column {} of picture {picture} is {}; classes go from 0 to {}",
            pixel / size[1],
            pixel % size[1],
            labels[at],
            c - 1
        )));
    }
    let labels = labels.into_iter().map(|l| if l == ignore { u8::MAX } else { l }).collect();
    apply(PixelLoss { shape: [n, h, w, c], size, labels, weights, divisor }, &[logits])
}

/// |pred − target| per element; slope 0 where they are equal.
pub fn l1(pred: &Tensor, target: &Tensor) -> Result<Tensor> {
    pairwise(Pair::L1, pred, target)
}

/// d²/(2β) for d = |pred − target| < β, d − β/2 otherwise, per element.
pub fn smooth_l1(pred: &Tensor, target: &Tensor, beta: f64) -> Result<Tensor> {
    if beta.is_nan() || beta <= 0.0 {
        return Err(Error::config(format!("smooth L1 needs a beta above 0, got {beta}")));
    }
    pairwise(Pair::SmoothL1(beta as f32), pred, target)
}

/// Binary cross-entropy of logits per element, stable for any logit; targets in 0..1, of the shape of `pred`.
pub fn bce_with_logits(pred: &Tensor, target: &Tensor) -> Result<Tensor> {
    pairwise(Pair::Bce, pred, target)
}

/// What [`iou_loss`] makes of the overlap of two boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IouMode {
    /// 1 − IoU.
    Linear,
    /// 1 − IoU².
    Square,
    /// −ln IoU (mmdetection's default).
    Log,
    /// 1 − GIoU.
    Giou,
}

/// Overlap loss per pair of boxes, with mmdetection's guards (1e-6).
///
/// # Shapes
/// `pred [M, 4]` and `target [M, 4]` as x0, y0, x1, y1 → `[M]`.
pub fn iou_loss(pred: &Tensor, target: &Tensor, mode: IouMode) -> Result<Tensor> {
    let (m, four) = pred.dims2()?;
    if four != 4 || target.dims() != pred.dims() {
        return Err(Error::internal(format!("iou_loss of {:?} and {:?}", pred.dims(), target.dims())));
    }
    refuse_tracked("iou_loss", &[("target", target)])?;
    apply(IouLoss { m, mode }, &[pred, target])
}

/// Targets as classes below `limit`; `ignore` becomes `u32::MAX`.
fn class_targets(op: &str, target: &Tensor, m: usize, limit: usize, ignore: Option<i64>) -> Result<Vec<u32>> {
    if target.dims() != [m] || target.dtype().is_float() {
        return Err(Error::internal(format!(
            "{op}: {m} rows need [{m}] integer targets, not {:?} {:?}",
            target.dtype(),
            target.dims()
        )));
    }
    let targets = target.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let checked = targets.iter().enumerate().map(|(row, &t)| {
        if Some(t) == ignore {
            return Ok(u32::MAX);
        }
        usize::try_from(t).ok().filter(|&t| t < limit).and_then(|t| u32::try_from(t).ok()).ok_or_else(|| {
            Error::input(format!("{op}: the target of row {row} is {t}; classes go from 0 to {}", limit - 1))
        })
    });
    checked.collect()
}

fn pairwise(kind: Pair, pred: &Tensor, target: &Tensor) -> Result<Tensor> {
    let op = Pairwise { kind, shape: pred.dims().to_vec() };
    if target.dims() != pred.dims() {
        return Err(Error::internal(format!("{} of {:?} and {:?}", op.name(), pred.dims(), target.dims())));
    }
    refuse_tracked(op.name(), &[("target", target)])?;
    apply(op, &[pred, target])
}

struct Focal {
    targets: Vec<u32>,
    c: usize,
    gamma: f32,
    alpha: f32,
}

impl SliceOp for Focal {
    fn name(&self) -> &'static str {
        "sigmoid_focal"
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.targets.len(), self.c]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::sigmoid_focal(inputs[0], &self.targets, self.c, (self.gamma, self.alpha), out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let how = (self.gamma, self.alpha);
        vec![at.filled(0, |dx| {
            backward::sigmoid_focal_grad(at.inputs[0], &self.targets, self.c, how, at.grad, dx);
        })]
    }
}

struct FocalSum {
    loss: Focal,
    /// One per row.
    weights: Vec<f32>,
    divisor: f64,
}

impl SliceOp for FocalSum {
    fn name(&self) -> &'static str {
        "sigmoid_focal_sum"
    }

    fn out_shape(&self) -> Vec<usize> {
        Vec::new()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let Focal { targets, c, gamma, alpha } = &self.loss;
        let sum = backward::sigmoid_focal_sum(inputs[0], targets, &self.weights, *c, (*gamma, *alpha));
        out[0] = (sum / self.divisor) as f32;
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let Focal { targets, c, gamma, alpha } = &self.loss;
        let scale = (f64::from(at.grad[0]) / self.divisor) as f32;
        vec![at.filled(0, |dx| {
            let rows = (at.inputs[0], &targets[..], *c);
            backward::sigmoid_focal_sum_grad(rows, &self.weights, (*gamma, *alpha), scale, dx);
        })]
    }
}

struct PixelLoss {
    shape: [usize; 4],
    size: [usize; 2],
    labels: Vec<u8>,
    weights: Vec<f32>,
    divisor: f64,
}

impl PixelLoss {
    fn how(&self) -> PixelLabels<'_> {
        PixelLabels { size: self.size, labels: &self.labels, weights: &self.weights }
    }
}

impl SliceOp for PixelLoss {
    fn name(&self) -> &'static str {
        "pixel_cross_entropy"
    }

    fn out_shape(&self) -> Vec<usize> {
        Vec::new()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let sum = backward::pixel_cross_entropy(inputs[0], self.shape, &self.how());
        out[0] = (sum / self.divisor) as f32;
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let scale = (f64::from(at.grad[0]) / self.divisor) as f32;
        vec![at.filled(0, |dx| {
            backward::pixel_cross_entropy_grad(at.inputs[0], self.shape, &self.how(), scale, dx);
        })]
    }
}

struct CrossEntropy {
    targets: Vec<u32>,
    c: usize,
}

impl SliceOp for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.targets.len()]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::cross_entropy(inputs[0], &self.targets, self.c, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        vec![
            at.filled(0, |dx| backward::cross_entropy_grad(at.inputs[0], &self.targets, self.c, at.grad, dx)),
        ]
    }
}

#[derive(Clone, Copy)]
enum Pair {
    L1,
    SmoothL1(f32),
    Bce,
}

struct Pairwise {
    kind: Pair,
    shape: Vec<usize>,
}

impl SliceOp for Pairwise {
    fn name(&self) -> &'static str {
        match self.kind {
            Pair::L1 => "l1",
            Pair::SmoothL1(_) => "smooth_l1",
            Pair::Bce => "bce_with_logits",
        }
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let (x, z) = (inputs[0], inputs[1]);
        let each = out.iter_mut().zip(x.iter().zip(z));
        match self.kind {
            Pair::L1 => each.for_each(|(o, (x, z))| *o = (x - z).abs()),
            Pair::SmoothL1(beta) => each.for_each(|(o, (x, z))| {
                let d = (x - z).abs();
                *o = if d < beta { 0.5 * d * d / beta } else { d - 0.5 * beta };
            }),
            Pair::Bce => backward::bce_with_logits(x, z, out),
        }
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let (x, z) = (at.inputs[0], at.inputs[1]);
        let dx = at.filled(0, |dx| {
            let each = dx.iter_mut().zip(at.grad).zip(x.iter().zip(z));
            match self.kind {
                Pair::L1 => each.for_each(|((d, g), (x, z))| *d = g * sign(x - z)),
                Pair::SmoothL1(beta) => each.for_each(|((d, g), (x, z))| {
                    let diff = x - z;
                    *d = g * if diff.abs() < beta { diff / beta } else { sign(diff) };
                }),
                Pair::Bce => backward::bce_with_logits_grad(x, z, at.grad, dx),
            }
        });
        vec![dx, Grad::None]
    }
}

/// −1, 0 or 1 (`f32::signum` has no 0); NaN stays NaN.
fn sign(v: f32) -> f32 {
    if v == 0.0 { 0.0 } else { v.signum() }
}

struct IouLoss {
    m: usize,
    mode: IouMode,
}

impl SliceOp for IouLoss {
    fn name(&self) -> &'static str {
        "iou_loss"
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.m]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let pairs = inputs[0].chunks_exact(4).zip(inputs[1].chunks_exact(4));
        out.iter_mut().zip(pairs).for_each(|(o, (p, t))| *o = overlap_loss(p, t, self.mode).0);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let dx = at.filled(0, |dx| {
            let pairs = at.inputs[0].chunks_exact(4).zip(at.inputs[1].chunks_exact(4));
            for ((dx, g), (p, t)) in dx.chunks_exact_mut(4).zip(at.grad).zip(pairs) {
                dx.iter_mut().zip(overlap_loss(p, t, self.mode).1).for_each(|(o, d)| *o = g * d);
            }
        });
        vec![dx, Grad::None]
    }
}

/// Guard of mmdetection's `bbox_overlaps` and of its losses.
const IOU_GUARD: f32 = 1e-6;

/// Slope of max(a, b) in `a`: PyTorch gives half to each of two equal values.
fn slope_of_max(a: f32, b: f32) -> f32 {
    if a > b {
        1.0
    } else if a == b {
        0.5
    } else {
        0.0
    }
}

/// Loss and its gradient in the predicted box, with the subgradients PyTorch takes (`max` halves ties, `clamp` passes at its bound).
fn overlap_loss(p: &[f32], t: &[f32], mode: IouMode) -> (f32, [f32; 4]) {
    // Values and derivatives along the four coordinates of the prediction.
    let (wp, hp) = (p[2] - p[0], p[3] - p[1]);
    let (wi, hi) = (p[2].min(t[2]) - p[0].max(t[0]), p[3].min(t[3]) - p[1].max(t[1]));
    let inside = |low: f32, high: f32| if low - high >= 0.0 { 1.0 } else { 0.0 };
    let (on_w, on_h) = (inside(wi, 0.0), inside(hi, 0.0));
    let (wi, hi) = (wi.max(0.0), hi.max(0.0));
    let inter = wi * hi;
    // ∂max(p0, t0)/∂p0 and ∂min(p2, t2)/∂p2 = ∂(−max(−p2, −t2)).
    let d_inter = [
        -on_w * slope_of_max(p[0], t[0]) * hi,
        -on_h * slope_of_max(p[1], t[1]) * wi,
        on_w * slope_of_max(-p[2], -t[2]) * hi,
        on_h * slope_of_max(-p[3], -t[3]) * wi,
    ];
    let d_area = [-hp, -wp, hp, wp];
    let raw_union = wp * hp + (t[2] - t[0]) * (t[3] - t[1]) - inter;
    let (union, on_union) = (raw_union.max(IOU_GUARD), slope_of_max(raw_union, IOU_GUARD));
    let d_union: [f32; 4] = std::array::from_fn(|i| on_union * (d_area[i] - d_inter[i]));
    let iou = inter / union;
    let d_iou: [f32; 4] = std::array::from_fn(|i| (d_inter[i] - iou * d_union[i]) / union);
    match mode {
        IouMode::Giou => giou(p, t, (iou, d_iou), (union, d_union)),
        _ => {
            let clamped = iou.max(IOU_GUARD);
            let on = if iou >= IOU_GUARD { 1.0 } else { 0.0 };
            let (loss, slope) = match mode {
                IouMode::Linear => (1.0 - clamped, -1.0),
                IouMode::Square => (1.0 - clamped * clamped, -2.0 * clamped),
                _ => (-clamped.ln(), -1.0 / clamped),
            };
            (loss, d_iou.map(|d| on * slope * d))
        }
    }
}

/// 1 − (IoU − (enclosing − union) / enclosing).
fn giou(p: &[f32], t: &[f32], iou: (f32, [f32; 4]), union: (f32, [f32; 4])) -> (f32, [f32; 4]) {
    let (w, h) = (p[2].max(t[2]) - p[0].min(t[0]), p[3].max(t[3]) - p[1].min(t[1]));
    let (on_w, on_h) = (f32::from(u8::from(w >= 0.0)), f32::from(u8::from(h >= 0.0)));
    let (w, h) = (w.max(0.0), h.max(0.0));
    let raw = w * h;
    let (enclosing, on) = (raw.max(IOU_GUARD), slope_of_max(raw, IOU_GUARD));
    let d_enclosing = [
        -on * on_w * slope_of_max(-p[0], -t[0]) * h,
        -on * on_h * slope_of_max(-p[1], -t[1]) * w,
        on * on_w * slope_of_max(p[2], t[2]) * h,
        on * on_h * slope_of_max(p[3], t[3]) * w,
    ];
    let value = iou.0 - (enclosing - union.0) / enclosing;
    // d(iou − 1 + union / enclosing)
    let gradient = std::array::from_fn(|i| {
        -(iou.1[i] + (union.1[i] - union.0 / enclosing * d_enclosing[i]) / enclosing)
    });
    (1.0 - value, gradient)
}
