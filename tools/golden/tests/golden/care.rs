//! The CARE network: forward passes, the token mixer, key lists, facts, a training step.

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[];
