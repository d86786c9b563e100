//! Comparing two results, against the definition: a data set with as many copies of each picture as were drawn.
mod synthetic;

use care_map::{
    CompareOptions, Comparison, ErrorKind, Evaluator, Params, Shard, Source, Verdict, compare, evaluate,
};
use care_types::ImageId;
use care_types::coco_json::ResultRecord;
use synthetic::{Data, Random, SMALL, Sizes, data};

fn evaluator(data: &Data, dt: &[ResultRecord]) -> Evaluator {
    let mut evaluator = Evaluator::new(&data.gt.categories, &data.params).unwrap();
    evaluator.add_all(&data.gt, dt).unwrap();
    evaluator
}

/// The same detections with other scores, some of them missing.
fn other(data: &Data, seed: u64) -> Vec<ResultRecord> {
    let mut r = Random::new(seed ^ 0xb);
    let mut dt = data.dt.clone();
    dt.retain(|_| !r.chance(0.2));
    dt.iter_mut().for_each(|d| d.score = (r.unit() * 10.0).round() / 10.0);
    dt
}

/// SplitMix64, as documented: how often each of `n` pictures is drawn.
fn drawn(seed: u64, resample: u64, n: usize) -> Vec<usize> {
    let number = |start: u64, j: u64| {
        let mut z = start.wrapping_add(j.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let start = number(seed, resample + 1);
    let mut counts = vec![0; n];
    for j in 1..=n as u64 {
        counts[(number(start, j) as f64 / 2f64.powi(64) * n as f64) as usize] += 1;
    }
    counts
}

/// Every picture as often as `counts` says; copies have neighbouring ids.
fn copies(
    data: &Data,
    dt: &[ResultRecord],
    counts: &[usize],
) -> (care_types::coco_json::Dataset, Vec<ResultRecord>) {
    let (mut gt, mut results) = (data.gt.clone(), Vec::new());
    let (images, annotations) = (std::mem::take(&mut gt.images), std::mem::take(&mut gt.annotations));
    for (image, &count) in images.iter().zip(counts) {
        for copy in 0..count as i64 {
            let id = ImageId(image.id.0 * 1000 + copy);
            gt.images.push(care_types::coco_json::Image { id, ..image.clone() });
            for a in annotations.iter().filter(|a| a.image_id == image.id) {
                let next = gt.annotations.len() as i64 + 1;
                gt.annotations.push(care_types::coco_json::Annotation {
                    id: next,
                    image_id: id,
                    ..a.clone()
                });
            }
            let found = dt.iter().filter(|r| r.image_id == image.id).cloned();
            results.extend(found.map(|r| ResultRecord { image_id: id, ..r }));
        }
    }
    (gt, results)
}

/// The names and figures of a data set and its categories.
fn figures(data: &Data, dt: &[ResultRecord], counts: &[usize]) -> Vec<f64> {
    let (gt, dt) = copies(data, dt, counts);
    let metrics = evaluate(&gt, &dt, &data.params).unwrap();
    let mut figures = metrics.stats.clone();
    figures.extend(metrics.per_category.iter().flat_map(|c| [c.ap, c.ap50, c.ar100]));
    figures
}

fn all(comparison: &Comparison) -> Vec<&care_map::Difference> {
    comparison.figures.iter().chain(comparison.per_category.iter().flat_map(|c| &c.figures)).collect()
}

#[test]
fn resamples_are_data_sets_with_copies_of_pictures() {
    let mut told = 0;
    for seed in 0..20u64 {
        let mut data = data(seed, SMALL);
        // Numbers that matter: most cells have few detections. AP is at 100, also where that is not the third.
        data.params.max_dets =
            [vec![1, 10, 100], vec![1, 2, 100], vec![100, 3, 1, 2]][seed as usize % 3].clone();
        let dt = other(&data, seed);
        let (a, b) = (evaluator(&data, &data.dt), evaluator(&data, &dt));
        let n = data.gt.images.len();
        let options = CompareOptions { resamples: 9, seed, level: 0.5 };
        let comparison = compare(&a, &b, &options).unwrap();
        let pair = |counts: &[usize]| [figures(&data, &data.dt, counts), figures(&data, &dt, counts)];
        let [whole_a, whole_b] = pair(&vec![1; n]);
        let resampled: Vec<_> = (0..9).map(|r| pair(&drawn(seed, r, n))).collect();
        let defined: Vec<usize> = (0..whole_a.len()).filter(|&at| whole_a[at] > -1.0).collect();
        assert_eq!(all(&comparison).len(), defined.len(), "seed {seed}");
        for (difference, at) in all(&comparison).into_iter().zip(defined) {
            let name = format!("seed {seed}, {}", difference.name);
            assert_eq!((difference.a, difference.b), (whole_a[at], whole_b[at]), "{name}");
            let mut deltas: Vec<f64> =
                resampled.iter().filter(|[a, _]| a[at] > -1.0).map(|[a, b]| a[at] - b[at]).collect();
            deltas.sort_by(f64::total_cmp);
            assert_eq!(difference.resamples, deltas.len(), "{name}");
            if deltas.len() == 9 {
                // The quartiles of 9 values are values.
                assert_eq!((difference.low, difference.high), (deltas[2], deltas[6]), "{name}");
                told += usize::from(deltas[2] != deltas[6]);
            }
        }
    }
    assert!(told > 100, "only {told} intervals have a width");
}

#[test]
fn ap_is_compared_at_the_third_max_dets_where_100_is_not_among_them() {
    let mut data = data(5, SMALL); // categories as one
    data.params.max_dets = vec![1, 2, 3];
    let metrics = evaluate(&data.gt, &data.dt, &data.params).unwrap();
    let a = evaluator(&data, &data.dt);
    let comparison = compare(&a, &a, &CompareOptions { resamples: 1, ..CompareOptions::default() }).unwrap();
    assert_eq!(metrics.stat("AP"), Some(-1.0));
    assert!(metrics.per_category[0].ap > 0.0);
    assert_eq!(comparison.figure("AP").unwrap().a, metrics.per_category[0].ap);
    let [one, ten] = ["AR1", "AR10"].map(|name| comparison.figure(name).unwrap().a);
    assert_eq!((Some(one), Some(ten)), (metrics.stat("AR1"), metrics.stat("AR10")));
    assert!(one < ten);
}

#[test]
fn the_better_result_is_told_and_equal_ones_are_not() {
    let sizes = Sizes { pictures: 60, ..SMALL };
    let data = data(1, sizes);
    let a = evaluator(&data, &data.dt);
    let mut worse = data.dt.clone();
    let mut r = Random::new(5);
    worse.retain(|_| !r.chance(0.5));
    let b = evaluator(&data, &worse);
    let options = CompareOptions { resamples: 200, ..CompareOptions::default() };
    let comparison = compare(&a, &b, &options).unwrap();
    let ap = comparison.figure("AP").unwrap();
    assert!(ap.verdict == Verdict::A && ap.low > 0.0 && ap.low < ap.delta && ap.delta < ap.high, "{ap:?}");
    let text = comparison.statement(ap, "ours", "theirs");
    let numbers = format!("ΔAP = {:.3}, 95 % interval [{:.3}, {:.3}]", ap.delta, ap.low, ap.high);
    assert_eq!(text, format!("ours is better than theirs: {numbers}"));
    let reversed = compare(&b, &a, &options).unwrap();
    assert_eq!(reversed.figure("AP").unwrap().verdict, Verdict::B);
    assert!(
        reversed
            .statement(reversed.figure("AP").unwrap(), "x", "y")
            .starts_with("x is worse than y: ΔAP = -")
    );
    let same = compare(&a, &a, &options).unwrap();
    assert!(all(&same).iter().all(|d| d.verdict == Verdict::Undecided && (d.low, d.high) == (0.0, 0.0)));
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let data = data(4, Sizes { pictures: 30, ..SMALL });
    let (a, b) = (evaluator(&data, &data.dt), evaluator(&data, &other(&data, 4)));
    let options = CompareOptions { resamples: 50, ..CompareOptions::default() };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| compare(&a, &b, &options).unwrap())
    };
    let one = run(1);
    assert_eq!(one, run(3));
    let other_seed = compare(&a, &b, &CompareOptions { seed: 1, ..options }).unwrap();
    assert_ne!(one.figure("AP").unwrap().low, other_seed.figure("AP").unwrap().low);
}

#[test]
fn pictures_that_are_not_evaluated_are_not_drawn() {
    let mut data = data(6, Sizes { pictures: 12, ..SMALL });
    let ids: Vec<ImageId> = data.gt.images.iter().skip(1).step_by(2).map(|i| i.id).collect();
    let chosen = |data: &Data| Data {
        gt: care_types::coco_json::Dataset {
            images: data.gt.images.iter().filter(|i| ids.contains(&i.id)).cloned().collect(),
            annotations: data.gt.annotations.iter().filter(|a| ids.contains(&a.image_id)).cloned().collect(),
            ..data.gt.clone()
        },
        dt: data.dt.iter().filter(|r| ids.contains(&r.image_id)).cloned().collect(),
        params: data.params.clone(),
    };
    let few = chosen(&data);
    let options = CompareOptions { resamples: 20, ..CompareOptions::default() };
    let pair = |data: &Data| compare(&evaluator(data, &data.dt), &evaluator(data, &other(data, 6)), &options);
    let expected = compare(
        &evaluator(&few, &few.dt),
        &evaluator(
            &few,
            &other(&data, 6).into_iter().filter(|r| ids.contains(&r.image_id)).collect::<Vec<_>>(),
        ),
        &options,
    );
    data.params.img_ids = Some(ids.clone());
    assert_eq!(pair(&data).unwrap(), expected.unwrap());
}

#[test]
fn results_of_different_tasks_are_not_compared() {
    let data = data(0, SMALL);
    let a = evaluator(&data, &data.dt);
    let half = {
        let mut e = Evaluator::new(&data.gt.categories, &data.params).unwrap();
        e.add_shard(&data.gt, &data.dt, Shard { index: 0, count: 2 }).unwrap();
        e
    };
    let params = Params { max_dets: vec![1, 10, 300], ..data.params.clone() };
    let other_params = Evaluator::new(&data.gt.categories, &params).unwrap();
    let named =
        evaluator(&data, &data.dt).with_source(Source { ground_truth: "x".into(), results: String::new() });
    let mut moved = Data { gt: data.gt.clone(), dt: data.dt.clone(), params: data.params.clone() };
    moved.gt.annotations.iter_mut().for_each(|a| a.iscrowd = false);
    let last = moved.gt.annotations.pop().unwrap();
    let objects = evaluator(&moved, &moved.dt);
    let picture = format!("picture {}", last.image_id);
    let cases: [(&Evaluator, &[&str]); 4] = [
        (&half, &["3 pictures", "first result", "id -7"]),
        (&other_params, &["maxDets[2]", "100", "300"]),
        (&named, &["ground truth", "\"x\""]),
        (&objects, &["other objects of category"]),
    ];
    for (b, words) in cases {
        let e = compare(&a, b, &CompareOptions::default()).unwrap_err();
        let text = e.to_string();
        assert!(e.kind() == ErrorKind::Input && words.iter().all(|w| text.contains(w)), "{text}: {words:?}");
    }
    let without_crowds = {
        let mut plain = Data { gt: data.gt.clone(), dt: Vec::new(), params: data.params.clone() };
        plain.gt.annotations.iter_mut().for_each(|a| a.iscrowd = false);
        evaluator(&plain, &[])
    };
    let e = compare(&without_crowds, &objects, &CompareOptions::default()).unwrap_err().to_string();
    assert!(e.contains(&picture), "{e}: {picture}");
    for (resamples, level) in [(0, 0.95), (10, 0.0), (10, 1.0), (10, f64::NAN)] {
        let options = CompareOptions { resamples, level, seed: 0 };
        assert_eq!(compare(&a, &a, &options).unwrap_err().kind(), ErrorKind::Config);
    }
}
