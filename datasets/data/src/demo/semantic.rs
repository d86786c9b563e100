//! The demo pictures with a class for every pixel: the kinds of object, and the textures behind them.

use care_types::{ImageId, LabelMap, SegTarget, Size};

use super::scene::Scene;
use super::{CATEGORIES, DemoSplit, SEED};
use crate::Result;
use crate::semantic::{SegDataset, SegExample};

/// What lies behind the objects, in the order of `ground::Texture`.
const GROUNDS: [&str; 4] = ["gradient", "cloud", "tiles", "stripes"];

/// A split of the demo set with label maps; the pictures are those of [`super::DemoDataset`], byte for byte.
#[derive(Debug)]
pub struct DemoSemantic {
    split: DemoSplit,
    labels: LabelMap,
}

impl DemoSemantic {
    /// A split of the set.
    pub fn new(split: DemoSplit) -> Self {
        let names: Vec<&str> = CATEGORIES.iter().map(|c| c.1).chain(GROUNDS).collect();
        Self { split, labels: LabelMap::from_names(&names, 0) }
    }

    /// Which split it is.
    pub fn split(&self) -> DemoSplit {
        self.split
    }
}

impl SegDataset for DemoSemantic {
    fn len(&self) -> usize {
        self.split.len()
    }

    fn example(&self, i: usize) -> Result<SegExample> {
        assert!(i < self.len(), "picture {i} of {}", self.len());
        let scene = Scene::draw(SEED, self.split.number(), i as u64);
        let (width, height) = scene.picture.dimensions();
        let class = |(at, &owner): (usize, &u8)| match usize::from(owner) {
            0 => {
                let (x, y) = (at as u32 % width, at as u32 / width);
                (CATEGORIES.len() + scene.ground.kind(x as i32, y as i32)) as u8
            }
            k => scene.objects[k - 1].class as u8,
        };
        let classes = scene.owner.iter().enumerate().map(class).collect();
        let stem = format!("{:06}", i + 1);
        Ok(SegExample {
            id: ImageId(i as i64 + 1),
            file_name: self.file_name(i),
            stem,
            target: SegTarget::new(Size { width, height }, classes)?,
            picture: scene.picture,
        })
    }

    fn labels(&self) -> &LabelMap {
        &self.labels
    }

    fn file_name(&self, i: usize) -> String {
        format!("{:06}.png", i + 1)
    }

    fn fingerprint(&self) -> String {
        format!("demo/{}", self.split.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;
    use crate::demo::DemoDataset;

    #[test]
    fn pictures_are_the_same_and_every_pixel_has_a_class() {
        let (semantic, objects) = (DemoSemantic::new(DemoSplit::Val), DemoDataset::new(DemoSplit::Val));
        assert_eq!((semantic.len(), semantic.labels().len()), (objects.len(), 10));
        let mut seen = [0u64; 256];
        for i in 0..20 {
            let (a, b) = (semantic.example(i).unwrap(), objects.example(i).unwrap());
            assert_eq!((&a.picture, a.id, &a.file_name), (&b.picture, b.id, &b.file_name));
            for (class, mask) in b.target.classes.iter().zip(&b.target.masks) {
                let mask = mask.as_ref().unwrap().to_rle(a.target.size()).unwrap().to_mask();
                let inside = mask.iter().zip(a.target.classes()).filter(|(m, _)| **m != 0);
                assert!(
                    inside.clone().count() > 0 && inside.clone().all(|(_, c)| usize::from(*c) == class.0)
                );
            }
            a.target.counts().iter().zip(&mut seen).for_each(|(n, sum)| *sum += n);
        }
        assert!(seen[..10].iter().all(|&n| n > 0) && seen[10..].iter().all(|&n| n == 0), "{seen:?}");
    }
}
