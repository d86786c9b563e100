//! The figures as they are written to files.
use crate::metrics::{ClassAreas, SegMetrics};
use care_types::{ClassIndex, Error, LabelMap, Result};
use serde::Serialize;

/// What stands for an undefined figure, as in COCO's results.
const UNDEFINED: f64 = -1.0;

/// All figures, by mmsegmentation's names: `{"aAcc", "mIoU", "mAcc", …, "per_class": [{"class", "name", "IoU", …}]}`.
/// Fractions in [0, 1]; undefined ones are −1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SegReport {
    /// [`SegMetrics::a_acc`].
    #[serde(rename = "aAcc")]
    pub a_acc: f64,
    /// [`SegMetrics::m_iou`].
    #[serde(rename = "mIoU")]
    pub m_iou: f64,
    /// [`SegMetrics::m_acc`].
    #[serde(rename = "mAcc")]
    pub m_acc: f64,
    /// [`SegMetrics::m_dice`].
    #[serde(rename = "mDice")]
    pub m_dice: f64,
    /// [`SegMetrics::m_fscore`].
    #[serde(rename = "mFscore")]
    pub m_fscore: f64,
    /// [`SegMetrics::m_precision`].
    #[serde(rename = "mPrecision")]
    pub m_precision: f64,
    /// [`SegMetrics::m_recall`].
    #[serde(rename = "mRecall")]
    pub m_recall: f64,
    /// Pictures counted.
    pub images: u64,
    /// Pixels that count.
    pub labelled: u64,
    /// Pixels with an ignored label.
    pub ignored: u64,
    /// In class order.
    pub per_class: Vec<ClassReport>,
}

/// The figures and areas of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// Which class.
    pub class: ClassIndex,
    /// What people call it.
    pub name: String,
    /// [`ClassAreas::iou`].
    #[serde(rename = "IoU")]
    pub iou: f64,
    /// [`ClassAreas::acc`].
    #[serde(rename = "Acc")]
    pub acc: f64,
    /// [`ClassAreas::dice`].
    #[serde(rename = "Dice")]
    pub dice: f64,
    /// [`ClassAreas::fscore`].
    #[serde(rename = "Fscore")]
    pub fscore: f64,
    /// [`ClassAreas::precision`].
    #[serde(rename = "Precision")]
    pub precision: f64,
    /// [`ClassAreas::recall`].
    #[serde(rename = "Recall")]
    pub recall: f64,
    /// Pixels with this label.
    pub labelled: u64,
    /// Pixels with this prediction.
    pub predicted: u64,
    /// Pixels with both.
    pub intersection: u64,
}

impl SegMetrics {
    /// The report, with the names of the classes.
    ///
    /// # Errors
    /// `Config` when `labels` names more or fewer classes than were counted.
    pub fn report(&self, labels: &LabelMap) -> Result<SegReport> {
        if labels.len() != self.per_class.len() {
            return Err(Error::config(format!(
                "names for {} classes, but {} were counted",
                labels.len(),
                self.per_class.len()
            )));
        }
        let figure = |value: Option<f64>| value.unwrap_or(UNDEFINED);
        Ok(SegReport {
            a_acc: figure(self.a_acc()),
            m_iou: figure(self.m_iou()),
            m_acc: figure(self.m_acc()),
            m_dice: figure(self.m_dice()),
            m_fscore: figure(self.m_fscore()),
            m_precision: figure(self.m_precision()),
            m_recall: figure(self.m_recall()),
            images: self.images,
            labelled: self.labelled(),
            ignored: self.ignored,
            per_class: self.per_class.iter().map(|c| ClassReport::new(c, labels.name(c.class))).collect(),
        })
    }
}

impl ClassReport {
    fn new(areas: &ClassAreas, name: String) -> Self {
        let figure = |value: Option<f64>| value.unwrap_or(UNDEFINED);
        ClassReport {
            class: areas.class,
            name,
            iou: figure(areas.iou()),
            acc: figure(areas.acc()),
            dice: figure(areas.dice()),
            fscore: figure(areas.fscore()),
            precision: figure(areas.precision()),
            recall: figure(areas.recall()),
            labelled: areas.labelled,
            predicted: areas.predicted,
            intersection: areas.intersection,
        }
    }
}
