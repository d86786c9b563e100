//! Explanations of a small case with the numbers of other tools, and what must hold for any data.
//!
//! `compare_tide.py` and `compare_explain.py` compare with tidecv, pycocotools and numpy on thousands of random sets.
use care_map::explain::{Explainer, Explanation, Operating, Options, TideKind, explain, worst_first};
use care_map::{ErrorKind, IouType, Params, evaluate};
use care_types::ImageId;
use care_types::coco_json::{Dataset, ResultRecord, parse_dataset, parse_results};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-12;

/// Every kind of mistake, ties of scores over pictures that are not in the order of their ids, a crowd, a picture
/// without objects.
fn frozen() -> (Dataset, Vec<ResultRecord>) {
    let images: Vec<Value> = [2, 1, 3, 4]
        .map(|id| json!({"id": id, "width": 500, "height": 500, "file_name": format!("{id}.jpg")}))
        .into();
    let categories: Vec<Value> =
        [(7, "dog"), (3, "cat"), (9, "bird")].map(|(id, name)| json!({"id": id, "name": name})).into();
    let objects = [
        (1, 7, [10, 10, 100, 100], 0),
        (1, 3, [200, 10, 80, 80], 0),
        (2, 9, [50, 50, 60, 60], 0),
        (2, 7, [300, 300, 50, 50], 0),
        (3, 7, [0, 0, 200, 400], 1),
        (3, 3, [300, 20, 100, 50], 0),
        (3, 9, [300, 200, 40, 40], 0),
        (3, 3, [420, 420, 30, 30], 0),
    ];
    let annotation = |(n, (image, category, bbox, crowd)): (usize, (i64, i64, [i64; 4], u8))| {
        json!({"id": n + 1, "image_id": image, "category_id": category, "bbox": bbox, "area": bbox[2] * bbox[3],
            "iscrowd": crowd})
    };
    let annotations: Vec<Value> = objects.into_iter().enumerate().map(annotation).collect();
    let found = [
        (1, 7, [10, 10, 100, 95], 0.9),
        (1, 7, [10, 10, 100, 100], 0.85),
        (1, 3, [12, 10, 100, 100], 0.7),
        (1, 3, [220, 30, 80, 80], 0.6),
        (1, 3, [225, 10, 80, 80], 0.6),
        (2, 7, [50, 50, 60, 55], 0.85),
        (2, 9, [310, 320, 50, 50], 0.5),
        (2, 9, [400, 100, 50, 50], 0.4),
        (2, 9, [52, 50, 60, 60], 0.3),
        (3, 3, [300, 20, 100, 45], 0.95),
        (3, 7, [10, 10, 50, 50], 0.3),
        (3, 9, [300, 205, 40, 40], 0.4),
        (3, 9, [300, 200, 40, 40], 0.4),
        (3, 9, [10, 300, 20, 20], 0.2),
        (4, 3, [10, 10, 20, 20], 0.9),
    ];
    let result = |(image, category, bbox, score): (i64, i64, [i64; 4], f64)| json!({"image_id": image, "category_id": category, "bbox": bbox, "score": score});
    let results: Vec<Value> = found.map(result).into();
    parsed(&json!({"images": images, "categories": categories, "annotations": annotations}), &json!(results))
}

fn parsed(gt: &Value, dt: &Value) -> (Dataset, Vec<ResultRecord>) {
    (parse_dataset(gt.to_string().as_bytes()).unwrap(), parse_results(dt.to_string().as_bytes()).unwrap())
}

fn explained(options: &Options) -> Explanation {
    let (gt, dt) = frozen();
    explain(&gt, &dt, &Params::new(IouType::Bbox), options).unwrap()
}

fn close(got: &[f64], expected: &[f64]) {
    let near = got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= TOLERANCE);
    assert!(got.len() == expected.len() && near, "{got:?} instead of {expected:?}");
}

#[test]
fn tide_has_the_numbers_of_tidecv() {
    let tide = explained(&Options::default()).tide;
    close(&[tide.ap], &[0.457425742574257]);
    assert_eq!(tide.errors.map(|e| e.kind), TideKind::ALL);
    assert_eq!(tide.errors.map(|e| e.count), [2, 1, 1, 2, 4, 2]);
    let daps = [
        0.01089108910891106,
        0.01089108910891106,
        0.0333333333333335,
        0.0333333333333335,
        0.04422442244224463,
        0.2435643564356438,
    ];
    close(&tide.errors.map(|e| e.dap), &daps);
    close(&[tide.false_positives_dap, tide.false_negatives_dap], &[0.2653465346534658, 0.2435643564356438]);
    let counts = |name: &str| tide.per_category.iter().find(|c| c.name == name).unwrap().counts;
    assert_eq!(counts("cat"), [1, 1, 0, 0, 1, 1]);
    assert_eq!(counts("dog"), [1, 0, 0, 1, 1, 1]);
    assert_eq!(counts("bird"), [0, 0, 1, 1, 2, 0]);
}

fn counts(o: &Operating) -> [u64; 3] {
    [o.true_positives, o.false_positives, o.misses]
}

#[test]
fn f1_is_best_at_the_score_that_trying_all_finds() {
    let why = explained(&Options { score: Some(0.4), ..Options::default() });
    let overall = &why.f1.overall;
    assert_eq!((counts(&overall.at_score), overall.at_score.score), ([4, 8, 3], 0.4));
    let ratios = |o: &Operating| [o.precision, o.recall, o.f1];
    close(&ratios(&overall.at_score), &[1.0 / 3.0, 4.0 / 7.0, 8.0 / 19.0]);
    let best = overall.best.unwrap();
    assert_eq!((counts(&best), best.score, best.f1), ([5, 8, 2], 0.3, 0.5));
    let per_category: Vec<_> =
        why.f1.per_category.iter().map(|c| (counts(&c.f1.at_score), c.f1.best.unwrap())).collect();
    assert_eq!(per_category.iter().map(|c| c.0).collect::<Vec<_>>(), [[2, 3, 1], [1, 2, 1], [1, 3, 1]]);
    // The cats reach F1 1/2 at 0.95 and at 0.4; the higher score wins.
    let bests: Vec<_> = per_category.iter().map(|c| (c.1.score, counts(&c.1))).collect();
    assert_eq!(bests, [(0.95, [1, 0, 2]), (0.9, [1, 0, 1]), (0.3, [2, 3, 0])]);
    close(&[why.f1.mean_at_score, why.f1.mean_of_best], &[37.0 / 90.0, (0.5 + 2.0 / 3.0 + 4.0 / 7.0) / 3.0]);
    let unset = explained(&Options::default());
    assert_eq!((unset.score, unset.score_is_best_f1, why.score_is_best_f1), (0.3, true, false));
}

#[test]
fn confusion_has_background_last_and_the_object_in_the_row() {
    let confusion = explained(&Options { score: Some(0.4), ..Options::default() }).confusion;
    // Cat, dog, bird, background.
    assert_eq!(confusion.counts, [[2, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0], [3, 1, 3, 0]]);
    let most = confusion.most_confused();
    assert_eq!((most[0].object.unwrap().0, most[0].detection.unwrap().0, most[0].count), (9, 7, 1));
    assert_eq!(most.len(), 1);
}

#[test]
fn a_box_of_the_right_category_is_paired_before_a_better_one_of_another() {
    let (gt, dt) = parsed(
        &json!({"images": [{"id": 1}], "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "truck"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]},
                {"id": 2, "image_id": 1, "category_id": 1, "bbox": [40, 0, 10, 10]}]}),
        &json!([{"image_id": 1, "category_id": 2, "bbox": [0, 0, 10, 10], "score": 0.9},
            {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 8], "score": 0.5},
            {"image_id": 1, "category_id": 2, "bbox": [40, 0, 10, 8], "score": 0.9},
            {"image_id": 1, "category_id": 2, "bbox": [40, 0, 10, 9], "score": 0.8}]),
    );
    let options = Options { score: Some(0.0), ..Options::default() };
    let why = explain(&gt, &dt, &Params::new(IouType::Bbox), &options).unwrap();
    // The second car is taken for a truck once; the other trucks are on background.
    assert_eq!(why.confusion.counts, [[1, 1, 0], [0, 0, 0], [0, 2, 0]]);
}

#[test]
fn pictures_are_listed_with_what_went_wrong() {
    let why = explained(&Options { score: Some(0.4), ..Options::default() });
    let rows: Vec<[u64; 6]> = why
        .per_image
        .iter()
        .map(|i| [i.objects, i.detections, i.true_positives, i.false_positives, i.ignored, i.misses])
        .collect();
    assert_eq!(rows, [[2, 5, 2, 3, 0, 0], [2, 3, 0, 3, 0, 2], [3, 3, 2, 1, 0, 1], [0, 1, 0, 1, 0, 0]]);
    let of = |f: fn(&care_map::explain::ImageResult) -> f64| why.per_image.iter().map(f).collect::<Vec<_>>();
    close(&of(|i| i.f1), &[4.0 / 7.0, 0.0, 2.0 / 3.0, 0.0]);
    close(&of(|i| i.ap), &[0.6666666666666666, 0.16666666666666666, 0.7524752475247524, -1.0]);
    let worst: Vec<i64> = worst_first(&why.per_image).iter().map(|i| i.id.0).collect();
    assert_eq!(worst, [2, 1, 3, 4]);
    assert_eq!(why.per_image[1].file_name, "2.jpg");
    let low = explained(&Options { score: Some(0.0), ..Options::default() });
    assert_eq!(low.per_image[2].ignored, 1, "the crowd absorbs a dog");
}

#[test]
fn calibration_is_that_of_numpy() {
    let calibration = explained(&Options { bins: 5, ..Options::default() }).calibration;
    let overall = &calibration.overall;
    close(&[overall.ece, overall.mce], &[0.325, 0.7]);
    assert_eq!(overall.bins.iter().map(|b| b.detections).collect::<Vec<_>>(), [1, 4, 3, 1, 5]);
    let [third, last] = [overall.bins[2], overall.bins[4]];
    // The two scores of 0.6 are in (0.4, 0.6].
    close(&[third.from, third.to, third.mean_score, third.precision], &[0.4, 0.6, 1.7 / 3.0, 1.0 / 3.0]);
    close(&[last.mean_score, last.precision], &[0.89, 0.4]);
    let per_category: Vec<f64> = calibration.per_category.iter().map(|c| c.reliability.ece).collect();
    close(&per_category, &[0.35, 0.5333333333333333, 0.2]);
}

/// Boxes on a coarse grid, so that many IoUs and scores are equal.
fn random(seed: u64) -> (Dataset, Vec<ResultRecord>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |n: u64| rng.next_u64() % n;
    let images: Vec<Value> = (0..6).map(|id| json!({"id": 11 * id % 7})).collect();
    let categories: Vec<Value> = (1..4).map(|id| json!({"id": id, "name": format!("c{id}")})).collect();
    let mut record = |n: u64, scored: bool| {
        let bbox = [below(4) * 5, below(3) * 5, 5 + below(3) * 5, 5 + below(3) * 5];
        let mut record =
            json!({"id": n + 1, "image_id": 11 * below(6) % 7, "category_id": 1 + below(3), "bbox": bbox});
        if scored {
            record["score"] = json!(below(11) as f64 / 10.0);
        } else {
            record["iscrowd"] = json!(u64::from(below(8) == 0));
            record["area"] = json!(bbox[2] * bbox[3]);
        }
        record
    };
    let annotations: Vec<Value> = (0..25).map(|n| record(n, false)).collect();
    let results: Vec<Value> = (0..60).map(|n| record(n, true)).collect();
    parsed(&json!({"images": images, "categories": categories, "annotations": annotations}), &json!(results))
}

#[test]
fn the_average_precision_of_a_picture_is_that_of_evaluating_it_alone() {
    for seed in 0..40 {
        let (gt, dt) = random(seed);
        let why = explain(&gt, &dt, &Params::new(IouType::Bbox), &Options::default()).unwrap();
        for image in why.per_image {
            let img_ids = Some(vec![image.id]);
            let alone = Params { img_ids, iou_thrs: vec![0.5], ..Params::new(IouType::Bbox) };
            close(&[image.ap], &[evaluate(&gt, &dt, &alone).unwrap().stats[0]]);
        }
    }
}

#[test]
fn analyses_agree_with_each_other() {
    for seed in 0..40 {
        let (gt, dt) = random(seed);
        let options = Options { score: Some(0.3), ..Options::default() };
        let why = explain(&gt, &dt, &Params::new(IouType::Bbox), &options).unwrap();
        let all = &why.f1.overall.at_score;
        let sum = |f: fn(&care_map::explain::ImageResult) -> u64| why.per_image.iter().map(f).sum::<u64>();
        assert_eq!([sum(|i| i.true_positives), sum(|i| i.false_positives), sum(|i| i.misses)], counts(all));
        for (k, category) in why.f1.per_category.iter().enumerate() {
            let at = &category.f1.at_score;
            let column: u64 = why.confusion.counts.iter().map(|row| row[k]).sum();
            assert_eq!(why.confusion.counts[k][k], at.true_positives, "seed {seed}");
            assert_eq!(why.confusion.counts[k].iter().sum::<u64>(), at.true_positives + at.misses);
            assert_eq!(column, at.true_positives + at.false_positives);
        }
        let objects = gt.annotations.iter().filter(|a| !a.iscrowd).count() as u64;
        assert_eq!(all.true_positives + all.misses, objects);
        let found = why.calibration.overall.detections + why.calibration.overall.outside;
        assert_eq!(found + sum(|i| i.ignored), dt.len() as u64 - ignored_below(&gt, &dt, 0.3));
    }
}

/// Detections below the score that count neither way.
fn ignored_below(gt: &Dataset, dt: &[ResultRecord], score: f64) -> u64 {
    let ignored = |score| {
        let options = Options { score: Some(score), ..Options::default() };
        let explainer = Explainer::new(gt, dt, &Params::new(IouType::Bbox), &options).unwrap();
        explainer.per_image().iter().map(|i| i.ignored).sum::<u64>()
    };
    ignored(0.0) - ignored(score)
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (gt, dt) = random(3);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let why = pool.install(|| explain(&gt, &dt, &Params::new(IouType::Bbox), &Options::default()));
        serde_json::to_string(&why.unwrap()).unwrap()
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn nothing_to_explain_is_said_with_minus_one() {
    let gt = json!({"images": [{"id": 1}], "categories": [{"id": 1, "name": "a"}], "annotations": []});
    let (gt, none) = parsed(&gt, &json!([]));
    let why = explain(&gt, &none, &Params::new(IouType::Bbox), &Options::default()).unwrap();
    assert_eq!((why.tide.ap, why.calibration.overall.ece, why.per_image[0].ap), (-1.0, -1.0, -1.0));
    assert_eq!((why.f1.overall.best, why.f1.overall.at_score.f1, why.f1.mean_of_best), (None, -1.0, -1.0));
    assert!(why.tide.errors.iter().all(|e| e.dap == 0.0 && e.count == 0));
    let text = serde_json::to_value(&why).unwrap();
    assert_eq!(text["confusion"]["counts"], json!([[0, 0], [0, 0]]));
    assert_eq!(text["tide"]["errors"][1], json!({"kind": "Loc", "dAP": 0.0, "count": 0}));
    let found = json!([{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 2}]);
    let dt = parse_results(found.to_string().as_bytes()).unwrap();
    let why = explain(&gt, &dt, &Params::new(IouType::Bbox), &Options::default()).unwrap();
    assert_eq!((why.tide.ap, why.tide.errors[4].count, why.calibration.overall.outside), (0.0, 1, 1));
    assert_eq!((why.per_image[0].f1, why.f1.per_category[0].f1.at_score.recall), (0.0, -1.0));
}

#[test]
fn masks_and_selections_are_those_of_evaluate() {
    let square = |x: i64, side: i64| json!([[x, 2, x + side, 2, x + side, 2 + side, x, 2 + side]]);
    let rle = |x: usize, w: usize| json!({"size": [20, 20], "counts": [x * 20, w * 20, 400 - (x + w) * 20]});
    let (gt, dt) = parsed(
        &json!({"images": [{"id": 1, "width": 20, "height": 20}, {"id": 2, "width": 20, "height": 20}],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": rle(2, 10)},
                {"id": 2, "image_id": 2, "category_id": 2, "segmentation": square(3, 8)}]}),
        &json!([{"image_id": 1, "category_id": 2, "segmentation": rle(3, 10), "score": 0.9},
            {"image_id": 2, "category_id": 2, "segmentation": rle(3, 8), "score": 0.8}]),
    );
    let options = Options { score: Some(0.5), ..Options::default() };
    let why = explain(&gt, &dt, &Params::new(IouType::Segm), &options).unwrap();
    // 9 of 11 columns in common; 64 of 160 pixels in common.
    assert_eq!(why.confusion.counts, [[0, 1, 0], [0, 0, 1], [0, 1, 0]]);
    let first = Params { img_ids: Some(vec![ImageId(1)]), ..Params::new(IouType::Segm) };
    let why = explain(&gt, &dt, &first, &options).unwrap();
    assert_eq!((why.per_image.len(), why.f1.overall.at_score.misses), (1, 1));
    let as_one = Params { use_cats: false, ..Params::new(IouType::Segm) };
    let why = explain(&gt, &dt, &as_one, &options).unwrap();
    assert_eq!((why.confusion.counts, why.tide.errors[0].count), (vec![vec![1, 1], vec![1, 0]], 0));
}

#[test]
fn thresholds_that_cannot_be_are_refused() {
    let (gt, dt) = frozen();
    let usual = Options::default;
    let bad = [
        Options { iou: 0.0, ..usual() },
        Options { iou: 1.1, ..usual() },
        Options { iou: f64::NAN, ..usual() },
        Options { background_iou: 0.6, ..usual() },
        Options { background_iou: -0.1, ..usual() },
        Options { score: Some(f64::NAN), ..usual() },
        Options { bins: 0, ..usual() },
    ];
    for options in bad {
        match explain(&gt, &dt, &Params::new(IouType::Bbox), &options) {
            Ok(_) => panic!("accepted: {options:?}"),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Config, "{e}"),
        }
    }
}
