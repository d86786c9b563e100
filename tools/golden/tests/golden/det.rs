//! FPN, heads, anchors, assigner, losses, end to end.

mod losses;
pub(super) mod nets;
pub(super) mod priors;

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
];
