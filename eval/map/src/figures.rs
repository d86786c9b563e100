//! The figures that an evaluation is summed up in, as pycocotools lists them.
use crate::kind::{Benchmark, IouType};
use care_types::coco_json::Frequency;

/// A mean over a part of the curves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Its name in results: `AP50`.
    pub name: &'static str,
    /// Of precision; else of recall.
    pub precision: bool,
    /// At one IoU threshold (0.5 for `AP50`), or the mean over all.
    pub iou: Option<f64>,
    /// Area range.
    pub area: &'static str,
    /// At how many detections per picture and category.
    pub dets: Dets,
    /// Of the categories that are this common, or of all.
    pub frequency: Option<Frequency>,
}

/// One of the `maxDets` of the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dets {
    /// This many, whatever the parameters say; undefined when it is not among them.
    Exactly(usize),
    /// The n-th in ascending order, from 0; the last one where there are fewer.
    Nth(usize),
}

impl Dets {
    /// The number, for ascending `maxDets`.
    pub fn of(self, max_dets: &[usize]) -> usize {
        match self {
            Dets::Exactly(n) => n,
            Dets::Nth(n) => max_dets.get(n).or(max_dets.last()).copied().unwrap_or(0),
        }
    }
}

const fn ap(name: &'static str, iou: Option<f64>, area: &'static str, dets: Dets) -> Figure {
    Figure { name, precision: true, iou, area, dets, frequency: None }
}

const fn ar(name: &'static str, iou: Option<f64>, area: &'static str, dets: Dets) -> Figure {
    Figure { name, precision: false, iou, area, dets, frequency: None }
}

const FIRST: Dets = Dets::Nth(0);
const SECOND: Dets = Dets::Nth(1);
const THIRD: Dets = Dets::Nth(2);

/// Boxes and masks. The first is always at 100 detections: pycocotools has it in its code.
const OBJECTS: [Figure; 12] = [
    ap("AP", None, "all", Dets::Exactly(100)),
    ap("AP50", Some(0.5), "all", THIRD),
    ap("AP75", Some(0.75), "all", THIRD),
    ap("APs", None, "small", THIRD),
    ap("APm", None, "medium", THIRD),
    ap("APl", None, "large", THIRD),
    ar("AR1", None, "all", FIRST),
    ar("AR10", None, "all", SECOND),
    ar("AR100", None, "all", THIRD),
    ar("ARs", None, "small", THIRD),
    ar("ARm", None, "medium", THIRD),
    ar("ARl", None, "large", THIRD),
];

const fn of_those(name: &'static str, frequency: Frequency) -> Figure {
    Figure { name, precision: true, iou: None, area: "all", dets: FIRST, frequency: Some(frequency) }
}

/// LVIS; there is one maxDets. The names are those of 300.
const FEDERATED: [Figure; 13] = [
    ap("AP", None, "all", FIRST),
    ap("AP50", Some(0.5), "all", FIRST),
    ap("AP75", Some(0.75), "all", FIRST),
    ap("APs", None, "small", FIRST),
    ap("APm", None, "medium", FIRST),
    ap("APl", None, "large", FIRST),
    of_those("APr", Frequency::Rare),
    of_those("APc", Frequency::Common),
    of_those("APf", Frequency::Frequent),
    ar("AR@300", None, "all", FIRST),
    ar("ARs@300", None, "small", FIRST),
    ar("ARm@300", None, "medium", FIRST),
    ar("ARl@300", None, "large", FIRST),
];

const TWENTY: Dets = Dets::Exactly(20);

/// Keypoints; all at 20 detections.
const JOINTS: [Figure; 10] = [
    ap("AP", None, "all", TWENTY),
    ap("AP50", Some(0.5), "all", TWENTY),
    ap("AP75", Some(0.75), "all", TWENTY),
    ap("APm", None, "medium", TWENTY),
    ap("APl", None, "large", TWENTY),
    ar("AR", None, "all", TWENTY),
    ar("AR50", Some(0.5), "all", TWENTY),
    ar("AR75", Some(0.75), "all", TWENTY),
    ar("ARm", None, "medium", TWENTY),
    ar("ARl", None, "large", TWENTY),
];

/// The figures of one kind of comparison by COCO's rules, in pycocotools' order.
pub fn figures(kind: IouType) -> &'static [Figure] {
    match kind {
        IouType::Bbox | IouType::Segm | IouType::Boundary => &OBJECTS,
        IouType::Keypoints => &JOINTS,
    }
}

/// The figures by LVIS' rules, in lvis-api's order.
pub fn lvis_figures() -> &'static [Figure] {
    &FEDERATED
}

pub(crate) fn of(benchmark: Benchmark, kind: IouType) -> &'static [Figure] {
    match benchmark {
        Benchmark::Coco => figures(kind),
        Benchmark::Lvis => lvis_figures(),
    }
}
