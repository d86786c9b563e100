//! Boxes as (dx, dy, dw, dh) relative to a prior: mmdetection's `DeltaXYWHBBoxCoder`.
//!
//! `dx = (gx - px) / pw`, `dw = ln(gw / pw)`, normalised by means and stds. Decoding clamps dw and dh at
//! |ln(16/1000)| after denormalising, so that an untrained head cannot overflow `exp`.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/task_modules/coders/delta_xywh_bbox_coder.py>

use care_nn::{Error, Result};
use care_types::BoxXyxy;
use serde::{Deserialize, Serialize};

/// |ln(16/1000)|: a box may be at most 62.5 times as wide or high as its prior.
const MAX_LOG_RATIO: f64 = 4.135_166_556_742_356;

/// Normalisation of the four deltas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxCoder {
    /// Subtracted when encoding.
    pub means: [f32; 4],
    /// Divided by when encoding; not 0.
    pub stds: [f32; 4],
}

impl BoxCoder {
    /// Means 0, stds 1: dense heads.
    pub const UNIT: BoxCoder = BoxCoder { means: [0.0; 4], stds: [1.0; 4] };
    /// Means 0, stds .1 .1 .2 .2: the box head on regions.
    pub const ROI: BoxCoder = BoxCoder { means: [0.0; 4], stds: [0.1, 0.1, 0.2, 0.2] };

    /// # Errors
    /// `Config` unless all numbers are finite and no std is 0.
    pub fn check(&self, key: &str) -> Result<()> {
        let finite = self.means.iter().chain(&self.stds).all(|v| v.is_finite());
        if finite && !self.stds.contains(&0.0) {
            return Ok(());
        }
        Err(Error::config(format!(
            "{key}: expected finite means, and finite stds other than 0, got {self:?}"
        )))
    }

    /// Deltas that take `prior` to `target`.
    pub fn encode(&self, prior: &BoxXyxy, target: &BoxXyxy) -> [f32; 4] {
        let (px, py, pw, ph) = centre_size(prior);
        let (gx, gy, gw, gh) = centre_size(target);
        let raw = [(gx - px) / pw, (gy - py) / ph, (gw / pw).ln(), (gh / ph).ln()];
        std::array::from_fn(|i| (raw[i] - self.means[i]) / self.stds[i])
    }

    /// The box that `deltas` make of `prior`, not clipped.
    pub fn decode(&self, prior: &BoxXyxy, deltas: [f32; 4]) -> BoxXyxy {
        let d: [f32; 4] = std::array::from_fn(|i| deltas[i] * self.stds[i] + self.means[i]);
        let (px, py, pw, ph) = centre_size(prior);
        let limit = MAX_LOG_RATIO as f32;
        let (gx, gy) = (px + pw * d[0], py + ph * d[1]);
        let (gw, gh) = (pw * d[2].clamp(-limit, limit).exp(), ph * d[3].clamp(-limit, limit).exp());
        BoxXyxy { x0: gx - gw * 0.5, y0: gy - gh * 0.5, x1: gx + gw * 0.5, y1: gy + gh * 0.5 }
    }

    /// Class-specific boxes of one prior: `deltas` holds 4 numbers per class.
    pub fn decode_classes<'a>(
        &'a self,
        prior: &'a BoxXyxy,
        deltas: &'a [f32],
    ) -> impl Iterator<Item = BoxXyxy> + 'a {
        deltas.chunks_exact(4).map(move |d| self.decode(prior, [d[0], d[1], d[2], d[3]]))
    }
}

fn centre_size(b: &BoxXyxy) -> (f32, f32, f32, f32) {
    ((b.x0 + b.x1) * 0.5, (b.y0 + b.y1) * 0.5, b.x1 - b.x0, b.y1 - b.y0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clamp_is_the_logarithm_it_claims_to_be() {
        assert_eq!(MAX_LOG_RATIO, (16.0f64 / 1000.0).ln().abs());
    }

    #[test]
    fn decode_undoes_encode() {
        let prior = BoxXyxy { x0: 10., y0: 20., x1: 42., y1: 52. };
        let target = BoxXyxy { x0: 5., y0: 30., x1: 60., y1: 47. };
        for coder in [BoxCoder::UNIT, BoxCoder::ROI] {
            let got = coder.decode(&prior, coder.encode(&prior, &target));
            for (g, e) in [(got.x0, 5.), (got.y0, 30.), (got.x1, 60.), (got.y1, 47.)] {
                assert!((g - e).abs() < 1e-4, "{got:?}");
            }
        }
    }

    #[test]
    fn sizes_are_clamped() {
        let prior = BoxXyxy { x0: 0., y0: 0., x1: 16., y1: 16. };
        let b = BoxCoder::UNIT.decode(&prior, [0., 0., 100., -100.]);
        assert!((b.x1 - b.x0 - 1000.).abs() < 0.01 && (b.y1 - b.y0 - 0.256).abs() < 1e-4, "{b:?}");
    }
}
