//! Features, heads, targets and masks of regions.

use super::super::care::PURPOSES;
use super::nets::{count, store, text};
use super::priors::{boxes, numbers};
use candle_core::{Tensor, Var};
use care_golden::{Array, Case, Checker};
use care_heads::roi::bbox_head::{BboxHead, BboxHeadConfig};
use care_heads::roi::extractor::RoiExtractor;
use care_heads::roi::mask_head::{MaskHead, MaskHeadConfig};
use care_heads::roi::mask_target::{mask_shares, mask_targets};
use care_kernels::paste_mask::paste_mask;
use care_kernels::roi_align::{Roi, RoiAlign};
use care_nn::{Purpose, ops};
use care_types::{Rle, Size};
use serde_json::Value;

/// Rows of picture, x0, y0, x1, y1.
fn rois(case: &Case) -> Result<Vec<Roi>, String> {
    let rows = case.input("rois")?.f32();
    Ok(rows.chunks_exact(5).map(|r| Roi { image: r[0] as usize, bbox: [r[1], r[2], r[3], r[4]] }).collect())
}

pub(super) fn rle(v: &Value) -> Result<Rle, String> {
    let size = numbers(&v["size"]);
    let counts = v["counts"].as_str().ok_or("a mask without counts")?;
    Rle::from_compressed_str(size[0] as u32, size[1] as u32, counts).map_err(text)
}

/// `[N, C, H, W]` of an `[N, H, W, C]` tensor's gradient and so on is what [`Checker::nhwc`] compares.
pub(super) fn roi_align(case: &Case) -> Result<(), String> {
    let (rois, mut check) = (rois(case)?, Checker::new(case));
    let size = case.usize("output_size")?;
    let sampling = case.usize("sampling_ratio")?;
    if case.json["featmap_strides"].is_null() {
        let how = RoiAlign { size, sampling, scale: case.f64("spatial_scale")? as f32 };
        check.nhwc("output", &ops::roi_align(&case.input("feat0")?.nhwc(), &rois, how).map_err(text)?);
        return check.finish();
    }
    let strides: Vec<u32> = numbers(&case.json["featmap_strides"]).into_iter().map(|s| s as u32).collect();
    let extractor = RoiExtractor { size, strides, finest_scale: case.f64("finest_scale")? as f32 };
    let levels: Vec<i64> = rois.iter().map(|r| extractor.level(r.bbox) as i64).collect();
    check.integers("levels", &levels);
    let maps = (0..extractor.strides.len())
        .map(|i| Var::from_tensor(&case.input(&format!("feat{i}"))?.nhwc()).map_err(text))
        .collect::<Result<Vec<_>, String>>()?;
    let tensors: Vec<Tensor> = maps.iter().map(|v| v.as_tensor().clone()).collect();
    let by = extractor.by_level(&rois);
    let features = extractor.train(&tensors, &rois, &by).map_err(text)?;
    let mut at = vec![0u32; rois.len()];
    by.order.iter().enumerate().for_each(|(position, &i)| at[i] = position as u32);
    let at = Tensor::new(at, features.device()).map_err(text)?;
    let features = features.index_select(&at, 0).map_err(text)?;
    check.nhwc("output", &features);
    let total = (features * case.input("dy")?.nhwc()).and_then(|t| t.sum_all()).map_err(text)?;
    let grads = total.backward().map_err(text)?;
    for (i, map) in maps.iter().enumerate() {
        check.nhwc(&format!("grad_feat{i}"), grads.get(map).ok_or(format!("no gradient of map {i}"))?);
    }
    check.finish()
}

pub(super) fn bbox_head(case: &Case) -> Result<(), String> {
    let c = &case.json["config"];
    let config =
        BboxHeadConfig { roi_size: count(c, "roi_feat_size")?, fc_channels: count(c, "fc_out_channels")? };
    let (ci, classes) = (count(c, "in_channels")?, count(c, "num_classes")?);
    let store = store(case, |s| BboxHead::new(&s.root(Purpose::TRAIN), &config, ci, classes))?;
    for (name, purpose) in PURPOSES {
        let head = BboxHead::new(&store.root(purpose), &config, ci, classes).map_err(text)?;
        let (cls, reg) = head.forward(&case.input("x")?.nhwc()).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        check.tensor("cls_score", &cls);
        check.tensor("bbox_pred", &reg);
        check.finish()?;
    }
    Ok(())
}

pub(super) fn mask_head(case: &Case) -> Result<(), String> {
    let c = &case.json["config"];
    let config = MaskHeadConfig {
        num_convs: count(c, "num_convs")?,
        conv_channels: count(c, "conv_out_channels")?,
        ..MaskHeadConfig::default()
    };
    let (ci, classes) = (count(c, "in_channels")?, count(c, "num_classes")?);
    let store = store(case, |s| MaskHead::new(&s.root(Purpose::TRAIN), &config, ci, classes))?;
    for (name, purpose) in PURPOSES {
        let head = MaskHead::new(&store.root(purpose), &config, ci, classes).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        check.nhwc("mask_pred", &head.forward(&case.input("x")?.nhwc()).map_err(text)?);
        check.finish()?;
    }
    Ok(())
}

pub(super) fn mask_target(case: &Case) -> Result<(), String> {
    let Array { shape, data } = case.input("masks")?;
    let (h, w) = (shape[1], shape[2]);
    let proposals = boxes(case, "proposals")?;
    let (mut shares, mut targets) = (Vec::new(), Vec::new());
    for (bbox, object) in proposals.iter().zip(case.input("gt_inds")?.i64()) {
        let bitmap: Vec<u8> =
            data[object as usize * h * w..][..h * w].iter().map(|&v| u8::from(v != 0.0)).collect();
        let mask = Rle::from_mask(&bitmap, h as u32, w as u32).map_err(text)?;
        if mask != rle(&case.json["masks_rle"][object as usize])? {
            return Err(format!("mask {object}: bitmap and run lengths differ"));
        }
        shares.extend(mask_shares(&mask, &[bbox.to_array()], 28));
        targets.extend(mask_targets(&mask, &[bbox.to_array()], 28));
    }
    let mut check = Checker::new(case);
    check.values("crop", &[proposals.len(), 28, 28], &shares);
    check.values("target", &[proposals.len(), 28, 28], &targets);
    check.finish()
}

pub(super) fn mask_paste(case: &Case) -> Result<(), String> {
    let logits = case.input("mask_logits")?;
    let (classes, cells) = (logits.shape[1], logits.shape[2] * logits.shape[3]);
    let ori = numbers(&case.json["ori_shape"]);
    let picture = Size { height: ori[0] as u32, width: ori[1] as u32 };
    let scale = numbers(&case.json["scale_factor"]);
    let values = logits.f32();
    let mut check = Checker::new(case);
    let near = case.json["near_threshold"].as_array().cloned().unwrap_or_default();
    for (i, (bbox, label)) in boxes(case, "bboxes")?.iter().zip(case.input("labels")?.i64()).enumerate() {
        let own = &values[(i * classes + label as usize) * cells..][..cells];
        let over = |v: f32, by: f64| (f64::from(v) / by) as f32;
        let bbox = [
            over(bbox.x0, scale[0]),
            over(bbox.y0, scale[1]),
            over(bbox.x1, scale[0]),
            over(bbox.y1, scale[1]),
        ];
        let counts = paste_mask(own, logits.shape[2], bbox, [picture.height, picture.width], 0.5);
        let got = Rle::from_counts(picture.height, picture.width, &counts).map_err(text)?;
        let want = rle(&case.json["rle"][i])?;
        let differ = got.to_mask().iter().zip(want.to_mask()).filter(|(a, b)| **a != *b).count();
        let allowed = near.get(i).and_then(Value::as_u64).unwrap_or(0) as usize;
        if differ > allowed {
            check.fail(
                f64::INFINITY,
                format!("mask {i}: {differ} pixels differ, {allowed} are near the threshold"),
            );
        }
    }
    // masks are made without ever being soft at the picture's size; their pixels are compared instead
    check.compared_otherwise("soft_mask3");
    check.finish()
}
