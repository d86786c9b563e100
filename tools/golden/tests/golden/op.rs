//! Single differentiable operations with their gradients.

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[];
