//! FPN, heads, anchors, assigner, losses, end to end.

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[];
