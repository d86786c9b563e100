//! What to evaluate and how: pycocotools' `Params`, under its names.
mod given;

use crate::boundary::BOUNDARY_RATIO;
use crate::figures::{self, Figure};
use crate::keypoints::COCO_SIGMAS;
use crate::kind::{Benchmark, IouType};
use care_types::{CategoryId, Error, ImageId, Result};
use given::Given;
use serde::Serialize;

/// The parameters of an evaluation. In JSON they have exactly pycocotools' names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Params {
    /// What is compared.
    #[serde(skip)]
    pub iou_type: IouType,
    /// Whose rules are followed.
    #[serde(skip)]
    pub benchmark: Benchmark,
    /// Reproduce pycocotools where it is wrong: annotation id 0, repeated annotation ids, rectangles for box results
    /// that are evaluated as masks.
    #[serde(skip)]
    pub quirks: bool,
    /// IoU thresholds.
    #[serde(rename = "iouThrs")]
    pub iou_thrs: Vec<f64>,
    /// Recalls at which precision is read.
    #[serde(rename = "recThrs")]
    pub rec_thrs: Vec<f64>,
    /// Most detections per picture and category (with LVIS' rules, per picture); used in ascending order. The summary reads the first three (the last
    /// one, where there are fewer).
    #[serde(rename = "maxDets")]
    pub max_dets: Vec<usize>,
    /// Ranges of object area in square pixels, both ends included.
    #[serde(rename = "areaRng")]
    pub area_rng: Vec<[f64; 2]>,
    /// Names of the ranges; the summary looks for `all`, `small`, `medium`, `large`.
    #[serde(rename = "areaRngLbl")]
    pub area_rng_lbl: Vec<String>,
    /// Categories to evaluate; all when absent or empty.
    #[serde(rename = "catIds")]
    pub cat_ids: Option<Vec<CategoryId>>,
    /// Pictures to evaluate; all when absent or empty.
    #[serde(rename = "imgIds")]
    pub img_ids: Option<Vec<ImageId>>,
    /// False (or 0) to treat all categories as one.
    #[serde(rename = "useCats")]
    pub use_cats: bool,
    /// For keypoints: σ of each joint, in units of the square root of the object's area. As many as there are joints.
    pub kpt_oks_sigmas: Vec<f64>,
    /// For boundaries: width of the band in units of the picture's diagonal.
    pub dilation_ratio: f64,
}

impl Params {
    /// COCO's own parameters.
    pub fn new(iou_type: IouType) -> Self {
        const SIDE: [f64; 3] = [32.0, 96.0, 1e5];
        let [small, medium, large] = SIDE.map(|s| s * s);
        let mut params = Params {
            iou_type,
            benchmark: Benchmark::Coco,
            quirks: false,
            iou_thrs: linspace(0.5, 0.95, 10),
            rec_thrs: linspace(0.0, 1.0, 101),
            max_dets: vec![1, 10, 100],
            area_rng: vec![[0.0, large], [0.0, small], [small, medium], [medium, large]],
            area_rng_lbl: ["all", "small", "medium", "large"].map(String::from).into(),
            cat_ids: None,
            img_ids: None,
            use_cats: true,
            kpt_oks_sigmas: COCO_SIGMAS.to_vec(),
            dilation_ratio: BOUNDARY_RATIO,
        };
        if iou_type == IouType::Keypoints {
            // COCO labels no joints of small people.
            params.max_dets = vec![20];
            params.area_rng.remove(1);
            params.area_rng_lbl.remove(1);
        }
        params
    }

    /// LVIS' own parameters, for boxes, masks or boundaries.
    pub fn lvis(iou_type: IouType) -> Self {
        Params { benchmark: Benchmark::Lvis, max_dets: vec![300], ..Params::new(iou_type) }
    }

    /// The parameters that published numbers are made with.
    pub(crate) fn standard(&self) -> Self {
        match self.benchmark {
            Benchmark::Coco => Params::new(self.iou_type),
            Benchmark::Lvis => Params::lvis(self.iou_type),
        }
    }

    /// The figures that an evaluation is summed up in.
    pub fn figures(&self) -> &'static [Figure] {
        figures::of(self.benchmark, self.iou_type)
    }

    /// Whether there is something to say about what pycocotools would print.
    pub(crate) fn tells_quirks(&self) -> bool {
        self.benchmark == Benchmark::Coco && !self.quirks
    }

    /// COCO's parameters with those of a JSON object in their place.
    ///
    /// # Errors
    /// `Config` for anything but an object of known names and fitting values.
    pub fn from_json(bytes: &[u8], iou_type: IouType) -> Result<Self> {
        Params::new(iou_type).with_json(bytes)
    }

    /// These parameters with those of a JSON object in their place.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn with_json(self, bytes: &[u8]) -> Result<Self> {
        let params = Given::read(bytes)?.over(self);
        params.validate()?;
        Ok(params)
    }

    /// Checks what types cannot.
    pub(crate) fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::config(format!("evaluation parameters: {message}")));
        let lists = [
            ("iouThrs", self.iou_thrs.len()),
            ("recThrs", self.rec_thrs.len()),
            ("maxDets", self.max_dets.len()),
            ("areaRng", self.area_rng.len()),
        ];
        if let Some((name, _)) = lists.iter().find(|(_, n)| *n == 0) {
            return fail(format!("{name} is empty"));
        }
        if self.area_rng.len() != self.area_rng_lbl.len() {
            let (ranges, names) = (self.area_rng.len(), self.area_rng_lbl.len());
            return fail(format!("{ranges} areaRng, but {names} areaRngLbl: each range needs its name"));
        }
        let numbers = [("iouThrs", &self.iou_thrs), ("recThrs", &self.rec_thrs)];
        match numbers.iter().find(|(_, v)| v.iter().any(|x| x.is_nan())) {
            Some((name, _)) => fail(format!("{name} has a NaN")),
            None => self.kind_problem().map_or(Ok(()), fail),
        }
    }

    /// What does not fit to what is compared, and to whose rules are followed.
    fn kind_problem(&self) -> Option<String> {
        let bad_sigma = || self.kpt_oks_sigmas.iter().find(|s| !(s.is_finite() && **s > 0.0));
        let ratio = self.dilation_ratio;
        match (self.benchmark, self.iou_type) {
            (Benchmark::Lvis, IouType::Keypoints) => return Some("LVIS has no keypoints".into()),
            (Benchmark::Lvis, _) if self.quirks => {
                return Some("pycocotools' quirks are not lvis-api's".into());
            }
            (Benchmark::Lvis, _) if self.max_dets.len() > 1 => return Some("LVIS has one maxDets".into()),
            _ => {}
        }
        match self.iou_type {
            IouType::Keypoints if self.kpt_oks_sigmas.is_empty() => Some("kpt_oks_sigmas is empty".into()),
            IouType::Keypoints => {
                bad_sigma().map(|sigma| format!("kpt_oks_sigmas has {sigma}; each must be above 0"))
            }
            IouType::Boundary if !(ratio > 0.0 && ratio <= 1.0) => {
                Some(format!("dilation_ratio is {ratio}; it must be above 0 and at most 1"))
            }
            _ => None,
        }
    }

    /// `maxDets` in the order in which they are used.
    pub(crate) fn sorted_max_dets(&self) -> Vec<usize> {
        let mut sorted = self.max_dets.clone();
        sorted.sort_unstable();
        sorted
    }
}

impl Default for Params {
    fn default() -> Self {
        Self::new(IouType::Bbox)
    }
}

/// numpy's `linspace`, bit for bit: multiples of the step from the start, and the end exactly.
fn linspace(start: f64, stop: f64, n: usize) -> Vec<f64> {
    let step = (stop - start) / (n - 1) as f64;
    (0..n).map(|i| if i == n - 1 { stop } else { i as f64 * step + start }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_numpys_to_the_bit() {
        let p = Params::default();
        // numpy.linspace(.5, .95, 10)[[1, 3, 5]], numpy.linspace(0, 1, 101)[[3, 29, 57]]
        assert_eq!([p.iou_thrs[1], p.iou_thrs[3], p.iou_thrs[5]], [0.55, 0.65, 0.75]);
        assert_eq!([p.rec_thrs[3], p.rec_thrs[29], p.rec_thrs[57]], [0.03, 0.29, 0.5700000000000001]);
    }

    #[test]
    fn json_has_pycocotools_names_and_refuses_others() {
        let p = Params::from_json(br#"{"maxDets":[5,1],"useCats":0,"imgIds":[3]}"#, IouType::Segm).unwrap();
        assert_eq!((p.sorted_max_dets(), p.use_cats, p.iou_type), (vec![1, 5], false, IouType::Segm));
        assert_eq!(p.img_ids, Some(vec![ImageId(3)]));
        for bad in [
            r#"{"iouThr":[0.5]}"#,
            r#"{"iou_thrs":[0.5]}"#,
            r#"{"maxDets":[-1]}"#,
            r#"{"maxDets":[]}"#,
            r#"{"areaRng":[[0,1]]}"#,
            "[]",
        ] {
            let e = Params::from_json(bad.as_bytes(), IouType::Bbox).unwrap_err();
            assert_eq!(e.kind(), care_types::ErrorKind::Config, "{bad}");
        }
    }
}
