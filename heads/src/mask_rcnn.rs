//! Mask R-CNN (He et al., ICCV 2017, <https://arxiv.org/abs/1703.06870>): backbone, FPN, region proposals, boxes and masks.
//!
//! Names, defaults and behaviour are mmdetection's `mask-rcnn_*_fpn_1x`: `backbone`, `neck`, `rpn_head`, `roi_head.bbox_head`,
//! `roi_head.mask_head`. As there, overlaps of detections are judged in network pixels (RetinaNet: original pixels).

use crate::anchors::{AnchorConfig, AnchorGenerator};
use crate::box_coder::BoxCoder;
use crate::dense_loss::LevelLoss;
use crate::losses::BoxLoss;
use crate::matcher::Matcher;
use crate::neck::fpn::{Fpn, FpnConfig};
use crate::proposals::{Proposal, ProposalConfig, ProposalSelect};
use crate::pyramid::Pyramid;
use crate::retina_head::HeadOutputs;
use crate::roi::head::{Levels, RoiHead, RoiHeadConfig, RoiLosses};
use crate::rpn::RpnHead;
use crate::rpn_loss::RpnLoss;
use crate::sampler::Sampler;
use crate::select::SelectConfig;
use crate::task::{Detector, ImageInfo, Images, Losses, require_targets, require_train};
use candle_core::Tensor;
use care_backbone::{Backbone, BackboneConfig};
use care_nn::params::Builder;
use care_nn::{Error, Result};
use care_types::{BoxXyxy, DetTarget, RawDetection};
use serde::{Deserialize, Serialize};

/// Everything that makes the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRcnnConfig {
    /// Classes, without background.
    pub num_classes: usize,
    /// Feature extractor.
    pub backbone: BackboneConfig,
    /// Neck.
    pub neck: FpnConfig,
    /// Region proposals.
    pub rpn: RpnConfig,
    /// Class, box and mask of regions.
    pub roi: RoiHeadConfig,
    /// From scores to detections.
    pub select: RegionSelect,
}

/// Shape and rules of the region proposals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpnConfig {
    /// Channels of the shared convolution.
    pub feat_channels: usize,
    /// Priors; one stride per level of the neck.
    pub anchors: AnchorConfig,
    /// Normalisation of box deltas.
    pub box_coder: BoxCoder,
    /// Assignment of objects to anchors.
    pub matcher: Matcher,
    /// How many anchors learn.
    pub sampler: Sampler,
    /// Loss of the four deltas.
    pub bbox_loss: BoxLoss,
    /// Proposals in training.
    pub train_proposals: ProposalConfig,
    /// Proposals in inference.
    pub proposals: ProposalConfig,
}

impl Default for RpnConfig {
    /// The 1× setting.
    fn default() -> Self {
        Self {
            feat_channels: 256,
            anchors: AnchorConfig::rpn(),
            box_coder: BoxCoder::UNIT,
            matcher: Matcher::RPN,
            sampler: Sampler::RPN,
            bbox_loss: BoxLoss::L1,
            train_proposals: ProposalConfig::TRAIN,
            proposals: ProposalConfig::INFER,
        }
    }
}

/// What becomes of the scores of regions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSelect {
    /// Scores must be above this (strictly).
    pub score_threshold: f32,
    /// A box is dropped when its IoU with a better one of its class is above this (strictly).
    pub nms_iou: f32,
    /// Detections kept per picture.
    pub max_per_image: usize,
}

impl RegionSelect {
    /// COCO protocol: .05, NMS .5, 100 per picture.
    pub const COCO: RegionSelect = RegionSelect { score_threshold: 0.05, nms_iou: 0.5, max_per_image: 100 };

    /// The same for [`crate::select`]; boxes without an area stay, as in mmdetection.
    pub fn config(&self) -> SelectConfig {
        let &Self { score_threshold, nms_iou, max_per_image } = self;
        let (nms_pre, min_box_size) = (usize::MAX, f32::NEG_INFINITY);
        SelectConfig { score_threshold, nms_pre, nms_iou, max_per_image, min_box_size }
    }
}

impl MaskRcnnConfig {
    /// The 1× setting: 256 channels, P2..P6, boxes from 7×7 and masks from 14×14 features.
    pub fn new(backbone: BackboneConfig, num_classes: usize) -> Self {
        Self {
            num_classes,
            backbone,
            neck: FpnConfig::mask_rcnn(),
            rpn: RpnConfig::default(),
            roi: RoiHeadConfig::default(),
            select: RegionSelect::COCO,
        }
    }
}

/// The network, for the purpose of the builder it was made with.
pub struct MaskRcnn {
    backbone: Box<dyn Backbone + Send + Sync>,
    neck: Fpn,
    rpn: RpnHead,
    roi: RoiHead,
    rpn_loss: RpnLoss,
    train_proposals: ProposalSelect,
    proposals: ProposalSelect,
    select: SelectConfig,
    num_classes: usize,
    is_train: bool,
}

/// Losses of a batch, apart.
#[derive(Clone, Debug)]
pub struct MaskRcnnLosses {
    /// Objectness and boxes of anchors, per level.
    pub rpn: Vec<LevelLoss>,
    /// Regions.
    pub roi: RoiLosses,
}

impl MaskRcnn {
    /// Declares all parameters under `b`.
    ///
    /// # Errors
    /// `Config` when the parts do not fit each other.
    pub fn new(b: &Builder, config: &MaskRcnnConfig) -> Result<Self> {
        let rpn = &config.rpn;
        rpn.sampler.check("rpn.sampler")?;
        rpn.box_coder.check("rpn.box_coder")?;
        config.roi.sampler.check("roi.sampler")?;
        config.roi.box_coder.check("roi.box_coder")?;
        config.select.config().check("select")?;
        rpn.train_proposals.select().check("rpn.train_proposals")?;
        rpn.proposals.select().check("rpn.proposals")?;
        if !(config.roi.finest_scale.is_finite() && config.roi.finest_scale > 0.0) {
            let scale = config.roi.finest_scale;
            return Err(Error::config(format!(
                "roi.finest_scale is {scale}, expected a number of pixels above 0"
            )));
        }
        let anchors = AnchorGenerator::new(&rpn.anchors)?;
        if anchors.levels() != config.neck.num_outs {
            let (strides, outs) = (anchors.levels(), config.neck.num_outs);
            return Err(Error::config(format!(
                "rpn.anchors.strides has {strides} entries, neck.num_outs is {outs}; they must agree"
            )));
        }
        let backbone = config.backbone.build(&b.sub("backbone"))?;
        let neck = Fpn::new(&b.sub("neck"), &config.neck, backbone.info())?;
        let (width, coder) = (neck.out_channels(), rpn.box_coder);
        // regions take features from the levels that the backbone has
        let levels = backbone.info().len() - config.neck.start_level;
        let strides = &rpn.anchors.strides[..levels];
        let own: Vec<u32> =
            backbone.info()[config.neck.start_level..].iter().map(|f| f.stride as u32).collect();
        if strides != own {
            return Err(Error::config(format!(
                "rpn.anchors.strides begins with {strides:?}, the maps of the backbone have {own:?} pixels per cell"
            )));
        }
        Ok(Self {
            rpn: RpnHead::new(&b.sub("rpn_head"), width, rpn.feat_channels, anchors.per_cell())?,
            roi: RoiHead::new(&b.sub("roi_head"), &config.roi, (width, strides), config.num_classes)?,
            rpn_loss: RpnLoss {
                anchors: anchors.clone(),
                coder,
                matcher: rpn.matcher,
                sampler: rpn.sampler,
                bbox: rpn.bbox_loss,
            },
            train_proposals: ProposalSelect::new(anchors.clone(), coder, rpn.train_proposals),
            proposals: ProposalSelect::new(anchors, coder, rpn.proposals),
            select: config.select.config(),
            num_classes: config.num_classes,
            is_train: b.purpose().is_train(),
            backbone,
            neck,
        })
    }

    /// Pictures `[N, H, W, 3]` to the neck's maps and the proposal head's raw outputs.
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    pub fn forward(&self, pixels: &Tensor) -> Result<(Vec<Tensor>, HeadOutputs)> {
        let levels = self.neck.forward(&self.backbone.features(pixels)?.maps)?;
        let outputs = self.rpn.forward(&levels)?;
        Ok((levels, outputs))
    }

    /// Proposals of inference from raw outputs.
    ///
    /// # Errors
    /// `Internal` when the outputs do not fit the pictures.
    pub fn propose(&self, outputs: &HeadOutputs, info: &[ImageInfo]) -> Result<Vec<Vec<Proposal>>> {
        self.proposals.proposals(outputs, info)
    }

    /// Class logits `[regions, classes + 1]` and deltas `[regions, classes * 4]` of boxes in the first picture.
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    pub fn region_scores(&self, levels: &[Tensor], boxes: &[BoxXyxy]) -> Result<(Vec<f32>, Vec<f32>)> {
        let rois: Vec<_> =
            boxes.iter().map(|b| care_kernels::roi_align::Roi { image: 0, bbox: b.to_array() }).collect();
        let scores = if self.is_train {
            self.roi.scores(Levels::Tensors(levels), &rois)?
        } else {
            let levels = Pyramid::from_tensors(levels)?;
            self.roi.scores(Levels::Maps(&levels.maps()), &rois)?
        };
        Ok(scores.unwrap_or_default())
    }

    /// The losses of a batch with what they were made from.
    ///
    /// # Errors
    /// As [`Detector::losses`].
    pub fn all_losses(&self, images: &Images, targets: &[DetTarget]) -> Result<MaskRcnnLosses> {
        require_train(self.is_train)?;
        require_targets(images, targets.len())?;
        let (levels, outputs) = self.forward(&images.pixels)?;
        let draw = images.draw.unwrap_or_default();
        let rpn = self.rpn_loss.by_level(&outputs, targets, &images.info, draw)?;
        let proposals = self.train_proposals.proposals(&outputs, &images.info)?;
        let roi = self.roi.losses(&levels, &boxes_of(&proposals), targets, (&images.info, draw))?;
        Ok(MaskRcnnLosses { rpn, roi })
    }
}

impl Detector for MaskRcnn {
    fn losses(&self, images: &Images, targets: &[DetTarget]) -> Result<Losses> {
        let MaskRcnnLosses { rpn, roi } = self.all_losses(images, targets)?;
        let sum = |part: fn(&LevelLoss) -> &Tensor| LevelLoss::sum(&rpn, part);
        Ok(Losses::new(vec![
            ("loss_rpn_cls", sum(|l| &l.cls)?),
            ("loss_rpn_bbox", sum(|l| &l.bbox)?),
            ("loss_cls", roi.cls),
            ("loss_bbox", roi.bbox),
            ("loss_mask", roi.mask),
        ]))
    }

    fn detect_observed(
        &self,
        images: &Images,
        phase: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<Vec<RawDetection>>> {
        // without rescaling: overlaps are judged in network pixels
        let info: Vec<ImageInfo> =
            images.info.iter().map(|i| ImageInfo { scale: (1.0, 1.0), ..*i }).collect();
        let last = (&info[..], &self.select);
        if self.is_train {
            let (levels, outputs) = self.forward(&images.pixels)?;
            let proposals = boxes_of(&self.propose(&outputs, &images.info)?);
            return self.roi.detections(Levels::Tensors(&levels), &proposals, last, phase);
        }
        let features = self.backbone.features(&images.pixels)?;
        phase("backbone");
        let levels = self.neck.infer(&features.maps)?;
        drop(features); // the backbone's maps are not needed while the heads run
        phase("neck");
        let best = self.rpn.infer_best(&levels, &self.proposals.empty())?;
        phase("rpn");
        let proposals = boxes_of(&self.proposals.of_best(best, &images.info));
        phase("proposals");
        self.roi.detections(Levels::Maps(&levels.maps()), &proposals, last, phase)
    }

    fn num_classes(&self) -> usize {
        self.num_classes
    }
}

fn boxes_of(proposals: &[Vec<Proposal>]) -> Vec<Vec<BoxXyxy>> {
    proposals.iter().map(|p| p.iter().map(|p| p.bbox).collect()).collect()
}
