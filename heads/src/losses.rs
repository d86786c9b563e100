//! Losses weighted and averaged as mmdetection's `weight_reduce_loss`; the elementwise losses and their
//! gradients are those of [`care_nn::ops`].
//!
//! Without `avg_factor` a loss is the mean over its elements; with it, the sum divided by it (plus f32's
//! epsilon, as there).
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/losses/utils.py>

use candle_core::{DType, Tensor};
use care_nn::ops::{self, IouMode};
use care_nn::{Error, Result};
use serde::{Deserialize, Serialize};

/// How elements of a loss become a scalar.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighting<'a> {
    /// One factor per row, or per element.
    pub weight: Option<&'a Tensor>,
    /// Divides the sum; `None` takes the mean over all elements.
    pub avg_factor: Option<f64>,
}

impl Weighting<'_> {
    /// The scalar of `[M]` or `[M, C]` losses.
    pub(crate) fn reduce(self, loss: &Tensor) -> Result<Tensor> {
        let weighted = match self.weight {
            None => loss.clone(),
            Some(w) if w.rank() < loss.rank() => loss.broadcast_mul(&w.unsqueeze(1)?)?,
            Some(w) => loss.mul(w)?,
        };
        Ok(match self.avg_factor {
            Some(n) => (weighted.sum_all()? / (n + f64::from(f32::EPSILON)))?,
            None => weighted.mean_all()?,
        })
    }
}

/// Focal loss of sigmoid classes (Lin et al., 2017).
///
/// # Shapes
/// `pred [M, C]`, `target [M]` (integers, `C` is background), weight `[M]` → scalar.
///
/// # Errors
/// `Input` for a target outside of `0..=C`.
pub fn sigmoid_focal(
    pred: &Tensor,
    target: &Tensor,
    gamma: f64,
    alpha: f64,
    how: Weighting<'_>,
) -> Result<Tensor> {
    match how {
        Weighting { weight: Some(weights), avg_factor: Some(n) } if weights.rank() == 1 => {
            ops::refuse_tracked("sigmoid_focal", &[("weight", weights)])?;
            let rows = (target, weights.to_vec1()?);
            ops::sigmoid_focal_sum(pred, rows, gamma, alpha, n + f64::from(f32::EPSILON))
        }
        _ => how.reduce(&ops::sigmoid_focal(pred, target, gamma, alpha)?),
    }
}

/// Softmax cross-entropy; the RoI classifier's background is the last class.
///
/// # Shapes
/// `pred [M, C]`, `target [M]` (integers below `C`), weight `[M]` → scalar.
///
/// # Errors
/// `Input` for a target outside of `0..C`.
pub fn cross_entropy(pred: &Tensor, target: &Tensor, how: Weighting<'_>) -> Result<Tensor> {
    how.reduce(&ops::cross_entropy(pred, target)?)
}

/// Binary cross-entropy of one-hot rows: row `m` is 1 in column `target[m]`, and all 0 when that is `C` (with
/// one column, as in the RPN, 0 is an object and 1 is background).
///
/// # Shapes
/// `pred [M, C]`, `target [M]` (integers), weight `[M]` → scalar.
///
/// # Errors
/// `Internal` when `target` is not `[M]` integers.
pub fn one_hot_bce(pred: &Tensor, target: &Tensor, how: Weighting<'_>) -> Result<Tensor> {
    let (m, c) = pred.dims2()?;
    let rows = target.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let one_hot =
        rows.iter().flat_map(|&t| (0..c).map(move |i| f32::from(u8::from(t == i as i64)))).collect();
    how.reduce(&ops::bce_with_logits(pred, &Tensor::from_vec(one_hot, (m, c), pred.device())?)?)
}

/// Mask loss: binary cross-entropy of each object's own class, mean over all pixels.
///
/// # Shapes
/// `pred [M, size, size, classes]`, `target [M, size, size]` of 0 and 1 → scalar.
///
/// # Errors
/// `Internal` when a class index is not below `classes`, or the shapes do not fit.
pub fn mask_bce(pred: &Tensor, target: &Tensor, classes: &[usize]) -> Result<Tensor> {
    let (m, h, w, c) = pred.dims4()?;
    if classes.len() != m || target.dims() != [m, h, w] || classes.iter().any(|&k| k >= c) {
        let (got, shape) = (classes.len(), target.dims());
        return Err(Error::internal(format!(
            "mask_bce: {m} masks of {c} classes, {got} class indices, targets {shape:?}"
        )));
    }
    if m == 0 {
        return tracked_zero(pred);
    }
    if u32::try_from(m * h * w * c).is_err() {
        return Err(Error::internal(format!(
            "mask_bce: {m} masks of {h} x {w} x {c} values are too many for one call"
        )));
    }
    let pixels = (h * w) as u32;
    let row = |(i, &class): (usize, &usize)| {
        (0..pixels).map(move |p| (i as u32 * pixels + p) * c as u32 + class as u32)
    };
    let index: Vec<u32> = classes.iter().enumerate().flat_map(row).collect();
    let count = index.len();
    let own = pred.flatten_all()?.index_select(&Tensor::from_vec(index, count, pred.device())?, 0)?;
    Ok(ops::bce_with_logits(&own, &target.flatten_all()?)?.mean_all()?)
}

/// A zero that still hangs on `pred`: every parameter behind it gets a gradient of 0, as in PyTorch, instead
/// of none. (candle prunes a multiplication by the number 0 from the graph, not one by a tensor.)
pub(crate) fn tracked_zero(pred: &Tensor) -> Result<Tensor> {
    let sum = pred.sum_all()?;
    Ok(sum.mul(&sum.zeros_like()?.detach())?)
}

/// A loss on four box numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum BoxLoss {
    /// |d|.
    L1,
    /// d²/2β below β, |d| - β/2 above.
    SmoothL1 {
        /// Where it turns linear.
        beta: f64,
    },
    /// 1 - GIoU of boxes (not deltas).
    Giou,
    /// -ln IoU of boxes (not deltas).
    IouLog,
}

impl BoxLoss {
    /// The weighted loss; `L1` and `SmoothL1` have four elements per row, the others one.
    ///
    /// # Shapes
    /// `pred [M, 4]`, `target [M, 4]` → scalar.
    ///
    /// # Errors
    /// `Config` for a beta that is not positive.
    pub fn of(self, pred: &Tensor, target: &Tensor, how: Weighting<'_>) -> Result<Tensor> {
        how.reduce(&match self {
            BoxLoss::L1 => ops::l1(pred, target)?,
            BoxLoss::SmoothL1 { beta } => ops::smooth_l1(pred, target, beta)?,
            BoxLoss::Giou => ops::iou_loss(pred, target, IouMode::Giou)?,
            BoxLoss::IouLog => ops::iou_loss(pred, target, IouMode::Log)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn rows_are_weighted_and_divided_by_the_given_count() {
        let pred = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[1f32, 0.5], &Device::Cpu).unwrap();
        let how = Weighting { weight: Some(&weight), avg_factor: Some(2.0) };
        let got = how.reduce(&pred).unwrap().to_scalar::<f32>().unwrap();
        assert!((got - (3.0 + 3.5) / 2.0).abs() < 1e-6, "{got}");
        let mean = Weighting::default().reduce(&pred).unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(mean, 2.5);
    }

    #[test]
    fn only_the_own_class_of_a_mask_gets_a_gradient() {
        let pred = Var::from_tensor(&Tensor::zeros((1, 1, 2, 3), DType::F32, &Device::Cpu).unwrap()).unwrap();
        let target = Tensor::new(&[[[1f32, 0.]]], &Device::Cpu).unwrap();
        let loss = mask_bce(&pred, &target, &[1]).unwrap();
        let grads = loss.backward().unwrap();
        let g = grads.get(&pred).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(g, [0., -0.25, 0., 0., 0.25, 0.]);
        assert!(mask_bce(&pred, &target, &[3]).is_err());
    }
}
