//! Why a score is what it is: results of each picture, F1, confusion between categories, TIDE's error types,
//! calibration. Each looks at exactly the objects and detections that [`crate::evaluate`] scores.
//!
//! ```
//! use care_map::explain::{Options, explain};
//! use care_map::{IouType, Params};
//! let gt = care_types::coco_json::parse_dataset(
//!     br#"{"images":[{"id":1}],"categories":[{"id":7,"name":"dog"},{"id":8,"name":"cat"}],
//!          "annotations":[{"id":1,"image_id":1,"category_id":7,"bbox":[2,2,8,8],"area":64}]}"#)?;
//! let dt = care_types::coco_json::parse_results(
//!     br#"[{"image_id":1,"category_id":8,"bbox":[2,2,8,8],"score":0.9}]"#)?;
//! let why = explain(&gt, &dt, &Params::new(IouType::Bbox), &Options::default())?;
//! assert_eq!(why.confusion.counts[0][1], 1); // the dog was taken for a cat
//! assert_eq!(why.per_image[0].mistakes(), 2); // one false positive, one miss
//! # Ok::<(), care_types::Error>(())
//! ```
mod average_precision;
mod calibration;
mod confusion;
mod f1;
mod judge;
mod per_image;
mod scene;
mod tide;

pub use calibration::{Bin, Calibration, CategoryReliability, Reliability};
pub use confusion::{Confused, Confusion};
pub use f1::{CategoryF1, F1, F1Report, Operating};
pub use per_image::{ImageResult, worst_first};
pub use tide::{CategoryTide, Tide, TideError, TideKind};

use crate::selection::Selection;
use crate::{Benchmark, Error, IouType, Params, Result};
use care_types::coco_json::{Dataset, ResultRecord};
use judge::Judged;
use scene::{Facts, Scenes};
use serde::Serialize;

/// Bins are for people to look at; more than this is a slip.
const MOST_BINS: usize = 10_000;

/// Thresholds of the analyses.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// IoU from which a detection finds an object; in (0, 1].
    pub iou: f64,
    /// Score from which detections are counted in per-picture results, F1 and confusion. `None`: the score at which all
    /// categories together have the best F1.
    pub score: Option<f64>,
    /// IoU up to which TIDE calls a detection background; from 0 to `iou`.
    pub background_iou: f64,
    /// Number of bins of the calibration.
    pub bins: usize,
}

impl Default for Options {
    /// IoU 0.5, the score of the best F1, background up to IoU 0.1 (the TIDE paper's), 10 bins.
    fn default() -> Self {
        Options { iou: 0.5, score: None, background_iou: 0.1, bins: 10 }
    }
}

impl Options {
    fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::config(format!("explaining: {message}")));
        if !(self.iou > 0.0 && self.iou <= 1.0) {
            return fail(format!("the IoU threshold is {}; it must be above 0 and at most 1", self.iou));
        }
        if !(0.0..=self.iou).contains(&self.background_iou) {
            let (background, iou) = (self.background_iou, self.iou);
            return fail(format!("the background IoU is {background}; it must be from 0 to {iou}"));
        }
        if self.score.is_some_and(f64::is_nan) {
            return fail("the score threshold is not a number".into());
        }
        if !(1..=MOST_BINS).contains(&self.bins) {
            return fail(format!("{} bins; there must be from 1 to {MOST_BINS}", self.bins));
        }
        Ok(())
    }
}

/// All analyses of one evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Boxes or masks.
    pub iou_type: IouType,
    /// IoU threshold.
    pub iou: f64,
    /// Score threshold of `per_image`, `f1` and `confusion`.
    pub score: f64,
    /// Whether that score was chosen because it has the best F1.
    pub score_is_best_f1: bool,
    /// Most detections per picture and category; per picture in `tide`.
    pub max_dets: usize,
    /// Precision, recall, F1.
    pub f1: F1Report,
    /// Categories taken for others.
    pub confusion: Confusion,
    /// Error types.
    pub tide: Tide,
    /// Reliability of scores.
    pub calibration: Calibration,
    /// Every picture.
    pub per_image: Vec<ImageResult>,
}

/// Runs all analyses. Use [`Explainer`] for some of them.
///
/// # Errors
/// `Config` for thresholds that cannot be, and for anything but boxes and masks by COCO's rules; else those of [`crate::evaluate`].
pub fn explain(gt: &Dataset, dt: &[ResultRecord], params: &Params, options: &Options) -> Result<Explanation> {
    let explainer = Explainer::new(gt, dt, params, options)?;
    Ok(Explanation {
        iou_type: params.iou_type,
        iou: options.iou,
        score: explainer.score(),
        score_is_best_f1: options.score.is_none(),
        max_dets: explainer.facts.max_dets,
        f1: explainer.f1(),
        confusion: explainer.confusion(),
        tide: explainer.tide(),
        calibration: explainer.calibration(),
        per_image: explainer.per_image(),
    })
}

/// Objects and detections matched once, for one analysis after the other.
///
/// Of [`Params`] it uses the selection of pictures and categories, `use_cats`, `quirks`, the largest `max_dets`, the area
/// range named `all` and, for the average precision of a picture, `rec_thrs`; not the IoU thresholds.
pub struct Explainer<'a> {
    options: Options,
    facts: Facts,
    scenes: Scenes<'a>,
    judged: Judged,
    score: f64,
}

impl<'a> Explainer<'a> {
    /// Reads and matches.
    ///
    /// # Errors
    /// Those of [`explain`].
    pub fn new(gt: &'a Dataset, dt: &'a [ResultRecord], params: &Params, options: &Options) -> Result<Self> {
        params.validate()?;
        options.validate()?;
        if params.benchmark != Benchmark::Coco {
            return Err(Error::config("only evaluations by COCO's rules can be explained"));
        }
        let selection = Selection::new(gt, params)?;
        let facts = Facts::new(gt, &selection, params);
        let scenes = match params.iou_type {
            IouType::Bbox => Scenes::Boxes(scene::boxes(gt, dt, &selection)?),
            IouType::Segm => Scenes::Masks(scene::masks(gt, dt, &selection)?),
            kind => {
                let kind = kind.as_str();
                return Err(Error::config(format!("{kind} cannot be explained, only bbox and segm")));
            }
        };
        let judged = match &scenes {
            Scenes::Boxes(s) => Judged::new(s, &facts, options.iou),
            Scenes::Masks(s) => Judged::new(s, &facts, options.iou),
        };
        // Without detections any score will do.
        let score = options.score.or_else(|| f1::best_score(&judged)).unwrap_or(0.0);
        Ok(Explainer { options: options.clone(), facts, scenes, judged, score })
    }

    /// The score threshold in use.
    pub fn score(&self) -> f64 {
        self.score
    }

    /// Counts and average precision of each evaluated picture, by ascending id; see [`worst_first`].
    pub fn per_image(&self) -> Vec<ImageResult> {
        per_image::per_image(&self.judged, &self.facts, self.score)
    }

    /// Precision, recall and F1 per category and overall.
    pub fn f1(&self) -> F1Report {
        f1::report(&self.judged, &self.facts, self.score)
    }

    /// Which categories are taken for which.
    pub fn confusion(&self) -> Confusion {
        let at = [self.options.iou, self.score];
        match &self.scenes {
            Scenes::Boxes(s) => confusion::confusion(s, &self.judged, &self.facts, at),
            Scenes::Masks(s) => confusion::confusion(s, &self.judged, &self.facts, at),
        }
    }

    /// TIDE's error types.
    pub fn tide(&self) -> Tide {
        let thresholds = [self.options.iou, self.options.background_iou];
        match &self.scenes {
            Scenes::Boxes(s) => tide::tide(s, &self.facts, thresholds),
            Scenes::Masks(s) => tide::tide(s, &self.facts, thresholds),
        }
    }

    /// Expected calibration error and reliability diagram, overall and per category.
    pub fn calibration(&self) -> Calibration {
        calibration::calibration(&self.judged, &self.facts, self.options.bins)
    }
}
