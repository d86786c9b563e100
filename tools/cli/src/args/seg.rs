//! The commands of `care-seg`.

use super::parse::{ignore_index, scale};
use super::shared::{Global, Merge, Out, RunFlags};
use super::tools::{Bench, Demo, Weights};
use super::train::{Resume, Train};
use super::words::{EVAL_SEG_EXAMPLES, INFER_SEG_EXAMPLES, SEG_EXAMPLES};
use crate::gate::{self, Gate};
use crate::shard::ShardArg;
use care_data::Scale;
use care_engine::views::{Slide, Views};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

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
    /// Put the parts of an evaluation together that `eval ade20k --shard` has made
    Merge(Merge<MiouFlags>),
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
    /// Only part I of N, into a folder of its own in --out, for `merge`; `auto` asks Slurm, Open MPI or Kubernetes (auto/N)
    #[arg(long, allow_negative_numbers = true, value_name = "I/N|auto", conflicts_with = "fail_under")]
    pub shard: Option<ShardArg>,
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

/// What the merged figures are held against.
#[derive(Debug, Args)]
pub struct MiouFlags {
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
