//! COCO evaluation, parsing, formatting, RLE.

use super::Runner;

pub(super) const RUNNERS: &[(&str, Runner)] = &[];
