//! Non-maximum suppression.

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[];
