//! Decoding, resizing, preprocessing.

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[];
