//! `train` and `resume`, of both programs.

use super::parse::{scale, share};
use super::words::TRAIN_EXAMPLES;
use care_data::Scale;
use clap::Args;
use std::path::PathBuf;

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
