//! Which detection is which mistake, picture by picture.
use super::TideKind;
use crate::explain::scene::{ByImage, Facts, Scene};
use crate::shape::Shape;
use rayon::prelude::*;

/// What became of a detection.
pub(super) struct Outcome {
    pub(super) category: u32,
    pub(super) score: f64,
    /// `None` for a hit.
    pub(super) mistake: Option<TideKind>,
    /// Whether it counts as a false positive while it is not corrected; not so when a crowd absorbs it.
    pub(super) counted: bool,
    /// The category in which correcting the mistake makes it a hit; `None` when it would only go away.
    pub(super) becomes: Option<u32>,
}

/// What became of an object.
pub(super) struct ObjectOutcome {
    pub(super) category: u32,
    /// Whether a detection found it.
    pub(super) used: bool,
    /// Whether a mistake would find it when corrected.
    pub(super) usable: bool,
}

/// One picture.
#[derive(Default)]
pub(super) struct PictureOutcome {
    /// By falling score, ties in file order.
    pub(super) detections: Vec<Outcome>,
    pub(super) objects: Vec<ObjectOutcome>,
}

/// All pictures, in the order of the ground truth's file.
pub(super) fn outcomes<S: Shape>(
    scene: &Scene<S>,
    facts: &Facts,
    [iou, background_iou]: [f64; 2],
) -> Vec<PictureOutcome> {
    let truths = ByImage::new(&scene.truths.keys, facts.images.len());
    let found = ByImage::new(&scene.found.keys, facts.images.len());
    let picture = |&image: &u32| {
        let mut best: Vec<u32> = found.get(image).to_vec();
        let score = |d: u32| scene.found.items[d as usize].score;
        best.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
        best.truncate(facts.max_dets);
        Picture::new(scene, truths.get(image), best).outcome(iou, background_iou)
    };
    facts.file_order.par_iter().map(picture).collect()
}

struct Picture<'a, S> {
    scene: &'a Scene<S>,
    found: Vec<u32>,
    /// Crowds excluded, in file order.
    objects: Vec<u32>,
    crowds: Vec<u32>,
    /// IoU of each detection with each object.
    ious: Vec<f64>,
}

impl<'a, S: Shape> Picture<'a, S> {
    fn new(scene: &'a Scene<S>, truths: &[u32], found: Vec<u32>) -> Self {
        let (crowds, objects): (Vec<u32>, Vec<u32>) =
            truths.iter().partition(|&&t| scene.truths.items[t as usize].crowd);
        let shape = |d: u32| &scene.found.items[d as usize].shape;
        let with =
            |d: u32| objects.iter().map(move |&t| shape(d).iou(&scene.truths.items[t as usize].shape, false));
        let ious = found.iter().flat_map(|&d| with(d)).collect();
        Picture { scene, found, objects, crowds, ious }
    }

    fn category(&self, rank: usize) -> u32 {
        self.scene.found.keys[self.found[rank] as usize].category
    }

    fn object_category(&self, object: usize) -> u32 {
        self.scene.truths.keys[self.objects[object] as usize].category
    }

    fn iou(&self, rank: usize, object: usize) -> f64 {
        self.ious[rank * self.objects.len() + object]
    }

    /// The largest IoU among the objects that are `wanted`, the first of equals; 0 and the first object without any.
    fn nearest(&self, rank: usize, wanted: impl Fn(usize) -> bool) -> (usize, f64) {
        let mut nearest = (0, 0.0);
        for object in (0..self.objects.len()).filter(|&o| wanted(o)) {
            let iou = self.iou(rank, object);
            if iou > nearest.1 {
                nearest = (object, iou);
            }
        }
        nearest
    }

    fn outcome(&self, iou: f64, background_iou: f64) -> PictureOutcome {
        let mut used = vec![false; self.objects.len()];
        let hits: Vec<bool> = (0..self.found.len())
            .map(|rank| {
                let same = |o: usize| !used[o] && self.object_category(o) == self.category(rank);
                let (object, best) = self.nearest(rank, same);
                let hit = !self.objects.is_empty() && best >= iou;
                if hit {
                    used[object] = true;
                }
                hit
            })
            .collect();
        let mut usable = vec![false; self.objects.len()];
        let mut detections = Vec::with_capacity(self.found.len());
        for (rank, hit) in hits.into_iter().enumerate() {
            let (mut mistake, mut becomes) = (None, None);
            if !hit {
                let (kind, object) = self.mistake(rank, &used, [iou, background_iou]);
                mistake = Some(kind);
                // Only the highest score among those that would find an object finds it.
                if let Some(object) = object.filter(|&o| !used[o] && !std::mem::replace(&mut usable[o], true))
                {
                    let loc = kind == TideKind::Loc;
                    becomes = Some(if loc { self.category(rank) } else { self.object_category(object) });
                }
            }
            let counted = hit || !self.is_absorbed(rank, iou);
            let score = self.scene.found.items[self.found[rank] as usize].score;
            detections.push(Outcome { category: self.category(rank), score, mistake, counted, becomes });
        }
        let object = |o: usize| (self.object_category(o), used[o], usable[o]);
        let objects = (0..self.objects.len()).map(object);
        let objects = objects.map(|(category, used, usable)| ObjectOutcome { category, used, usable });
        PictureOutcome { detections, objects: objects.collect() }
    }

    fn is_absorbed(&self, rank: usize, iou: f64) -> bool {
        let shape = &self.scene.found.items[self.found[rank] as usize].shape;
        self.crowds.iter().map(|&c| c as usize).any(|crowd| {
            self.scene.truths.keys[crowd].category == self.category(rank)
                && shape.iou(&self.scene.truths.items[crowd].shape, true) > iou
        })
    }

    /// The type of mistake, and for Cls and Loc the object that is meant.
    fn mistake(&self, rank: usize, used: &[bool], [iou, background]: [f64; 2]) -> (TideKind, Option<usize>) {
        if self.objects.is_empty() {
            return (TideKind::Bkg, None);
        }
        let same = |o: usize| self.object_category(o) == self.category(rank);
        let (object, own) = self.nearest(rank, same);
        if background <= own && own <= iou {
            return (TideKind::Loc, Some(object));
        }
        let (object, other) = self.nearest(rank, |o| !same(o));
        if other >= iou {
            return (TideKind::Cls, Some(object));
        }
        if self.nearest(rank, |o| same(o) && used[o]).1 >= iou {
            return (TideKind::Dupe, None);
        }
        if own.max(other) <= background {
            return (TideKind::Bkg, None);
        }
        (TideKind::Both, None)
    }
}
