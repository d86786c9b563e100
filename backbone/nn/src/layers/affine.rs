//! Folding a batch norm with fixed statistics into the convolution before or after it.

use crate::Result;
use candle_core::Tensor;

/// `y = scale * x + shift` per channel: a batch norm whose statistics are fixed. Kept in f64, because the folded weights
/// are rounded once.
#[derive(Debug, Clone)]
pub struct Affine {
    /// Factor per channel.
    pub scale: Vec<f64>,
    /// Offset per channel.
    pub shift: Vec<f64>,
}

impl Affine {
    /// The affine map of a batch norm: `weight / sqrt(var + eps)` and `bias - mean * scale`.
    pub fn from_batch_norm(
        weight: &Tensor,
        bias: &Tensor,
        mean: &Tensor,
        var: &Tensor,
        eps: f64,
    ) -> Result<Self> {
        let (weight, bias) = (weight.to_vec1::<f32>()?, bias.to_vec1::<f32>()?);
        let (mean, var) = (mean.to_vec1::<f32>()?, var.to_vec1::<f32>()?);
        let scale: Vec<f64> =
            weight.iter().zip(&var).map(|(&w, &v)| f64::from(w) / (f64::from(v) + eps).sqrt()).collect();
        let shift =
            bias.iter().zip(&mean).zip(&scale).map(|((&b, &m), s)| f64::from(b) - f64::from(m) * s).collect();
        Ok(Self { scale, shift })
    }

    /// Weights `[co, rest]` and bias `[co]` of a convolution followed by this map.
    pub fn fold_after(&self, weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let per_output = weight.len() / bias.len().max(1);
        let folded = weight
            .chunks(per_output.max(1))
            .zip(&self.scale)
            .flat_map(|(row, s)| row.iter().map(move |&w| (f64::from(w) * s) as f32))
            .collect();
        let bias = bias
            .iter()
            .zip(self.scale.iter().zip(&self.shift))
            .map(|(&b, (s, t))| (f64::from(b) * s + t) as f32)
            .collect();
        (folded, bias)
    }

    /// Weights `[co, ci, taps]` and bias `[co]` of an unpadded convolution preceded by this map. (With zero padding the
    /// fold would be wrong at the border: the padding is not shifted.)
    pub fn fold_before(&self, weight: &[f32], bias: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let ci = self.scale.len();
        let per_output = weight.len() / bias.len().max(1);
        let taps = per_output / ci.max(1);
        let mut folded = Vec::with_capacity(weight.len());
        let mut shifted = Vec::with_capacity(bias.len());
        for (row, &b) in weight.chunks(per_output.max(1)).zip(bias) {
            let mut sum = f64::from(b);
            for (i, &w) in row.iter().enumerate() {
                let channel = i / taps;
                folded.push((f64::from(w) * self.scale[channel]) as f32);
                sum += f64::from(w) * self.shift[channel];
            }
            shifted.push(sum as f32);
        }
        (folded, shifted)
    }
}
