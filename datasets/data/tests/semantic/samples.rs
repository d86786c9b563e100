//! Pixels and labels must move together, whatever is drawn.

use care_data::rng::rng;
use care_data::semantic::{
    Photometric, RandomCrop, RandomResize, SegAugment, SegSample, SegTarget, train_sample,
};
use care_data::{Preprocess, Scale};
use care_types::Size;
use image::RgbImage;

use crate::folder::Folder;

const LEVELS: [u8; 4] = [10, 80, 150, 220];

/// Four classes in blocks whose grey level says which, with some ignored pixels that look like class 3.
fn scene(size: Size) -> (RgbImage, SegTarget) {
    let class = |x: u32, y: u32| ((x / 23) + 2 * (y / 17)) as u8 % 4;
    let picture =
        RgbImage::from_fn(size.width, size.height, |x, y| image::Rgb([LEVELS[usize::from(class(x, y))]; 3]));
    let label = |i: u32| match (i % size.width, i / size.width) {
        (x, y) if class(x, y) == 3 && x > size.width / 2 => SegTarget::IGNORE,
        (x, y) => class(x, y),
    };
    (picture, SegTarget::new(size, (0..size.area() as u32).map(label).collect()).unwrap())
}

fn preprocess() -> Preprocess {
    Preprocess { mean: [5.0; 3], std: [1.0; 3], ..Preprocess::default() }
}

fn augment(size: [u32; 2], photometric: Option<Photometric>) -> SegAugment {
    let resize = RandomResize { scale: Some(Scale { long: 400, short: 100 }), ratio: [0.5, 2.0] };
    SegAugment {
        resize,
        crop: RandomCrop { size, cat_max_ratio: 0.75 },
        photometric,
        ..SegAugment::default()
    }
}

fn samples(augment: &SegAugment) -> Vec<SegSample> {
    let sizes = [Size::new(160, 120), Size::new(90, 140), Size::new(128, 128)];
    let each = (0..60).map(|i| {
        let (picture, target) = scene(sizes[i as usize % 3]);
        augment.apply(&picture, &target, &preprocess(), |purpose| rng(3, 1, i, purpose))
    });
    each.collect()
}

#[test]
fn labels_stay_on_their_pixels() {
    let (mut right, mut all, mut ignored, mut padding) = (0, 0, 0, 0);
    let still = augment([96, 80], None);
    let turning = SegAugment { flip_vertical: 0.5, transpose: 0.5, ..still };
    for sample in samples(&still).into_iter().chain(samples(&turning)) {
        assert_eq!(sample.size, Size::new(96, 80));
        assert_eq!((sample.label.len(), sample.pixels.len()), (96 * 80, 3 * 96 * 80));
        for (pixel, &label) in sample.pixels.chunks_exact(3).zip(&sample.label) {
            let level = pixel[0] + 5.0;
            match label {
                SegTarget::IGNORE if pixel[0] == 0.0 => padding += 1,
                // where blocks meet, a pixel is between two levels
                SegTarget::IGNORE => ignored += 1,
                class => {
                    all += 1;
                    right += usize::from((level - f32::from(LEVELS[usize::from(class)])).abs() < 30.0);
                }
            }
        }
    }
    assert!(right as f64 > 0.9 * all as f64, "{right} of {all}");
    assert!(ignored > 1000 && padding > 1000, "{ignored} ignored, {padding} padding");
}

#[test]
fn small_pictures_are_padded_right_and_below_after_turns_and_mirrors() {
    let (picture, target) = scene(Size::new(40, 20));
    let scale = Scale { long: 40, short: 20 };
    for turn in 0..8 {
        let [flip, flip_vertical, transpose] = [1, 2, 4].map(|bit| f64::from(u8::from(turn & bit != 0)));
        let resize = RandomResize { scale: Some(scale), ratio: [1.0, 1.0] };
        let augment = SegAugment { resize, flip, flip_vertical, transpose, ..augment([300, 300], None) };
        let sample = augment.apply(&picture, &target, &preprocess(), |purpose| rng(0, 0, 0, purpose));
        let (width, height) = if transpose > 0.0 { (20, 40) } else { (40, 20) };
        for (i, (pixel, &label)) in sample.pixels.chunks_exact(3).zip(&sample.label).enumerate() {
            let (x, y) = (i as u32 % 300, i as u32 / 300);
            if x >= width || y >= height {
                assert_eq!((pixel, label), (&[0.0; 3][..], 255), "turn {turn}: {x},{y}");
                continue;
            }
            let (x0, y0) = (
                if flip > 0.0 { width - 1 - x } else { x },
                if flip_vertical > 0.0 { height - 1 - y } else { y },
            );
            let (x0, y0) = if transpose > 0.0 { (y0, x0) } else { (x0, y0) };
            assert_eq!(pixel[0] + 5.0, f32::from(picture.get_pixel(x0, y0).0[0]), "turn {turn}: {x},{y}");
            assert_eq!(label, target.at(x0, y0).map_or(255, |c| c.0 as u8), "turn {turn}: {x},{y}");
        }
    }
}

#[test]
fn no_class_fills_a_crop_where_that_can_be_helped() {
    let most = |s: &SegSample| {
        let mut counts = [0usize; 256];
        s.label.iter().for_each(|&l| counts[usize::from(l)] += 1);
        let total = counts[..255].iter().sum::<usize>();
        *counts[..255].iter().max().unwrap() as f64 / total as f64
    };
    let limited = samples(&augment([20, 20], None));
    let free =
        SegAugment { crop: RandomCrop { size: [20, 20], cat_max_ratio: 1.0 }, ..augment([20, 20], None) };
    let free = samples(&free);
    let over = |all: &[SegSample]| all.iter().filter(|s| most(s).is_nan() || most(s) >= 0.75).count();
    assert!(over(&limited) * 4 < over(&free) && over(&free) > 10, "{} {}", over(&limited), over(&free));
}

#[test]
fn a_sample_follows_from_its_name_alone() {
    let augment = augment([64, 64], Some(Photometric::default()));
    let dir = Folder::new().text("dataset.toml", "classes = [\"a\", \"b\", \"c\", \"d\"]");
    for name in ["x", "y"] {
        let (picture, target) = scene(Size::new(160, 120));
        for folder in ["images", "masks"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        picture.save(dir.path().join(format!("images/{name}.png"))).unwrap();
        let label = image::GrayImage::from_raw(160, 120, target.into_classes()).unwrap();
        label.save(dir.path().join(format!("masks/{name}.png"))).unwrap();
    }
    let set = dir.open().set;
    let draw = |i, key| train_sample(&set, i, &augment, &preprocess(), key).unwrap();
    assert_eq!(draw(1, (3, 4)), draw(1, (3, 4)));
    let others = [draw(0, (3, 4)), draw(1, (3, 5)), draw(1, (4, 4))];
    assert!(others.iter().all(|o| o.pixels != draw(1, (3, 4)).pixels));
    assert_eq!((draw(1, (3, 4)).index, draw(0, (3, 4)).index), (1, 0));
}

#[test]
fn settings_survive_their_json_and_mistakes_are_named() {
    let json = serde_json::to_string(&SegAugment::default()).unwrap();
    assert_eq!(serde_json::from_str::<SegAugment>(&json).unwrap(), SegAugment::default());
    assert!(serde_json::from_str::<SegAugment>("{\"crop\": {\"cat_max_ration\": 0.5}}").is_err());
    assert!(SegAugment::default().check().is_ok());
    let base = SegAugment::default();
    let table = [
        ("augment.flip", SegAugment { flip: 1.5, ..base }),
        ("augment.flip_vertical", SegAugment { flip_vertical: -0.1, ..base }),
        ("augment.transpose", SegAugment { transpose: f64::NAN, ..base }),
        ("cat_max_ratio", SegAugment { crop: RandomCrop { cat_max_ratio: 0.0, ..base.crop }, ..base }),
        ("crop.size", SegAugment { crop: RandomCrop { size: [512, 0], ..base.crop }, ..base }),
        ("ratio", SegAugment { resize: RandomResize { ratio: [2.0, 0.5], ..base.resize }, ..base }),
        (
            "resize.scale",
            SegAugment {
                resize: RandomResize { scale: Some(Scale { long: 0, short: 0 }), ..base.resize },
                ..base
            },
        ),
        (
            "photometric",
            SegAugment { photometric: Some(Photometric { hue: 91, ..Default::default() }), ..base },
        ),
    ];
    for (key, augment) in table {
        let error = augment.check().unwrap_err().to_string();
        assert!(error.contains(key), "{error} (wanted {key})");
    }
}
