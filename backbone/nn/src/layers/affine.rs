//! Folding a batch norm with fixed statistics into the convolution before or after it.

use crate::Result;
use candle_core::Tensor;

/// Sums that grow side by side: one alone would wait for each addition.
const SUMS: usize = 8;

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
        let per_output = (weight.len() / bias.len().max(1)).max(1);
        let taps = per_output / self.scale.len().max(1);
        // one factor and one offset for every weight of a row
        let spread = |values: &[f64]| -> Vec<f64> {
            values.iter().flat_map(|&v| std::iter::repeat_n(v, taps)).collect()
        };
        let (scale, shift) = (spread(&self.scale), spread(&self.shift));
        let mut folded = Vec::with_capacity(weight.len());
        for row in weight.chunks_exact(per_output) {
            folded.extend(row.iter().zip(&scale).map(|(&w, s)| (f64::from(w) * s) as f32));
        }
        let mut shifted = Vec::with_capacity(bias.len());
        for (rows, bias) in weight.chunks(per_output * SUMS).zip(bias.chunks(SUMS)) {
            let mut sums: [f64; SUMS] = std::array::from_fn(|r| bias.get(r).copied().map_or(0.0, f64::from));
            for (i, t) in shift.iter().enumerate() {
                let column = rows[i..].iter().step_by(per_output);
                sums.iter_mut().zip(column).for_each(|(sum, &w)| *sum += f64::from(w) * t);
            }
            shifted.extend(sums[..bias.len()].iter().map(|&sum| sum as f32));
        }
        (folded, shifted)
    }
}
