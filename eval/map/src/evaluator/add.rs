//! Taking pictures in.
use super::record::Record;
use super::{Evaluator, Picture, count, matched, merge};
use crate::funnel::Funnel;
use crate::selection::{Positions, Selection};
use crate::{Areas, Error, Result};
use care_types::ImageId;
use care_types::coco_json::{Annotation, Dataset, Image, ResultRecord};

/// One of several equal parts of a data set: the pictures at positions `index`, `index + count`, … by ascending id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl Shard {
    /// The pictures of the part, by ascending id; none for a part that cannot be.
    pub fn images(self, gt: &Dataset) -> impl Iterator<Item = ImageId> {
        let known = Positions::ascending(gt.images.iter().map(|i| i.id.0));
        let ids = if self.index < self.count { known.ids } else { Vec::new() };
        ids.into_iter().skip(self.index).step_by(self.count.max(1)).map(ImageId)
    }
}

/// Pictures to add.
struct Part {
    own: Positions,
    /// All of the data set.
    known: Positions,
    /// Whether objects of unknown pictures are counted.
    orphans: bool,
}

impl Evaluator {
    /// Adds a picture with its objects and detections.
    ///
    /// # Errors
    /// `Input`, and nothing is added: as [`crate::evaluate`], where the numbers of records are those within the picture;
    /// a record of another picture; a picture that was added before; a first detection with a box where the first of
    /// earlier pictures had none, or the other way round, unless [`Self::with_areas`] has decided.
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
        let part = Part { known: own.clone(), own, orphans: true };
        let areas = Areas::of(results).filter(|_| !self.areas_are_given);
        self.take((&data, results), part, areas).map_err(|e| e.context(format_args!("picture {id}")))
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
        let own = Positions::ascending(shard.images(gt).map(|id| id.0));
        self.take((gt, dt), Part { own, known, orphans: index == 0 }, Areas::of(dt))
    }

    /// Adds the pictures of a part, whose areas come from `areas`.
    fn take(
        &mut self,
        (gt, dt): (&Dataset, &[ResultRecord]),
        Part { own, known, orphans }: Part,
        areas: Option<Areas>,
    ) -> Result<()> {
        merge::refuse_overlap(&self.pictures, own.ids.iter().copied(), own.len())?;
        let areas = merge::one_area_rule(self.areas, areas)?;
        let wanted = self.params.img_ids.as_deref().filter(|ids| !ids.is_empty());
        let wanted = wanted.map(|ids| Positions::ascending(ids.iter().map(|i| i.0)));
        let is_wanted = |id: &i64| wanted.as_ref().is_none_or(|wanted| wanted.get(*id).is_some());
        let evaluated = Positions::ascending(own.ids.iter().copied().filter(is_wanted));
        let select = |images, quirks| Selection { areas, ..self.select(images, known.clone(), quirks) };
        let selection = select(evaluated, self.params.quirks).federated(gt, &self.params)?;

        let mut funnel = Funnel::default();
        let (params, rules) = (&self.params, &self.rules);
        let matched = matched::records(gt, dt, params, (&selection, rules), &mut funnel)?;
        let odd =
            matched.iter().filter(|m| m.id_zero && self.params.tells_quirks()).map(|m| m.image as usize);
        let odd = Positions::ascending(odd.map(|at| selection.images.ids[at]));
        let quirky = select(odd, true);
        let again = match quirky.images.len() {
            0 => Vec::new(),
            _ => matched::records(gt, dt, params, (&quirky, rules), &mut Funnel::default())?,
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
        self.areas = areas;
        count::add(&mut self.funnel, funnel);
        Ok(())
    }

    /// The selection for matching, which needs no names.
    pub(super) fn select(&self, images: Positions, known_images: Positions, quirks: bool) -> Selection {
        Selection {
            images,
            known_images,
            categories: self.selection.categories.clone(),
            known_categories: self.selection.known_categories.clone(),
            use_cats: self.params.use_cats,
            quirks,
            areas: self.areas,
            iou_type: self.params.iou_type,
            names: Vec::new(),
            frequencies: Vec::new(),
            federation: None,
        }
    }
}
