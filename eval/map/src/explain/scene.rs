//! What every analysis looks at: the objects and detections that `evaluate` would score, and the names of things.
use crate::cells::{Cells, Key};
use crate::columns::{self, Found, Truth};
use crate::funnel::Funnel;
use crate::selection::Selection;
use crate::shape::Mask;
use crate::{Params, Result};
use care_types::coco_json::{Dataset, ResultRecord};
use care_types::{BoxXywh, CategoryId, ImageId};
use std::ops::Range;

/// COCO's range `all`, for parameters that have none of that name.
const ALL_AREAS: [f64; 2] = [0.0, 1e10];

/// Objects and detections by category, then picture.
pub(super) struct Scene<S> {
    pub(super) truths: Cells<Vec<Truth<S>>>,
    pub(super) found: Cells<Vec<Found<S>>>,
}

/// Boxes or masks.
pub(super) enum Scenes<'a> {
    Boxes(Scene<BoxXywh>),
    Masks(Scene<Mask<'a>>),
}

pub(super) fn boxes(gt: &Dataset, dt: &[ResultRecord], selection: &Selection) -> Result<Scene<BoxXywh>> {
    let mut funnel = Funnel::default();
    let truths = columns::truth_boxes(gt, selection, &mut funnel)?;
    Ok(Scene { truths, found: columns::found_boxes(dt, selection, &mut funnel)? })
}

pub(super) fn masks<'a>(
    gt: &'a Dataset,
    dt: &'a [ResultRecord],
    selection: &Selection,
) -> Result<Scene<Mask<'a>>> {
    let mut funnel = Funnel::default();
    let truths = columns::truth_masks(gt, selection, &mut funnel)?;
    Ok(Scene { truths, found: columns::found_masks(gt, dt, selection, &mut funnel)? })
}

/// Whether the object is to be found; crowds and objects outside the range count neither way.
pub(super) fn counts<S>(truth: &Truth<S>, [low, high]: [f64; 2]) -> bool {
    !(truth.ignored || truth.area < low || truth.area > high)
}

/// Names, orders and limits.
pub(super) struct Facts {
    /// By position: ascending ids.
    pub(super) images: Vec<Picture>,
    /// Positions of the pictures in the order of the ground truth's file.
    pub(super) file_order: Vec<u32>,
    /// Those told apart, by position.
    pub(super) categories: Vec<(CategoryId, String)>,
    /// Most detections per picture and category.
    pub(super) max_dets: usize,
    /// Areas of objects that count.
    pub(super) range: [f64; 2],
    /// Recalls at which precision is read.
    pub(super) rec_thrs: Vec<f64>,
}

pub(super) struct Picture {
    pub(super) id: ImageId,
    pub(super) file_name: String,
}

impl Facts {
    pub(super) fn new(gt: &Dataset, selection: &Selection, params: &Params) -> Self {
        let picture = |&id: &i64| Picture { id: ImageId(id), file_name: String::new() };
        let mut images: Vec<Picture> = selection.images.ids.iter().map(picture).collect();
        let mut file_order = Vec::with_capacity(images.len());
        let mut seen = vec![false; images.len()];
        for image in &gt.images {
            let Some(at) = selection.images.get(image.id.0) else { continue };
            if !std::mem::replace(&mut seen[at as usize], true) {
                file_order.push(at);
                images[at as usize].file_name.clone_from(&image.file_name);
            }
        }
        let all = params.area_rng_lbl.iter().position(|name| name == "all");
        let named = selection.categories.ids.iter().zip(&selection.names);
        let categories = if selection.use_cats {
            named.map(|(&id, name)| (CategoryId(id), name.clone())).collect()
        } else {
            vec![(CategoryId(-1), "all categories as one".into())]
        };
        Facts {
            images,
            file_order,
            categories,
            max_dets: params.max_dets.iter().copied().max().unwrap_or(0),
            range: all.map_or(ALL_AREAS, |at| params.area_rng[at]),
            rec_thrs: params.rec_thrs.clone(),
        }
    }
}

/// Items of each picture, of all categories together, in file order.
pub(super) struct ByImage {
    items: Vec<u32>,
    /// Where each picture's items start; one more at the end.
    starts: Vec<usize>,
}

impl ByImage {
    pub(super) fn new(keys: &[Key], images: usize) -> Self {
        let mut starts = vec![0; images + 1];
        keys.iter().for_each(|k| starts[k.image as usize + 1] += 1);
        (0..images).for_each(|i| starts[i + 1] += starts[i]);
        let mut items: Vec<u32> = (0..keys.len() as u32).collect();
        items.sort_by_key(|&i| (keys[i as usize].image, keys[i as usize].record));
        ByImage { items, starts }
    }

    pub(super) fn get(&self, image: u32) -> &[u32] {
        let range: Range<usize> = self.starts[image as usize]..self.starts[image as usize + 1];
        &self.items[range]
    }
}
