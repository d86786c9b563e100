//! Hundreds of random small data sets against hotcoco, another evaluator that follows pycocotools: every entry of the
//! precision, recall and score arrays to 1e-9. `compare_pycocotools.py` does the same against pycocotools itself.
use care_map::{CocoMetrics, IouType, Params, evaluate};
use care_types::Rle;
use care_types::coco_json::{parse_dataset, parse_results};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-9;

struct Random(ChaCha8Rng);

impl Random {
    /// From 0 to n - 1.
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Whole, half, two decimals, or any.
    fn coordinate(&mut self, high: f64) -> f64 {
        let v = self.unit() * high;
        match self.below(4) {
            0 => v.floor(),
            1 => (v * 2.0).floor() / 2.0,
            2 => (v * 100.0).round() / 100.0,
            _ => v,
        }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bbox(&mut self, [h, w]: [usize; 2]) -> [f64; 4] {
        let (x, y) = (self.coordinate(w as f64), self.coordinate(h as f64));
        let [bw, bh] = match self.below(10) {
            0 => self.pick(&[[32.0, 32.0], [96.0, 96.0], [16.0, 64.0], [0.0, 5.0]]), // areas on the limits of the ranges
            _ => [self.coordinate(w as f64 / 2.0), self.coordinate(h as f64 / 2.0)],
        };
        [x, y, bw, bh]
    }

    /// The same box, one at a simple IoU, or one nearby.
    fn near(&mut self, [x, y, w, h]: [f64; 4]) -> [f64; 4] {
        match self.below(3) {
            0 => [x, y, w, h],
            1 => [x + w * self.pick(&[1.0 / 3.0, 0.25, 1.0 / 9.0, 1.0 / 7.0]), y, w, h],
            _ => {
                let mut noise = |v: f64| (self.unit() - 0.5) * 0.4 * v;
                [(x + noise(w)).max(0.0), (y + noise(h)).max(0.0), w + noise(w), h + noise(h)]
            }
        }
    }

    fn mask(&mut self, [h, w]: [usize; 2], [x, y, bw, bh]: [f64; 4]) -> Rle {
        let holes = self.chance(0.5);
        let mut bits = vec![0u8; h * w];
        for row in (y as usize).min(h)..((y + bh) as usize).min(h) {
            for column in (x as usize).min(w)..((x + bw) as usize).min(w) {
                bits[row * w + column] = u8::from(!holes || self.chance(0.8));
            }
        }
        Rle::from_mask(&bits, h as u32, w as u32).unwrap()
    }

    fn segmentation(&mut self, size: [usize; 2], bbox: [f64; 4], crowd: bool) -> Value {
        if !crowd && self.chance(0.6) {
            let [x, y, w, h] = bbox;
            let corners = 3 + self.below(5);
            let ring: Vec<f64> = (0..corners)
                .flat_map(|_| [x + self.coordinate(w + 1.0), y + self.coordinate(h + 1.0)])
                .collect();
            return json!([ring]);
        }
        let mask = self.mask(size, bbox);
        if self.chance(0.5) {
            return json!({"size": size, "counts": mask.counts()});
        }
        json!(mask)
    }
}

struct Case {
    gt: Value,
    dt: Value,
    params: Params,
}

fn case(seed: u64) -> Case {
    let mut r = Random(ChaCha8Rng::seed_from_u64(seed));
    let segm = seed % 2 == 1;
    let side = if segm { 100 } else { 300 };
    let images: Vec<(usize, [usize; 2])> =
        (0..1 + r.below(6)).map(|i| (i * 7 + 1, [1 + r.below(side), 1 + r.below(side)])).collect();
    let categories: Vec<usize> = (0..1 + r.below(4)).map(|i| i * 3 + 1).collect();
    let (mut annotations, mut results) = (Vec::new(), Vec::new());
    let with_box = !segm || r.chance(0.3);
    for &(image, size) in &images {
        let objects = r.pick(&[0, 2, 10]);
        let mut boxes: Vec<([f64; 4], usize)> = Vec::new();
        for _ in 0..objects {
            let again = !boxes.is_empty() && r.chance(0.2);
            let bbox = if again { boxes[boxes.len() - 1].0 } else { r.bbox(size) };
            let (category, crowd) = (r.pick(&categories), r.chance(0.15));
            boxes.push((bbox, category));
            let area =
                if r.chance(0.6) { bbox[2] * bbox[3] } else { r.pick(&[0.0, 1024.0, 9216.0, 1e10, 500.0]) };
            annotations.push(json!({
                "id": 0, "image_id": image, "category_id": category, "bbox": bbox, "area": area,
                "iscrowd": u8::from(crowd), "segmentation": r.segmentation(size, bbox, crowd),
            }));
        }
        for _ in 0..r.pick(&[0, 3, 20]) {
            let (bbox, category) = if boxes.is_empty() || r.chance(0.3) {
                (r.bbox(size), r.pick(&categories))
            } else {
                r.pick(&boxes)
            };
            let bbox = r.near(bbox);
            // One digit: many ties, within and between pictures.
            let score = if r.chance(0.7) { (r.unit() * 10.0).round() / 10.0 } else { r.unit() };
            let mut record = json!({"image_id": image, "category_id": category, "score": score});
            if with_box {
                record["bbox"] = json!(bbox);
            }
            if segm {
                record["segmentation"] = json!(r.mask(size, bbox));
            }
            results.push(record);
        }
    }
    for list in [&mut annotations, &mut results] {
        (1..list.len()).rev().for_each(|i| list.swap(i, r.below(i + 1)));
    }
    annotations.iter_mut().enumerate().for_each(|(i, a)| a["id"] = json!(i + 1));
    let images: Vec<Value> = images
        .iter()
        .map(|(id, [h, w])| json!({"id": id, "height": h, "width": w, "file_name": ""}))
        .collect();
    let categories: Vec<Value> =
        categories.iter().map(|id| json!({"id": id, "name": format!("c{id}")})).collect();
    let mut params = Params::new(if segm { IouType::Segm } else { IouType::Bbox });
    if r.chance(0.4) {
        params.max_dets = r.pick(&[[1, 2, 3], [2, 5, 100], [100, 300, 1000]]).to_vec();
    }
    if r.chance(0.2) {
        params.iou_thrs = r.pick(&[[0.1, 0.5, 1.0], [0.5, 0.75, 0.95]]).to_vec();
    }
    params.use_cats = r.chance(0.8);
    Case {
        gt: json!({"images": images, "annotations": annotations, "categories": categories}),
        dt: json!(results),
        params,
    }
}

fn ours(case: &Case) -> CocoMetrics {
    let gt = parse_dataset(case.gt.to_string().as_bytes()).unwrap();
    let dt = parse_results(case.dt.to_string().as_bytes()).unwrap();
    evaluate(&gt, &dt, &case.params).unwrap()
}

fn theirs(case: &Case) -> hotcoco::COCOeval {
    let gt = hotcoco::COCO::from_dataset(serde_json::from_value(case.gt.clone()).unwrap());
    let dt = gt.load_res_anns(serde_json::from_value(case.dt.clone()).unwrap()).unwrap();
    let iou_type = match case.params.iou_type {
        IouType::Bbox => hotcoco::IouType::Bbox,
        IouType::Segm => hotcoco::IouType::Segm,
        kind => panic!("no cases of {kind:?} are made"),
    };
    let mut eval = hotcoco::COCOeval::new(gt, dt, iou_type);
    eval.params.max_dets = case.params.max_dets.clone();
    eval.params.iou_thrs = case.params.iou_thrs.clone();
    eval.params.use_cats = case.params.use_cats;
    eval.run().unwrap();
    eval
}

/// The first entry that differs.
fn difference(ours: &CocoMetrics, theirs: &hotcoco::COCOeval) -> Option<String> {
    let arrays = theirs.accumulated().unwrap();
    let pairs = [
        ("precision", &ours.curves.precision, &arrays.precision),
        ("recall", &ours.curves.recall, &arrays.recall),
        ("scores", &ours.curves.scores, &arrays.scores),
    ];
    for (name, a, b) in pairs {
        if a.len() != b.len() {
            return Some(format!("{name}: {} values instead of {}", a.len(), b.len()));
        }
        if let Some(i) = (0..a.len()).find(|&i| (a[i] - b[i]).abs() > TOLERANCE || a[i].is_nan()) {
            return Some(format!("{name}[{i}]: {} instead of {}", a[i], b[i]));
        }
    }
    None
}

fn compare(seeds: std::ops::Range<u64>) {
    let (mut wrong, mut scored) = (Vec::new(), 0);
    for seed in seeds.clone() {
        let case = case(seed);
        let metrics = ours(&case);
        scored += usize::from(metrics.stats[8] > 0.0);
        if let Some(what) = difference(&metrics, &theirs(&case)) {
            wrong.push(format!("seed {seed}: {what}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {seeds:?} differ:\n{}", wrong.len(), wrong.join("\n"));
    // The sets must be worth comparing: most of them find something.
    assert!(scored * 2 > (seeds.end - seeds.start) as usize, "only {scored} data sets find anything");
}

#[test]
fn random_data_sets_agree_with_hotcoco() {
    compare(0..300);
}

/// Many more, for a change of the matching: `cargo test --release -p care-map --test hotcoco -- --ignored`.
#[test]
#[ignore = "takes minutes; docs/checks.md has the command"]
fn many_random_data_sets_agree_with_hotcoco() {
    compare(300..20_000);
}
