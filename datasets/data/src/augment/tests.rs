//! Pixels and targets must move together, whatever is drawn.

use super::*;
use crate::Example;
use care_types::{BoxXyxy, ClassIndex, ImageId, LabelMap, Rle, Segmentation};

/// Dark pictures with one bright rectangle each, which is the object: box, mask and pixels can be compared.
#[derive(Default)]
struct Rectangles(LabelMap);

fn rectangle(i: usize) -> (Size, (u32, u32, u32, u32)) {
    let size = [Size::new(160, 120), Size::new(90, 140), Size::new(128, 128)][i % 3];
    let (x, y) = (10 + 7 * (i as u32 % 5), 12 + 5 * (i as u32 % 7));
    (size, (x, y, 40, 30))
}

impl Dataset for Rectangles {
    fn len(&self) -> usize {
        12
    }

    fn example(&self, i: usize) -> Result<Example> {
        let (size, (x, y, w, h)) = rectangle(i);
        let inside = |px: u32, py: u32| (x..x + w).contains(&px) && (y..y + h).contains(&py);
        let picture = RgbImage::from_fn(size.width, size.height, |px, py| {
            image::Rgb(if inside(px, py) { [250; 3] } else { [20; 3] })
        });
        let bits: Vec<u8> = picture.pixels().map(|p| u8::from(p.0[0] > 128)).collect();
        let mask = if i.is_multiple_of(2) {
            Segmentation::Rle(Rle::from_mask(&bits, size.height, size.width)?)
        } else {
            let [x0, y0, x1, y1] = [x, y, x + w, y + h].map(f64::from);
            Segmentation::Polygons(vec![vec![x0, y0, x1, y0, x1, y1, x0, y1]])
        };
        let mut target = DetTarget::default();
        let [x0, y0, x1, y1] = [x, y, x + w, y + h].map(|v| v as f32);
        target.push(BoxXyxy::new(x0, y0, x1, y1), ClassIndex(i % 3), false, Some(mask));
        Ok(Example { id: ImageId(i as i64), file_name: format!("{i}.png"), picture, target })
    }

    fn labels(&self) -> &LabelMap {
        &self.0
    }
}

fn preprocess() -> Preprocess {
    let scale = Scale { long: 96, short: 96 };
    Preprocess { mean: [0.0; 3], std: [1.0; 3], scale, ..Preprocess::default() }
}

/// Bright pixels of a sample.
fn bright(sample: &Sample) -> Vec<bool> {
    sample.pixels.chunks_exact(3).map(|p| p[0] > 128.0).collect()
}

/// Boxes and masks against the bright pixels: every object's pixels are bright, every bright pixel is in a box (but for the
/// blur of the resize, one pixel).
fn check(s: &TrainSample, what: &str) {
    let padded = s.sample.geometry.padded;
    let (w, bright) = (padded.width as usize, bright(&s.sample));
    let at = |i: usize| ((i % w) as f32 + 0.5, (i / w) as f32 + 0.5);
    let inside = |b: &BoxXyxy, (x, y): (f32, f32), margin: f32| {
        x > b.x0 - margin && x < b.x1 + margin && y > b.y0 - margin && y < b.y1 + margin
    };
    for (i, &is_bright) in bright.iter().enumerate() {
        let p = at(i);
        if is_bright {
            assert!(
                s.target.boxes.iter().any(|b| inside(b, p, 1.0)),
                "{what}: a bright pixel outside, {p:?}"
            );
        } else {
            assert!(!s.target.boxes.iter().any(|b| inside(b, p, -1.5)), "{what}: a dark pixel inside, {p:?}");
        }
    }
    let resized = s.sample.geometry.resized;
    for (b, mask) in s.target.boxes.iter().zip(&s.target.masks) {
        let found = mask.as_ref().unwrap().to_rle(resized).unwrap().bbox();
        let ends = [found.x, found.y, found.x + found.w, found.y + found.h];
        let apart = ends.iter().zip(b.to_array()).map(|(m, b)| (m - f64::from(b)).abs()).fold(0.0, f64::max);
        assert!(apart <= 1.01, "{what}: mask {found:?} and box {b:?}");
        assert!(
            b.x0 >= 0.0 && b.x1 <= resized.width as f32 && b.y1 <= resized.height as f32,
            "{what}: {b:?}"
        );
    }
}

fn samples(augment: &Augment) -> impl Iterator<Item = TrainSample> {
    let keys = (0..12).flat_map(|i| (0..6).map(move |epoch| (i, epoch)));
    keys.map(move |(i, epoch)| {
        let set = Rectangles::default();
        let all: Vec<usize> = (0..set.len()).collect();
        train_sample((&set, &all), i, augment, &preprocess(), (1, epoch)).unwrap()
    })
}

#[test]
fn objects_move_with_their_pixels() {
    let crop = Crop { probability: 1.0, min_overlap: vec![0.0, 0.3], min_size: 0.4 };
    let scales = [64, 96, 128].map(|s| Scale { long: s, short: s }).to_vec();
    let table = [
        ("plain", Augment::default()),
        ("flip", Augment { flip: 1.0, ..Augment::default() }),
        ("flip_vertical", Augment { flip_vertical: 1.0, ..Augment::default() }),
        ("transpose", Augment { transpose: 1.0, flip: 0.5, flip_vertical: 0.5, ..Augment::default() }),
        ("scales", Augment { scales, flip: 0.5, ..Augment::default() }),
        ("crop", Augment { crop: Some(crop), flip: 0.5, ..Augment::default() }),
    ];
    for (what, augment) in table {
        augment.check().unwrap();
        let all: Vec<TrainSample> = samples(&augment).collect();
        all.iter().for_each(|s| check(s, what));
        assert!(all.iter().all(|s| s.target.len() == 1), "{what}: lost an object");
    }
}

#[test]
fn mosaics_hold_the_objects_of_four_pictures() {
    let augment = Augment { mosaic: Some(Mosaic { probability: 1.0 }), flip: 0.5, ..Augment::default() };
    let all: Vec<TrainSample> = samples(&augment).collect();
    let mut objects = 0;
    for s in &all {
        let resized = s.sample.geometry.resized;
        for (b, mask) in s.target.boxes.iter().zip(&s.target.masks) {
            let found = mask.as_ref().unwrap().to_rle(resized).unwrap().bbox();
            assert!((found.w - f64::from(b.width())).abs() <= 2.0, "{found:?} {b:?}");
        }
        objects += s.target.len();
    }
    assert!(objects > 2 * all.len(), "{objects} objects in {} mosaics", all.len());
}

#[test]
fn a_sample_follows_from_its_name_alone() {
    let crop = Crop { probability: 0.5, min_overlap: vec![0.1], min_size: 0.5 };
    let augment = Augment {
        flip: 0.5,
        crop: Some(crop),
        jitter: Some(Jitter { brightness: 0.3, contrast: 0.3, saturation: 0.3, hue: 0.1 }),
        mosaic: Some(Mosaic { probability: 0.3 }),
        ..Augment::default()
    };
    let (a, b): (Vec<_>, Vec<_>) = (samples(&augment).collect(), samples(&augment).collect());
    assert!(a == b);
    assert!(a[0] != a[1], "epochs differ");
}

#[test]
fn mirrored_twice_is_the_picture_again() {
    let once = Placement { x: Axis::mirrored(100), y: Axis::scaled(1.0) };
    let b = BoxXyxy::new(3.0, 4.0, 30.0, 40.0);
    assert_eq!(once.bbox(b), BoxXyxy::new(70.0, 4.0, 97.0, 40.0));
    assert_eq!(once.then(once).bbox(b), b);
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let flip = Augment { flip: 1.5, ..Augment::default() };
    assert!(flip.check().unwrap_err().to_string().contains("augment.flip"));
    let crop = Crop { probability: 0.5, min_overlap: vec![], min_size: 0.5 };
    assert!(Augment { crop: Some(crop), ..Augment::default() }.check().is_err());
}
