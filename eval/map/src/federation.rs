//! LVIS' rules: which categories were looked for in which picture, and which of those throughout.
//!
//! Source: Gupta et al., "LVIS", CVPR 2019; <https://github.com/lvis-dataset/lvis-api>.
use crate::selection::Selection;
use crate::{Error, Params, Result};
use care_types::CategoryId;
use care_types::coco_json::{Dataset, Image, ResultRecord};

/// What is known about each evaluated picture.
pub(crate) struct Federation {
    /// Most detections of a picture.
    max_dets: usize,
    /// By position.
    pictures: Vec<Known>,
}

#[derive(Clone, Default)]
struct Known {
    /// Categories that are in the picture, or known not to be.
    verified: Vec<i64>,
    /// Categories of which objects may be without a label.
    not_exhaustive: Vec<i64>,
}

impl Federation {
    pub(crate) fn new(gt: &Dataset, selection: &Selection, params: &Params) -> Result<Self> {
        let mut pictures = vec![Known::default(); selection.images.len()];
        for (n, image) in gt.images.iter().enumerate() {
            if let Some(at) = selection.images.get(image.id.0) {
                pictures[at as usize] = Known::new(image)
                    .map_err(|e| e.context(format_args!("images[{n}] (id {})", image.id)))?;
            }
        }
        for (n, a) in gt.annotations.iter().enumerate() {
            let (image, category) = (selection.images.get(a.image_id.0), a.category_id.0);
            let (Some(image), Some(_)) = (image, selection.categories.get(category)) else { continue };
            if a.area.is_none() {
                let id = a.id;
                return Err(Error::input(format!("annotations[{n}] (id {id}): area: missing; LVIS has it")));
            }
            if has_area(a.area) {
                pictures[image as usize].verified.push(category);
            }
        }
        pictures.iter_mut().for_each(|p| p.verified.sort_unstable());
        Ok(Federation { max_dets: params.max_dets.iter().copied().max().unwrap_or(0), pictures })
    }

    /// Whether it is known that the category is in the picture, or is not.
    pub(crate) fn is_verified(&self, image: u32, category: i64) -> bool {
        self.pictures[image as usize].verified.binary_search(&category).is_ok()
    }

    /// Whether all objects of the category in the picture are labelled.
    pub(crate) fn is_exhaustive(&self, image: u32, category: i64) -> bool {
        self.pictures[image as usize].not_exhaustive.binary_search(&category).is_err()
    }

    /// Marks the records beyond maxDets of their picture, whatever their category is; ties stay in file order.
    pub(crate) fn beyond(&self, dt: &[ResultRecord]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..dt.len()).collect();
        // Adding zero makes -0.0 equal to 0.0.
        let score = |r: usize| dt[r].score + 0.0;
        order.sort_by(|&a, &b| dt[a].image_id.cmp(&dt[b].image_id).then(score(b).total_cmp(&score(a))));
        let mut beyond = vec![false; dt.len()];
        for of_picture in order.chunk_by(|&a, &b| dt[a].image_id == dt[b].image_id) {
            of_picture.iter().skip(self.max_dets).for_each(|&record| beyond[record] = true);
        }
        beyond
    }
}

/// lvis-api sees nothing without area, and nothing of infinite area.
pub(crate) fn has_area(area: Option<f64>) -> bool {
    area.is_some_and(|area| area > 0.0 && area < f64::INFINITY)
}

impl Known {
    fn new(image: &Image) -> Result<Self> {
        let sorted = |name: &str, ids: &Option<Vec<CategoryId>>| {
            let missing = || Error::input(format!("{name}: missing; LVIS' rules need it"));
            let mut ids: Vec<i64> = ids.as_ref().ok_or_else(missing)?.iter().map(|id| id.0).collect();
            ids.sort_unstable();
            Ok(ids)
        };
        Ok(Known {
            verified: sorted("neg_category_ids", &image.neg_category_ids)?,
            not_exhaustive: sorted("not_exhaustive_category_ids", &image.not_exhaustive_category_ids)?,
        })
    }
}
