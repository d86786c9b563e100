//! Results files: a list of detections.
use super::{annotation, diagnose, number, object};
use crate::{BoxXywh, CategoryId, Detection, Error, ImageId, Result, Rle, xywh_from_xyxy};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// One detection of a results file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// The picture.
    #[serde(deserialize_with = "annotation::image_id")]
    pub image_id: ImageId,
    /// The class.
    #[serde(deserialize_with = "annotation::category_id")]
    pub category_id: CategoryId,
    /// In pixels of the picture.
    #[serde(default, deserialize_with = "annotation::bbox", skip_serializing_if = "Option::is_none")]
    pub bbox: Option<BoxXywh>,
    /// The mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<Rle>,
    /// `x, y` in pixels of each joint, and a third number that no evaluation looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keypoints: Option<Vec<f64>>,
    /// Higher is surer.
    #[serde(deserialize_with = "number::finite")]
    pub score: f64,
}

impl ResultRecord {
    /// A box result. Scores are written with the digits of the f32 value, as the Python tools do.
    pub fn from_box(image_id: ImageId, category_id: CategoryId, detection: &Detection) -> Self {
        let bbox = Some(xywh_from_xyxy(detection.bbox));
        ResultRecord { image_id, category_id, bbox, score: detection.score.into(), ..Default::default() }
    }

    /// A mask result, without a box: pycocotools takes a detection's area from its box when there is one. `None` when
    /// the detection has no mask.
    pub fn from_mask(image_id: ImageId, category_id: CategoryId, detection: &Detection) -> Option<Self> {
        let segmentation = Some(detection.mask.clone()?);
        let score = detection.score.into();
        Some(ResultRecord { image_id, category_id, segmentation, score, ..Default::default() })
    }
}

/// Reads a results file.
///
/// # Errors
/// `Config` when there is no such file, `Input` when it cannot be read or is not a results file; the message has the
/// file and byte, line and column, or the record and field.
pub fn read_results(path: &Path) -> Result<Vec<ResultRecord>> {
    parse_results(&diagnose::read(path)?).map_err(|e| e.context(path.display()))
}

/// Reads a results file from memory.
///
/// # Errors
/// `Input`, as [`read_results`].
pub fn parse_results(bytes: &[u8]) -> Result<Vec<ResultRecord>> {
    let bytes = diagnose::without_mark(bytes);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    object::list(&mut json)
        .and_then(|records| json.end().map(|()| records))
        .map_err(|e| diagnose::results(bytes, &e))
}

/// The text of a results file: one record per line, so that files can be compared by line.
pub fn results_json(records: &[ResultRecord]) -> String {
    let mut text = Vec::new();
    // Neither memory nor plain numbers and ASCII strings have a way to fail.
    let _ = write_records(&mut text, records);
    String::from_utf8(text).unwrap_or_default()
}

/// Writes a results file, as it goes: the text of half a million boxes is larger than they are.
///
/// # Errors
/// `Internal` when the file cannot be written.
pub fn write_results(path: &Path, records: &[ResultRecord]) -> Result<()> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        write_records(&mut file, records)?;
        file.flush()
    };
    write().map_err(|e| Error::internal(format!("{}: cannot write: {e}", path.display())).with_source(e))
}

fn write_records(to: &mut impl Write, records: &[ResultRecord]) -> io::Result<()> {
    to.write_all(b"[")?;
    for (i, record) in records.iter().enumerate() {
        to.write_all(if i == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *to, record)?;
    }
    to.write_all(b"\n]\n")
}
