//! Masks of a results file: they stay compressed until their box meets that of an object.
use super::read_results;
use super::records::{Head, Taken};
use crate::cells::Cells;
use crate::columns::{self, ImageSizes, Place, Truth, place};
use crate::detections::{Detections, Facts};
use crate::funnel::{DetectionFunnel, Funnel};
use crate::selection::Selection;
use crate::{Areas, Error, Result};
use care_types::coco_json::{Dataset, PlainResult};
use care_types::{BoxXywh, Pen, Rle, Segmentation, Size, Span, common_pixels};
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;

/// A detection.
#[derive(Clone, Copy)]
struct Row {
    score: f64,
    area: f64,
    /// Number of pixels.
    pixels: u32,
    bbox: BoxXywh,
    /// Where its compressed string begins in the text of its part, later of all, and its length; 0 where there is nothing
    /// to compare it with.
    text: (u64, u32),
}

/// Detections in the order of cells; to be compared with objects of an
/// annotation file that lives for `'a`.
pub(super) struct Masks<'a> {
    rows: Vec<Row>,
    text: Vec<u8>,
    truths: PhantomData<&'a Dataset>,
}

/// What a part of the file has.
#[derive(Default)]
struct Part {
    head: Head,
    rows: Vec<Row>,
    text: Vec<u8>,
}

/// What detections have to fit to.
struct Pictures<'a> {
    selection: &'a Selection,
    sizes: ImageSizes,
    occupied: Occupied,
}

/// Reads a results file for an evaluation of masks.
pub(super) fn read<'a>(
    path: &Path,
    gt: &'a Dataset,
    selection: &Selection,
) -> Option<(Cells<Masks<'a>>, DetectionFunnel)> {
    let (sizes, occupied) = (ImageSizes::new(gt, selection), Occupied::new(gt, selection));
    let pictures = Pictures { selection, sizes, occupied };
    let (mut taken, mut rows, mut text) = (Taken::default(), Vec::new(), Vec::new());
    let read = |part: &mut Part, record: PlainResult<'_>| part.add(record, &pictures);
    read_results(path, read, |part: &mut Part| {
        let before = text.len() as u64;
        text.append(&mut part.text);
        rows.extend(part.rows.drain(..).map(|mut row| {
            row.text.0 += before;
            row
        }));
        taken.add(&mut part.head)
    })?;
    let (keys, rows) = taken.sorted(rows, selection);
    Some((Cells { keys, items: Masks { rows, text, truths: PhantomData } }, taken.count))
}

impl Part {
    fn add(&mut self, record: PlainResult<'_>, pictures: &Pictures<'_>) -> Option<()> {
        let (areas, Some((category, image))) = self.head.add(&record, pictures.selection)? else {
            return Some(());
        };
        let (mask, text) = record.segmentation?;
        if pictures.sizes.size(image).ok()? != mask.size {
            return None;
        }
        let area = match areas {
            Areas::OfBoxes => record.bbox?.area(),
            _ => mask.area.into(),
        };
        let from = self.text.len();
        if pictures.occupied.has(category, image) {
            self.text.extend_from_slice(text);
        }
        self.rows.push(Row {
            score: record.score + 0.0,
            area,
            pixels: mask.area,
            bbox: mask.bbox,
            text: (from as u64, (self.text.len() - from) as u32),
        });
        Some(())
    }
}

/// The cells that hold objects.
struct Occupied {
    bits: Vec<u64>,
    categories: usize,
}

impl Occupied {
    fn new(gt: &Dataset, selection: &Selection) -> Self {
        // Without categories, all of a picture are one cell.
        let categories = selection.groups();
        let mut bits = vec![0; (categories * selection.images.len()).div_ceil(64)];
        for a in &gt.annotations {
            if let Place::Cell { category, image } = place(a.image_id.0, a.category_id.0, selection) {
                let bit = bit(categories, category, image);
                bits[bit / 64] |= 1 << (bit % 64);
            }
        }
        Occupied { bits, categories }
    }

    fn has(&self, category: u32, image: u32) -> bool {
        let bit = bit(self.categories, category, image);
        self.bits[bit / 64] >> (bit % 64) & 1 == 1
    }
}

fn bit(categories: usize, category: u32, image: u32) -> usize {
    image as usize * categories + (category as usize).min(categories - 1)
}

/// An object whose pixels are found when they are needed.
pub(super) struct Outline<'a> {
    segmentation: &'a Segmentation,
    size: Size,
}

impl Outline<'_> {
    fn rle(&self) -> Result<Rle> {
        self.segmentation.to_rle(self.size)
    }
}

/// The objects, not yet drawn.
pub(super) fn truths<'a>(
    gt: &'a Dataset,
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Truth<Outline<'a>>>>> {
    let sizes = ImageSizes::new(gt, selection);
    columns::truths(gt, selection, funnel, |image, a| {
        let segmentation = a.segmentation.as_ref().ok_or_else(|| Error::input("segmentation: missing"))?;
        let outline = Outline { segmentation, size: sizes.size(image)? };
        // What cannot be drawn is refused here, since drawing may come late or never: run lengths of another size, pictures too large.
        let area = match (a.area, segmentation) {
            (Some(area), Segmentation::Polygons(_)) => {
                Rle::empty(outline.size.height, outline.size.width)?;
                area
            }
            (area, _) => {
                let drawn = outline.rle()?.area();
                area.unwrap_or(drawn.into())
            }
        };
        Ok((outline, area))
    })
}

/// The masks of a cell.
#[derive(Default)]
pub(super) struct Space {
    /// Of one detection.
    found: Vec<Span>,
    /// Of all objects, one after the other.
    truths: Vec<Span>,
    drawn: Vec<Drawn>,
    pen: Pen,
}

struct Drawn {
    spans: Range<usize>,
    pixels: u32,
    bbox: BoxXywh,
}

impl Space {
    fn draw(&mut self, truths: &[Truth<Outline<'_>>]) {
        self.truths.clear();
        self.drawn.clear();
        for truth in truths {
            let from = self.truths.len();
            let Outline { segmentation, size } = truth.shape;
            // The reader has refused odd coordinates, `truths` sizes: nothing is left to fail.
            let facts = self.pen.draw(segmentation, size, &mut self.truths).unwrap_or_default();
            let (pixels, bbox) = (facts.area, facts.bbox);
            self.drawn.push(Drawn { spans: from..self.truths.len(), pixels, bbox });
        }
    }
}

impl<'a> Detections for Masks<'a> {
    type Truth = Outline<'a>;
    type Space = Space;

    fn facts(&self, at: usize) -> Facts {
        let Row { score, area, .. } = self.rows[at];
        Facts { score, area, forgiven: false }
    }

    fn ious(&self, order: &[usize], truths: &[Truth<Outline<'a>>], space: &mut Space, ious: &mut Vec<f64>) {
        space.draw(truths);
        for &d in order {
            let row = &self.rows[d];
            space.found.clear();
            for (truth, drawn) in truths.iter().zip(&space.drawn) {
                if row.bbox.iou(&drawn.bbox, truth.crowd) > 0.0 {
                    if space.found.is_empty() {
                        Rle::append_compressed_spans(self.text(row), &mut space.found);
                    }
                    let both = common_pixels(&space.found, &space.truths[drawn.spans.clone()]);
                    let over = if truth.crowd { row.pixels } else { row.pixels + drawn.pixels - both };
                    ious.push(if both == 0 { 0.0 } else { f64::from(both) / f64::from(over) });
                } else {
                    ious.push(0.0);
                }
            }
        }
    }
}

impl Masks<'_> {
    fn text(&self, row: &Row) -> &[u8] {
        let (from, length) = row.text;
        &self.text[from as usize..][..length as usize]
    }
}
