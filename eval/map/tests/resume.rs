//! Kill and restart: what was stored goes on, and only where it belongs.
mod synthetic;

use care_map::{Areas, CocoMetrics, ErrorKind, Evaluator, IouType, Params, Source, evaluate};
use care_types::coco_json::{Annotation, Image};
use care_types::{CategoryId, ImageId};
use synthetic::{Data, Random, SMALL, data, picture};

fn source() -> Source {
    Source { ground_truth: "sha256:1".into(), results: "weights 7, conf 0.05".into() }
}

fn new(data: &Data) -> Evaluator {
    Evaluator::new(&data.gt.categories, &data.params).unwrap().with_source(source())
}

fn add(evaluator: &mut Evaluator, data: &Data, image: &Image) {
    let (objects, found) = picture(data, image);
    evaluator.add(image, objects, &found).unwrap();
}

fn assert_same(name: &str, a: &CocoMetrics, b: &CocoMetrics) {
    assert_eq!((&a.funnel, &a.protocol), (&b.funnel, &b.protocol), "{name}");
    assert_eq!((&a.per_category, &a.pycocotools_stats), (&b.per_category, &b.pycocotools_stats), "{name}");
    assert!(a.stats == b.stats && a.curves == b.curves, "{name}: {:?} and {:?}", a.stats, b.stats);
}

/// A data set with records that are dropped: of an unknown picture, of unknown categories.
fn with_strays(seed: u64) -> Data {
    let mut data = data(seed, SMALL);
    let stray = |a: &mut Annotation, image: i64, category: i64| {
        (a.image_id, a.category_id) = (ImageId(image), CategoryId(category));
    };
    if let [first, second, third, ..] = &mut data.gt.annotations[..] {
        let (category, image) = (first.category_id.0, second.image_id.0);
        stray(first, 5555, category);
        stray(second, image, 99);
        third.id = if seed.is_multiple_of(2) { 0 } else { third.id };
    }
    data.dt.iter_mut().take(2).for_each(|r| r.category_id = CategoryId(99));
    data
}

#[test]
fn killed_again_and_again_it_ends_with_the_bits_of_one_run() {
    let mut kills = 0;
    for seed in 0..60 {
        let data = with_strays(seed);
        let mut r = Random::new(seed ^ 0xdead);
        let mut stored = new(&data).to_bytes();
        let done = loop {
            let mut run = new(&data).resume(&stored, &data.gt).unwrap();
            let mut left: Vec<_> = data.gt.images.iter().filter(|i| !run.contains(i.id)).collect();
            r.shuffle(&mut left);
            let stop = r.below(left.len() + 1);
            for image in &left[..stop] {
                add(&mut run, &data, image);
                if r.chance(0.5) {
                    stored = run.to_bytes();
                }
            }
            if stop == left.len() {
                break run;
            }
            kills += 1;
        };
        let name = format!("seed {seed}");
        assert_same(
            &name,
            &done.finish_so_far(&data.gt).unwrap(),
            &evaluate(&data.gt, &data.dt, &data.params).unwrap(),
        );
        let mut at_once = new(&data);
        data.gt.images.iter().for_each(|image| add(&mut at_once, &data, image));
        assert!(done.to_bytes() == at_once.to_bytes(), "{name}");
    }
    assert!(kills > 100, "only {kills}");
}

#[test]
fn figures_before_the_end_are_those_of_the_pictures_that_are_done() {
    let mut told = 0;
    for seed in 0..60 {
        let mut data = with_strays(seed);
        if seed % 3 == 0 {
            data.params.img_ids = Some(data.gt.images.iter().skip(1).map(|i| i.id).collect());
        }
        let mut run = new(&data);
        data.gt.images.iter().skip(1).take(3).for_each(|image| add(&mut run, &data, image));
        let so_far = run.finish_so_far(&data.gt).unwrap();
        let params = Params { img_ids: Some(run.images().collect()), ..data.params.clone() };
        let dt: Vec<_> = data.dt.iter().filter(|r| run.contains(r.image_id)).cloned().collect();
        let expected = evaluate(&data.gt, &dt, &params).unwrap();
        assert_same(&format!("seed {seed}"), &so_far, &expected);
        assert!(!so_far.protocol.standard);
        assert_eq!(so_far.funnel.images.not_selected, 3);
        told += usize::from(so_far.stats[8] > 0.0);
    }
    assert!(told > 30, "only {told} find anything");
}

#[test]
fn before_the_first_picture_there_are_no_figures() {
    let mut data = data(1, SMALL);
    assert_eq!(new(&data).finish_so_far(&data.gt).unwrap_err().kind(), ErrorKind::Input);
    data.params.img_ids = Some(vec![data.gt.images[1].id]);
    let mut run = new(&data);
    add(&mut run, &data, &data.gt.images[0]);
    let e = run.finish_so_far(&data.gt).unwrap_err();
    assert!(e.kind() == ErrorKind::Input && e.to_string().contains("none of the pictures"), "{e}");
    add(&mut run, &data, &data.gt.images[1]);
    assert!(run.finish_so_far(&data.gt).is_ok());
}

#[test]
fn a_state_of_another_evaluation_is_refused_and_the_difference_named() {
    let data = data(1, SMALL);
    let mut run = new(&data);
    data.gt.images.iter().take(4).for_each(|image| add(&mut run, &data, image));
    let state = run.to_bytes();
    let with = |change: &dyn Fn(&mut Data), source: Source| {
        let mut other = Data { gt: data.gt.clone(), dt: Vec::new(), params: data.params.clone() };
        change(&mut other);
        let fresh = Evaluator::new(&other.gt.categories, &other.params).unwrap().with_source(source);
        fresh.resume(&state, &other.gt).err().map(|e| (e.kind(), e.to_string()))
    };
    let first = run.images().next().unwrap();
    let object = data.gt.annotations.iter().filter(|a| a.image_id == first).map(|a| a.id).min().unwrap();
    let (of_first, gone) = (format!("id {first}"), format!("annotation {object} is there, but not here"));
    let new_object = Annotation { image_id: first, id: 7, ..data.gt.annotations[0].clone() };
    let mut wrong = Vec::new();
    let mut check = |refused: Option<(ErrorKind, String)>, words: &[&str]| match refused {
        Some((ErrorKind::Input, text))
            if words.iter().all(|w| text.contains(w))
                && text.starts_with("the state is of another evaluation: ") => {}
        other => wrong.push(format!("{other:?} (expected {words:?})")),
    };
    check(with(&|d| d.params.max_dets[2] = 300, source()), &["maxDets[2]", "300 here", "100 there"]);
    check(with(&|d| d.params.iou_type = IouType::Segm, source()), &["iouType"]);
    check(with(&|d| d.params.img_ids = Some(vec![first]), source()), &["imgIds[0]", "nothing there"]);
    check(with(&|d| d.gt.categories[1].name = "cat".into(), source()), &["categories[1]", "cat", "c1"]);
    check(with(&|d| d.gt.images.retain(|i| i.id != first), source()), &["1 of its 4 pictures", &of_first]);
    check(with(&|d| d.gt.annotations.retain(|a| a.id != object), source()), &[&gone]);
    check(
        with(&|d| d.gt.annotations.push(new_object.clone()), source()),
        &[&format!("picture {first}"), "annotation 7 is here, but not there"],
    );
    let nothing: &dyn Fn(&mut Data) = &|_| ();
    check(
        with(nothing, Source { ground_truth: "sha256:2".into(), ..source() }),
        &["ground truth", "sha256:1"],
    );
    check(
        with(nothing, Source { results: "conf 0.25".into(), ..source() }),
        &["results", "conf 0.25", "conf 0.05"],
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(with(nothing, source()), None);
    let again = run.resume(&state, &data.gt).unwrap_err().to_string();
    assert!(again.contains("4 of 4 pictures"), "{again}");
    let cut = new(&data).resume(&state[..state.len() / 2], &data.gt).unwrap_err().to_string();
    assert!(cut.contains("cut off"), "{cut}");
}

#[test]
fn where_areas_come_from_can_be_said_before_the_first_picture() {
    let mut refused = 0;
    for seed in (2..60).step_by(3) {
        let mut data = data(seed, SMALL); // masks
        let mut r = Random::new(seed);
        for record in &mut data.dt {
            let [x, y, w, h] = [1.0, 2.0, 900.0, 900.0]; // of another area range than the mask
            record.bbox = r.chance(0.5).then_some(care_types::BoxXywh { x, y, w, h });
        }
        let Some(first) = data.dt.first_mut() else { continue };
        first.bbox = None;
        assert_eq!(Areas::of(&data.dt), Some(Areas::OfMasks));
        let strict = data.gt.images.iter().try_fold(new(&data), |mut all, image| {
            let (objects, found) = picture(&data, image);
            all.add(image, objects, &found).map(|()| all)
        });
        refused += usize::from(strict.is_err());
        let mut all = new(&data).with_areas(Areas::OfMasks).unwrap();
        data.gt.images.iter().rev().for_each(|image| add(&mut all, &data, image));
        let expected = evaluate(&data.gt, &data.dt, &data.params).unwrap();
        assert_same(&format!("seed {seed}"), &all.finish().unwrap(), &expected);
        assert!(all.with_areas(Areas::OfBoxes).is_err());
        let image =
            data.gt.images.iter().find(|i| picture(&data, i).1.iter().any(|r| r.bbox.is_none())).unwrap();
        let (objects, found) = picture(&data, image);
        let mut boxes = new(&data).with_areas(Areas::OfBoxes).unwrap();
        let e = boxes.add(image, objects, &found).unwrap_err();
        assert!(e.kind() == ErrorKind::Input && e.to_string().contains("bbox: missing"), "{e}");
    }
    assert!(refused > 10, "only {refused} are mixed");
}
