//! The commands of `care-det`.

use super::parse::share;
use super::shared::{Global, Merge, Out, RunFlags};
use super::tools::{Bench, Demo, Weights};
use super::train::{Resume, Train};
use super::words::{
    COMPARE_EXAMPLES, EVAL_EXAMPLES, INFER_EXAMPLES, LVIS_EXAMPLES, PANOPTIC_EXAMPLES, ROOT_EXAMPLES,
};
use crate::gate::{self, Gate};
use crate::shard::ShardArg;
use care_map::IouType;
use care_map::explain::Options;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Detect objects with the CARE Transformer, score detections as COCO does, and look after weights.
#[derive(Debug, Parser)]
#[command(name = "care-det", disable_version_flag = true, after_help = ROOT_EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands of `care-det`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Score detections: AP and AR exactly as pycocotools computes them
    #[command(subcommand)]
    Eval(Eval),
    /// Put the parts of an evaluation together that `eval coco --shard` has made
    Merge(Merge<CocoFlags>),
    /// Say which of two results is better, and whether that could be chance
    Compare(Compare),
    /// Detect objects in pictures and folders of pictures
    Infer(Infer),
    /// Train a detector on a data set
    Train(Box<Train>),
    /// Go on with a training run that was stopped or killed
    Resume(Resume),
    /// Make, look into and convert weights
    #[command(subcommand)]
    Weights(Weights),
    /// Measure CPU time, wall time and memory of a network
    Bench(Bench),
    /// Write the synthetic demo data set
    Demo(Demo),
}

/// Protocols that detections can be scored with.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// COCO mean average precision for boxes, masks, keypoints and boundaries
    #[command(after_help = EVAL_EXAMPLES)]
    Coco(Box<EvalCoco>),
    /// LVIS' federated average precision for boxes, masks and boundaries
    #[command(after_help = LVIS_EXAMPLES)]
    Lvis(EvalLvis),
    /// Panoptic quality: PQ, SQ and RQ
    #[command(after_help = PANOPTIC_EXAMPLES)]
    Panoptic(EvalPanoptic),
}

/// `eval lvis`: two JSON files.
#[derive(Debug, Args)]
pub struct EvalLvis {
    /// Ground truth, an LVIS file: its pictures say which categories were looked for
    #[arg(long, value_name = "FILE")]
    pub gt: PathBuf,
    /// Detections, a COCO results file
    #[arg(long, value_name = "FILE")]
    pub dt: PathBuf,
    /// What is compared, one or more
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [IouKind::Bbox], value_name = "bbox,segm,boundary", hide_default_value = true)]
    pub iou_type: Vec<IouKind>,
    /// Evaluation parameters as JSON: iouThrs, recThrs, maxDets (one), areaRng, areaRngLbl, catIds, imgIds
    #[arg(long, value_name = "FILE")]
    pub params: Option<PathBuf>,
    /// Also print AP, AP50 and AR per category
    #[arg(long)]
    pub per_category: bool,
    /// End with exit code 4 when AP (or the named figure: APr=0.2) is below this; may be repeated
    #[arg(long, allow_negative_numbers = true, value_name = "[NAME=]LEAST", value_parser = gate::of_lvis)]
    pub fail_under: Vec<Gate>,
}

/// `eval panoptic`: two panoptic JSON files with their PNGs.
#[derive(Debug, Args)]
pub struct EvalPanoptic {
    /// Ground truth, a panoptic JSON file
    #[arg(long, value_name = "FILE")]
    pub gt: PathBuf,
    /// Predictions, a panoptic JSON file
    #[arg(long, value_name = "FILE")]
    pub pred: PathBuf,
    /// Folder of the ground truth's PNGs [default: the file's name without .json]
    #[arg(long, value_name = "DIR")]
    pub gt_dir: Option<PathBuf>,
    /// Folder of the predictions' PNGs [default: the file's name without .json]
    #[arg(long, value_name = "DIR")]
    pub pred_dir: Option<PathBuf>,
    /// Also print each category
    #[arg(long)]
    pub per_category: bool,
    /// End with exit code 4 when PQ (or the named figure: PQth=0.4) is below this; may be repeated
    #[arg(long, allow_negative_numbers = true, value_name = "[NAME=]LEAST", value_parser = gate::of_panoptic)]
    pub fail_under: Vec<Gate>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IouKind {
    /// Boxes
    Bbox,
    /// Masks
    Segm,
    /// Joints, by object keypoint similarity
    Keypoints,
    /// Masks, by the bands along their outlines, too
    Boundary,
}

impl From<IouKind> for IouType {
    fn from(kind: IouKind) -> Self {
        match kind {
            IouKind::Bbox => IouType::Bbox,
            IouKind::Segm => IouType::Segm,
            IouKind::Keypoints => IouType::Keypoints,
            IouKind::Boundary => IouType::Boundary,
        }
    }
}

impl IouKind {
    /// Whether masks are compared.
    pub fn of_masks(self) -> bool {
        matches!(self, IouKind::Segm | IouKind::Boundary)
    }
}

/// `eval coco`: either two JSON files, or a data set and weights.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["gt", "data"]))]
pub struct EvalCoco {
    /// Ground truth, a COCO instances file
    #[arg(long, value_name = "FILE", requires = "dt", help_heading = "Score a results file")]
    pub gt: Option<PathBuf>,
    /// Detections, a COCO results file
    #[arg(long, value_name = "FILE", requires = "gt", help_heading = "Score a results file")]
    pub dt: Option<PathBuf>,
    /// A COCO data set: its folder, or `demo` for the synthetic one
    #[arg(long, value_name = "DIR|demo", requires = "weights", help_heading = "Detect, then score")]
    pub data: Option<PathBuf>,
    /// Which part of the data set [default: the first of val2017, val, valid, validation, test]
    #[arg(long, value_name = "NAME", conflicts_with = "gt", help_heading = "Detect, then score")]
    pub split: Option<String>,
    /// Only the first N pictures
    #[arg(long, value_name = "N", conflicts_with = "gt", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Detect, then score")]
    pub limit: Option<u32>,
    /// The detector
    #[command(flatten)]
    pub detector: OptionalDetector,
    /// Where results go
    #[command(flatten)]
    pub out: Out,
    /// What is compared, one or more
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [IouKind::Bbox], value_name = "bbox,segm,keypoints,boundary", hide_default_value = true, help_heading = "Scoring")]
    pub iou_type: Vec<IouKind>,
    /// Only part I of N, into a folder of its own in --out, for `merge`; `auto` asks Slurm, Open MPI or Kubernetes (auto/N)
    #[arg(long, allow_negative_numbers = true, value_name = "I/N|auto", conflicts_with_all = ["fail_under", "explain", "per_category"], help_heading = "Scoring")]
    pub shard: Option<ShardArg>,
    /// Evaluation parameters as JSON with pycocotools' names: iouThrs, recThrs, maxDets, areaRng, areaRngLbl, catIds, imgIds, useCats, kpt_oks_sigmas
    #[arg(long, value_name = "FILE", help_heading = "Scoring")]
    pub params: Option<PathBuf>,
    /// Print what pycocotools prints, also where it is wrong (annotation id 0)
    #[arg(long, help_heading = "Scoring")]
    pub pycocotools_quirks: bool,
    /// Also print AP, AP50 and AR per category
    #[arg(long, help_heading = "Scoring")]
    pub per_category: bool,
    /// Also say why: F1, TIDE's six errors, confusions, calibration, the worst pictures; counted from =SCORE on, else where
    /// F1 is best
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "SCORE", help_heading = "Scoring")]
    pub explain: Option<Option<f64>>,
    /// End with exit code 4 when AP (or the named figure: AP50=0.6) is below this; may be repeated
    #[arg(long, allow_negative_numbers = true, value_name = "[NAME=]LEAST", value_parser = gate::of_coco, help_heading = "Scoring")]
    pub fail_under: Vec<Gate>,
}

impl EvalCoco {
    /// What `--explain` asks for.
    pub fn explain_options(&self) -> Option<Options> {
        self.explain.map(|score| Options { score, ..Options::default() })
    }
}

/// The weights and how they are run, where they are optional.
#[derive(Debug, Args)]
pub struct OptionalDetector {
    /// Weights of a detector (see `care-det weights --help`)
    #[arg(long, conflicts_with = "gt", value_name = "FILE", help_heading = "Detect, then score")]
    pub weights: Option<PathBuf>,
    /// How it is run
    #[command(flatten)]
    pub run: RunFlags,
}

/// What the merged figures are held against.
#[derive(Debug, Args)]
pub struct CocoFlags {
    /// Also print AP, AP50 and AR per category
    #[arg(long, help_heading = "Scoring")]
    pub per_category: bool,
    /// End with exit code 4 when AP (or the named figure: AP50=0.6) is below this; may be repeated
    #[arg(long, allow_negative_numbers = true, value_name = "[NAME=]LEAST", value_parser = gate::of_coco, help_heading = "Scoring")]
    pub fail_under: Vec<Gate>,
}

/// `compare`: a paired bootstrap over pictures.
#[derive(Debug, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct Compare {
    /// The folder of an evaluation (`eval coco --data … --out`, `merge --out`), or with --gt a COCO results file
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// What it is compared with
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Ground truth, a COCO instances file, to score A and B against
    #[arg(long, value_name = "FILE")]
    pub gt: Option<PathBuf>,
    /// What is compared
    #[arg(long, value_enum, default_value_t = IouKind::Bbox, value_name = "bbox|segm|keypoints|boundary", hide_default_value = true, help_heading = "Scoring")]
    pub iou_type: IouKind,
    /// Evaluation parameters, as for `eval coco`
    #[arg(long, value_name = "FILE", requires = "gt", help_heading = "Scoring")]
    pub params: Option<PathBuf>,
    /// Also compare each category
    #[arg(long, help_heading = "Scoring")]
    pub per_category: bool,
    /// How often the pictures are drawn with replacement
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Intervals")]
    pub resamples: u32,
    /// Of the draws
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Intervals")]
    pub seed: u64,
    /// How sure the intervals are
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, value_parser = share, help_heading = "Intervals")]
    pub level: f64,
}

/// What `infer` leaves in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Save {
    /// The pictures with boxes, labels and scores drawn in: overlays/
    Overlay,
    /// COCO results and the list of pictures that their ids stand for: results.bbox.json, results.segm.json, images.json
    Coco,
    /// One PNG per picture whose pixels are the number of the detection (as listed by --json, from 1), 0 for none: masks/
    Masks,
    /// Nothing
    None,
}

/// `infer`: pictures in, detections out.
#[derive(Debug, Args)]
#[command(after_help = INFER_EXAMPLES)]
pub struct Infer {
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Weights of a detector (see `care-det weights --help`)
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// What to write, one or more
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Save::Overlay, Save::Coco], value_name = "overlay,coco,none", help_heading = "Results")]
    pub save: Vec<Save>,
    /// Where results go
    #[command(flatten)]
    pub out: Out,
    /// How the detector is run
    #[command(flatten)]
    pub run: RunFlags,
}
