//! The result of an evaluation: plain data.
use crate::figures::{self, Figure};
use crate::funnel::Funnel;
use crate::kind::{Benchmark, IouType};
use care_types::CategoryId;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// Everything an evaluation says. Undefined figures are −1.
#[derive(Clone, Debug, PartialEq)]
pub struct CocoMetrics {
    /// In the order of [`Protocol::figures`].
    pub stats: Vec<f64>,
    /// `maxDets`, ascending.
    pub max_dets: Vec<usize>,
    /// By ascending category id.
    pub per_category: Vec<CategoryMetrics>,
    /// What went in.
    pub funnel: Funnel,
    /// How it was evaluated.
    pub protocol: Protocol,
    /// What pycocotools prints, when annotation ids (0, or repeated) make it differ from [`Self::stats`].
    pub pycocotools_stats: Option<Vec<f64>>,
    /// The arrays behind the figures.
    pub curves: Curves,
}

impl CocoMetrics {
    /// The figures by name, in pycocotools' order.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.protocol.figures().iter().map(|f| f.name).zip(self.stats.iter().copied())
    }

    /// A figure by its name.
    pub fn stat(&self, name: &str) -> Option<f64> {
        self.named().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

/// `{"AP":…, …, "ARl":…, "stats":[…], "maxDets":[…], "per_category":[…], "funnel":{…}, "protocol":{…}}`; the curves are
/// left out.
impl Serialize for CocoMetrics {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        for (name, value) in self.named() {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("stats", &self.stats)?;
        map.serialize_entry("maxDets", &self.max_dets)?;
        map.serialize_entry("per_category", &self.per_category)?;
        map.serialize_entry("funnel", &self.funnel)?;
        map.serialize_entry("protocol", &self.protocol)?;
        if let Some(stats) = &self.pycocotools_stats {
            map.serialize_entry("pycocotools_stats", stats)?;
        }
        map.end()
    }
}

/// The figures of one category: range `all`, the third (or last) maxDets, also where that is not 100.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryMetrics {
    /// −1 when categories are not told apart.
    pub id: CategoryId,
    /// Of the ground truth.
    pub name: String,
    /// Mean over thresholds and recalls.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// At IoU 0.5.
    #[serde(rename = "AP50")]
    pub ap50: f64,
    /// Mean recall over thresholds.
    #[serde(rename = "AR100")]
    pub ar100: f64,
}

/// How the figures were made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Protocol {
    /// What was compared.
    pub iou_type: IouType,
    /// Whose rules were followed.
    pub benchmark: Benchmark,
    /// IoU thresholds.
    #[serde(rename = "iouThrs")]
    pub iou_thrs: Vec<f64>,
    /// Number of recall thresholds.
    pub recall_points: usize,
    /// Area ranges, both ends included.
    #[serde(rename = "areaRng")]
    pub area_rng: Vec<[f64; 2]>,
    /// Their names.
    #[serde(rename = "areaRngLbl")]
    pub area_rng_lbl: Vec<String>,
    /// Whether categories were told apart.
    #[serde(rename = "useCats")]
    pub use_cats: bool,
    /// Number of categories evaluated.
    pub categories: usize,
    /// For keypoints: [`crate::Params::kpt_oks_sigmas`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kpt_oks_sigmas: Option<Vec<f64>>,
    /// For boundaries: [`crate::Params::dilation_ratio`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dilation_ratio: Option<f64>,
    /// [`crate::Params::quirks`].
    pub pycocotools_quirks: bool,
    /// True when thresholds, recalls, ranges and maxDets are COCO's, and all pictures and categories were evaluated.
    pub standard: bool,
}

impl Protocol {
    /// The figures that the evaluation is summed up in.
    pub fn figures(&self) -> &'static [Figure] {
        figures::of(self.benchmark, self.iou_type)
    }
}

/// Precision, recall and scores as pycocotools' `eval` has them; −1 where there is no object to find.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// Sizes: IoU thresholds T, recalls R, categories K, area ranges A, maxDets M.
    pub counts: [usize; 5],
    /// `[T, R, K, A, M]`, row-major.
    pub precision: Vec<f64>,
    /// `[T, K, A, M]`, row-major.
    pub recall: Vec<f64>,
    /// `[T, R, K, A, M]`, row-major.
    pub scores: Vec<f64>,
}

impl Curves {
    pub(crate) fn undefined(counts: [usize; 5]) -> Self {
        let [t, _, k, a, m] = counts;
        let all = counts.iter().product();
        Curves {
            counts,
            precision: vec![-1.0; all],
            recall: vec![-1.0; t * k * a * m],
            scores: vec![-1.0; all],
        }
    }

    /// Position of threshold, recall, category, range, maxDets in `precision` and `scores`.
    pub fn precision_index(&self, [t, r, k, a, m]: [usize; 5]) -> usize {
        let [_, recalls, categories, ranges, max_dets] = self.counts;
        (((t * recalls + r) * categories + k) * ranges + a) * max_dets + m
    }

    /// Position of threshold, category, range, maxDets in `recall`.
    pub fn recall_index(&self, t: usize, k: usize, a: usize, m: usize) -> usize {
        let [_, _, categories, ranges, max_dets] = self.counts;
        ((t * categories + k) * ranges + a) * max_dets + m
    }
}
