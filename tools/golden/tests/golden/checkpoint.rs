//! Checkpoints, the weight recipe.

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[];
