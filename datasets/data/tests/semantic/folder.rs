//! Tiny data sets made on the spot.

use std::fs;
use std::ops::Deref;
use std::path::Path;

use care_data::semantic::{OpenedSemantic, SegFormat, open_semantic};
use care_data::{Error, TRAIN_SPLITS};
use png::{BitDepth, ColorType, Encoder};
use tempfile::TempDir;

/// A folder that goes away with its test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn place(&self, name: &str) -> std::path::PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn text(self, name: &str, text: &str) -> Self {
        fs::write(self.place(name), text).unwrap();
        self
    }

    /// A picture of one colour.
    pub(crate) fn picture(self, name: &str, width: u32, height: u32) -> Self {
        image::RgbImage::from_pixel(width, height, image::Rgb([90, 120, 30])).save(self.place(name)).unwrap();
        self
    }

    /// A label map of 8-bit grey values, one row.
    pub(crate) fn grey(self, name: &str, values: &[u8]) -> Self {
        let width = values.len() as u32;
        self.png(name, (width, 1), (ColorType::Grayscale, BitDepth::Eight, None), values)
    }

    /// Any PNG.
    pub(crate) fn png(
        self,
        name: &str,
        (width, height): (u32, u32),
        (color, depth, palette): (ColorType, BitDepth, Option<&[u8]>),
        bytes: &[u8],
    ) -> Self {
        let mut encoder = Encoder::new(fs::File::create(self.place(name)).unwrap(), width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette.to_vec());
        }
        encoder.write_header().unwrap().write_image_data(bytes).unwrap();
        self
    }

    pub(crate) fn open(&self) -> OpenedSemantic {
        open_semantic(self.path(), None, &TRAIN_SPLITS, None).unwrap()
    }

    /// Opens and keeps the folder as long as what was opened.
    pub(crate) fn kept(self) -> Kept {
        Kept { opened: self.open(), _folder: self }
    }

    pub(crate) fn open_as(&self, format: SegFormat) -> Result<OpenedSemantic, Error> {
        open_semantic(self.path(), None, &TRAIN_SPLITS, Some(format))
    }

    /// The error of opening.
    pub(crate) fn refused(&self) -> Error {
        open_semantic(self.path(), None, &TRAIN_SPLITS, None).map(|_| ()).unwrap_err()
    }
}

pub(crate) struct Kept {
    opened: OpenedSemantic,
    _folder: Folder,
}

impl Deref for Kept {
    type Target = OpenedSemantic;

    fn deref(&self) -> &OpenedSemantic {
        &self.opened
    }
}
