//! Which pictures of a set can be used, and where the others are lost.

use std::path::Path;

use serde::Serialize;

use super::SemanticSet;
use super::layout::Pair;
use crate::annotated::Resolved;

/// How many pictures there are and where some are lost: shown before any number is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SegFunnel {
    /// Names that the part lists: of pictures, of label maps, or of both.
    pub images: usize,
    /// Pictures without a label map.
    pub missing_labels: usize,
    /// Label maps without a picture.
    pub missing_pictures: usize,
    /// Pictures with a label map.
    pub usable: usize,
}

impl SemanticSet {
    /// The pictures that are trained on: those with both files.
    pub fn training_indices(&self) -> Vec<usize> {
        (0..self.len()).filter(|&i| self.picture_path(i).is_ok() && self.label_path(i).is_ok()).collect()
    }

    /// The files that were expected and are not there.
    pub fn missing(&self) -> Vec<&Path> {
        let both = self.records.iter().flat_map(|(_, pair)| [&pair.picture, &pair.label]);
        both.filter_map(|file| match file {
            Resolved::Missing(path) => Some(path.as_path()),
            Resolved::Found(_) => None,
        })
        .collect()
    }

    /// How many pictures there are and where some are lost.
    pub fn funnel(&self) -> SegFunnel {
        let missing = |file: fn(&Pair) -> &Resolved| {
            self.records.iter().filter(|(_, pair)| matches!(file(pair), Resolved::Missing(_))).count()
        };
        SegFunnel {
            images: self.len(),
            missing_labels: missing(|p| &p.label),
            missing_pictures: missing(|p| &p.picture),
            usable: self.training_indices().len(),
        }
    }
}
