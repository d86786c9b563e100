//! Evaluation in parts: the same bits as in one go, whatever the parts.
mod synthetic;

use care_map::{CocoMetrics, ErrorKind, Evaluator, IouType, Params, Shard, Source, evaluate};
use care_types::coco_json::Dataset;
use care_types::{CategoryId, ImageId};
use synthetic::{Data, Random, SMALL, data, picture};

fn whole(data: &Data) -> CocoMetrics {
    evaluate(&data.gt, &data.dt, &data.params).unwrap()
}

fn evaluator(data: &Data) -> Evaluator {
    Evaluator::new(&data.gt.categories, &data.params).unwrap()
}

/// Sent to another machine.
fn sent(evaluator: &Evaluator) -> Evaluator {
    Evaluator::from_bytes(&evaluator.to_bytes()).unwrap()
}

fn bits(metrics: &CocoMetrics) -> Vec<u64> {
    let curves = &metrics.curves;
    let arrays = [&metrics.stats[..], &curves.precision, &curves.recall, &curves.scores];
    arrays.into_iter().flatten().map(|v| v.to_bits()).collect()
}

fn assert_same(name: &str, a: &CocoMetrics, b: &CocoMetrics) {
    assert_eq!(a.funnel, b.funnel, "{name}");
    assert_eq!(a.protocol, b.protocol, "{name}");
    assert_eq!(a.per_category, b.per_category, "{name}");
    assert_eq!(a.pycocotools_stats, b.pycocotools_stats, "{name}");
    assert!(bits(a) == bits(b), "{name}: {:?} and {:?}", a.stats, b.stats);
}

/// Each picture into one of several evaluators, in any order, and those together in any order.
fn in_parts(data: &Data, seed: u64) -> Evaluator {
    let mut r = Random::new(seed ^ 0x5117);
    let mut parts: Vec<Evaluator> = (0..1 + r.below(4)).map(|_| evaluator(data)).collect();
    let mut images: Vec<_> = data.gt.images.iter().collect();
    r.shuffle(&mut images);
    for image in images {
        let part = r.below(parts.len());
        let (objects, found) = picture(data, image);
        parts[part].add(image, objects, &found).unwrap();
        if r.chance(0.2) {
            parts[part] = sent(&parts[part]);
        }
    }
    r.shuffle(&mut parts);
    let mut all = parts.pop().unwrap();
    parts.iter().for_each(|part| all.merge(sent(part)).unwrap());
    all
}

#[test]
fn any_split_in_any_order_gives_the_bits_of_one_run() {
    let mut found = 0;
    for seed in 0..150 {
        let data = data(seed, SMALL);
        let metrics = whole(&data);
        found += usize::from(metrics.stats[8] > 0.0);
        let parts = in_parts(&data, seed);
        assert_same(&format!("seed {seed}"), &parts.finish().unwrap(), &metrics);
        let mut at_once = evaluator(&data);
        at_once.add_all(&data.gt, &data.dt).unwrap();
        assert!(at_once.to_bytes() == parts.to_bytes(), "seed {seed}: the bytes depend on the order");
    }
    assert!(found > 100, "only {found} data sets find anything");
}

#[test]
fn shards_of_one_file_give_the_bits_of_one_run() {
    for seed in 0..60 {
        let mut data = data(seed, SMALL);
        // Records that are dropped must be counted once, not by every part.
        let stray = |a: &mut care_types::coco_json::Annotation, image, category| {
            (a.image_id, a.category_id) = (ImageId(image), CategoryId(category));
        };
        if let [first, second, ..] = &mut data.gt.annotations[..] {
            let category = first.category_id.0;
            stray(first, 5555, category);
            let image = second.image_id.0;
            stray(second, image, 99);
        }
        data.dt.iter_mut().take(2).for_each(|r| r.category_id = CategoryId(99));
        if seed % 4 == 0 {
            data.params.img_ids = Some(data.gt.images.iter().step_by(2).map(|i| i.id).collect());
            data.params.cat_ids = Some(vec![data.gt.categories[1].id]);
            data.params.max_dets = vec![3, 1, 2];
        }
        for count in [1, 2, 3, 8] {
            assert_eq!(Shard { index: count, count }.images(&data.gt).next(), None);
            let mut all = evaluator(&data);
            for index in (0..count).rev() {
                let mut part = evaluator(&data);
                part.add_shard(&data.gt, &data.dt, Shard { index, count }).unwrap();
                all.merge(sent(&part)).unwrap();
            }
            assert_same(&format!("seed {seed}, {count} parts"), &all.finish().unwrap(), &whole(&data));
        }
    }
}

#[test]
fn more_than_32_thresholds_survive() {
    let mut data = data(1, SMALL);
    data.params.iou_thrs = (0..70).map(|t| t as f64 / 70.0).collect();
    assert_same("70 thresholds", &in_parts(&data, 1).finish().unwrap(), &whole(&data));
}

#[test]
fn annotation_id_zero_gives_pycocotools_figures_too() {
    let mut compared = 0;
    for seed in 0..40 {
        let mut data = data(seed, SMALL);
        let Some(first) = data.gt.annotations.first_mut() else { continue };
        first.id = 0;
        let metrics = whole(&data);
        assert!(metrics.pycocotools_stats.is_some());
        compared += usize::from(metrics.pycocotools_stats != Some(metrics.stats.clone()));
        assert_same(&format!("seed {seed}"), &in_parts(&data, seed).finish().unwrap(), &metrics);
        data.params.quirks = true;
        assert_same(&format!("seed {seed}, quirks"), &in_parts(&data, seed).finish().unwrap(), &whole(&data));
    }
    assert!(compared > 5, "only {compared} data sets show the difference");
}

#[test]
fn repeated_annotation_ids_are_counted_and_not_guessed_at() {
    let mut data = data(1, SMALL);
    let id = data.gt.annotations[0].id;
    data.gt.annotations[1].id = id;
    let (metrics, parts) = (whole(&data), in_parts(&data, 1).finish().unwrap());
    assert_eq!((parts.funnel.annotations.duplicate_ids, &parts.funnel), (1, &metrics.funnel));
    assert!(bits(&parts) == bits(&metrics));
    assert_eq!(parts.pycocotools_stats, None);
    data.params.quirks = true;
    let e = in_parts(&data, 1).finish().unwrap_err();
    assert!(e.kind() == ErrorKind::Input && e.to_string().contains("1 annotations"), "{e}");
}

#[test]
fn what_is_done_is_known_and_not_added_again() {
    let data = data(3, SMALL);
    let mut part = evaluator(&data);
    let image = &data.gt.images[2];
    let (objects, found) = picture(&data, image);
    assert!(!part.contains(image.id));
    part.add(image, objects.clone(), &found).unwrap();
    assert!(part.contains(image.id) && part.images().eq([image.id]));
    let before = part.to_bytes();
    let e = part.add(image, objects, &found).unwrap_err();
    assert!(e.kind() == ErrorKind::Input && e.to_string().contains("id 0"), "{e}");
    let e = part.add_all(&data.gt, &data.dt).unwrap_err();
    assert!(e.to_string().contains("1 of 6 pictures"), "{e}");
    assert_eq!(part.to_bytes(), before);
}

#[test]
fn a_picture_that_cannot_be_scored_changes_nothing() {
    let data = data(0, SMALL);
    let image = data.gt.images.iter().find(|i| !picture(&data, i).1.is_empty()).unwrap();
    let (objects, found) = picture(&data, image);
    let mut part = evaluator(&data);
    let before = part.to_bytes();
    let mut broken = found.clone();
    broken[0].score = f64::NAN;
    let e = part.add(image, objects.clone(), &broken).unwrap_err().to_string();
    assert!(e.contains(&format!("picture {}: results[0].score", image.id)), "{e}");
    let mut strange = found.clone();
    strange[0].image_id = ImageId(77);
    let e = part.add(image, objects.clone(), &strange).unwrap_err().to_string();
    assert!(e.contains("results[0].image_id: 77"), "{e}");
    let mut no_box = found;
    no_box[0].bbox = None;
    assert!(part.add(image, objects, &no_box).is_err());
    assert_eq!(part.to_bytes(), before);
}

#[test]
fn evaluators_of_different_things_are_not_merged() {
    let data = data(0, SMALL);
    let categories = &data.gt.categories;
    let source = |truth: &str, results: &str| Source { ground_truth: truth.into(), results: results.into() };
    let base = || {
        let mut e = Evaluator::new(categories, &Params::default()).unwrap().with_source(source("a", "r"));
        e.add_shard(&data.gt, &data.dt, Shard { index: 0, count: 2 }).unwrap();
        e
    };
    let with = |change: &dyn Fn(&mut Params)| {
        let mut params = Params::default();
        change(&mut params);
        Evaluator::new(categories, &params).unwrap().with_source(source("a", "r"))
    };
    let mut renamed = categories.clone();
    renamed[1].name = "cat".into();
    let other_categories = |list: &[_]| Evaluator::new(list, &Params::default()).unwrap();
    let cases: Vec<(Evaluator, &[&str])> = vec![
        (with(&|p| p.iou_thrs[3] = 0.66), &["iouThrs[3]", "0.65 here", "0.66"]),
        (with(&|p| p.rec_thrs.truncate(7)), &["recThrs[7]", "0.07", "nothing", "101", "7 in all"]),
        (with(&|p| p.max_dets[2] = 300), &["maxDets[2]", "100", "300"]),
        (with(&|p| p.area_rng[1][1] = 900.0), &["areaRng[1]", "1024.0", "900.0"]),
        (with(&|p| p.area_rng_lbl[1] = "tiny".into()), &["areaRngLbl[1]", "small", "tiny"]),
        (with(&|p| p.iou_type = IouType::Segm), &["iouType", "bbox", "segm"]),
        (with(&|p| p.quirks = true), &["quirks", "false here", "true there"]),
        (with(&|p| p.use_cats = false), &["useCats", "true here", "false there"]),
        (with(&|p| p.cat_ids = Some(vec![CategoryId(4)])), &["catIds[0]", "nothing here", "4 there"]),
        (with(&|p| p.img_ids = Some(vec![ImageId(4)])), &["imgIds[0]", "nothing here", "4 there"]),
        (other_categories(&renamed), &["categories[1]", "c1", "cat"]),
        (other_categories(&categories[..2]), &["categories[2]", "c2", "nothing"]),
        (other_categories(categories).with_source(source("b", "r")), &["ground truth", "\"a\"", "\"b\""]),
        (other_categories(categories).with_source(source("a", "s")), &["results", "\"r\"", "\"s\""]),
        (base(), &["3 of 3 pictures", "id -14"]),
    ];
    let mut wrong = Vec::new();
    for (other, words) in cases {
        let (mut all, before) = (base(), base().to_bytes());
        let e = all.merge(other).unwrap_err();
        let text = e.to_string();
        if e.kind() != ErrorKind::Input || words.iter().any(|w| !text.contains(w)) {
            wrong.push(format!("{text} (expected {words:?})"));
        }
        assert!(all.to_bytes() == before, "{text}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn areas_come_from_boxes_or_from_masks_for_all() {
    let mut data = data(2, SMALL); // masks with boxes
    let (boxed, plain) = (data.gt.images[0].clone(), data.gt.images[1].clone());
    data.dt.iter_mut().filter(|r| r.image_id == plain.id).for_each(|r| r.bbox = None);
    let [first, second] = [&boxed, &plain].map(|image| picture(&data, image));
    assert!(!first.1.is_empty() && !second.1.is_empty());
    let mut all = evaluator(&data);
    all.add(&boxed, first.0, &first.1).unwrap();
    let e = all.add(&plain, second.0.clone(), &second.1).unwrap_err();
    assert!(e.to_string().contains("have boxes and there have no boxes"), "{e}");
    let mut other = evaluator(&data);
    other.add(&plain, second.0, &second.1).unwrap();
    assert!(all.merge(sent(&other)).unwrap_err().to_string().contains("have boxes"));
}

#[test]
fn without_pictures_there_is_nothing_to_say() {
    let empty = Evaluator::new(&data(0, SMALL).gt.categories, &Params::default()).unwrap();
    assert!(sent(&empty).finish().unwrap_err().to_string().contains("no images"));
    let params = Params { img_ids: Some(vec![ImageId(9)]), ..Params::default() };
    let mut data = data(0, SMALL);
    data.params = params;
    let mut all = evaluator(&data);
    all.add_all(&data.gt, &data.dt).unwrap();
    assert_eq!(all.finish().unwrap_err().kind(), ErrorKind::Config);
    let mut strange = evaluator(&data);
    assert_eq!(strange.add_all(&Dataset::default(), &[]).unwrap_err().kind(), ErrorKind::Input);
    let e = strange.add_shard(&data.gt, &data.dt, Shard { index: 2, count: 2 }).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
}
