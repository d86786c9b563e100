//! The objects of an annotation file.
use super::list::Record;
use super::mask::RunLengths;
use super::scan::{Scan, Scanned, Stop};
use crate::coco_json::Annotation;
use crate::coco_json::object::Object;
use crate::{CategoryId, ImageId, Segmentation};

/// Reads them.
pub(super) struct Annotations {
    /// Whether masks are kept; they are checked all the same.
    masks: bool,
    space: Vec<u8>,
}

impl Annotations {
    pub(super) fn new(masks: bool) -> Self {
        Annotations { masks, space: Vec::new() }
    }

    fn mask(&mut self, scan: &mut Scan<'_>) -> Scanned<Option<Segmentation>> {
        match scan.next()? {
            b'n' => scan.word(b"null").map(|()| None),
            b'[' if self.masks => {
                let mut rings = Vec::new();
                scan.lists(|list| {
                    // COCO's objects have 25 points on average.
                    let mut ring = Vec::with_capacity(64);
                    list.numbers(|list| list.number().map(|v| ring.push(v)))?;
                    let even = ring.len() % 2 == 0;
                    rings.push(ring);
                    if even { Ok(()) } else { Err(Stop::Odd) }
                })?;
                Ok((!rings.is_empty()).then_some(Segmentation::Polygons(rings)))
            }
            b'[' => {
                scan.lists(|list| {
                    let mut odd = false;
                    list.numbers(|list| list.pass_number().map(|()| odd = !odd))?;
                    if odd { Err(Stop::Odd) } else { Ok(()) }
                })?;
                Ok(None)
            }
            _ => {
                let runs = RunLengths::scan(scan)?;
                let rle = runs.rle(scan.bytes, &mut self.space)?;
                Ok(self.masks.then_some(Segmentation::Rle(rle)))
            }
        }
    }
}

/// Fields that a record has at most once, one bit each.
#[derive(Default)]
struct Once(u32);

impl Once {
    fn mark(&mut self, field: u32) -> Scanned<()> {
        let bit = 1 << field;
        let seen = self.0 & bit != 0;
        self.0 |= bit;
        if seen { Err(Stop::Odd) } else { Ok(()) }
    }
}

impl Record for Annotations {
    type Value<'a> = Annotation;

    fn plain<'a>(&'a mut self, scan: &mut Scan<'a>) -> Scanned<Annotation> {
        let mut a = Annotation::default();
        let mut once = Once::default();
        scan.take(b'{')?;
        loop {
            let key = scan.key()?;
            let field = match key {
                b"id" => scan.whole().map(|v| (a.id = v, 0).1),
                b"image_id" => scan.whole().map(|v| (a.image_id = ImageId(v), 1).1),
                b"category_id" => scan.whole().map(|v| (a.category_id = CategoryId(v), 2).1),
                b"bbox" => scan.bbox().map(|v| (a.bbox = v, 3).1),
                b"area" => scan.maybe(Scan::number).map(|v| (a.area = v, 4).1),
                b"segmentation" => self.mask(scan).map(|v| (a.segmentation = v, 5).1),
                b"iscrowd" => scan.flag().map(|v| (a.iscrowd = v, 6).1),
                b"ignore" => scan.flag().map(|v| (a.ignore = v, 7).1),
                b"keypoints" => scan.maybe(joints).map(|v| (a.keypoints = v, 8).1),
                b"num_keypoints" => scan.maybe(count).map(|v| (a.num_keypoints = v, 9).1),
                _ => scan.pass_scalar().map(|()| u32::MAX),
            }?;
            if field != u32::MAX {
                once.mark(field)?;
            }
            if !scan.another(b'}')? {
                break;
            }
        }
        // Three fields must be there.
        if once.0 & 0b111 == 0b111 { Ok(a) } else { Err(Stop::Odd) }
    }

    fn general(&mut self, text: &[u8]) -> Option<Annotation> {
        let Object(mut annotation): Object<Annotation> = serde_json::from_slice(text).ok()?;
        annotation.segmentation = annotation.segmentation.filter(|_| self.masks);
        Some(annotation)
    }
}

fn joints(scan: &mut Scan<'_>) -> Scanned<Vec<f64>> {
    let mut joints = Vec::new();
    scan.take(b'[')?;
    scan.numbers(|scan| scan.number().map(|v| joints.push(v)))?;
    Ok(joints)
}

fn count(scan: &mut Scan<'_>) -> Scanned<u32> {
    u32::try_from(scan.whole()?).map_err(|_| Stop::Odd)
}

impl Scan<'_> {
    /// A value, or `null`.
    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> Scanned<T>) -> Scanned<Option<T>> {
        if self.null()? { Ok(None) } else { value(self).map(Some) }
    }

    /// `0`, `1`, `true`, `false` or `null`.
    fn flag(&mut self) -> Scanned<bool> {
        match self.next()? {
            b't' => self.word(b"true").map(|()| true),
            b'f' => self.word(b"false").map(|()| false),
            b'n' => self.word(b"null").map(|()| false),
            _ => self.whole().map(|v| v != 0),
        }
    }

    /// A list of lists, each taken by `list` from behind its bracket.
    fn lists(&mut self, mut list: impl FnMut(&mut Self) -> Scanned<()>) -> Scanned<()> {
        self.take(b'[')?;
        if self.takes(b']')? {
            return Ok(());
        }
        loop {
            self.take(b'[')?;
            list(self)?;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }

    /// The numbers of a list, each taken by `number`, from behind its bracket.
    #[inline(always)]
    fn numbers(&mut self, mut number: impl FnMut(&mut Self) -> Scanned<()>) -> Scanned<()> {
        if self.takes(b']')? {
            return Ok(());
        }
        loop {
            number(self)?;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }
}
