//! `weights`, `bench` and `demo`, of both programs.

use super::parse::height_by_width;
use super::words::{BENCH_EXAMPLES, DEMO_EXAMPLES, WEIGHTS_EXAMPLES};
use clap::{Args, Subcommand};
use std::path::PathBuf;

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
