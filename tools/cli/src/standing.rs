//! What a score was measured on, and whether it may stand beside published ones.

use care_map::{Benchmark, CocoMetrics, IouType};
use care_types::{CategoryId, LabelMap};
use serde::Serialize;

/// Pictures and annotations of COCO's `instances_val2017.json`.
const VAL2017: [usize; 2] = [5_000, 36_781];
/// Of `person_keypoints_val2017.json`.
const PERSONS: [usize; 2] = [5_000, 11_004];
/// Of `lvis_v1_val.json`, and its categories.
const LVIS_V1: [usize; 2] = [19_809, 244_707];
const LVIS_CATEGORIES: usize = 1_203;

/// Of ADE20K's validation part.
const ADE20K_PICTURES: usize = 2_000;
/// Of the benchmark.
const ADE20K_CLASSES: usize = 150;

/// Said with every report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The annotations: a file, or a set and its kind.
    pub data: String,
    /// The part of the set; none for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// SHA-256 of the annotation file, or the set's fingerprint over names, sizes and annotations.
    pub sha256: String,
    /// Whether a figure means the same as one of COCO's leaderboard.
    pub comparable_with_leaderboard: bool,
    /// Why, or why not.
    pub why: String,
    /// Whose.
    #[serde(skip)]
    leaderboard: &'static str,
}

impl Standing {
    /// Judges what was evaluated.
    pub fn new(data: String, split: Option<String>, sha256: String, metrics: &[CocoMetrics]) -> Self {
        let why_not = metrics.iter().find_map(why_not);
        let lvis = metrics.iter().any(|m| m.protocol.benchmark == Benchmark::Lvis);
        let (leaderboard, set) = if lvis { ("LVIS", "LVIS v1 val") } else { ("COCO", "COCO val2017") };
        let comparable_with_leaderboard = why_not.is_none() && !metrics.is_empty();
        let why = match (why_not, metrics.is_empty()) {
            (Some(why), _) => why,
            (None, true) => "nothing was evaluated".to_owned(),
            (None, false) => format!("all of {set} with {leaderboard}'s parameters"),
        };
        Self { data, split, sha256, comparable_with_leaderboard, why, leaderboard }
    }

    /// Judges scores of scenes: ADE20K's figures are over its 2,000 validation pictures and 150 classes.
    pub fn of_scenes(
        (data, split, sha256): (String, Option<String>, String),
        classes: usize,
        [pictures, failed]: [usize; 2],
    ) -> Self {
        let why_not = match (classes, pictures) {
            (ADE20K_CLASSES, ADE20K_PICTURES) if failed == 0 => None,
            (ADE20K_CLASSES, ADE20K_PICTURES) => Some(format!("{failed} pictures failed")),
            _ => Some("not all of ADE20K's validation part with its 150 classes".to_owned()),
        };
        let comparable_with_leaderboard = why_not.is_none();
        let why = why_not.unwrap_or_else(|| "all of ADE20K's validation part".to_owned());
        Self { data, split, sha256, comparable_with_leaderboard, why, leaderboard: "ADE20K" }
    }

    /// Two lines for people.
    pub fn text(&self) -> String {
        let split = self.split.as_ref().map_or(String::new(), |split| format!(", split {split}"));
        let answer = if self.comparable_with_leaderboard { "yes" } else { "no" };
        let hash = match self.sha256.get(..16) {
            Some(start) => format!(", sha256 {start}…"),
            None => String::new(), // drawn, not files
        };
        format!(
            " data       {}{split}{hash}\n comparable with {}'s leaderboard: {answer} ({})\n",
            self.data, self.leaderboard, self.why
        )
    }
}

fn why_not(metrics: &CocoMetrics) -> Option<String> {
    let funnel = &metrics.funnel;
    let there = [funnel.images.in_ground_truth, funnel.annotations.in_ground_truth];
    let ids = || metrics.per_category.iter().map(|c| c.id);
    let (same, set) = match (metrics.protocol.benchmark, metrics.protocol.iou_type) {
        (Benchmark::Coco, IouType::Boundary) => return Some("COCO ranks masks, not boundaries".to_owned()),
        (Benchmark::Lvis, _) => (there == LVIS_V1 && ids().count() == LVIS_CATEGORIES, "LVIS v1 val"),
        (Benchmark::Coco, IouType::Keypoints) => {
            (there == PERSONS && ids().eq([CategoryId(1)]), "COCO val2017")
        }
        (Benchmark::Coco, IouType::Bbox | IouType::Segm) => {
            let coco = LabelMap::coco();
            (there == VAL2017 && ids().eq(coco.entries().iter().map(|l| l.id)), "COCO val2017")
        }
    };
    if !same {
        return Some(format!("the data is not {set}"));
    }
    if !metrics.protocol.standard {
        return Some("parameters, pictures or categories were chosen".to_owned());
    }
    match funnel.images.failed {
        0 => None,
        n => Some(format!("{n} pictures failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use care_map::{IouType, Params, evaluate};
    use care_types::coco_json::{Annotation, Category, Dataset, Image};
    use care_types::{BoxXywh, ImageId};

    /// As many pictures, objects and categories as val2017 has.
    fn like_val2017() -> Dataset {
        let coco = LabelMap::coco();
        let image = |i| Image {
            id: ImageId(i),
            width: 64,
            height: 64,
            file_name: format!("{i}.jpg"),
            ..Default::default()
        };
        let object = |i: usize| Annotation {
            id: i as i64 + 1,
            image_id: ImageId((i % VAL2017[0]) as i64),
            category_id: coco.entries()[i % 80].id,
            bbox: Some(BoxXywh::new(1.0, 1.0, 9.0, 9.0)),
            area: Some(81.0),
            ..Default::default()
        };
        let category =
            |l: &care_types::Label| Category { id: l.id, name: l.name.clone(), ..Default::default() };
        Dataset {
            images: (0..VAL2017[0] as i64).map(image).collect(),
            annotations: (0..VAL2017[1]).map(object).collect(),
            categories: coco.entries().iter().map(category).collect(),
            ..Dataset::default()
        }
    }

    #[test]
    fn only_all_of_ade20k_is_comparable() {
        let judged =
            |classes, counts| Standing::of_scenes(("d".to_owned(), None, "abc".to_owned()), classes, counts);
        assert!(judged(150, [2_000, 0]).comparable_with_leaderboard);
        for (classes, counts) in [(150, [1_999, 0]), (150, [2_000, 1]), (19, [2_000, 0])] {
            assert!(!judged(classes, counts).comparable_with_leaderboard);
        }
        assert!(judged(19, [500, 0]).text().contains("ADE20K's leaderboard: no"));
    }

    #[test]
    fn only_all_of_val2017_with_cocos_parameters_is_comparable() {
        let truth = like_val2017();
        let judged = |truth: &Dataset, change: &dyn Fn(&mut Params)| {
            let mut params = Params::new(IouType::Bbox);
            change(&mut params);
            let metrics = evaluate(truth, &[], &params).unwrap();
            Standing::new("x.json".to_owned(), None, "abc".to_owned(), &[metrics])
        };
        assert!(judged(&truth, &|_| ()).comparable_with_leaderboard);
        let chosen = judged(&truth, &|p| p.img_ids = Some(vec![ImageId(3)]));
        assert!(!chosen.comparable_with_leaderboard && chosen.why.contains("were chosen"), "{chosen:?}");
        let mut part = truth.clone();
        part.images.pop();
        let part = judged(&part, &|_| ());
        assert!(part.text().contains("leaderboard: no (the data is not COCO val2017)"), "{}", part.text());
        assert!(!Standing::new(String::new(), None, String::new(), &[]).comparable_with_leaderboard);
    }
}
