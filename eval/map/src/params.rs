//! What to evaluate and how: pycocotools' `Params`, under its names.
use care_types::{CategoryId, Error, ImageId, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::str::FromStr;

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IouType {
    /// Boxes.
    #[default]
    Bbox,
    /// Masks.
    Segm,
}

impl IouType {
    /// `bbox` or `segm`.
    pub fn as_str(self) -> &'static str {
        match self {
            IouType::Bbox => "bbox",
            IouType::Segm => "segm",
        }
    }
}

impl FromStr for IouType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bbox" => Ok(IouType::Bbox),
            "segm" => Ok(IouType::Segm),
            _ => Err(Error::config(format!("iou type {text:?}: expected bbox or segm"))),
        }
    }
}

/// The parameters of an evaluation. In JSON they have exactly pycocotools' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Boxes or masks.
    #[serde(skip)]
    pub iou_type: IouType,
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
    /// Most detections per picture and category; used in ascending order. The summary reads the first three (the last
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
    #[serde(rename = "useCats", deserialize_with = "flag")]
    pub use_cats: bool,
}

impl Params {
    /// COCO's own parameters.
    pub fn new(iou_type: IouType) -> Self {
        const SIDE: [f64; 3] = [32.0, 96.0, 1e5];
        let [small, medium, large] = SIDE.map(|s| s * s);
        Params {
            iou_type,
            quirks: false,
            iou_thrs: linspace(0.5, 0.95, 10),
            rec_thrs: linspace(0.0, 1.0, 101),
            max_dets: vec![1, 10, 100],
            area_rng: vec![[0.0, large], [0.0, small], [small, medium], [medium, large]],
            area_rng_lbl: ["all", "small", "medium", "large"].map(String::from).into(),
            cat_ids: None,
            img_ids: None,
            use_cats: true,
        }
    }

    /// COCO's parameters with those of a JSON object in their place.
    ///
    /// # Errors
    /// `Config` for anything but an object of known names and fitting values.
    pub fn from_json(bytes: &[u8], iou_type: IouType) -> Result<Self> {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Error::config("evaluation parameters: expected a JSON object"));
        }
        let params: Params = serde_json::from_slice(bytes).map_err(|e| {
            let text = e.to_string().replace("expected usize", "expected a whole number of 0 or more");
            Error::config(format!(
                "evaluation parameters: {}{}",
                text.replace("expected f64", "expected a number"),
                did_you_mean(&text)
            ))
        })?;
        let params = Params { iou_type, ..params };
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
            None => Ok(()),
        }
    }

    /// `maxDets` in the order in which they are used.
    pub(crate) fn sorted_max_dets(&self) -> Vec<usize> {
        let mut sorted = self.max_dets.clone();
        sorted.sort_unstable();
        sorted
    }
}

/// The parameter that an unknown field of serde's message is probably meant to be: letter case, an underscore, or an
/// `s` too few or too many are the usual slips.
fn did_you_mean(message: &str) -> String {
    const NAMES: [&str; 8] =
        ["iouThrs", "recThrs", "maxDets", "areaRng", "areaRngLbl", "catIds", "imgIds", "useCats"];
    let bare = |name: &str| {
        let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
        letters.to_ascii_lowercase().trim_end_matches('s').to_string()
    };
    let other_words = [
        ("categoryid", "catIds"),
        ("imageid", "imgIds"),
        ("iouthreshold", "iouThrs"),
        ("maxdetection", "maxDets"),
    ];
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let near = unknown.map(bare).and_then(|u| {
        let same = NAMES.into_iter().find(|n| bare(n) == u);
        same.or_else(|| other_words.into_iter().find(|w| w.0 == u).map(|w| w.1))
    });
    near.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
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

fn flag<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(u8),
    }
    Ok(match Flag::deserialize(d)? {
        Flag::Bool(v) => v,
        Flag::Number(v) => v != 0,
    })
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
