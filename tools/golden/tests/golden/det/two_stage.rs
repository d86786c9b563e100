//! Region proposals, losses on regions, and Mask R-CNN as a whole.

use super::super::care::{self, PURPOSES};
use super::nets::{count, image_info, match_detections, original, same_keys, store, stored_outputs, text};
use super::priors::{boxes, numbers};
use super::roi::rle;
use candle_core::{Tensor, Var};
use care_backbone::BackboneConfig;
use care_golden::{Case, Checker};
use care_heads::anchors::{AnchorConfig, AnchorGenerator};
use care_heads::box_coder::BoxCoder;
use care_heads::iou::Overlap;
use care_heads::losses::BoxLoss;
use care_heads::mask_rcnn::{MaskRcnn, MaskRcnnConfig};
use care_heads::matcher::Matcher;
use care_heads::proposals::{ProposalConfig, ProposalSelect};
use care_heads::retina_head::HeadOutputs;
use care_heads::roi::head::{RoiHead, RoiHeadConfig, select_regions};
use care_heads::rpn_loss::RpnLoss;
use care_heads::sampler::Sampler;
use care_heads::{Detector, Draw, ImageInfo, Images};
use care_nn::Purpose;
use care_types::{BoxXyxy, ClassIndex, DetTarget, Rle, Segmentation};
use serde_json::Value;

/// Takes every positive and every negative, as the set does.
pub(in super::super) const EVERYTHING: Sampler = Sampler { num: 1_000_000, pos_fraction: 0.5 };

fn proposal_config(t: &Value) -> Result<ProposalConfig, String> {
    Ok(ProposalConfig {
        nms_pre: count(t, "nms_pre")?,
        nms_iou: t["nms_iou"].as_f64().ok_or("`nms_iou` is not a number")? as f32,
        max_per_image: count(t, "max_per_img")?,
        min_box_size: t["min_bbox_size"].as_f64().unwrap_or(0.0) as f32,
    })
}

pub(super) fn rpn_predict(case: &Case) -> Result<(), String> {
    let anchors = AnchorGenerator::new(&AnchorConfig::rpn()).map_err(text)?;
    let select = ProposalSelect::new(anchors, BoxCoder::UNIT, proposal_config(&case.json["test_cfg"])?);
    let info = vec![image_info(&case.json["metas"][0])];
    let found = select.proposals(&stored_outputs(case)?, &info).map_err(text)?.swap_remove(0);
    let mut check = Checker::new(case);
    let boxes: Vec<f32> = found.iter().flat_map(|p| p.bbox.to_array()).collect();
    check.values("bboxes/0", &[found.len(), 4], &boxes);
    check.values("scores/0", &[found.len()], &found.iter().map(|p| p.score).collect::<Vec<_>>());
    check.finish()
}

pub(super) fn rpn_loss(case: &Case) -> Result<(), String> {
    let outputs = stored_outputs(case)?;
    let vars = |maps: &[Tensor]| {
        maps.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>().map_err(text)
    };
    let (logits, deltas) = (vars(&outputs.logits)?, vars(&outputs.deltas)?);
    let tensors = |vars: &[Var]| vars.iter().map(|v| v.as_tensor().clone()).collect();
    let tracked = HeadOutputs { logits: tensors(&logits), deltas: tensors(&deltas) };
    let info: Vec<ImageInfo> = case.json["metas"].as_array().into_iter().flatten().map(image_info).collect();
    let targets = (0..info.len()).map(|i| target(case, i, &[])).collect::<Result<Vec<_>, _>>()?;
    let loss = RpnLoss {
        anchors: AnchorGenerator::new(&AnchorConfig::rpn()).map_err(text)?,
        coder: BoxCoder::UNIT,
        matcher: Matcher::RPN,
        sampler: EVERYTHING,
        bbox: BoxLoss::L1,
    };
    let levels = loss.by_level(&tracked, &targets, &info, Draw::default()).map_err(text)?;
    let stack = |part: Vec<&Tensor>| Tensor::stack(&part, 0).map_err(text);
    let cls = stack(levels.iter().map(|l| &l.cls).collect())?;
    let bbox = stack(levels.iter().map(|l| &l.bbox).collect())?;
    let total = cls.sum_all().and_then(|c| c + bbox.sum_all()?).map_err(text)?;
    let mut check = Checker::new(case);
    check.tensor("loss_rpn_cls", &cls);
    check.tensor("loss_rpn_bbox", &bbox);
    check.tensor("total", &total);
    let grads = total.backward().map_err(text)?;
    for (prefix, vars) in [("grad_cls_score", &logits), ("grad_bbox_pred", &deltas)] {
        for (i, var) in vars.iter().enumerate() {
            check.nhwc(&format!("{prefix}{i}"), grads.get(var).ok_or(format!("no {prefix}{i}"))?);
        }
    }
    check.finish()
}

/// Objects of a picture; classes and masks where the case has some.
pub(in super::super) fn target(case: &Case, i: usize, masks: &[Rle]) -> Result<DetTarget, String> {
    let labels = format!("gt_labels/{i}");
    let labels = if case.has(&labels) { case.input(&labels)?.i64() } else { Vec::new() };
    let mut target = DetTarget::default();
    for (k, bbox) in boxes(case, &format!("gt_bboxes/{i}"))?.into_iter().enumerate() {
        let class = ClassIndex(labels.get(k).map_or(0, |&l| l as usize));
        target.push(bbox, class, false, masks.get(k).cloned().map(Segmentation::Rle));
    }
    Ok(target)
}

pub(in super::super) fn masks(case: &Case, i: usize) -> Result<Vec<Rle>, String> {
    case.json["masks_rle"][i].as_array().into_iter().flatten().map(rle).collect()
}

pub(super) fn roi_head_loss(case: &Case) -> Result<(), String> {
    let (channels, classes) = (case.usize("channels")?, case.usize("num_classes")?);
    let mut config = RoiHeadConfig { sampler: EVERYTHING, ..RoiHeadConfig::default() };
    config.bbox_head.fc_channels = case.usize("fc")?;
    config.mask_head.conv_channels = channels;
    let build = |s: &care_nn::ParamStore| {
        RoiHead::new(&s.root(Purpose::TRAIN), &config, (channels, &[4, 8, 16, 32]), classes)
    };
    let store = store(case, build)?;
    let head = build(&store).map_err(text)?;
    let levels = (0..4)
        .map(|i| Var::from_tensor(&case.input(&format!("feat{i}"))?.nhwc()).map_err(text))
        .collect::<Result<Vec<_>, String>>()?;
    let maps: Vec<Tensor> = levels.iter().map(|v| v.as_tensor().clone()).collect();
    let proposals = (0..2).map(|i| boxes(case, &format!("proposals/{i}"))).collect::<Result<Vec<_>, _>>()?;
    let targets = (0..2).map(|i| target(case, i, &masks(case, i)?)).collect::<Result<Vec<_>, String>>()?;
    let hw = numbers(&case.json["img_shape"]);
    let info = vec![ImageInfo::whole(hw[1] as u32, hw[0] as u32); 2];
    let mut check = Checker::new(case);
    for (i, target) in targets.iter().enumerate() {
        let regions = head.regions(&proposals[i], target, Draw::default(), i).map_err(text)?;
        let indices = |v: &[usize]| v.iter().map(|&i| i as i64).collect::<Vec<_>>();
        check.integers(&format!("pos_inds/{i}"), &indices(&regions.chosen.positives));
        check.integers(&format!("neg_inds/{i}"), &indices(&regions.chosen.negatives));
        check.integers(&format!("pos_assigned_gt_inds/{i}"), &indices(&regions.objects));
    }
    let losses = head.losses(&maps, &proposals, &targets, (&info, Draw::default())).map_err(text)?;
    check.tensor("cls_score", &losses.logits);
    check.tensor("bbox_pred", &losses.deltas);
    check.nhwc("mask_preds", losses.masks.as_ref().ok_or("no masks")?);
    check.tensor("loss_cls", &losses.cls);
    check.tensor("loss_bbox", &losses.bbox);
    check.tensor("loss_mask", &losses.mask.reshape(1).map_err(text)?);
    check.values("acc", &[1], &[losses.accuracy as f32]);
    let total = ((&losses.cls + &losses.bbox).and_then(|t| t + &losses.mask)).map_err(text)?;
    check.tensor("total", &total.reshape(1).map_err(text)?);
    let grads = total.backward().map_err(text)?;
    for (i, var) in levels.iter().enumerate() {
        // no region comes from every level; the set has zeros there
        let none = var.zeros_like().map_err(text)?;
        check.nhwc(&format!("grad_feat{i}"), grads.get(var).unwrap_or(&none));
    }
    for param in store.params() {
        let name = format!("grad/roi_head.{}", param.name);
        check.tensor(&name, grads.get(&param.var).ok_or(format!("no {name}"))?);
    }
    check.finish()
}

pub(super) fn bbox_head_predict(case: &Case) -> Result<(), String> {
    let info = image_info_of(&case.json);
    let config = region_select(&case.json["test_cfg"])?.config();
    let regions = boxes(case, "rois")?;
    let (logits, deltas) = (case.input("cls_score")?.f32(), case.input("bbox_pred")?.f32());
    let scores = (&logits[..], &deltas[..], case.usize("num_classes")?);
    let found = select_regions(&regions, scores, &BoxCoder::ROI, (&info, &config));
    let mut check = Checker::new(case);
    let boxes: Vec<f32> = found.iter().flat_map(|d| original(d, info.scale).to_array()).collect();
    check.values("bboxes", &[found.len(), 4], &boxes);
    check.values("scores", &[found.len()], &found.iter().map(|d| d.score).collect::<Vec<_>>());
    check.integers("labels", &found.iter().map(|d| d.class.0 as i64).collect::<Vec<_>>());
    check.finish()
}

fn image_info_of(json: &Value) -> ImageInfo {
    let (hw, scale) = (numbers(&json["img_shape"]), numbers(&json["scale_factor"]));
    ImageInfo { scale: (scale[0], scale[1]), ..ImageInfo::whole(hw[1] as u32, hw[0] as u32) }
}

fn region_select(t: &Value) -> Result<care_heads::mask_rcnn::RegionSelect, String> {
    let iou = t["nms"]["iou_threshold"].as_f64().or(t["nms_iou"].as_f64()).ok_or("no NMS threshold")?;
    Ok(care_heads::mask_rcnn::RegionSelect {
        score_threshold: t["score_thr"].as_f64().ok_or("`score_thr` is not a number")? as f32,
        nms_iou: iou as f32,
        max_per_image: count(t, "max_per_img")?,
    })
}

pub(in super::super) fn mask_rcnn_config(case: &Case) -> Result<MaskRcnnConfig, String> {
    let backbone = &case.json["backbone"];
    let named = serde_json::json!({"model": backbone});
    let (care, _) =
        if backbone.is_string() { care::config_of(&named)? } else { care::free_config(backbone)? };
    let mut config = MaskRcnnConfig::new(BackboneConfig::Care(care), case.usize("num_classes")?);
    let width = case.usize("fpn_out_channels")?;
    config.neck.out_channels = width;
    config.rpn.feat_channels = width;
    config.roi.mask_head.conv_channels = width;
    if let Some(fc) = case.json["fc_out_channels"].as_u64() {
        config.roi.bbox_head.fc_channels = fc as usize;
    }
    let t = &case.json["test_cfg"];
    if !t.is_null() {
        config.rpn.proposals = proposal_config(&t["rpn"])?;
        config.select = region_select(&t["rcnn"])?;
    }
    Ok(config)
}

pub(super) fn e2e_maskrcnn(case: &Case) -> Result<(), String> {
    let config = mask_rcnn_config(case)?;
    let store = store(case, |s| MaskRcnn::new(&s.root(Purpose::TRAIN), &config))?;
    same_keys(case, &store)?;
    let info = image_info(&case.json["meta"]);
    let images = Images::new(case.input("input")?.nhwc(), vec![info]).map_err(text)?;
    for (name, purpose) in PURPOSES {
        let net = MaskRcnn::new(&store.root(purpose), &config).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        let (levels, outputs) = net.forward(&images.pixels).map_err(text)?;
        for (i, level) in levels.iter().enumerate() {
            check.nhwc(&format!("p{}", i + 2), level);
        }
        check_proposals(&mut check, case, &net, (&outputs, &info))?;
        // the set's own proposals, so that rows can be compared
        let (logits, deltas) = net.region_scores(&levels, &boxes(case, "proposals")?).map_err(text)?;
        let regions = case.json["test_cfg"]["rpn"]["max_per_img"].as_u64().unwrap_or(0) as usize;
        check.values("cls_score", &[regions, config.num_classes + 1], &logits);
        check.values("bbox_pred", &[regions, config.num_classes * 4], &deltas);
        let found = net.detect(&images).map_err(text)?.swap_remove(0);
        match_detections(&mut check, case, &found, info.scale)?;
        check_masks(&mut check, case, &found, &info)?;
        check.finish()?;
    }
    Ok(())
}

fn check_proposals(
    check: &mut Checker<'_>,
    case: &Case,
    net: &MaskRcnn,
    (outputs, info): (&HeadOutputs, &ImageInfo),
) -> Result<(), String> {
    let found = net.propose(outputs, &[*info]).map_err(text)?.swap_remove(0);
    let want = boxes(case, "proposals")?;
    let scores = case.input("proposal_scores")?.f32();
    let matched = want.iter().zip(scores).filter(|(bbox, score)| {
        found.iter().any(|p| Overlap::Iou.of(&p.bbox, bbox) > 0.99 && (p.score - score).abs() < 1e-3)
    });
    let (matched, all) = (matched.count(), want.len().max(found.len()));
    if matched * 100 < all * 95 {
        check.fail(f64::INFINITY, format!("proposals: {matched} match of {all}"));
    }
    ["proposals", "proposal_scores"].iter().for_each(|name| check.compared_otherwise(name));
    Ok(())
}

/// Boxes in network pixels, mask logits and pasted masks of the detections that match one of the set.
fn check_masks(
    check: &mut Checker<'_>,
    case: &Case,
    found: &[care_types::RawDetection],
    info: &ImageInfo,
) -> Result<(), String> {
    let boxes_in: Vec<BoxXyxy> = boxes(case, "det_boxes_input_scale")?;
    let labels = case.input("labels")?.i64();
    let ori = numbers(&case.json["meta"]["ori_shape"]);
    let logits = case.input("mask_logits_of_label")?.f32();
    let mut compared = 0;
    for (i, (bbox, &label)) in boxes_in.iter().zip(&labels).enumerate() {
        let same = |d: &&care_types::RawDetection| {
            d.class.0 as i64 == label && Overlap::Iou.of(&d.bbox, bbox) > 0.99
        };
        let Some((detection, mask)) =
            found.iter().find(same).and_then(|d| Some((d, d.mask_logits.as_ref()?)))
        else {
            continue;
        };
        compared += 1;
        let cells = mask.size * mask.size;
        let worst =
            mask.data.iter().zip(&logits[i * cells..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let scale = logits.iter().fold(0f32, |m, v| m.max(v.abs()));
        if worst > 0.02 * scale {
            check.fail(f64::from(worst), format!("detection {i}: mask logits differ by {worst} of {scale}"));
        }
        let bbox = original(detection, info.scale).to_array();
        let picture = [ori[0] as u32, ori[1] as u32];
        let counts = care_kernels::paste_mask::paste_mask(&mask.data, mask.size, bbox, picture, 0.5);
        let got = Rle::from_counts(picture[0], picture[1], &counts).map_err(text)?;
        let want = rle(&case.json["masks_rle"][i])?;
        let iou = if got == want { 1.0 } else { got.iou(&want, false).map_err(text)? };
        if iou <= 0.98 {
            check.fail(
                iou,
                format!("detection {i}: mask IoU {iou}, areas {} and {}", got.area(), want.area()),
            );
        }
    }
    if compared * 100 < boxes_in.len() * 95 {
        check.fail(f64::INFINITY, format!("masks: only {compared} of {} detections match", boxes_in.len()));
    }
    ["det_boxes_input_scale", "mask_logits_of_label"].iter().for_each(|name| check.compared_otherwise(name));
    Ok(())
}
