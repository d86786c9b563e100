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
mod bits;
mod count;
mod finish;
mod matched;
mod merge;
mod record;
mod state;

use crate::funnel::Funnel;
use crate::matching::Rules;
use crate::selection::{Positions, Selection};
use crate::{Error, Params, Result};
use care_types::ImageId;
use care_types::coco_json::{Annotation, Category, Dataset, Image, ResultRecord};
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
/// [`crate::CocoMetrics::pycocotools_stats`] stays empty, and [`Params::quirks`] is refused by [`Self::finish`]. And a
/// results file in which the first record has no box but others have: [`Self::add_shard`], which sees the file, takes it
/// as [`crate::evaluate`] does; [`Self::add`] refuses it.
pub struct Evaluator {
    params: Params,
    categories: Vec<Category>,
    source: Source,
    /// With the categories of the evaluation, but no pictures.
    selection: Selection,
    rules: Rules,
    /// Whether areas of detections are those of their boxes; unknown before the first detection.
    areas_of_boxes: Option<bool>,
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

/// One of several equal parts of a data set: the pictures at positions `index`, `index + count`, … by ascending id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    pub index: usize,
    /// Of how many.
    pub count: usize,
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
        let no_picture = Image { id: ImageId(0), width: 0, height: 0, file_name: String::new() };
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
            areas_of_boxes: None,
            funnel: Funnel::default(),
            pictures: BTreeMap::new(),
        })
    }

    /// Says what is evaluated; see [`Source`].
    pub fn with_source(mut self, source: Source) -> Self {
        self.source = source;
        self
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

    /// Adds a picture with its objects and detections.
    ///
    /// # Errors
    /// `Input`, and nothing is added: as [`crate::evaluate`], where the numbers of records are those within the picture;
    /// a record of another picture; a picture that was added before; detections with boxes where earlier ones had none,
    /// or the other way round.
    pub fn add(
        &mut self,
        image: &Image,
        annotations: Vec<Annotation>,
        results: &[ResultRecord],
    ) -> Result<()> {
        let id = image.id;
        let other = |name, at, other| {
            Err(Error::input(format!("{name}[{at}].image_id: {other}, in the records of picture {id}")))
        };
        if let Some(at) = annotations.iter().position(|a| a.image_id != id) {
            return other("annotations", at, annotations[at].image_id);
        }
        if let Some(at) = results.iter().position(|r| r.image_id != id) {
            return other("results", at, results[at].image_id);
        }
        let data = Dataset { images: vec![image.clone()], annotations, ..Dataset::default() };
        let own = Positions::ascending(std::iter::once(id.0));
        self.take((&data, results), own.clone(), own, true)
            .map_err(|e| e.context(format_args!("picture {id}")))
    }

    /// Adds all pictures of a data set.
    ///
    /// # Errors
    /// As [`Self::add_shard`].
    pub fn add_all(&mut self, gt: &Dataset, dt: &[ResultRecord]) -> Result<()> {
        self.add_shard(gt, dt, Shard { index: 0, count: 1 })
    }

    /// Adds a part of the pictures of a data set; records of the other pictures are passed over. Annotations of pictures
    /// that are not in the data set are counted by the first part.
    ///
    /// # Errors
    /// `Config` for a part that cannot be. `Input`, and nothing is added: as [`crate::evaluate`]; other categories than
    /// the evaluator's; pictures that were added before.
    pub fn add_shard(&mut self, gt: &Dataset, dt: &[ResultRecord], shard: Shard) -> Result<()> {
        let Shard { index, count } = shard;
        if index >= count {
            return Err(Error::config(format!("part {index} of {count}: parts count from 0")));
        }
        if let Some(difference) = merge::category_difference(&self.categories, &gt.categories) {
            return Err(Error::input(format!("other categories than the evaluator's: {difference}")));
        }
        let known = Positions::ascending(gt.images.iter().map(|i| i.id.0));
        if known.len() == 0 {
            return Err(Error::input("the ground truth has no images"));
        }
        let own = Positions::ascending(known.ids.iter().skip(index).step_by(count).copied());
        self.take((gt, dt), own, known, index == 0)
    }

    /// Adds the pictures `own` of the pictures `known`.
    fn take(
        &mut self,
        (gt, dt): (&Dataset, &[ResultRecord]),
        own: Positions,
        known: Positions,
        orphans: bool,
    ) -> Result<()> {
        merge::refuse_overlap(&self.pictures, own.ids.iter().copied(), own.len())?;
        let areas_of_boxes = merge::one_area_rule(self.areas_of_boxes, dt.first().map(|r| r.bbox.is_some()))?;
        let wanted = self.params.img_ids.as_deref().filter(|ids| !ids.is_empty());
        let wanted = wanted.map(|ids| Positions::ascending(ids.iter().map(|i| i.0)));
        let is_wanted = |id: &i64| wanted.as_ref().is_none_or(|wanted| wanted.get(*id).is_some());
        let evaluated = Positions::ascending(own.ids.iter().copied().filter(is_wanted));
        let selection = self.select(evaluated, known.clone(), self.params.quirks);

        let mut funnel = Funnel::default();
        let (iou_type, rules) = (self.params.iou_type, &self.rules);
        let matched = matched::records(gt, dt, iou_type, (&selection, rules), &mut funnel)?;
        let odd = matched.iter().filter(|m| m.id_zero && !self.params.quirks).map(|m| m.image as usize);
        let odd = Positions::ascending(odd.map(|at| selection.images.ids[at]));
        let quirky = self.select(odd, known, true);
        let again = match quirky.images.len() {
            0 => Vec::new(),
            _ => matched::records(gt, dt, iou_type, (&quirky, rules), &mut Funnel::default())?,
        };
        count::count_own((gt, dt), &own, &selection, orphans, &mut funnel);

        for &id in &own.ids {
            self.pictures.insert(id, Picture { record: Record::not_evaluated(), pycocotools: None });
        }
        for (&id, matched) in selection.images.ids.iter().zip(matched) {
            self.pictures.insert(id, Picture { record: matched.record, pycocotools: None });
        }
        for (&id, matched) in quirky.images.ids.iter().zip(again) {
            self.pictures.entry(id).and_modify(|picture| picture.pycocotools = Some(matched.record));
        }
        self.areas_of_boxes = areas_of_boxes;
        count::add(&mut self.funnel, funnel);
        Ok(())
    }

    /// The selection for matching, which needs no names.
    fn select(&self, images: Positions, known_images: Positions, quirks: bool) -> Selection {
        Selection {
            images,
            known_images,
            categories: self.selection.categories.clone(),
            known_categories: self.selection.known_categories.clone(),
            use_cats: self.params.use_cats,
            quirks,
            names: Vec::new(),
        }
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
