//! Tips for flags that are called something else here.
//!
//! People arrive from other programs and type those programs' flags. clap only knows names that are spelt alike, and
//! offers to pass anything else as a value.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// What other programs call it, and what to do here.
const ELSEWHERE: [(&[&str], &str); 11] = [
    (&["--iou", "--iou-thr", "--iou-thres", "--nms"], "boxes of one class are suppressed by '--nms-iou'"),
    (&["--img", "--img-size", "--image-size", "--size", "--resize"], "the size of pictures is '--imgsz'"),
    (&["--confidence", "--conf-thres", "--score-thr", "--threshold"], "the lowest score is '--conf'"),
    (&["--model", "--checkpoint", "--ckpt"], "the file of a detector is '--weights'"),
    (&["--output", "--save-dir", "--project", "--work-dir", "-o"], "the folder for results is '--out'"),
    (&["--batch-size", "--bs", "-b"], "pictures per pass are '--batch'"),
    (&["--workers", "-j"], "worker threads are '--threads'"),
    (&["--dataset", "--ann", "--annotations"], "a folder is '--data', a COCO annotation file is '--gt'"),
    (&["--source", "--input", "-i"], "pictures and folders are named without a flag"),
    (&["--device", "--gpu", "--cuda"], "everything runs on the CPU; leave it out"),
    (&["--half", "--fp16", "--amp"], "everything is computed in 32 bits; leave it out"),
];

/// clap's error with a better tip, where there is one.
pub(crate) fn improved(mut e: clap::Error, typed: &[OsString], program: &str) -> clap::Error {
    if e.kind() != ErrorKind::UnknownArgument {
        return e;
    }
    let Some(ContextValue::String(unknown)) = e.get(ContextKind::InvalidArg) else { return e };
    let flag = unknown.split(['=', ' ']).next().unwrap_or_default();
    let segments = program == "care-seg";
    let tip = if command(typed) == ["eval"] {
        Some(match segments {
            true => "two folders are scored with '--gt' and '--pred', a data set with 'eval ade20k'",
            false => "'eval' needs to know how to score: write 'eval coco'",
        })
    } else {
        // scores and overlaps are a detector's
        let has = |tip: &str| !segments || !(tip.contains("--nms-iou") || tip.contains("--conf"));
        ELSEWHERE.iter().find(|(names, tip)| names.contains(&flag) && has(tip)).map(|(_, tip)| *tip)
    };
    let spelt_alike = e.get(ContextKind::SuggestedArg).is_some();
    match tip {
        Some(tip) => {
            e.remove(ContextKind::SuggestedArg);
            e.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
        }
        // "To pass '--x' as a value, use '-- --x'" is never what was meant.
        None if !spelt_alike && flag.starts_with('-') => drop(e.remove(ContextKind::Suggested)),
        None => {}
    }
    e
}

/// The words before the first flag, without the program's name.
fn command(typed: &[OsString]) -> Vec<&str> {
    let words = typed.iter().skip(1).map(|a| a.to_str().unwrap_or_default());
    words.take_while(|a| !a.starts_with('-')).collect()
}
