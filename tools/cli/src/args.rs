//! The command line as typed: flags, their checks, and the words of `--help`.
//!
//! Only what can be judged without opening a file is checked here; clap ends with exit code 2 on its own.

use crate::gate::{self, Gate};
use care_data::Scale;
use care_engine::views::{Slide, Views};
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

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Print the result as exactly one line of JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no words on stderr, only errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More words on stderr
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Worker threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Print version, instruction set and threads
    #[arg(short = 'V', long)]
    pub version: bool,
}

/// The commands of `care-det`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Score detections: AP and AR exactly as pycocotools computes them
    #[command(subcommand)]
    Eval(Eval),
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

/// Give every pixel a class with the CARE Transformer, score label maps as mmsegmentation does, and look after weights.
#[derive(Debug, Parser)]
#[command(name = "care-seg", disable_version_flag = true, after_help = SEG_EXAMPLES, arg_required_else_help = true)]
pub struct SegCli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<SegCommand>,
}

/// The commands of `care-seg`.
#[derive(Debug, Subcommand)]
pub enum SegCommand {
    /// Score label maps: mIoU and its relatives exactly as mmsegmentation computes them
    Eval(EvalSeg),
    /// Segment pictures and folders of pictures
    Infer(InferSeg),
    /// Train a segmenter on a data set
    Train(Box<Train>),
    /// Go on with a training run that was stopped or killed
    Resume(Resume),
    /// Make, look into and convert weights
    #[command(subcommand)]
    Weights(Weights),
    /// Measure CPU time, wall time and memory of a network
    Bench(Bench),
    /// Write the synthetic demo data set with its label maps
    Demo(Demo),
}

/// `eval`: label maps of two folders, or a segmenter on a data set.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EVAL_SEG_EXAMPLES)]
pub struct EvalSeg {
    /// A data set and a segmenter.
    #[command(subcommand)]
    pub protocol: Option<SegProtocol>,
    /// Two folders.
    #[command(flatten)]
    pub maps: EvalMaps,
}

/// Protocols that a segmenter can be scored with.
#[derive(Debug, Subcommand)]
pub enum SegProtocol {
    /// Segment a data set (ADE20K folders, Cityscapes folders, or pictures with masks), then score
    Ade20k(EvalAde20k),
}

/// `eval ade20k`.
#[derive(Debug, Args)]
pub struct EvalAde20k {
    /// A data set: its folder, or `demo` for the synthetic one
    #[arg(long, value_name = "DIR|demo")]
    pub data: PathBuf,
    /// Weights of a segmenter
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Which part of the data set [default: the first of val2017, val, valid, validation, test]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Format of the data set [default: recognised by looking]
    #[arg(long, value_name = "ade20k|cityscapes|masks")]
    pub format: Option<String>,
    /// Only the first N pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Where results go
    #[command(flatten)]
    pub out: Out,
    /// How the segmenter is run
    #[command(flatten)]
    pub run: SegFlags,
    /// How often it looks
    #[command(flatten)]
    pub views: ViewFlags,
    /// End with exit code 4 when mIoU (or the named figure) is below this; may be repeated
    #[arg(long, allow_negative_numbers = true, value_name = "[NAME=]LEAST", value_parser = gate::of_miou)]
    pub fail_under: Vec<Gate>,
}

/// `eval --gt --pred`.
#[derive(Debug, Args)]
pub struct EvalMaps {
    /// Folder of label maps (PNG: 8 or 16 bits, or a palette's indices)
    #[arg(long, value_name = "DIR", requires_all = ["pred", "classes"])]
    pub gt: Option<PathBuf>,
    /// Folder of predicted label maps of the same names
    #[arg(long, value_name = "DIR", requires = "gt")]
    pub pred: Option<PathBuf>,
    /// Number of classes; values are 0 to N - 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub classes: Option<u32>,
    /// Value of pixels that do not count; `none` or -1 when all count
    #[arg(long, allow_negative_numbers = true, value_name = "255|none|N", default_value = "255", value_parser = ignore_index)]
    pub ignore_index: IgnoreIndex,
    /// In the labels 0 does not count and k is class k - 1 (ADE20K)
    #[arg(long)]
    pub reduce_zero_label: bool,
    /// End with exit code 4 when mIoU (or the named figure) is below this; may be repeated
    #[arg(long, allow_negative_numbers = true, value_name = "[NAME=]LEAST", value_parser = gate::of_miou)]
    pub fail_under: Vec<Gate>,
}

/// Value of pixels that do not count, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgnoreIndex(pub Option<u16>);

/// How often a segmenter looks at a picture.
#[derive(Debug, Args)]
pub struct ViewFlags {
    /// Look at six scales, each mirrored, too, and average (twelve times the work)
    #[arg(long, help_heading = "Segmenter")]
    pub tta: bool,
    /// Look through windows of CROP pixels that are STRIDE apart instead of at the whole picture
    #[arg(long, value_name = "CROP/STRIDE", help_heading = "Segmenter")]
    pub slide: Option<Slide>,
}

impl ViewFlags {
    /// Several looks at a picture do not share a pass with other pictures.
    ///
    /// # Errors
    /// Exit 2 with `--batch` above 1.
    pub fn check(&self, batch: u16) -> Result<(), crate::exit::Failure> {
        if batch == 1 || self.views().is_plain() {
            return Ok(());
        }
        Err(crate::exit::Failure::usage("--batch cannot be combined with --tta and --slide"))
    }

    /// What the flags mean.
    pub fn views(&self) -> Views {
        let views = if self.tta { Views::augmented() } else { Views::default() };
        Views { slide: self.slide, ..views }
    }
}

/// What `infer` of a segmenter leaves in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SaveSeg {
    /// The pictures in the colours of their classes: overlays/
    Overlay,
    /// The class of every pixel as an 8-bit PNG: masks/
    Mask,
    /// The classes in their colours as a PNG: palette/
    Palette,
    /// Nothing
    None,
}

/// `infer`: pictures in, label maps out.
#[derive(Debug, Args)]
#[command(after_help = INFER_SEG_EXAMPLES)]
pub struct InferSeg {
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Weights of a segmenter (see `care-seg weights --help`)
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// What to write, one or more
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [SaveSeg::Overlay, SaveSeg::Mask], value_name = "overlay,mask,palette,none", help_heading = "Results")]
    pub save: Vec<SaveSeg>,
    /// Where results go
    #[command(flatten)]
    pub out: Out,
    /// How the segmenter is run
    #[command(flatten)]
    pub run: SegFlags,
    /// How often it looks
    #[command(flatten)]
    pub views: ViewFlags,
}

/// How a segmenter is run; what is not given comes from the weights file.
#[derive(Debug, Args)]
pub struct SegFlags {
    /// Pictures per pass; only pictures of equal size share one, so results do not depend on it
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Segmenter")]
    pub batch: u16,
    /// Fit pictures into this size, keeping their ratio [default: from the weights]
    #[arg(long, allow_negative_numbers = true, value_name = "N|LONGxSHORT", value_parser = scale, help_heading = "Segmenter")]
    pub imgsz: Option<Scale>,
}

impl SegFlags {
    /// The same flags as a detector has them.
    pub fn common(&self) -> RunFlags {
        RunFlags { batch: self.batch, imgsz: self.imgsz, conf: None, nms_iou: None, max_det: None }
    }
}

/// Protocols that detections can be scored with.
#[derive(Debug, Subcommand)]
pub enum Eval {
    /// COCO mean average precision for boxes and masks
    #[command(after_help = EVAL_EXAMPLES)]
    Coco(EvalCoco),
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IouKind {
    /// Boxes
    Bbox,
    /// Masks
    Segm,
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
    /// What is compared, one or both
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [IouKind::Bbox], value_name = "bbox,segm", hide_default_value = true, help_heading = "Scoring")]
    pub iou_type: Vec<IouKind>,
    /// Evaluation parameters as JSON with pycocotools' names: iouThrs, recThrs, maxDets, areaRng, areaRngLbl, catIds, imgIds, useCats
    #[arg(long, value_name = "FILE", help_heading = "Scoring")]
    pub params: Option<PathBuf>,
    /// Print what pycocotools prints, also where it is wrong (annotation id 0)
    #[arg(long, help_heading = "Scoring")]
    pub pycocotools_quirks: bool,
    /// Also print AP, AP50 and AR per category
    #[arg(long, help_heading = "Scoring")]
    pub per_category: bool,
    /// End with exit code 4 when AP (or the named figure: AP50=0.6) is below this; may be repeated
    #[arg(long, allow_negative_numbers = true, value_name = "[NAME=]LEAST", value_parser = gate::of_coco, help_heading = "Scoring")]
    pub fail_under: Vec<Gate>,
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

/// How a detector is run; what is not given comes from the weights file.
#[derive(Debug, Args)]
pub struct RunFlags {
    /// Pictures per pass; only pictures of equal padded size share one, so results do not depend on it
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Detector")]
    pub batch: u16,
    /// Fit pictures into this size, keeping their ratio [default: from the weights]
    #[arg(long, allow_negative_numbers = true, value_name = "N|LONGxSHORT", value_parser = scale, help_heading = "Detector")]
    pub imgsz: Option<Scale>,
    /// Keep detections with a higher score [default: 0.3 for infer, from the weights for eval]
    #[arg(long, allow_negative_numbers = true, value_name = "SCORE", value_parser = fraction, help_heading = "Detector")]
    pub conf: Option<f64>,
    /// Boxes of one class that overlap more are suppressed [default: from the weights]
    #[arg(long, allow_negative_numbers = true, value_name = "IOU", value_parser = fraction, help_heading = "Detector")]
    pub nms_iou: Option<f64>,
    /// At most this many detections per picture [default: from the weights]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Detector")]
    pub max_det: Option<u32>,
}

/// Where results go.
#[derive(Debug, Args)]
pub struct Out {
    /// Folder for results, new or empty
    #[arg(long, value_name = "DIR", help_heading = "Results", default_value = "care-out")]
    pub out: PathBuf,
    /// Write into a folder that has something in it, or over a file that exists
    #[arg(long, help_heading = "Results")]
    pub overwrite: bool,
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

/// `train`.
#[derive(Debug, Args)]
#[command(after_help = TRAIN_EXAMPLES)]
pub struct Train {
    /// The folder of a data set, or `demo` for the synthetic one (COCO, Roboflow COCO, YOLO data.yaml, Pascal VOC; in care-seg
    /// ADE20K, Cityscapes, pictures with masks)
    #[arg(long, value_name = "DIR|demo", help_heading = "Data")]
    pub data: PathBuf,
    /// Part to learn from [default: the first of train2017, train, training, trainval]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub train_split: Option<String>,
    /// Part to be scored on [default: the first of val2017, val, valid, validation, test]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["val_fraction", "no_val"], help_heading = "Data")]
    pub val_split: Option<String>,
    /// Keep this share of the training part for scoring instead, every class in proportion
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with = "no_val", help_heading = "Data")]
    pub val_fraction: Option<f64>,
    /// Format of the data set: coco, yolo or voc, in care-seg ade20k, cityscapes or masks [default: recognised by looking]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub format: Option<String>,
    /// Start from a detector; its architecture and preprocessing are taken over
    #[arg(long, value_name = "FILE", conflicts_with = "backbone", help_heading = "Start")]
    pub weights: Option<PathBuf>,
    /// Start the backbone from an official CARE classification checkpoint, or from the backbone of other weights
    #[arg(long, value_name = "FILE", help_heading = "Start")]
    pub backbone: Option<PathBuf>,
    /// A preset's name, or a TOML file laid over one [default: a ..._s0_custom with --weights or --backbone, a ..._xs_scratch without]
    #[arg(long, value_name = "NAME|FILE", help_heading = "Settings")]
    pub config: Option<PathBuf>,
    /// Change one setting, such as train.lr=0.001; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Settings")]
    pub set: Vec<String>,
    /// Passes over the training pictures
    #[arg(long, value_name = "N", conflicts_with = "steps", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Settings")]
    pub epochs: Option<u32>,
    /// Optimiser steps, instead of epochs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Settings")]
    pub steps: Option<u32>,
    /// Pictures per forward pass
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Settings")]
    pub batch: Option<u16>,
    /// Forward passes per optimiser step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Settings")]
    pub accum: Option<u16>,
    /// Fit pictures into this size, keeping their ratio
    #[arg(long, value_name = "N|LONGxSHORT", value_parser = scale, help_heading = "Settings")]
    pub imgsz: Option<Scale>,
    /// Seed of initial values, order and augmentation
    #[arg(long, value_name = "N", help_heading = "Settings")]
    pub seed: Option<u32>,
    /// Epochs between two evaluations
    #[arg(long, value_name = "N", conflicts_with = "no_val", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Validation")]
    pub val_every: Option<u32>,
    /// Score only the first N pictures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Validation")]
    pub val_limit: Option<u32>,
    /// Never score
    #[arg(long, help_heading = "Validation")]
    pub no_val: bool,
    /// Folder of the run; must not exist
    #[arg(long, value_name = "RUN", default_value = "care-run", help_heading = "Results")]
    pub out: PathBuf,
    /// Only look, for about a minute: does the loss fall, what would the run cost
    #[arg(long, help_heading = "Results")]
    pub probe: bool,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// Folder of the run
    pub run: PathBuf,
    /// Take the step again that was not finite, and stop
    #[arg(long)]
    pub replay: bool,
}

/// Weights files.
#[derive(Debug, Subcommand)]
#[command(after_help = WEIGHTS_EXAMPLES)]
pub enum Weights {
    /// Show architecture, classes, preprocessing, provenance and tensors of a file
    Inspect {
        /// .safetensors, .pth or .pth.tar
        file: PathBuf,
        /// Also list every tensor
        #[arg(long)]
        tensors: bool,
    },
    /// Rewrite a PyTorch checkpoint as .safetensors, names and numbers unchanged
    Convert {
        /// .pth, .pth.tar or .safetensors
        input: PathBuf,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The entry of a nested checkpoint to take [default: state_dict, state_dict_ema or model, whichever is there]
        #[arg(long, value_name = "NAME")]
        key: Option<String>,
        /// Round to float16: half the size, about three digits
        #[arg(long)]
        half: bool,
        /// Write over a file that exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Make a network that has not been trained
    Init(WeightsInit),
}

/// `weights init`.
#[derive(Debug, Args)]
pub struct WeightsInit {
    /// The network [default: retinanet_care_s0, in care-seg semantic_fpn_care_s0]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Official CARE classification checkpoint, or other weights, to start the backbone from
    #[arg(long, value_name = "FILE")]
    pub backbone: Option<PathBuf>,
    /// Number of classes [default: COCO's 80, or ADE20K's 150 for segmenters, with their names]
    #[arg(long, value_name = "N", conflicts_with = "labels_from", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub classes: Option<u32>,
    /// Take the classes of a data set: its folder, `demo`, or for detectors a COCO instances file
    #[arg(long, value_name = "DATA")]
    pub labels_from: Option<PathBuf>,
    /// Seed of the initial values
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Write the golden recipe's values instead, so that the untrained network draws boxes
    #[arg(long, value_name = "SALT", conflicts_with_all = ["seed", "backbone"])]
    pub recipe: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write over a file that exists
    #[arg(long)]
    pub overwrite: bool,
}

/// `bench`.
#[derive(Debug, Args)]
#[command(after_help = BENCH_EXAMPLES)]
pub struct Bench {
    /// care_s0, care_s0_features or retinanet_care_s0; s1 and s2 likewise
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Height and width of the random input
    #[arg(long, value_name = "HxW", default_value = "800x1344", value_parser = height_by_width)]
    pub size: (usize, usize),
    /// Pictures per pass
    #[arg(long, default_value_t = 1, value_name = "B", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Passes that are measured, after a warm-up
    #[arg(long, default_value_t = 10, value_name = "R", value_parser = clap::value_parser!(u16).range(1..))]
    pub repeat: u16,
    /// Measure a training step: forward, losses, backward, AdamW
    #[arg(long)]
    pub train: bool,
    /// Dense 3×3 convolutions directly instead of by Winograd
    #[arg(long, conflicts_with = "train")]
    pub direct: bool,
}

/// `demo`.
#[derive(Debug, Args)]
#[command(after_help = DEMO_EXAMPLES)]
pub struct Demo {
    /// Folder to write the data set into, new or empty
    #[arg(long, value_name = "DIR")]
    pub write: PathBuf,
    /// Write into a folder that has something in it
    #[arg(long)]
    pub overwrite: bool,
}

/// A finite number from 0 to 1.
fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if (0.0..=1.0).contains(&v) => Ok(v),
        _ => Err("expected a number from 0 to 1, such as 0.3".to_owned()),
    }
}

/// More than nothing, less than all.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v < 1.0 => Ok(v),
        _ => Err("expected a number between 0 and 1, such as 0.1".to_owned()),
    }
}

/// `255`, `none`, or -1 for none.
fn ignore_index(text: &str) -> Result<IgnoreIndex, String> {
    match text {
        "none" | "-1" => Ok(IgnoreIndex(None)),
        _ => text
            .parse()
            .map(|v| IgnoreIndex(Some(v)))
            .map_err(|_| "expected a value from 0 to 65535, or none".to_owned()),
    }
}

/// The message without the words that clap puts in front itself.
fn scale(text: &str) -> Result<Scale, String> {
    text.parse().map_err(|e: care_types::Error| e.to_string())
}

/// `800x1344`: height first.
fn height_by_width(text: &str) -> Result<(usize, usize), String> {
    let says = || "expected HEIGHTxWIDTH in pixels, such as 800x1344".to_owned();
    let (h, w) = text.split_once('x').ok_or_else(says)?;
    let side = |t: &str| t.parse::<usize>().ok().filter(|v| (1..=65_535).contains(v)).ok_or_else(says);
    Ok((side(h)?, side(w)?))
}

const ROOT_EXAMPLES: &str = "\
Examples:
  Score a results file of any detector, with pycocotools' numbers:
    care-det eval coco --gt instances_val2017.json --dt results.json --iou-type bbox
  See the whole chain run without any download (synthetic pictures, weights that ship):
    care-det eval coco --data demo --weights demo
  Detect objects in your pictures; overlays and results go to care-out/:
    care-det infer photos/ --weights w.safetensors --conf 0.3

Results are on stdout, progress and messages on stderr; --json prints one line of JSON.
Exit codes: 0 ok, 1 some inputs failed, 2 usage, 3 data rejected, 4 below --fail-under, 5 weights, 130 interrupted.
CARE_ISA=portable|avx2|avx512|neon forces an instruction set.";

const EVAL_EXAMPLES: &str = "\
Examples:
  care-det eval coco --gt instances_val2017.json --dt results.bbox.json --iou-type bbox
  care-det eval coco --gt instances.json --dt results.segm.json --iou-type segm --json
  care-det eval coco --data coco/ --split val2017 --weights w.safetensors --out run1
  care-det eval coco --data demo --weights w.safetensors --limit 10";

const INFER_EXAMPLES: &str = "\
Examples:
  care-det infer street.jpg --weights w.safetensors
  care-det infer photos/ more/cat.png --weights w.safetensors --conf 0.5 --out found
  care-det infer photos/ --weights w.safetensors --save none --json > detections.json";

const SEG_EXAMPLES: &str = "\
Examples:
  Score label maps of any segmenter, with mmsegmentation's numbers:
    care-seg eval --gt annotations/validation --pred predictions --classes 150 --reduce-zero-label
  Train a segmenter on your own pictures and masks:
    care-seg train --data my-data/ --out run
  Segment pictures; overlays and label maps go to care-out/:
    care-seg infer photos/ --weights run/weights/best.safetensors

Results are on stdout, progress and messages on stderr; --json prints one line of JSON.
Exit codes: 0 ok, 1 some inputs failed, 2 usage, 3 data rejected, 4 below --fail-under, 5 weights, 130 interrupted.
CARE_ISA=portable|avx2|avx512|neon forces an instruction set.";

const EVAL_SEG_EXAMPLES: &str = "\
Examples:
  care-seg eval --gt annotations/validation --pred predictions --classes 150 --reduce-zero-label
  care-seg eval ade20k --data ADEChallengeData2016/ --weights w.safetensors
  care-seg eval ade20k --data my-data/ --weights run/weights/best.safetensors --json";

const INFER_SEG_EXAMPLES: &str = "\
Examples:
  care-seg infer street.jpg --weights w.safetensors
  care-seg infer photos/ --weights w.safetensors --save overlay,palette --out seen";

const TRAIN_EXAMPLES: &str = "\
Examples:
  care-det train --data my-data/ --probe
  care-det train --data my-data/ --val-fraction 0.1 --out run1
  care-det train --data my-data/ --backbone CARETrans_S0.pth.tar --epochs 30 --set train.lr=0.0001 --out run2
  care-det train --data demo --out demo-run";

const WEIGHTS_EXAMPLES: &str = "\
Examples:
  care-det weights inspect w.safetensors
  care-det weights convert CARETrans_S0.pth.tar --out care_s0.safetensors
  care-det weights init --backbone CARETrans_S0.pth.tar --labels-from my-data/ --out w.safetensors
  care-det weights init --recipe demo --labels-from demo --out w.safetensors";

const BENCH_EXAMPLES: &str = "\
Examples:
  care-det bench --model retinanet_care_s0 --size 800x1344 --threads 1 --repeat 5
  care-det bench --model care_s0 --size 224x224 --batch 8 --train --json";

const DEMO_EXAMPLES: &str = "\
Example:
  care-det demo --write demo-data && care-det eval coco --data demo-data --weights w.safetensors";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
        SegCli::command().debug_assert();
    }

    #[test]
    fn sizes_read_as_documented() {
        assert_eq!(height_by_width("800x1344"), Ok((800, 1344)));
        assert!(height_by_width("800").is_err());
    }

    #[test]
    fn fractions_are_finite_and_within_bounds() {
        assert_eq!(fraction(".3"), Ok(0.3));
        for bad in ["NaN", "inf", "-0.1", "1.01", "a", ""] {
            assert!(fraction(bad).is_err(), "{bad}");
        }
    }
}
