//! The head of a region proposal network (Ren et al., NeurIPS 2015, <https://arxiv.org/abs/1506.01497>).
//!
//! One 3×3 convolution with ReLU, then 1×1 convolutions for objectness (one sigmoid channel per anchor) and
//! deltas. Names as mmdetection: `rpn_conv`, `rpn_cls`, `rpn_reg`.

use crate::dense::{HEAD_INIT, Predictor, Tower};
use crate::pyramid::Pyramid;
use crate::retina_head::{BestScores, HeadOutputs, pictures_of};
use crate::select::{ChannelRange, TopScores};
use candle_core::Tensor;
use care_nn::Result;
use care_nn::layers::ConvSpec;
use care_nn::params::Builder;

/// The head.
pub struct RpnHead {
    conv: Tower,
    cls: Predictor,
    reg: Predictor,
    channels: usize,
}

impl RpnHead {
    /// Declares the parameters under `b` (`rpn_head` in a detector); `ci` is the width of the pyramid,
    /// `channels` that of the shared convolution.
    ///
    /// # Errors
    /// `Weights` when the store has other shapes.
    pub fn new(b: &Builder, ci: usize, channels: usize, anchors: usize) -> Result<Self> {
        let predictor =
            |name: &str, co: usize| Predictor::new(&b.sub(name), ConvSpec::same(channels, co, 1, HEAD_INIT));
        Ok(Self {
            conv: Tower::single(&b.sub("rpn_conv"), ci, channels)?,
            cls: predictor("rpn_cls", anchors)?,
            reg: predictor("rpn_reg", anchors * 4)?,
            channels,
        })
    }

    /// Pyramid levels `[N, H, W, ci]` to objectness logits `[N, H, W, anchors]` and deltas `[N, H, W, anchors
    /// * 4]`.
    ///
    /// # Errors
    /// `Internal` when a level does not have the width the head was built for.
    pub fn forward(&self, levels: &[Tensor]) -> Result<HeadOutputs> {
        let (Some(cls), Some(reg)) = (self.cls.train(), self.reg.train()) else {
            return self.infer(&Pyramid::from_tensors(levels)?);
        };
        let shared = self.conv.shared(levels)?;
        let logits = shared.iter().map(|x| cls.forward(x)).collect::<Result<_>>()?;
        Ok(HeadOutputs { logits, deltas: shared.iter().map(|x| reg.forward(x)).collect::<Result<_>>()? })
    }

    /// The head on slices, built for inference: the best scores of each picture and level (`empty` is cloned for them), and
    /// all deltas.
    pub(crate) fn infer_best(&self, levels: &Pyramid, empty: &TopScores) -> Result<BestScores> {
        let shapes = levels.shapes_with(self.channels);
        let pictures = shapes.first().map_or(0, |s| s[0]);
        let (mut shared, mut out) = (Pyramid::new(shapes.clone()), Pyramid::new(shapes));
        self.conv.run(levels, &mut shared, &mut out)?;
        self.cls.run(&shared, &mut out);
        let mut scores = vec![vec![empty.clone(); out.shapes().len()]; pictures];
        for (level, logits) in out.maps().into_iter().enumerate() {
            for (picture, block) in pictures_of(logits).enumerate() {
                scores[picture][level].scan(block, ChannelRange::all(logits.c));
            }
        }
        self.reg.run(&shared, &mut out);
        Ok(BestScores { scores, deltas: out })
    }

    fn infer(&self, levels: &Pyramid) -> Result<HeadOutputs> {
        let shapes = levels.shapes_with(self.channels);
        let (mut shared, mut out) = (Pyramid::new(shapes.clone()), Pyramid::new(shapes));
        self.conv.run(levels, &mut shared, &mut out)?;
        self.cls.run(&shared, &mut out);
        let logits = out.tensors()?;
        self.reg.run(&shared, &mut out);
        Ok(HeadOutputs { logits, deltas: out.tensors()? })
    }
}
