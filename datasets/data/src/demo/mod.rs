//! `--data demo`: a small synthetic COCO-format set, drawn on the spot. It is not COCO and says so.
//!
//! Six kinds of object (disc, ring, square, triangle, star, cross) of all sizes, turned, shaded, partly hidden, on
//! textured backgrounds with clutter; colours say nothing about the class. Drawn with integers only, so that the
//! pictures and annotations are the same bytes on every machine: the weights that ship with this project were trained
//! on them, and a test pins their SHA-256. Any picture can be drawn without the others.

mod color;
mod dice;
mod ground;
mod scene;
mod semantic;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use care_types::coco_json::{self, Annotation, Category, Image};
use care_types::{BoxXywh, CategoryId, DetTarget, ImageId, LabelMap, Rle, Segmentation, TargetRules};
use image::RgbImage;
use rayon::prelude::*;
use serde_json::json;

use crate::{Dataset, Error, Example, Result};
use scene::Scene;
pub use semantic::DemoSemantic;
pub use write::{write, write_scenes};

/// Every picture follows from this and its number.
const SEED: u64 = 20_240_613;

/// Class names in class order with their category ids. The ids have holes and do not start at 1, on purpose: like
/// COCO's, so that a confusion of class and category shows.
const CATEGORIES: [(i64, &str); 6] =
    [(2, "disc"), (3, "ring"), (5, "square"), (7, "triangle"), (11, "star"), (13, "cross")];

/// The splits of the demo set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoSplit {
    /// 600 pictures.
    Train,
    /// 100 pictures.
    Val,
}

impl DemoSplit {
    /// Both.
    pub const ALL: [DemoSplit; 2] = [DemoSplit::Train, DemoSplit::Val];

    /// `train` or `val`.
    pub fn name(self) -> &'static str {
        match self {
            DemoSplit::Train => "train",
            DemoSplit::Val => "val",
        }
    }

    fn len(self) -> usize {
        match self {
            DemoSplit::Train => 600,
            DemoSplit::Val => 100,
        }
    }

    fn number(self) -> u64 {
        match self {
            DemoSplit::Train => 1,
            DemoSplit::Val => 2,
        }
    }
}

impl std::str::FromStr for DemoSplit {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| Error::config(format!("the demo set has no split {name:?}; it has train, val")))
    }
}

/// One split of the demo set. Nothing is drawn before it is asked for.
#[derive(Debug)]
pub struct DemoDataset {
    split: DemoSplit,
    labels: LabelMap,
}

/// One picture of the demo set with its COCO records.
#[derive(Clone, Debug)]
pub struct DemoExample {
    /// 8-bit RGB.
    pub picture: RgbImage,
    /// Its record.
    pub image: Image,
    /// Its objects, from back to front: boxes, areas and masks of what can be seen of them.
    pub annotations: Vec<Annotation>,
}

impl DemoDataset {
    /// A split of the set.
    pub fn new(split: DemoSplit) -> Self {
        Self { split, labels: LabelMap::from_categories(&categories()) }
    }

    /// Which split it is.
    pub fn split(&self) -> DemoSplit {
        self.split
    }

    /// The records of the whole split, for scoring. Draws every picture (some milliseconds each, in parallel).
    ///
    /// # Errors
    /// `Internal` if a mask could not be encoded (a bug).
    pub fn ground_truth(&self) -> Result<coco_json::Dataset> {
        self.records(self.len())
    }

    /// The records of the first `count` pictures.
    fn records(&self, count: usize) -> Result<coco_json::Dataset> {
        let drawn: Vec<(Image, Vec<Annotation>)> = (0..count)
            .into_par_iter()
            .map(|i| self.draw(i).map(|e| (e.image, e.annotations)))
            .collect::<Result<_>>()?;
        let mut truth = coco_json::Dataset {
            info: json!({"description": format!("care demo set, {}: synthetic, not COCO", self.split.name())}),
            categories: categories(),
            ..Default::default()
        };
        for (image, annotations) in drawn {
            truth.images.push(image);
            truth.annotations.extend(annotations);
        }
        Ok(truth)
    }

    /// Draws picture `i`.
    ///
    /// # Errors
    /// `Internal` if a mask could not be encoded (a bug).
    ///
    /// # Panics
    /// When `i` is not below [`Dataset::len`].
    pub fn draw(&self, i: usize) -> Result<DemoExample> {
        assert!(i < self.len(), "picture {i} of {}", self.len());
        let scene = Scene::draw(SEED, self.split.number(), i as u64);
        let (width, height) = scene.picture.dimensions();
        let id = ImageId(i as i64 + 1);
        let image = Image { id, width, height, file_name: format!("{:06}.png", id.0), ..Default::default() };
        let annotations = annotate(&scene, id)?;
        Ok(DemoExample { picture: scene.picture, image, annotations })
    }
}

impl Dataset for DemoDataset {
    fn len(&self) -> usize {
        self.split.len()
    }

    fn example(&self, i: usize) -> Result<Example> {
        let DemoExample { picture, image, annotations } = self.draw(i)?;
        let target: DetTarget = TargetRules.target(&image, &annotations, &self.labels);
        Ok(Example { id: image.id, file_name: image.file_name, picture, target })
    }

    fn labels(&self) -> &LabelMap {
        &self.labels
    }
}

fn categories() -> Vec<Category> {
    let category = |(id, name): (i64, &str)| Category {
        id: CategoryId(id),
        name: name.to_owned(),
        supercategory: Some("shape".to_owned()),
        ..Default::default()
    };
    CATEGORIES.map(category).into()
}

/// The visible part of every object of a scene.
fn annotate(scene: &Scene, image_id: ImageId) -> Result<Vec<Annotation>> {
    let (width, height) = scene.picture.dimensions();
    let mut annotations = Vec::with_capacity(scene.objects.len());
    for (k, object) in scene.objects.iter().enumerate() {
        let mask: Vec<u8> = scene.owner.iter().map(|&owner| u8::from(usize::from(owner) == k + 1)).collect();
        let rle = Rle::from_mask(&mask, height, width)
            .map_err(|e| Error::internal(format!("demo picture {image_id}: {e}")))?;
        annotations.push(Annotation {
            id: image_id.0 * 100 + k as i64,
            image_id,
            category_id: CategoryId(CATEGORIES[object.class].0),
            bbox: Some(bounds(&mask, width as usize)),
            area: Some(f64::from(rle.area())),
            segmentation: Some(Segmentation::Rle(rle)),
            ..Default::default()
        });
    }
    Ok(annotations)
}

/// The smallest box around the pixels of a mask, in whole pixels.
fn bounds(mask: &[u8], width: usize) -> BoxXywh {
    let (mut x0, mut y0, mut x1, mut y1) = (usize::MAX, usize::MAX, 0, 0);
    for (i, _) in mask.iter().enumerate().filter(|(_, v)| **v != 0) {
        let (x, y) = (i % width, i / width);
        (x0, y0) = (x0.min(x), y0.min(y));
        (x1, y1) = (x1.max(x + 1), y1.max(y + 1));
    }
    let [x0, y0, x1, y1] = [x0.min(x1), y0.min(y1), x1, y1].map(|v| v as f64);
    BoxXywh::new(x0, y0, x1 - x0, y1 - y0)
}
