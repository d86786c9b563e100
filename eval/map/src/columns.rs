//! From records to what matching needs; every check of the data is here.
use crate::cells::{Cells, Key, sort};
use crate::federation::has_area;
use crate::funnel::Funnel;
use crate::selection::Selection;
use crate::shape::Mask;
use crate::{Areas, Error, IouType, Result};
use care_types::coco_json::{Annotation, Dataset, ResultRecord};
use care_types::{BoxXywh, Rle, Segmentation, Size};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;

/// An object of the ground truth.
pub(crate) struct Truth<S> {
    pub(crate) shape: S,
    pub(crate) area: f64,
    /// It absorbs any number of detections.
    pub(crate) crowd: bool,
    /// It is not to be found: whoever finds it counts neither way.
    pub(crate) ignored: bool,
    /// Whoever finds it is counted as having found nothing (pycocotools, id 0).
    pub(crate) uncounted: bool,
}

/// A detection.
pub(crate) struct Found<S> {
    pub(crate) shape: S,
    pub(crate) area: f64,
    pub(crate) score: f64,
    /// Finding nothing is not held against it.
    pub(crate) forgiven: bool,
}

pub(crate) fn truth_boxes(
    gt: &Dataset,
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Truth<BoxXywh>>>> {
    truths(gt, selection, funnel, |_, a| {
        let bbox = a.bbox.ok_or_else(|| Error::input("bbox: missing; it is needed to evaluate boxes"))?;
        Ok((bbox, a.area.unwrap_or_else(|| bbox.area())))
    })
}

pub(crate) fn truth_masks<'a>(
    gt: &'a Dataset,
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Truth<Mask<'a>>>>> {
    let images = ImageSizes::new(gt, selection);
    truths(gt, selection, funnel, |image, a| {
        let segmentation = a
            .segmentation
            .as_ref()
            .ok_or_else(|| Error::input("segmentation: missing; it is needed to evaluate masks"))?;
        let mask = Mask::new(images.mask(image, segmentation)?);
        let area = a.area.unwrap_or_else(|| mask.area());
        Ok((mask, area))
    })
}

pub(crate) fn found_boxes(
    dt: &[ResultRecord],
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Found<BoxXywh>>>> {
    let by_box = areas(dt, selection) == Areas::OfBoxes;
    let boxes = |k: &Key| dt[k.record as usize].bbox;
    let cells = found(dt, selection, funnel, |_, r| {
        if by_box {
            let bbox = r.bbox.ok_or_else(|| {
                Error::input("bbox: missing, but areas are those of boxes, because the first result has one")
            })?;
            return Ok((bbox, bbox.area()));
        }
        let mask = r.segmentation.as_ref().ok_or_else(|| Error::input("bbox: missing"))?;
        Ok((r.bbox.unwrap_or_else(|| mask.bbox()), mask.area().into()))
    })?;
    let negative = |b: &BoxXywh| b.w < 0.0 || b.h < 0.0;
    funnel.detections.negative_size = cells.keys.iter().filter_map(boxes).filter(negative).count();
    Ok(cells)
}

pub(crate) fn found_masks<'a>(
    gt: &Dataset,
    dt: &'a [ResultRecord],
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Found<Mask<'a>>>>> {
    let by_box = areas(dt, selection) == Areas::OfBoxes;
    let images = ImageSizes::new(gt, selection);
    found(dt, selection, funnel, |image, r| {
        if by_box && r.bbox.is_none() {
            return Err(Error::input(
                "bbox: missing, but areas are those of boxes, because the first result has one",
            ));
        }
        let rle = match (&r.segmentation, r.bbox) {
            (Some(rle), _) => images.check(image, rle).map(|()| Cow::Borrowed(rle))?,
            (None, Some(bbox)) if selection.quirks => Cow::Owned(images.rectangle(image, bbox)?),
            _ => return Err(Error::input("segmentation: missing; it is needed to evaluate masks")),
        };
        let mask = Mask::new(rle);
        let area = if by_box { r.bbox.map_or(0.0, |b| b.area()) } else { mask.area() };
        Ok((mask, area))
    })
}

/// Where the areas of detections come from; without detections it does not matter.
pub(crate) fn areas(dt: &[ResultRecord], selection: &Selection) -> Areas {
    selection.areas.or(Areas::of(dt)).unwrap_or(Areas::OfMasks)
}

pub(crate) fn truths<'a, S: Send>(
    gt: &'a Dataset,
    selection: &Selection,
    funnel: &mut Funnel,
    shape: impl Fn(u32, &'a Annotation) -> Result<(S, f64)> + Sync,
) -> Result<Cells<Vec<Truth<S>>>> {
    let keys = if selection.quirks {
        truth_keys(gt, &records_pycocotools_sees(gt, selection), selection, funnel)
    } else {
        truth_keys(gt, &(0..gt.annotations.len()).collect::<Vec<_>>(), selection, funnel)
    };
    count_used(gt, &keys, selection, funnel);
    let build = |key: &Key| {
        let a = &gt.annotations[key.record as usize];
        let (shape, area) = shape(key.image, a)
            .and_then(|s| finite(a.bbox, s))
            .map_err(|e| e.context(annotation_name(key, a)))?;
        let (crowd, ignored) = exempt(a, selection);
        Ok(Truth { shape, area, crowd, ignored, uncounted: selection.quirks && a.id == 0 })
    };
    cells(keys, selection, build)
}

/// Whether an object absorbs detections, and whether it is not to be found. Of the programs that define the figures,
/// pycocotools overwrites `ignore`, the one for boundaries looks at it, and lvis-api does not know crowds.
fn exempt(a: &Annotation, selection: &Selection) -> (bool, bool) {
    if selection.federation.is_some() {
        return (false, a.ignore);
    }
    let ignored = match selection.iou_type {
        IouType::Bbox | IouType::Segm => false,
        IouType::Keypoints => a.num_keypoints == Some(0),
        IouType::Boundary => a.ignore,
    };
    (a.iscrowd, a.iscrowd || ignored)
}

fn annotation_name(key: &Key, a: &Annotation) -> String {
    format!("annotations[{}] (id {})", key.record, a.id)
}

/// The annotations to score and where they belong; counts the others.
fn truth_keys(gt: &Dataset, records: &[usize], selection: &Selection, funnel: &mut Funnel) -> Vec<Key> {
    let count = &mut funnel.annotations;
    count.in_ground_truth = gt.annotations.len();
    let mut keys = Vec::with_capacity(records.len());
    for &record in records {
        let a = &gt.annotations[record];
        match place(a.image_id.0, a.category_id.0, selection) {
            Place::UnknownImage => count.unknown_image += 1,
            Place::UnknownCategory => count.unknown_category += 1,
            Place::NotSelected => count.not_selected += 1,
            Place::Cell { .. } if selection.federation.is_some() && !has_area(a.area) => {
                count.without_area += 1;
            }
            Place::Cell { category, image } => keys.push(Key { category, image, record: record as u32 }),
        }
    }
    keys
}

/// pycocotools looks annotations up twice: the ids of each picture, then the record of each id. A repeated id so gives
/// the last record of the file as often as the id occurs in evaluated pictures.
fn records_pycocotools_sees(gt: &Dataset, selection: &Selection) -> Vec<usize> {
    let last: HashMap<i64, usize> = gt.annotations.iter().enumerate().map(|(i, a)| (a.id, i)).collect();
    let mut seen: Vec<(u32, usize)> = Vec::with_capacity(gt.annotations.len());
    for (record, a) in gt.annotations.iter().enumerate() {
        let chosen = !selection.use_cats || selection.categories.get(a.category_id.0).is_some();
        if let (true, Some(image)) = (chosen, selection.images.get(a.image_id.0)) {
            seen.push((image, record));
        }
    }
    seen.sort_by_key(|&(image, _)| image);
    seen.iter().map(|&(_, record)| last[&gt.annotations[record].id]).collect()
}

fn count_used(gt: &Dataset, keys: &[Key], selection: &Selection, funnel: &mut Funnel) {
    let count = &mut funnel.annotations;
    let mut ids: Vec<i64> = Vec::with_capacity(keys.len());
    for a in keys.iter().map(|k| &gt.annotations[k.record as usize]) {
        let (crowd, ignored) = exempt(a, selection);
        count.crowd += usize::from(crowd);
        count.ignored += usize::from(ignored && !crowd);
        count.ignore_flag_without_effect += usize::from(a.ignore && !ignored);
        count.area_missing += usize::from(a.area.is_none());
        count.id_zero += usize::from(a.id == 0);
        ids.push(a.id);
    }
    ids.sort_unstable();
    count.evaluated = ids.len();
    count.duplicate_ids = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
}

pub(crate) fn found<'a, S: Send>(
    dt: &'a [ResultRecord],
    selection: &Selection,
    funnel: &mut Funnel,
    shape: impl Fn(u32, &'a ResultRecord) -> Result<(S, f64)> + Sync,
) -> Result<Cells<Vec<Found<S>>>> {
    let keys = found_keys(dt, selection, funnel)?;
    let build = |key: &Key| {
        let r = &dt[key.record as usize];
        let (shape, area) = shape(key.image, r)
            .and_then(|s| finite(r.bbox, s))
            .map_err(|e| e.context(format_args!("results[{}]", key.record)))?;
        // Adding zero makes -0.0 equal to 0.0 for sorting by bits.
        let federation = selection.federation.as_ref();
        let forgiven = federation.is_some_and(|f| !f.is_exhaustive(key.image, r.category_id.0));
        Ok(Found { shape, area, score: r.score + 0.0, forgiven })
    };
    let cells = cells(keys, selection, build)?;
    if selection.federation.is_none() {
        return Ok(cells);
    }
    let before = cells.keys.len();
    let (keys, items): (Vec<Key>, Vec<Found<S>>) =
        cells.keys.into_iter().zip(cells.items).filter(|(_, f)| has_area(Some(f.area))).unzip();
    funnel.detections.without_area = before - keys.len();
    Ok(Cells { keys, items })
}

/// The detections to score and where they belong; counts the others.
fn found_keys(dt: &[ResultRecord], selection: &Selection, funnel: &mut Funnel) -> Result<Vec<Key>> {
    let count = &mut funnel.detections;
    count.in_results = dt.len();
    let mut keys = Vec::with_capacity(dt.len());
    let federation = selection.federation.as_ref().map(|f| (f, f.beyond(dt)));
    for (record, r) in dt.iter().enumerate() {
        let place = place(r.image_id.0, r.category_id.0, selection);
        if let Place::UnknownImage = place {
            return Err(unknown_image(dt, record, selection));
        }
        if !r.score.is_finite() {
            return Err(Error::input(format!("results[{record}].score: {} is not a finite number", r.score)));
        }
        match (place, &federation) {
            (Place::UnknownCategory, _) => count.unknown_category += 1,
            (Place::Cell { .. }, Some((_, beyond))) if beyond[record] => count.beyond_max_dets += 1,
            (Place::Cell { image, .. }, Some((f, _))) if !f.is_verified(image, r.category_id.0) => {
                count.unverified += 1;
            }
            (Place::Cell { category, image }, _) => {
                keys.push(Key { category, image, record: record as u32 });
            }
            _ => count.not_selected += 1,
        }
    }
    Ok(keys)
}

/// Names the first record and says how many there are like it: one is a slip, all of them are another split.
fn unknown_image(dt: &[ResultRecord], first: usize, selection: &Selection) -> Error {
    let unknown = |r: &&ResultRecord| selection.known_images.get(r.image_id.0).is_none();
    let (count, id) = (dt.iter().filter(unknown).count(), dt[first].image_id);
    let hint = if 2 * count > dt.len() { ": are they of another split?" } else { "" };
    Error::input(format!(
        "results[{first}].image_id: {id} is not in the ground truth ({count} of {} results{hint})",
        dt.len()
    ))
}

/// Where a record belongs.
pub(crate) enum Place {
    /// Its picture is not in the ground truth.
    UnknownImage,
    /// Its category is not in the ground truth.
    UnknownCategory,
    /// Picture or category are not evaluated.
    NotSelected,
    /// Positions of its category and picture.
    Cell { category: u32, image: u32 },
}

pub(crate) fn place(image: i64, category: i64, selection: &Selection) -> Place {
    if selection.known_images.get(image).is_none() {
        return Place::UnknownImage;
    }
    if selection.known_categories.get(category).is_none() {
        return Place::UnknownCategory;
    }
    match (selection.images.get(image), selection.categories.get(category)) {
        (Some(image), Some(category)) => Place::Cell { category, image },
        _ => Place::NotSelected,
    }
}

fn finite<S>(bbox: Option<BoxXywh>, item: (S, f64)) -> Result<(S, f64)> {
    if bbox.is_some_and(|b| !b.is_finite()) {
        return Err(Error::input("bbox: a coordinate is not a finite number"));
    }
    if item.1.is_nan() {
        return Err(Error::input("area: not a number"));
    }
    Ok(item)
}

/// Sorts the keys and builds their items on all threads; of several errors, reports the first in file order.
fn cells<T: Send>(
    keys: Vec<Key>,
    selection: &Selection,
    build: impl Fn(&Key) -> Result<T> + Sync,
) -> Result<Cells<Vec<T>>> {
    let keys = sort(keys, selection);
    match keys.par_iter().with_min_len(256).map(&build).collect::<Result<Vec<T>>>() {
        Ok(items) => Ok(Cells { keys, items }),
        Err(error) => {
            let mut in_file_order = keys;
            in_file_order.sort_by_key(|k| k.record);
            Err(in_file_order.iter().find_map(|k| build(k).err()).unwrap_or(error))
        }
    }
}

/// The sizes of the evaluated pictures.
pub(crate) struct ImageSizes(Vec<Size>);

impl ImageSizes {
    pub(crate) fn new(gt: &Dataset, selection: &Selection) -> Self {
        let mut sizes = vec![Size::default(); selection.images.len()];
        for image in &gt.images {
            if let Some(at) = selection.images.get(image.id.0) {
                sizes[at as usize] = image.size();
            }
        }
        ImageSizes(sizes)
    }

    pub(crate) fn size(&self, image: u32) -> Result<Size> {
        match self.0[image as usize] {
            Size { width: 0, .. } | Size { height: 0, .. } => {
                Err(Error::input("its picture has no width and height in the ground truth; masks need them"))
            }
            size => Ok(size),
        }
    }

    fn check(&self, image: u32, rle: &Rle) -> Result<()> {
        let size = self.size(image)?;
        if rle.size() == size {
            return Ok(());
        }
        let swapped = (rle.height, rle.width) == (size.width, size.height);
        let hint = if swapped { "; they are swapped" } else { "" };
        Err(Error::input(format!(
            "segmentation: the mask's size is [{}, {}], its picture's is [{}, {}] (COCO's order is [height, width]{hint})",
            rle.height, rle.width, size.height, size.width
        )))
    }

    fn mask<'a>(&self, image: u32, segmentation: &'a Segmentation) -> Result<Cow<'a, Rle>> {
        match segmentation {
            Segmentation::Rle(rle) => self.check(image, rle).map(|()| Cow::Borrowed(rle)),
            Segmentation::Polygons(_) => {
                segmentation.to_rle(self.size(image)?).map(Cow::Owned).map_err(|e| e.context("segmentation"))
            }
        }
    }

    /// What pycocotools makes of a box that is evaluated as a mask.
    fn rectangle(&self, image: u32, b: BoxXywh) -> Result<Rle> {
        let (x1, y1) = (b.x + b.w, b.y + b.h);
        let size = self.size(image)?;
        Rle::from_polygon(&[b.x, b.y, b.x, y1, x1, y1, x1, b.y], size.height, size.width)
    }
}
