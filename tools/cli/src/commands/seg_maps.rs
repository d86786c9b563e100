//! Label maps as files: reading them as they are stored, and writing predicted ones.

use crate::exit::Failure;
use care_data::semantic::{LabelValues, read_label_values};
use care_miou::{ConfusionMatrix, PixelValue, SegMap};
use care_types::{ClassIndex, LabelMap, SegTarget, Size};
use image::DynamicImage;
use std::path::{Path, PathBuf};

/// A label map with its numbers as they are stored.
pub(super) struct Raw {
    size: Size,
    values: LabelValues,
}

impl Raw {
    /// Reads an 8-bit, 16-bit or palette PNG.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let (size, values) = read_label_values(path)?;
        Ok(Self { size, values })
    }

    /// mmsegmentation's `reduce_zero_label`: 0 is ignored, `k` becomes `k - 1`; the ignored value stays.
    pub(super) fn reduce_zero_label(self, ignore: Option<u16>) -> Self {
        let values = match (self.values, ignore.map(u8::try_from)) {
            (LabelValues::Bytes(mut values), Some(Ok(ignored))) => {
                for v in &mut values {
                    let reduced = if *v == 0 { ignored } else { *v - 1 };
                    *v = if *v == ignored { ignored } else { reduced };
                }
                LabelValues::Bytes(values)
            }
            (values, _) => {
                let mut values = match values {
                    LabelValues::Bytes(values) => values.into_iter().map(u16::from).collect(),
                    LabelValues::Words(values) => values,
                };
                for v in values.iter_mut().filter(|v| Some(**v) != ignore) {
                    *v = v.checked_sub(1).unwrap_or(ignore.unwrap_or(u16::MAX));
                }
                LabelValues::Words(values)
            }
        };
        Self { values, ..self }
    }

    /// Counts `found` as the prediction for this label map.
    pub(super) fn count(
        &self,
        found: &Raw,
        ignore: Option<u16>,
        sum: &mut ConfusionMatrix,
    ) -> care_types::Result<()> {
        match &self.values {
            LabelValues::Bytes(label) => found.against(SegMap::new(label, self.size)?, ignore, sum),
            LabelValues::Words(label) => found.against(SegMap::new(label, self.size)?, ignore, sum),
        }
    }

    fn against<L: PixelValue>(
        &self,
        label: SegMap<'_, L>,
        ignore: Option<u16>,
        sum: &mut ConfusionMatrix,
    ) -> care_types::Result<()> {
        match &self.values {
            LabelValues::Bytes(found) => sum.update(label, SegMap::new(found, self.size)?, ignore),
            LabelValues::Words(found) => sum.update(label, SegMap::new(found, self.size)?, ignore),
        }
    }
}

/// PNG files below a folder, sorted, relative to it.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut names = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder_here) = waiting.pop() {
        let unreadable = |e: std::io::Error| Failure::usage(format!("{}: {e}", folder_here.display()));
        for entry in std::fs::read_dir(&folder_here).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
                names.extend(path.strip_prefix(folder).map(Path::to_path_buf));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Class indices as an 8-bit grey picture.
pub(super) fn indices(map: &SegTarget) -> DynamicImage {
    let Size { width, height } = map.size();
    let grey = image::GrayImage::from_raw(width, height, map.classes().to_vec());
    grey.map(DynamicImage::from).unwrap_or_default()
}

/// Classes in their colours.
pub(super) fn colors(map: &SegTarget, labels: &LabelMap) -> DynamicImage {
    let Size { width, height } = map.size();
    let bytes = map.classes().iter().flat_map(|&c| labels.color(ClassIndex(usize::from(c)))).collect();
    image::RgbImage::from_raw(width, height, bytes).map(DynamicImage::from).unwrap_or_default()
}
