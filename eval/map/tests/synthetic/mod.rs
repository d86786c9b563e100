//! Random data sets with everything that makes an evaluation hard to split: equal scores, crowds, pictures without
//! objects or detections, records that are dropped, odd ids.
use care_map::{IouType, Params};
use care_types::coco_json::{Annotation, Category, Dataset, Image, ResultRecord};
use care_types::{BoxXywh, CategoryId, ImageId, Rle, Segmentation};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From 0 to n - 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        (1..list.len()).rev().for_each(|i| list.swap(i, self.below(i + 1)));
    }

    fn bbox(&mut self, side: f64) -> BoxXywh {
        let mut within = |high: f64| (self.unit() * high).floor();
        let (x, y) = (within(side / 2.0), within(side / 2.0));
        BoxXywh { x, y, w: 1.0 + within(side / 2.0), h: 1.0 + within(side / 2.0) }
    }

    fn near(&mut self, b: BoxXywh) -> BoxXywh {
        let mut by = |v: f64| ((self.unit() - 0.5) * 0.4 * v).round();
        BoxXywh { x: (b.x + by(b.w)).max(0.0), y: (b.y + by(b.h)).max(0.0), w: b.w, h: b.h }
    }
}

pub(crate) struct Data {
    pub(crate) gt: Dataset,
    pub(crate) dt: Vec<ResultRecord>,
    pub(crate) params: Params,
}

/// Sizes of a data set.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) pictures: usize,
    pub(crate) categories: usize,
    pub(crate) objects: usize,
    pub(crate) detections: usize,
    pub(crate) side: u32,
}

pub(crate) const SMALL: Sizes = Sizes { pictures: 6, categories: 3, objects: 4, detections: 8, side: 150 };

pub(crate) fn data(seed: u64, sizes: Sizes) -> Data {
    let mut r = Random::new(seed);
    let segm = seed % 3 == 2;
    let mut data = Data {
        gt: Dataset::default(),
        dt: Vec::new(),
        params: Params::new(if segm { IouType::Segm } else { IouType::Bbox }),
    };
    data.params.use_cats = !seed.is_multiple_of(5);
    let with_box = !segm || seed.is_multiple_of(2);
    let category = |c: usize| CategoryId(c as i64 * 3 + 1);
    data.gt.categories = (0..sizes.categories)
        .map(|c| Category { id: category(c), name: format!("c{c}"), ..Default::default() })
        .collect();
    for picture in 0..sizes.pictures {
        let id = ImageId(picture as i64 * 7 - 14);
        let side = sizes.side;
        data.gt.images.push(Image { id, width: side, height: side, ..Default::default() });
        let mut boxes = Vec::new();
        for _ in 0..r.below(2 * sizes.objects + 1) {
            let (bbox, category) = (r.bbox(side.into()), category(r.below(sizes.categories)));
            boxes.push((bbox, category));
            data.gt.annotations.push(Annotation {
                id: 10_000 + data.gt.annotations.len() as i64 * 31,
                image_id: id,
                category_id: category,
                bbox: Some(bbox),
                area: r.chance(0.8).then(|| bbox.area() * 0.7),
                segmentation: segm.then(|| Segmentation::Rle(mask(bbox, side))),
                iscrowd: r.chance(0.1),
                ignore: r.chance(0.1),
                ..Default::default()
            });
        }
        for _ in 0..r.below(2 * sizes.detections + 1) {
            let random = boxes.is_empty() || r.chance(0.4);
            let (bbox, category) = if random {
                (r.bbox(side.into()), category(r.below(sizes.categories)))
            } else {
                let (bbox, category) = boxes[r.below(boxes.len())];
                (r.near(bbox), category)
            };
            // One digit: many ties, within and between pictures.
            let score = if r.chance(0.7) { (r.unit() * 10.0).round() / 10.0 } else { r.unit() };
            data.dt.push(ResultRecord {
                image_id: id,
                category_id: category,
                bbox: with_box.then_some(bbox),
                segmentation: segm.then(|| mask(bbox, side)),
                score,
                ..Default::default()
            });
        }
    }
    r.shuffle(&mut data.gt.annotations);
    r.shuffle(&mut data.dt);
    data
}

fn mask(b: BoxXywh, side: u32) -> Rle {
    let ring = [b.x, b.y, b.x, b.y + b.h, b.x + b.w, b.y + b.h, b.x + b.w, b.y];
    Rle::from_polygon(&ring, side, side).unwrap()
}

/// The records of one picture.
#[allow(dead_code, reason = "not every test takes pictures one by one")]
pub(crate) fn picture(data: &Data, image: &Image) -> (Vec<Annotation>, Vec<ResultRecord>) {
    let objects = data.gt.annotations.iter().filter(|a| a.image_id == image.id).cloned().collect();
    (objects, data.dt.iter().filter(|r| r.image_id == image.id).cloned().collect())
}
