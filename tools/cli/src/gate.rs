//! `--fail-under`: figures that must be reached, so that a script can stop a release on a worse model.

use crate::console::Console;
use crate::exit::Exit;
use care_map::{Figure, IouType, figures, lvis_figures};

/// Figures of `eval panoptic`: all categories, things, stuff.
const PQ_NAMES: [&str; 9] = ["PQ", "SQ", "RQ", "PQth", "SQth", "RQth", "PQst", "SQst", "RQst"];

/// Figures of `care-seg eval` that can be asked for.
const MIOU_NAMES: [&str; 7] = ["mIoU", "aAcc", "mAcc", "mDice", "mFscore", "mPrecision", "mRecall"];

/// A figure and the least it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Its name, as the results have it.
    pub name: &'static str,
    /// The least it may be.
    pub least: f64,
}

/// `0.35` or `AP50=0.6`.
///
/// # Errors
/// What was expected.
pub fn of_coco(text: &str) -> Result<Gate, String> {
    let (mut names, joints) = (of(figures(IouType::Bbox)), of(figures(IouType::Keypoints)));
    names.extend(joints.into_iter().filter(|name| !of(figures(IouType::Bbox)).contains(name)));
    parse(text, &names)
}

/// `0.2` or `APr=0.1`.
///
/// # Errors
/// What was expected.
pub fn of_lvis(text: &str) -> Result<Gate, String> {
    parse(text, &of(lvis_figures()))
}

fn of(figures: &[Figure]) -> Vec<&'static str> {
    figures.iter().map(|f| f.name).collect()
}

/// `0.4` or `aAcc=0.8`.
///
/// # Errors
/// What was expected.
pub fn of_miou(text: &str) -> Result<Gate, String> {
    parse(text, &MIOU_NAMES)
}

/// `0.4` or `PQth=0.4`.
///
/// # Errors
/// What was expected.
pub fn of_panoptic(text: &str) -> Result<Gate, String> {
    parse(text, &PQ_NAMES)
}

/// The first of the names counts when none is given.
fn parse(text: &str, names: &[&'static str]) -> Result<Gate, String> {
    let (name, value) = text.split_once('=').unwrap_or((names[0], text));
    let name = names.iter().find(|n| **n == name.trim());
    let least = value.trim().parse::<f64>().ok().filter(|v| (0.0..=1.0).contains(v));
    match (name, least) {
        (Some(name), Some(least)) => Ok(Gate { name, least }),
        (None, _) => Err(format!("the figures are {}", names.join(", "))),
        (_, None) => Err(format!("expected a number from 0 to 1, such as 0.3 or {}=0.3", names[0])),
    }
}

/// Says which gates are not met; a figure that is undefined (−1) meets none.
pub fn judge(
    gates: &[Gate],
    kind: &str,
    figure: impl Fn(&'static str) -> Option<f64>,
    console: Console,
) -> Exit {
    let mut exit = Exit::Ok;
    for Gate { name, least } in gates {
        let value = figure(name).unwrap_or(-1.0);
        if value >= *least {
            continue;
        }
        exit = Exit::Gate;
        console.warn(&match value < 0.0 {
            true => format!("--fail-under {name}={least}: {kind}{name} is undefined: nothing to find, or not among the parameters"),
            false => format!("{kind}{name} {value:.4} is below --fail-under {name}={least}"),
        });
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_a_number_or_a_figure_with_a_number() {
        assert_eq!(of_coco("0.35"), Ok(Gate { name: "AP", least: 0.35 }));
        assert_eq!(of_coco("AP50=0.6"), Ok(Gate { name: "AP50", least: 0.6 }));
        assert_eq!(of_miou("0.4"), Ok(Gate { name: "mIoU", least: 0.4 }));
        assert_eq!(of_coco("AR50=0.6"), Ok(Gate { name: "AR50", least: 0.6 }));
        assert_eq!(of_lvis("APr=0.1"), Ok(Gate { name: "APr", least: 0.1 }));
        assert!(of_lvis("AR100=0.1").is_err() && of_coco("APr=0.1").is_err());
        for wrong in ["", "AP=", "ap=0.3", "AP=1.5", "AP=nan", "mIoU=0.3", "-0.1"] {
            assert!(of_coco(wrong).is_err(), "{wrong}");
        }
    }
}
