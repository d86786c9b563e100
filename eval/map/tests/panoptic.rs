//! Panoptic quality: numbers of panopticapi, the definition on random maps, and what must be refused.
//! `compare_panoptic.py` compares with panopticapi itself on thousands of random sets.
use care_map::ErrorKind;
use care_map::panoptic::{
    Categories, Category, PanopticQuality, PanopticSummary, PictureId, Segment, SegmentMap, ids_from_rgb,
    pair, parse,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

fn categories() -> Categories {
    let category = |(id, isthing)| Category { id, name: format!("c{id}"), isthing };
    Categories::new([(1, true), (2, false), (3, true), (4, false)].map(category).into()).unwrap()
}

fn segments(list: &[(u32, i64)]) -> Vec<Segment> {
    list.iter().map(|&(id, category)| Segment::new(id, category)).collect()
}

#[derive(Clone, Debug)]
struct Picture {
    truth: (Vec<u32>, Vec<Segment>),
    prediction: (Vec<u32>, Vec<Segment>),
}

impl Picture {
    fn add(&self, id: i64, quality: &mut PanopticQuality) -> care_map::Result<()> {
        let map = |(ids, segments)| SegmentMap { ids, segments };
        let truth = map((&self.truth.0, &self.truth.1));
        quality.add(&PictureId::Number(id), truth, map((&self.prediction.0, &self.prediction.1)))
    }
}

/// Void, a crowd, an IoU of exactly 1/2, an id of the ground truth that its list lacks.
fn frozen() -> [Picture; 2] {
    let mut truth = segments(&[(1, 1), (2, 1), (3, 2), (4, 1)]);
    truth[3].iscrowd = true;
    let first = Picture {
        truth: (vec![1, 1, 1, 2, 2, 0, 1, 1, 1, 2, 2, 0, 3, 3, 3, 3, 0, 0, 3, 3, 3, 3, 4, 4], truth),
        prediction: (
            vec![9, 9, 8, 8, 8, 8, 9, 9, 8, 8, 8, 8, 7, 7, 7, 7, 7, 7, 7, 7, 7, 5, 6, 6],
            segments(&[(9, 1), (8, 1), (7, 2), (5, 3), (6, 1)]),
        ),
    };
    let second = Picture {
        truth: (vec![1, 1, 0, 0, 1, 1, 0, 70_000], segments(&[(1, 3)])),
        prediction: (vec![2, 2, 3, 3, 0, 0, 3, 4], segments(&[(2, 3), (3, 1), (4, 2)])),
    };
    [first, second]
}

fn quality(pictures: &[Picture]) -> PanopticQuality {
    let mut quality = PanopticQuality::new(categories());
    for (id, picture) in pictures.iter().enumerate() {
        picture.add(id as i64, &mut quality).unwrap();
    }
    quality
}

#[test]
fn a_small_set_has_the_numbers_of_panopticapi() {
    // The numbers are those of panopticapi's pq_compute_single_core and pq_average.
    let got = quality(&frozen()).summary();
    let of = |q: &care_map::panoptic::Quality| [q.pq, q.sq, q.rq];
    let close = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close(of(&got.all), [0.4166666666666667, 0.5138888888888888, 0.5555555555555555]), "{got:?}");
    assert!(close(of(&got.things), [0.3333333333333333, 0.3333333333333333, 0.5]), "{got:?}");
    assert!(close(of(&got.stuff), [0.5833333333333334, 0.875, 0.6666666666666666]), "{got:?}");
    assert_eq!([got.all.categories, got.things.categories, got.stuff.categories], [3, 2, 1]);
    let counts: Vec<[u64; 3]> =
        got.per_category.iter().map(|c| [c.true_positives, c.false_positives, c.misses]).collect();
    assert_eq!(counts, [[2, 0, 0], [1, 1, 0], [0, 2, 1], [0, 0, 0]]);
    assert_eq!(got.per_category[3].pq, -1.0);
    assert_eq!((got.pictures, got.ground_truth.unlisted), (2, 1));
}

struct Random(ChaCha8Rng);

impl Random {
    /// From 0 to n - 1.
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    /// Rectangles on a map of 8 times 6 pixels, drawn over each other.
    fn map(&mut self, crowds: bool) -> (Vec<u32>, Vec<Segment>) {
        let mut ids = vec![0u32; 48];
        for id in 1..=self.below(6) as u32 {
            let (x, y) = (self.below(8), self.below(6));
            let (w, h) = (1 + self.below(8 - x), 1 + self.below(6 - y));
            (y..y + h).for_each(|row| ids[row * 8 + x..row * 8 + x + w].fill(id * 1000));
        }
        let mut present = ids.clone();
        present.sort_unstable();
        present.dedup();
        let segment = |id| Segment {
            iscrowd: crowds && self.below(4) == 0,
            ..Segment::new(id, 1 + self.below(3) as i64)
        };
        let segments = present.into_iter().filter(|id| *id != 0).map(segment).collect();
        (ids, segments)
    }

    fn pictures(&mut self, n: usize) -> Vec<Picture> {
        (0..n)
            .map(|_| {
                let truth = self.map(true);
                let mut prediction = if self.below(2) == 0 { truth.clone() } else { self.map(false) };
                prediction.0.rotate_right(self.below(2));
                prediction.1.iter_mut().for_each(|s| s.iscrowd = false);
                Picture { truth, prediction }
            })
            .collect()
    }
}

/// True positives, false positives, misses and the sum of IoU of a category, pixel by pixel from the definition.
fn by_definition(pictures: &[Picture], category: i64) -> ([u64; 3], f64) {
    let (mut counts, mut sum) = ([0; 3], 0.0);
    for p in pictures {
        let (truth, prediction) = (&p.truth, &p.prediction);
        let pixels = |wanted: &dyn Fn(u32, u32) -> bool| {
            truth.0.iter().zip(&prediction.0).filter(|(t, p)| wanted(**t, **p)).count() as f64
        };
        let of_category = |list: &[Segment]| -> Vec<Segment> {
            list.iter().filter(|s| s.category_id == category).cloned().collect()
        };
        let (truths, found) = (of_category(&truth.1), of_category(&prediction.1));
        let crowd = truths.iter().rfind(|s| s.iscrowd).map(|s| s.id);
        let iou = |t: u32, f: u32| {
            pixels(&|a, b| a == t && b == f) / pixels(&|a, b| a == t || (b == f && a != 0)).max(1.0)
        };
        let wanted: Vec<&Segment> = truths.iter().filter(|s| !s.iscrowd).collect();
        for t in &wanted {
            match found.iter().map(|f| iou(t.id, f.id)).find(|iou| *iou > 0.5) {
                Some(iou) => (counts[0], sum) = (counts[0] + 1, sum + iou),
                None => counts[2] += 1,
            }
        }
        for f in found.iter().filter(|f| !wanted.iter().any(|t| iou(t.id, f.id) > 0.5)) {
            let excused = pixels(&|a, b| b == f.id && (a == 0 || Some(a) == crowd));
            counts[1] += u64::from(excused / pixels(&|_, b| b == f.id) <= 0.5);
        }
    }
    (counts, sum)
}

#[test]
fn random_sets_agree_with_the_definition() {
    let (mut matches, mut wrong) = (0, Vec::new());
    for seed in 0..300 {
        let pictures = Random(ChaCha8Rng::seed_from_u64(seed)).pictures(4);
        for category in quality(&pictures).summary().per_category {
            let (counts, sum) = by_definition(&pictures, category.id);
            let [found, false_positives, misses] = counts.map(|n| n as f64);
            let all = found + 0.5 * false_positives + 0.5 * misses;
            let pq = if all == 0.0 { -1.0 } else { sum / all };
            let got = [category.true_positives, category.false_positives, category.misses];
            if got != counts || (category.pq - pq).abs() > 1e-12 {
                wrong.push(format!("seed {seed}: {category:?} instead of {counts:?}, PQ {pq}"));
            }
            matches += counts[0];
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(matches > 300, "only {matches} matches: the sets are not worth comparing");
}

#[test]
fn ground_truth_against_itself_is_perfect() {
    for seed in 0..50 {
        let mut pictures = Random(ChaCha8Rng::seed_from_u64(seed)).pictures(3);
        for picture in &mut pictures {
            picture.truth.1.iter_mut().for_each(|s| s.iscrowd = false);
            picture.prediction = picture.truth.clone();
        }
        let summary = quality(&pictures).summary();
        for category in summary.per_category {
            let none = category.true_positives == 0;
            assert_eq!(category.pq, if none { -1.0 } else { 1.0 }, "seed {seed}: {category:?}");
        }
        assert!(summary.all.categories == 0 || summary.all.pq == 1.0);
    }
}

#[test]
fn any_split_merged_in_any_order_gives_the_same_bits() {
    let mut random = Random(ChaCha8Rng::seed_from_u64(5));
    let pictures = random.pictures(40);
    let whole = quality(&pictures);
    let bits = |s: PanopticSummary| s.per_category.iter().map(|c| c.pq.to_bits()).collect::<Vec<u64>>();
    assert!(whole.summary().all.sq > 0.5 && whole.summary().all.sq < 1.0);
    for _ in 0..20 {
        let mut parts = vec![PanopticQuality::new(categories()); 1 + random.below(6)];
        for (id, picture) in pictures.iter().enumerate() {
            let part = random.below(parts.len());
            picture.add(id as i64, &mut parts[part]).unwrap();
        }
        let mut merged = PanopticQuality::new(categories());
        while !parts.is_empty() {
            let part = parts.swap_remove(random.below(parts.len()));
            let text = serde_json::to_string(&part).unwrap();
            merged.merge(&serde_json::from_str(&text).unwrap()).unwrap();
        }
        assert_eq!(merged, whole);
        assert_eq!(bits(merged.summary()), bits(whole.summary()));
    }
}

#[test]
fn parts_that_do_not_fit_are_refused_and_change_nothing() {
    let first = quality(&frozen());
    let mut merged = first.clone();
    let e = merged.merge(&quality(&frozen()[..1])).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Input);
    assert!(e.to_string().contains("share 1 pictures, the first is 0"), "{e}");
    let other = Categories::new(vec![Category { id: 1, name: "c1".into(), isthing: true }]).unwrap();
    let e = merged.merge(&PanopticQuality::new(other)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(frozen()[0].add(0, &mut merged).unwrap_err().to_string().contains("picture 0"));
    assert_eq!(merged, first);
    let mut text = serde_json::to_value(&first).unwrap();
    text["counts"].as_array_mut().unwrap().pop();
    assert!(serde_json::from_value::<PanopticQuality>(text).is_err());
}

#[test]
fn bad_predictions_are_refused_with_picture_and_segment() {
    type Change = fn(&mut Picture);
    let change: [(&str, Change, &[&str]); 8] = [
        ("not in JSON", |p| p.prediction.1.truncate(4), &["segment 6", "prediction", "not in the JSON"]),
        ("not in PNG", |p| p.prediction.1.push(Segment::new(77, 1)), &["segment 77", "not in the PNG"]),
        ("category", |p| p.prediction.1[1].category_id = 9, &["segment 8", "category_id 9"]),
        ("twice", |p| p.prediction.1[1].id = 9, &["segment 9", "second time", "segments_info[1]"]),
        ("void", |p| p.prediction.1[1].id = 0, &["prediction", "segments_info[1].id", "0"]),
        ("truth twice", |p| p.truth.1[1].id = 1, &["ground truth", "segment 1", "second time"]),
        ("truth void", |p| p.truth.1[2].id = 0, &["ground truth", "segments_info[2].id"]),
        ("size", |p| p.prediction.0.truncate(23), &["24 pixels", "23"]),
    ];
    let mut wrong = Vec::new();
    for (name, change, words) in change {
        let mut picture = frozen()[0].clone();
        change(&mut picture);
        let mut quality = PanopticQuality::new(categories());
        match picture.add(31, &mut quality) {
            Ok(()) => wrong.push(format!("{name}: accepted")),
            Err(e) => {
                let text = e.to_string();
                let named = text.contains("picture 31") && words.iter().all(|w| text.contains(w));
                if !named || e.kind() != ErrorKind::Input || quality != PanopticQuality::new(categories()) {
                    wrong.push(format!("{name}: {text} (expected {words:?})"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn oddities_of_the_ground_truth_are_counted() {
    let mut picture = frozen()[0].clone();
    picture.truth.1[1].category_id = 99;
    picture.truth.1[0].area = Some(7);
    picture.truth.1.push(Segment::new(50, 4));
    let notes = quality(&[picture]).summary().ground_truth;
    let counted = [notes.unknown_category, notes.without_pixels, notes.area_differs, notes.unlisted];
    assert_eq!(counted, [1, 1, 1, 0]);
}

#[test]
fn files_are_read_and_paired() {
    let text = br#"{"images": [], "categories": [{"id": 1, "name": "dog", "isthing": 1}], "annotations": [
        {"image_id": "a", "file_name": "a.png", "segments_info": [
            {"id": 70000, "category_id": 1, "iscrowd": 1, "area": 3, "bbox": [0, 0, 1, 3]}, {"id": 2, "category_id": 1}]},
        {"image_id": 5, "file_name": "5.png", "segments_info": []}]}"#;
    let truth = parse(text).unwrap();
    assert!(truth.categories[0].isthing && truth.annotations[0].segments_info[0].iscrowd);
    let mut found = parse(text).unwrap();
    found.annotations.reverse();
    let pairs = pair(&truth.annotations, &found.annotations).unwrap();
    assert_eq!([pairs[0].1.file_name.as_str(), pairs[1].1.file_name.as_str()], ["a.png", "5.png"]);
    found.annotations.truncate(1);
    let e = pair(&truth.annotations, &found.annotations).unwrap_err().to_string();
    assert!(e.contains("picture a has no prediction"), "{e}");
    let twice = [found.annotations[0].clone(), found.annotations[0].clone()];
    assert!(pair(&truth.annotations, &twice).unwrap_err().to_string().contains("image_id: 5"));
    assert!(pair(&twice, &truth.annotations).unwrap_err().to_string().contains("image_id: 5"));
    for bad in ["[]", "{\"annotations\": 1}", "", "{\"annotations\": []"] {
        assert_eq!(parse(bad.as_bytes()).unwrap_err().kind(), ErrorKind::Input, "{bad}");
    }
    let flag = String::from_utf8_lossy(text).replace("\"isthing\": 1", "\"isthing\": 2");
    assert!(parse(flag.as_bytes()).is_err());
    let twice = vec![truth.categories[0].clone(); 2];
    assert!(Categories::new(twice).unwrap_err().to_string().contains("categories[1].id: 1"));
}

#[test]
fn pixels_are_ids_in_base_256_with_red_first() {
    assert_eq!(
        ids_from_rgb(&[0, 0, 0, 7, 0, 0, 1, 2, 3, 255, 255, 255]).unwrap(),
        [0, 7, 197_121, 16_777_215]
    );
    assert_eq!(ids_from_rgb(&[1, 2]).unwrap_err().kind(), ErrorKind::Input);
}
