//! Cross-entropy of every pixel, as mmsegmentation's `BaseDecodeHead.loss_by_feat`.
//!
//! Logits are resized to the size of the labels. Without class weights the mean is over all pixels, ignored ones included, unless
//! `avg_non_ignore`; with class weights it is over the weight of the pixels that count.
//! Source: <https://github.com/open-mmlab/mmsegmentation/blob/v1.2.2/mmseg/models/losses/cross_entropy_loss.py>

use candle_core::Tensor;
use care_kernels::label_map::{Part, Taps, label_map};
use care_kernels::map::Map;
use care_nn::{Error, Result, ops};
use care_types::SegTarget;
use serde::{Deserialize, Serialize};

/// What a pixel is charged for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegLossConfig {
    /// Factor of each class; empty for 1. Rare classes need more.
    #[serde(default)]
    pub class_weight: Vec<f32>,
    /// Divide by the pixels that count, not by the number of all. With class weights the divisor is always the weight of the
    /// pixels that count.
    #[serde(default)]
    pub avg_non_ignore: bool,
    /// Factor of the loss.
    pub weight: f64,
}

impl Default for SegLossConfig {
    fn default() -> Self {
        Self { class_weight: Vec::new(), avg_non_ignore: false, weight: 1.0 }
    }
}

impl SegLossConfig {
    /// # Errors
    /// `Config` unless there is no class weight, or one for each class, all finite and not negative, and the weight is above 0.
    pub fn check(&self, classes: usize) -> Result<()> {
        let weights = &self.class_weight;
        if !weights.is_empty() && weights.len() != classes {
            return Err(Error::config(format!(
                "loss.class_weight has {} entries for {classes} classes",
                weights.len()
            )));
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(Error::config(format!(
                "loss.weight is {}, expected a finite number above 0",
                self.weight
            )));
        }
        match weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            Some(w) => {
                Err(Error::config(format!("loss.class_weight has {w}, expected finite numbers, at least 0")))
            }
            None => Ok(()),
        }
    }

    /// The loss of logits `[N, h, w, classes]` against one label map per picture, all of one size.
    ///
    /// # Errors
    /// `Input` for a label that is neither a class nor ignored, or maps of different sizes.
    pub fn of(&self, logits: &Tensor, targets: &[SegTarget]) -> Result<Tensor> {
        let (n, _, _, classes) = logits.dims4()?;
        let size =
            targets.first().map(SegTarget::size).ok_or_else(|| Error::input("a batch without label maps"))?;
        if targets.len() != n || targets.iter().any(|t| t.size() != size) {
            return Err(Error::input(format!(
                "{} label maps for {n} pictures, all of one size",
                targets.len()
            )));
        }
        let labels: Vec<u8> = targets.iter().flat_map(|t| t.classes()).copied().collect();
        let is_weighted = !self.class_weight.is_empty();
        let weights = if is_weighted { self.class_weight.clone() } else { vec![1.0; classes] };
        let weight = |label: u8| weights.get(usize::from(label)).map_or(0.0, |&w| f64::from(w));
        let divisor = match self.avg_non_ignore || is_weighted {
            // mmsegmentation adds f32's epsilon, so that a batch without any label that counts has loss 0
            true => labels.iter().map(|&l| weight(l)).sum::<f64>() + f64::from(f32::EPSILON),
            false => labels.len() as f64,
        };
        let size = [size.height as usize, size.width as usize];
        let labels = (labels, size, SegTarget::IGNORE);
        ops::pixel_cross_entropy(logits, labels, weights, divisor / self.weight)
    }
}

/// Share of the pixels that count whose best class is right, percent: mmsegmentation's `acc_seg`.
///
/// # Errors
/// `Internal` when logits and label maps do not fit.
pub fn accuracy(logits: &Tensor, targets: &[SegTarget]) -> Result<f64> {
    let (_, h, w, classes) = logits.dims4()?;
    let values = logits.flatten_all()?.to_vec1::<f32>()?;
    let (mut right, mut counted) = (0, 0);
    for (logits, target) in values.chunks_exact((h * w * classes).max(1)).zip(targets) {
        let axis = |cells: usize, side: u32| Taps::axis(cells, side as usize, side as usize, side as usize);
        let (rows, columns) = (axis(h, target.size().height), axis(w, target.size().width));
        let mut best = vec![0; target.classes().len()];
        let logits = Map::dense(logits, [1, h, w, classes]);
        label_map(&Part { logits, rows: &rows, columns: &columns }, &mut best);
        let pixels = || best.iter().zip(target.classes()).filter(|(_, l)| **l != SegTarget::IGNORE);
        right += pixels().filter(|(b, l)| b == l).count();
        counted += pixels().count();
    }
    Ok(100.0 * right as f64 / counted.max(1) as f64)
}
