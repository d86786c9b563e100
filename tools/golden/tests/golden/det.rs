//! FPN, heads, anchors, assigner, losses, end to end.

mod losses;
pub(super) mod nets;
pub(super) mod priors;
mod roi;
pub(super) mod two_stage;

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[
    ("anchors", priors::anchors),
    ("box_coder", priors::box_coder),
    ("iou", priors::iou),
    ("assigner", priors::assigner),
    ("loss", losses::loss),
    ("neck_fpn", nets::neck_fpn),
    ("dense_head", nets::dense_head),
    ("retina_predict", nets::retina_predict),
    ("retina_loss", nets::retina_loss),
    ("e2e_det", nets::e2e_det),
    ("e2e_maskrcnn", two_stage::e2e_maskrcnn),
    ("e2e_tiny_maskrcnn", two_stage::e2e_maskrcnn),
    ("rpn_predict", two_stage::rpn_predict),
    ("rpn_loss", two_stage::rpn_loss),
    ("roi_head_loss", two_stage::roi_head_loss),
    ("bbox_head_predict", two_stage::bbox_head_predict),
    ("roi_align", roi::roi_align),
    ("bbox_head", roi::bbox_head),
    ("mask_head", roi::mask_head),
    ("mask_target", roi::mask_target),
    ("mask_paste", roi::mask_paste),
];
