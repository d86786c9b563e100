//! Flags that several commands take.

use super::parse::{fraction, scale};
use super::words::MERGE_EXAMPLES;
use care_data::Scale;
use clap::Args;
use std::path::PathBuf;

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

/// `merge`: parts in, the figures of the whole out.
#[derive(Debug, Args)]
#[command(after_help = MERGE_EXAMPLES)]
pub struct Merge<F: Args> {
    /// Folders of parts, or the folder in which they all lie
    #[arg(required = true, value_name = "DIR")]
    pub parts: Vec<PathBuf>,
    /// Also write everything that one run writes to this folder, new or empty
    #[arg(long, value_name = "DIR", help_heading = "Results")]
    pub out: Option<PathBuf>,
    /// Write into a folder that has something in it
    #[arg(long, requires = "out", help_heading = "Results")]
    pub overwrite: bool,
    /// What is said of the figures
    #[command(flatten)]
    pub flags: F,
}
