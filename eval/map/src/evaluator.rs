//! Evaluation picture by picture, in parts, on several machines: what is kept is what became of each detection.
//!
//! ```
//! use care_map::{Evaluator, IouType, Params, evaluate};
//! # let gt = care_types::coco_json::parse_dataset(
//! #     br#"{"images":[{"id":1},{"id":2}],"categories":[{"id":7,"name":"dog"}],
//! #          "annotations":[{"id":1,"image_id":1,"category_id":7,"bbox":[2,2,8,8],"area":64}]}"#)?;
//! # let dt = care_types::coco_json::parse_results(
//! #     br#"[{"image_id":1,"category_id":7,"bbox":[2,2,8,8],"score":0.9},
//! #          {"image_id":2,"category_id":7,"bbox":[2,2,8,8],"score":0.9}]"#)?;
//! let params = Params::new(IouType::Bbox);
//! let mut all = Evaluator::new(&gt.categories, &params)?;
//! for image in &gt.images {
//!     let objects = gt.annotations.iter().filter(|a| a.image_id == image.id).cloned().collect();
//!     let found: Vec<_> = dt.iter().filter(|r| r.image_id == image.id).cloned().collect();
//!     let mut one = Evaluator::new(&gt.categories, &params)?; // on another machine, say
//!     one.add(image, objects, &found)?;
//!     all.merge(Evaluator::from_bytes(&one.to_bytes())?)?;
//! }
//! assert_eq!(all.finish()?, evaluate(&gt, &dt, &params)?);
//! # Ok::<(), care_types::Error>(())
//! ```
mod add;
mod bits;
mod count;
mod finish;
mod matched;
mod merge;
mod record;
mod resume;
mod state;

use crate::funnel::Funnel;
use crate::matching::Rules;
use crate::selection::Selection;
use crate::{Areas, Error, Params, Result};
pub use add::Shard;
use care_types::ImageId;
use care_types::coco_json::{Category, Dataset, Frequency, Image};
pub(crate) use merge::refuse_other_task;
use record::{Layout, Record};
use std::collections::BTreeMap;
use std::fmt;

/// The largest `[T, R, K, A, M]` arrays: 2 GiB each. COCO's have 970 thousand values, LVIS' 15 million.
const MOST_VALUES: u128 = 1 << 28;

/// Scores pictures one by one or in parts, to the same bits as [`crate::evaluate`] on all of them at once: in any order,
/// and over any number of evaluators that are [merged](Self::merge) in any order.
///
/// A detection takes 9 bytes (found nothing) to 18.5 bytes (found something) of memory with COCO's parameters; a cell
/// (picture and category) 2 to 4 bytes more, and a picture about 80. Boxes and masks are not kept.
///
/// Two things need all pictures at once. What pycocotools makes of annotation ids that occur more than once: then
/// [`crate::CocoMetrics::pycocotools_stats`] stays empty, and [`Params::quirks`] is refused by [`Self::finish`]. And the
/// first record of the results, which decides for all [where areas come from](Areas): [`Self::add_shard`] sees it;
/// [`Self::add`] takes the first of each picture and refuses those that disagree, unless [`Self::with_areas`] has said it.
///
/// After a kill, [`Self::resume`] goes on from what [`Self::to_bytes`] gave before, without the pictures that are done.
pub struct Evaluator {
    params: Params,
    categories: Vec<Category>,
    source: Source,
    /// With the categories of the evaluation, but no pictures.
    selection: Selection,
    rules: Rules,
    /// Where areas of detections come from; unknown before the first detection.
    areas: Option<Areas>,
    /// Whether the caller has said so.
    areas_are_given: bool,
    /// What was counted in the pictures; see [`count::sums`].
    funnel: Funnel,
    /// By id.
    pictures: BTreeMap<i64, Picture>,
}

/// What is evaluated, in the caller's words: evaluators are only merged, and only compared, when the words agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// For instance the SHA-256 of the annotation file.
    pub ground_truth: String,
    /// For instance the SHA-256 of the results file, or of the weights that made the detections.
    pub results: String,
}

/// What is kept of a picture.
pub(crate) struct Picture {
    record: Record,
    /// As pycocotools sees it, where that is something else: an object has id 0.
    pycocotools: Option<Record>,
}

impl Picture {
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }
}

impl Evaluator {
    /// An evaluator without pictures, for ground truth with these categories.
    ///
    /// # Errors
    /// `Config` for parameters that cannot be meant, and for arrays of more than 2²⁸ values.
    pub fn new(categories: &[Category], params: &Params) -> Result<Self> {
        params.validate()?;
        let no_picture = Image::default();
        let data =
            Dataset { images: vec![no_picture], categories: categories.to_vec(), ..Dataset::default() };
        let selection = Selection::new(&data, &Params { img_ids: None, ..params.clone() })?;
        let sizes = [
            params.iou_thrs.len(),
            params.rec_thrs.len(),
            selection.groups(),
            params.area_rng.len(),
            params.max_dets.len(),
        ];
        let values = sizes.iter().try_fold(1u128, |product, &n| product.checked_mul(n as u128));
        if values.is_none_or(|n| n > MOST_VALUES) {
            return Err(Error::config(format!(
                "evaluation parameters: {sizes:?} thresholds, recalls, categories, ranges and maxDets are too many"
            )));
        }
        Ok(Evaluator {
            params: params.clone(),
            categories: data.categories,
            source: Source::default(),
            selection,
            rules: Rules::new(params),
            areas: None,
            areas_are_given: false,
            funnel: Funnel::default(),
            pictures: BTreeMap::new(),
        })
    }

    /// Says what is evaluated; see [`Source`].
    pub fn with_source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Says where the areas of detections come from: [`Areas::of`] the whole results. Then [`Self::add`] takes pictures
    /// as [`crate::evaluate`] takes them, also where some records have a box and others have none.
    ///
    /// # Errors
    /// `Input` when detections were added whose areas come from elsewhere.
    pub fn with_areas(mut self, areas: Areas) -> Result<Self> {
        self.areas = merge::one_area_rule(Some(areas), self.areas)?;
        self.areas_are_given = true;
        Ok(self)
    }

    /// What is evaluated.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// How it is evaluated.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The ids of the pictures that were added, ascending.
    pub fn images(&self) -> impl Iterator<Item = ImageId> {
        self.pictures.keys().map(|&id| ImageId(id))
    }

    /// Whether a picture was added: what is done needs not be done again after a restart.
    pub fn contains(&self, image: ImageId) -> bool {
        self.pictures.contains_key(&image.0)
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Number of separately scored categories.
    pub(crate) fn groups(&self) -> usize {
        self.selection.groups()
    }

    /// Their ids and names.
    pub(crate) fn group_names(&self) -> Vec<(i64, String)> {
        if !self.selection.use_cats {
            return vec![(-1, "all categories as one".into())];
        }
        self.selection.categories.ids.iter().copied().zip(self.selection.names.iter().cloned()).collect()
    }

    /// The positions of those that are this common, or of all; of none when categories are not told apart.
    pub(crate) fn groups_of(&self, frequency: Option<Frequency>) -> Vec<usize> {
        self.selection.groups_of(frequency)
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.rules, self.selection.groups())
    }
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("params", &self.params)
            .field("source", &self.source)
            .field("pictures", &self.pictures.len())
            .finish_non_exhaustive()
    }
}
