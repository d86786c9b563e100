//! Class and box of regions: mmdetection's `Shared2FCBBoxHead`.
//!
//! Names: `shared_fcs.{0, 1}`, `fc_cls` (background is the last class), `fc_reg` (four numbers per class).
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/roi_heads/bbox_heads/convfc_bbox_head.py>

use super::linear::Linear;
use candle_core::Tensor;
use care_kernels::epilogue::Act;
use care_kernels::scratch::Scratch;
use care_nn::params::Builder;
use care_nn::{Error, Init, Result, ops};
use serde::{Deserialize, Serialize};

/// Shape of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BboxHeadConfig {
    /// Rows and columns of a region's features.
    pub roi_size: usize,
    /// Width of the two shared layers.
    pub fc_channels: usize,
}

impl Default for BboxHeadConfig {
    fn default() -> Self {
        Self { roi_size: 7, fc_channels: 1024 }
    }
}

/// The head.
pub struct BboxHead {
    shared: [Linear; 2],
    cls: Linear,
    reg: Linear,
    num_classes: usize,
}

/// Class logits `[regions, classes + 1]` and deltas `[regions, classes * 4]`.
pub(crate) struct Scored {
    pub(crate) logits: Scratch,
    pub(crate) deltas: Scratch,
}

impl BboxHead {
    /// Declares the parameters under `b` (`roi_head.bbox_head` in a detector); `ci` is the width of the pyramid.
    ///
    /// # Errors
    /// `Config` for a head without classes, cells or channels.
    pub fn new(b: &Builder, config: &BboxHeadConfig, ci: usize, num_classes: usize) -> Result<Self> {
        let &BboxHeadConfig { roi_size, fc_channels: width } = config;
        if roi_size == 0 || width == 0 || num_classes == 0 {
            return Err(Error::config(format!(
                "bbox_head: expected roi_size, fc_channels and num_classes >= 1, got {roi_size}, {width} and {num_classes}"
            )));
        }
        let (fcs, cells) = (b.sub("shared_fcs"), roi_size * roi_size);
        Ok(Self {
            shared: [
                Linear::new(&fcs.sub(0), (ci, cells), width, Init::XavierUniform)?,
                Linear::new(&fcs.sub(1), (width, 1), width, Init::XavierUniform)?,
            ],
            cls: Linear::new(&b.sub("fc_cls"), (width, 1), num_classes + 1, Init::Normal { std: 0.01 })?,
            reg: Linear::new(&b.sub("fc_reg"), (width, 1), num_classes * 4, Init::Normal { std: 0.001 })?,
            num_classes,
        })
    }

    /// Number of classes, without background.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Features `[regions, size, size, C]` to class logits `[regions, classes + 1]` and deltas `[regions, classes * 4]`;
    /// differentiable when built for training.
    ///
    /// # Errors
    /// `Internal` when the features do not have the shape the head was built for.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        if let Linear::Infer(_) = self.cls {
            let rows = x.dim(0)?;
            let scored = self.run(&x.flatten_all()?.to_vec1::<f32>()?, rows)?;
            let tensor = |values: &[f32]| Tensor::from_slice(values, (rows, values.len() / rows), x.device());
            return Ok((tensor(&scored.logits)?, tensor(&scored.deltas)?));
        }
        let mut x = x.permute((0, 3, 1, 2))?.contiguous()?.flatten_from(1)?;
        for layer in &self.shared {
            x = ops::relu(&layer.forward(&x)?)?;
        }
        Ok((self.cls.forward(&x)?, self.reg.forward(&x)?))
    }

    /// The same on slices, built for inference.
    pub(crate) fn run(&self, x: &[f32], regions: usize) -> Result<Scored> {
        let first = self.shared[0].run(x, regions, Act::Relu)?;
        let second = self.shared[1].run(&first, regions, Act::Relu)?;
        let logits = self.cls.run(&second, regions, Act::None)?;
        Ok(Scored { logits, deltas: self.reg.run(&second, regions, Act::None)? })
    }
}
