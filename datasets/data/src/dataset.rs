//! What every data set gives: pictures with their objects, in pixels of the original picture.

use care_types::{DetTarget, ImageId, LabelMap};
use image::RgbImage;
use serde::Serialize;

use crate::Result;

/// One picture of a data set and what is in it.
#[derive(Clone, Debug)]
pub struct Example {
    /// What results files call the picture.
    pub id: ImageId,
    /// For messages and file names: relative to the data set.
    pub file_name: String,
    /// Upright 8-bit RGB.
    pub picture: RgbImage,
    /// The objects, in pixels of `picture`.
    pub target: DetTarget,
}

/// Pictures with objects, by number, readable from several threads.
pub trait Dataset: Send + Sync {
    /// Number of pictures.
    fn len(&self) -> usize;

    /// True without pictures.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads picture `i` and its objects.
    ///
    /// # Errors
    /// When the picture cannot be read or does not fit its annotations; the message names the file. The other pictures
    /// are not affected.
    ///
    /// # Panics
    /// When `i` is not below [`Dataset::len`].
    fn example(&self, i: usize) -> Result<Example>;

    /// The classes.
    fn labels(&self) -> &LabelMap;
}

/// How many pictures and objects there are and where some are lost: shown before any number is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Funnel {
    /// Pictures that the annotation file lists.
    pub images: usize,
    /// Listed pictures whose file is not there.
    pub missing_files: usize,
    /// Pictures without any object of a known class.
    pub without_objects: usize,
    /// Annotations in the file.
    pub annotations: usize,
    /// Annotations of a category that is not among the classes.
    pub unknown_category: usize,
    /// Annotations of a picture that the file does not list.
    pub unknown_image: usize,
    /// Annotations left out by the reading rules (degenerate box, marked to be ignored).
    pub unusable: usize,
    /// Annotations that mark a crowd.
    pub crowds: usize,
}
