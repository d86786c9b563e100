//! The records of a results file.
use super::list::Record;
use super::mask::RunLengths;
use super::scan::{Scan, Scanned, Stop};
use crate::coco_json::ResultRecord;
use crate::coco_json::object::Object;
use crate::{BoxXywh, CategoryId, ImageId, MaskFacts};

/// One detection of a results file, its mask still compressed. Joints are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlainResult<'a> {
    /// The picture.
    pub image_id: ImageId,
    /// The class.
    pub category_id: CategoryId,
    /// In pixels of the picture.
    pub bbox: Option<BoxXywh>,
    /// The mask, checked, and its compressed string.
    pub segmentation: Option<(MaskFacts, &'a [u8])>,
    /// Whether there are joints.
    pub has_keypoints: bool,
    /// Higher is surer; finite.
    pub score: f64,
}

/// Reads them; keeps the memory that strings are put into.
#[derive(Default)]
pub(super) struct Results {
    space: Vec<u8>,
}

impl Record for Results {
    type Value<'a> = PlainResult<'a>;

    #[inline]
    fn plain<'a>(&'a mut self, scan: &mut Scan<'a>) -> Scanned<PlainResult<'a>> {
        let (mut image, mut category, mut score) = (None, None, None);
        let (mut bbox, mut mask) = (None, None);
        scan.take(b'{')?;
        loop {
            match scan.key()? {
                b"image_id" if image.is_none() => image = Some(ImageId(scan.whole()?)),
                b"category_id" if category.is_none() => category = Some(CategoryId(scan.whole()?)),
                b"score" if score.is_none() => score = Some(scan.number()?),
                b"bbox" if bbox.is_none() => bbox = Some(scan.bbox()?),
                b"segmentation" if mask.is_none() => {
                    mask = Some(if scan.null()? { None } else { Some(RunLengths::scan(scan)?) })
                }
                b"image_id" | b"category_id" | b"score" | b"bbox" | b"segmentation" | b"keypoints" => {
                    return Err(Stop::Odd);
                }
                _ => scan.pass_scalar()?,
            }
            if !scan.another(b'}')? {
                break;
            }
        }
        let segmentation = match mask.flatten() {
            Some(mask) => Some(mask.facts(scan.bytes, &mut self.space)?),
            None => None,
        };
        Ok(PlainResult {
            image_id: image.ok_or(Stop::Odd)?,
            category_id: category.ok_or(Stop::Odd)?,
            bbox: bbox.flatten(),
            segmentation,
            has_keypoints: false,
            score: score.ok_or(Stop::Odd)?,
        })
    }

    fn general(&mut self, text: &[u8]) -> Option<PlainResult<'_>> {
        let Object(record): Object<ResultRecord> = serde_json::from_slice(text).ok()?;
        let segmentation = record.segmentation.map(|rle| {
            self.space = rle.to_compressed_string().into_bytes();
            (MaskFacts::of(&rle), &self.space[..])
        });
        Some(PlainResult {
            image_id: record.image_id,
            category_id: record.category_id,
            bbox: record.bbox,
            segmentation,
            has_keypoints: record.keypoints.is_some(),
            score: record.score,
        })
    }
}

impl Scan<'_> {
    /// Four numbers; `null` and an empty list are no box.
    #[inline]
    pub(super) fn bbox(&mut self) -> Scanned<Option<BoxXywh>> {
        if self.null()? {
            return Ok(None);
        }
        self.take(b'[')?;
        if self.takes(b']')? {
            return Ok(None);
        }
        let mut values = [0.0; 4];
        for (i, value) in values.iter_mut().enumerate() {
            *value = self.number()?;
            self.take(if i < 3 { b',' } else { b']' })?;
        }
        Ok(Some(BoxXywh::from(values)))
    }

    /// Takes a number, a word, or a string of plain characters.
    pub(super) fn pass_scalar(&mut self) -> Scanned<()> {
        match self.next()? {
            b'n' => self.word(b"null"),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'"' => {
                self.at += 1;
                loop {
                    let byte = self.peek()?;
                    self.at += 1;
                    match byte {
                        b'"' => return Ok(()),
                        b'\\' | ..0x20 | 0x80.. => return Err(Stop::Odd),
                        _ => {}
                    }
                }
            }
            b'-' | b'0'..=b'9' => self.pass_number(),
            _ => Err(Stop::Odd),
        }
    }
}
