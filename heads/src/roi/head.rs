//! The heads on regions together: mmdetection's `StandardRoIHead` with boxes and masks.
//!
//! In training the objects themselves are added to the proposals, a sample of regions learns class and box, and the positives
//! among them learn masks. In inference the boxes that stay get masks.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/roi_heads/standard_roi_head.py>

use super::bbox_head::{BboxHead, BboxHeadConfig};
use super::extractor::{ByLevel, RoiExtractor};
use super::mask_head::{MaskHead, MaskHeadConfig};
use super::mask_target::mask_targets;
use crate::box_coder::BoxCoder;
use crate::draw::Draw;
use crate::losses::{self, BoxLoss, Weighting};
use crate::matcher::{Match, Matcher};
use crate::objects::Objects;
use crate::pyramid::Pyramid;
use crate::sampler::{Sampled, Sampler};
use crate::select::{self, Candidate, SelectConfig};
use crate::task::ImageInfo;
use candle_core::Tensor;
use care_kernels::map::Map;
use care_kernels::roi_align::Roi;
use care_nn::params::Builder;
use care_nn::{Error, Result};
use care_types::{BoxXyxy, DetTarget, MaskLogits, RawDetection};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Shape and rules of the heads on regions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoiHeadConfig {
    /// Boxes up to twice this side (network pixels) take features from the finest level.
    pub finest_scale: f32,
    /// Class and box.
    pub bbox_head: BboxHeadConfig,
    /// Mask.
    pub mask_head: MaskHeadConfig,
    /// Normalisation of box deltas.
    pub box_coder: BoxCoder,
    /// Which regions are objects.
    pub matcher: Matcher,
    /// How many regions learn.
    pub sampler: Sampler,
    /// Loss of the four deltas.
    pub bbox_loss: BoxLoss,
}

impl Default for RoiHeadConfig {
    /// Mask R-CNN's 1× setting.
    fn default() -> Self {
        Self {
            finest_scale: 56.0,
            bbox_head: BboxHeadConfig::default(),
            mask_head: MaskHeadConfig::default(),
            box_coder: BoxCoder::ROI,
            matcher: Matcher::ROI,
            sampler: Sampler::ROI,
            bbox_loss: BoxLoss::L1,
        }
    }
}

/// The heads.
pub struct RoiHead {
    config: RoiHeadConfig,
    boxes: RoiExtractor,
    masks: RoiExtractor,
    bbox_head: BboxHead,
    mask_head: MaskHead,
}

/// The regions of one picture that learn.
#[derive(Clone, Debug, PartialEq)]
pub struct Regions {
    /// The objects' boxes, then the proposals.
    pub boxes: Vec<BoxXyxy>,
    /// Which of them were chosen.
    pub chosen: Sampled,
    /// Object of each chosen positive.
    pub objects: Vec<usize>,
}

/// Losses of the heads.
#[derive(Clone, Debug)]
pub struct RoiLosses {
    /// Cross-entropy over classes and background, mean over regions.
    pub cls: Tensor,
    /// Box loss, sum over positives divided by all regions.
    pub bbox: Tensor,
    /// Mask loss, mean over the positives' pixels.
    pub mask: Tensor,
    /// Share of regions whose class is right, percent.
    pub accuracy: f64,
    /// Class logits `[regions, classes + 1]`, region by region.
    pub logits: Tensor,
    /// Deltas `[regions, classes * 4]`.
    pub deltas: Tensor,
    /// Mask logits `[positives with a mask, 2 size, 2 size, classes]`; `None` when there is none.
    pub masks: Option<Tensor>,
}

/// Where features come from: tensors of a graph, or slices.
#[derive(Clone, Copy)]
pub(crate) enum Levels<'a> {
    Tensors(&'a [Tensor]),
    Maps(&'a [Map<'a>]),
}

/// Class logits and deltas, region by region.
type Scores = (Vec<f32>, Vec<f32>);

/// A chosen region and what it should say.
struct Wanted<'a> {
    roi: Roi,
    /// The number of classes for background.
    label: usize,
    /// Object, for positives.
    object: Option<(&'a Objects<'a>, usize)>,
}

/// Names the random choice.
const PURPOSE: u64 = 2;

impl RoiHead {
    /// Declares the parameters under `b` (`roi_head` in a detector) for pyramid levels of `ci` channels.
    ///
    /// # Errors
    /// `Config` for heads that cannot be.
    pub fn new(
        b: &Builder,
        config: &RoiHeadConfig,
        (ci, strides): (usize, &[u32]),
        num_classes: usize,
    ) -> Result<Self> {
        let extractor =
            |size| RoiExtractor { size, strides: strides.to_vec(), finest_scale: config.finest_scale };
        Ok(Self {
            boxes: extractor(config.bbox_head.roi_size),
            masks: extractor(config.mask_head.roi_size),
            bbox_head: BboxHead::new(&b.sub("bbox_head"), &config.bbox_head, ci, num_classes)?,
            mask_head: MaskHead::new(&b.sub("mask_head"), &config.mask_head, ci, num_classes)?,
            config: config.clone(),
        })
    }

    /// Chooses the regions of a picture that learn, from its objects and its proposals.
    ///
    /// # Errors
    /// `Input` for a class that the network does not have, or a box that is not finite.
    pub fn regions(
        &self,
        proposals: &[BoxXyxy],
        target: &DetTarget,
        draw: Draw,
        picture: usize,
    ) -> Result<Regions> {
        let objects = Objects::of(target, self.bbox_head.num_classes())?;
        Ok(self.sample(proposals, &objects, draw, picture))
    }

    fn sample(&self, proposals: &[BoxXyxy], objects: &Objects<'_>, draw: Draw, picture: usize) -> Regions {
        let found = self.config.matcher.assign(proposals, &objects.boxes, &objects.ignore);
        let mut matches: Vec<Match> = (0..objects.boxes.len()).map(Match::Object).collect();
        matches.extend(found.matches);
        let chosen = self.config.sampler.sample(&matches, &mut draw.stream(PURPOSE, picture));
        let object = |&i: &usize| match matches[i] {
            Match::Object(object) => Some(object),
            _ => None,
        };
        let of_positives = chosen.positives.iter().filter_map(object).collect();
        Regions { boxes: [&objects.boxes, proposals].concat(), objects: of_positives, chosen }
    }

    /// Losses of a batch, built for training. Objects without a mask learn none.
    ///
    /// # Errors
    /// `Input` when a target does not fit the classes, or a mask its picture.
    pub fn losses(
        &self,
        levels: &[Tensor],
        proposals: &[Vec<BoxXyxy>],
        targets: &[DetTarget],
        (info, draw): (&[ImageInfo], Draw),
    ) -> Result<RoiLosses> {
        let classes = self.bbox_head.num_classes();
        if [targets.len(), info.len()] != [proposals.len(); 2] {
            let (p, t, i) = (proposals.len(), targets.len(), info.len());
            return Err(Error::internal(format!("proposals of {p} pictures, {t} targets, {i} sizes")));
        }
        let objects = targets.iter().map(|t| Objects::of(t, classes)).collect::<Result<Vec<_>>>()?;
        let mut wanted = Vec::new();
        for (image, (proposals, objects)) in proposals.iter().zip(&objects).enumerate() {
            let regions = self.sample(proposals, objects, draw, image);
            let roi = |i: usize| Roi { image, bbox: regions.boxes[i].to_array() };
            for (&i, &object) in regions.chosen.positives.iter().zip(&regions.objects) {
                let label = objects.classes[object];
                wanted.push(Wanted { roi: roi(i), label, object: Some((objects, object)) });
            }
            let negatives = regions.chosen.negatives.iter();
            wanted.extend(negatives.map(|&i| Wanted { roi: roi(i), label: classes, object: None }));
        }
        let nothing = wanted.is_empty();
        if nothing {
            // a batch without any box: a region that counts for nothing keeps every parameter in the graph
            let roi = Roi { image: 0, bbox: [0.0, 0.0, 1.0, 1.0] };
            wanted.push(Wanted { roi, label: classes, object: None });
        }
        let (logits, deltas) = self.region_outputs(levels, &wanted)?;
        let labels: Vec<u32> = wanted.iter().map(|w| w.label as u32).collect();
        let accuracy = accuracy(&logits, &labels)?;
        let count = wanted.len() as f64;
        let how = Weighting { weight: None, avg_factor: Some(count) };
        let labels = Tensor::from_vec(labels, wanted.len(), logits.device())?;
        let (mask, masks) = self.mask_loss(levels, &wanted, info)?;
        let cls = match nothing {
            true => losses::tracked_zero(&logits)?,
            false => losses::cross_entropy(&logits, &labels, how)?,
        };
        Ok(RoiLosses {
            cls,
            bbox: self.box_loss(&deltas, &wanted, count)?,
            mask,
            accuracy,
            logits,
            deltas,
            masks,
        })
    }

    fn region_outputs(&self, levels: &[Tensor], wanted: &[Wanted<'_>]) -> Result<(Tensor, Tensor)> {
        let rois: Vec<Roi> = wanted.iter().map(|w| w.roi).collect();
        let by = self.boxes.by_level(&rois);
        let (logits, deltas) = self.bbox_head.forward(&self.boxes.train(levels, &rois, &by)?)?;
        Ok((restored(&logits, &by)?, restored(&deltas, &by)?))
    }

    fn box_loss(&self, deltas: &Tensor, wanted: &[Wanted<'_>], count: f64) -> Result<Tensor> {
        let (regions, per_region) = deltas.dims2()?;
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (i, w) in wanted.iter().enumerate() {
            let Some((objects, object)) = w.object else { continue };
            rows.push((i * per_region / 4 + w.label) as u32);
            let [x0, y0, x1, y1] = w.roi.bbox;
            let region = BoxXyxy { x0, y0, x1, y1 };
            targets.extend_from_slice(&self.config.box_coder.encode(&region, &objects.boxes[object]));
        }
        if rows.is_empty() {
            return losses::tracked_zero(deltas);
        }
        let (positives, device) = (rows.len(), deltas.device());
        let own = deltas.reshape((regions * per_region / 4, 4))?;
        let own = own.index_select(&Tensor::from_vec(rows, positives, device)?, 0)?;
        let targets = Tensor::from_vec(targets, (positives, 4), device)?;
        self.config.bbox_loss.of(&own, &targets, Weighting { weight: None, avg_factor: Some(count) })
    }

    fn mask_loss(
        &self,
        levels: &[Tensor],
        wanted: &[Wanted<'_>],
        info: &[ImageInfo],
    ) -> Result<(Tensor, Option<Tensor>)> {
        let masked: Vec<&Wanted<'_>> = wanted
            .iter()
            .filter(|w| w.object.is_some_and(|(objects, i)| objects.masks[i].is_some()))
            .collect();
        let rois: Vec<Roi> = masked.iter().map(|w| w.roi).collect();
        if rois.is_empty() {
            return Ok((self.mask_head.untouched()?, None));
        }
        let by = self.masks.by_level(&rois);
        let pred = restored(&self.mask_head.forward(&self.masks.train(levels, &rois, &by)?)?, &by)?;
        let side = pred.dim(1)?;
        let crops = crops(&masked, info, side)?;
        let targets = Tensor::from_vec(crops, (rois.len(), side, side), pred.device())?;
        let labels: Vec<usize> = masked.iter().map(|w| w.label).collect();
        Ok((losses::mask_bce(&pred, &targets, &labels)?, Some(pred)))
    }

    /// Detections of each picture among its proposals, best first, with mask logits; network pixels.
    pub(crate) fn detections(
        &self,
        levels: Levels<'_>,
        proposals: &[Vec<BoxXyxy>],
        (info, config): (&[ImageInfo], &SelectConfig),
        phase: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<Vec<RawDetection>>> {
        let mut rest: (&[f32], &[f32]) = (&[], &[]);
        let scores = self.scores(levels, &rois_of(proposals))?;
        if let Some((logits, deltas)) = &scores {
            rest = (logits, deltas);
        }
        let classes = self.bbox_head.num_classes();
        let mut found = Vec::with_capacity(proposals.len());
        for (proposals, info) in proposals.iter().zip(info) {
            let (logits, other_logits) = rest.0.split_at(proposals.len() * (classes + 1));
            let (deltas, other_deltas) = rest.1.split_at(proposals.len() * classes * 4);
            rest = (other_logits, other_deltas);
            found.push(self.select(proposals, (logits, deltas), info, config));
        }
        phase("boxes");
        self.add_masks(levels, &mut found)?;
        phase("masks");
        Ok(found)
    }

    /// The detections that class logits `[regions, classes + 1]` and deltas `[regions, classes * 4]` of one picture make of its
    /// regions, best first, without masks. Overlaps are judged in network pixels when `info.scale` is 1, as mmdetection does for
    /// detectors with masks.
    pub fn select(
        &self,
        regions: &[BoxXyxy],
        (logits, deltas): (&[f32], &[f32]),
        info: &ImageInfo,
        config: &SelectConfig,
    ) -> Vec<RawDetection> {
        let classes = self.bbox_head.num_classes();
        select_regions(regions, (logits, deltas, classes), &self.config.box_coder, (info, config))
    }

    /// Class logits and deltas of regions; `None` without regions.
    pub(crate) fn scores(&self, levels: Levels<'_>, rois: &[Roi]) -> Result<Option<Scores>> {
        if rois.is_empty() {
            return Ok(None);
        }
        let by = self.boxes.by_level(rois);
        let classes = self.bbox_head.num_classes();
        let (logits, deltas) = match levels {
            Levels::Tensors(levels) => {
                let (logits, deltas) = self.bbox_head.forward(&self.boxes.train(levels, rois, &by)?)?;
                (logits.flatten_all()?.to_vec1::<f32>()?, deltas.flatten_all()?.to_vec1::<f32>()?)
            }
            Levels::Maps(maps) => {
                let scored = self.bbox_head.run(&self.boxes.infer(maps, rois, &by)?, rois.len())?;
                (scored.logits.to_vec(), scored.deltas.to_vec())
            }
        };
        Ok(Some((by.restore(&logits, classes + 1), by.restore(&deltas, classes * 4))))
    }

    fn add_masks(&self, levels: Levels<'_>, found: &mut [Vec<RawDetection>]) -> Result<()> {
        let boxes: Vec<Vec<BoxXyxy>> = found.iter().map(|f| f.iter().map(|d| d.bbox).collect()).collect();
        let rois = rois_of(&boxes);
        if rois.is_empty() {
            return Ok(());
        }
        let classes: Vec<usize> = found.iter().flatten().map(|d| d.class.0).collect();
        let by = self.masks.by_level(&rois);
        let own: Vec<usize> = by.order.iter().map(|&i| classes[i]).collect();
        let mut masks = match levels {
            Levels::Tensors(levels) => {
                own_class(&self.mask_head.forward(&self.masks.train(levels, &rois, &by)?)?, &own)?
            }
            Levels::Maps(maps) => {
                let (size, channels) = (self.masks.size, maps.first().map_or(0, |m| m.c));
                let features = self.masks.infer(maps, &rois, &by)?;
                self.mask_head.run(Pyramid::of(vec![[rois.len(), size, size, channels]], features), &own)?
            }
        };
        let size = 2 * self.masks.size;
        let mut at = vec![Vec::new(); rois.len()];
        by.order.iter().zip(&mut masks).for_each(|(&i, mask)| at[i] = std::mem::take(mask));
        for (detection, data) in found.iter_mut().flatten().zip(at) {
            detection.mask_logits = Some(MaskLogits { size, data });
        }
        Ok(())
    }
}

/// Detections of one picture from class logits (background last), class-specific deltas and regions.
pub fn select_regions(
    regions: &[BoxXyxy],
    (logits, deltas, classes): (&[f32], &[f32], usize),
    coder: &BoxCoder,
    (info, config): (&ImageInfo, &SelectConfig),
) -> Vec<RawDetection> {
    let mut candidates = Vec::new();
    let rows = logits.chunks_exact(classes + 1).zip(deltas.chunks_exact(classes * 4));
    for (region, (logits, deltas)) in regions.iter().zip(rows) {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|&x| (x - most).exp()).sum();
        for (class, delta) in deltas.chunks_exact(4).enumerate() {
            let score = (logits[class] - most).exp() / sum;
            if score > config.score_threshold {
                let bbox = coder.decode(region, [delta[0], delta[1], delta[2], delta[3]]).clipped(info.valid);
                candidates.push(Candidate { bbox, score, class });
            }
        }
    }
    select::detections(&candidates, info, config)
}

fn rois_of(boxes: &[Vec<BoxXyxy>]) -> Vec<Roi> {
    let of = |(image, boxes): (usize, &Vec<BoxXyxy>)| {
        boxes.iter().map(|b| Roi { image, bbox: b.to_array() }).collect::<Vec<_>>()
    };
    boxes.iter().enumerate().flat_map(of).collect()
}

/// Rows that were computed by level, by region; differentiable.
fn restored(rows: &Tensor, by: &ByLevel) -> Result<Tensor> {
    if by.order.is_sorted() {
        return Ok(rows.clone());
    }
    let mut at = vec![0u32; by.order.len()];
    by.order.iter().enumerate().for_each(|(position, &i)| at[i] = position as u32);
    let count = at.len();
    Ok(rows.index_select(&Tensor::from_vec(at, count, rows.device())?, 0)?)
}

/// The targets of the positives' masks, one after the other; each object is rasterised once.
fn crops(masked: &[&Wanted<'_>], info: &[ImageInfo], side: usize) -> Result<Vec<f32>> {
    let mut of_object: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (position, wanted) in masked.iter().enumerate() {
        let Some((_, object)) = wanted.object else { return Err(Error::internal("a mask of background")) };
        of_object.entry((wanted.roi.image, object)).or_default().push(position);
    }
    let groups: Vec<Vec<usize>> = of_object.into_values().collect();
    let cut = |group: &Vec<usize>| -> Result<Vec<f32>> {
        let first = masked[group[0]];
        let mask = first.object.and_then(|(objects, i)| objects.masks[i]);
        let mask = mask.ok_or_else(|| Error::internal("a mask target without a mask"))?;
        let mask = mask
            .to_rle(info[first.roi.image].valid)
            .map_err(|e| Error::input(format!("a mask target: {e}")))?;
        let boxes: Vec<[f32; 4]> = group.iter().map(|&k| masked[k].roi.bbox).collect();
        Ok(mask_targets(&mask, &boxes, side))
    };
    let found = groups.par_iter().map(cut).collect::<Result<Vec<_>>>()?;
    let mut out = vec![0.0; masked.len() * side * side];
    for (group, crops) in groups.iter().zip(found) {
        for (&position, crop) in group.iter().zip(crops.chunks_exact(side * side)) {
            out[position * side * side..][..side * side].copy_from_slice(crop);
        }
    }
    Ok(out)
}

/// Mask logits `[regions, side, side, classes]` of each region's own class.
fn own_class(logits: &Tensor, classes: &[usize]) -> Result<Vec<Vec<f32>>> {
    let (_, h, w, c) = logits.dims4()?;
    let values = logits.flatten_all()?.to_vec1::<f32>()?;
    let region = |(block, &class): (&[f32], &usize)| block.iter().skip(class).step_by(c).copied().collect();
    Ok(values.chunks_exact(h * w * c).zip(classes).map(region).collect())
}

fn accuracy(logits: &Tensor, labels: &[u32]) -> Result<f64> {
    let rows = logits.to_vec2::<f32>()?;
    let right = rows.iter().zip(labels).filter(|(row, label)| {
        let best = row
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |b, (i, &v)| if v > b.1 { (i, v) } else { b });
        best.0 == **label as usize
    });
    Ok(100.0 * right.count() as f64 / rows.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_the_order_of_the_boxes() {
        let extractor = RoiExtractor { size: 2, strides: vec![4, 8, 16, 32], finest_scale: 56.0 };
        let side = |s: f32| Roi { image: 0, bbox: [0.0, 0.0, s, s] };
        let rois = [side(500.0), side(10.0), side(120.0), side(20.0)];
        let by = extractor.by_level(&rois);
        assert_eq!(by.order, [1, 3, 2, 0]);
        assert_eq!(by.restore(&[10, 11, 30, 31, 20, 21, 0, 1], 2), [0, 1, 10, 11, 20, 21, 30, 31]);
        let rows = Tensor::new(&[1f32, 3., 2., 0.], &candle_core::Device::Cpu).unwrap();
        assert_eq!(restored(&rows, &by).unwrap().to_vec1::<f32>().unwrap(), [0., 1., 2., 3.]);
    }
}
