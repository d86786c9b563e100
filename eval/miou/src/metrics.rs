//! Figures from areas, each with the expression of mmsegmentation's `IoUMetric.total_area_to_metrics`, in f64.
//!
//! `None` is undefined: 0/0. See the list of such cases in the [crate's documentation](crate).
use care_types::ClassIndex;

/// The areas of one class in pixels, summed over all pictures, without ignored pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassAreas {
    /// Which class.
    pub class: ClassIndex,
    /// Pixels with this label.
    pub labelled: u64,
    /// Pixels with this prediction.
    pub predicted: u64,
    /// Pixels with both.
    pub intersection: u64,
}

impl ClassAreas {
    /// Pixels with this label or this prediction.
    pub fn union(&self) -> u64 {
        self.labelled - self.intersection + self.predicted
    }

    /// Intersection over union, in [0, 1]; undefined for a class that is neither labelled nor predicted.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.intersection, self.union())
    }

    /// The share of labelled pixels that was found, in [0, 1]: recall. Undefined for a class that is never labelled.
    pub fn acc(&self) -> Option<f64> {
        ratio(self.intersection, self.labelled)
    }

    /// `2 * intersection / (labelled + predicted)`, in [0, 1]; undefined when [`Self::iou`] is.
    pub fn dice(&self) -> Option<f64> {
        let sum = self.labelled as f64 + self.predicted as f64;
        (sum > 0.0).then(|| 2.0 * self.intersection as f64 / sum)
    }

    /// The share of predicted pixels that was right, in [0, 1]; undefined for a class that is never predicted.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.intersection, self.predicted)
    }

    /// [`Self::acc`] by its other name.
    pub fn recall(&self) -> Option<f64> {
        self.acc()
    }

    /// F1, the harmonic mean of precision and recall, in [0, 1]. Where it is defined, it is [`Self::dice`]; it is
    /// undefined when precision or recall is, and when both are 0 (mmsegmentation's `f_score` divides by their sum).
    pub fn fscore(&self) -> Option<f64> {
        let (precision, recall) = (self.precision()?, self.recall()?);
        (precision + recall > 0.0).then(|| 2.0 * (precision * recall) / (precision + recall))
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The areas of all classes. Means are over the classes for which a figure is defined, summed in class order; they are
/// undefined when there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegMetrics {
    /// One per class, in order.
    pub per_class: Vec<ClassAreas>,
    /// Pictures counted.
    pub images: u64,
    /// Pixels with an ignored label, which are in no area.
    pub ignored: u64,
}

impl SegMetrics {
    /// Pixels that count: those with a label that is not ignored.
    pub fn labelled(&self) -> u64 {
        self.per_class.iter().map(|c| c.labelled).sum()
    }

    /// The share of all labelled pixels whose prediction is right (aAcc), in [0, 1]; undefined without labelled pixels.
    pub fn a_acc(&self) -> Option<f64> {
        ratio(self.per_class.iter().map(|c| c.intersection).sum(), self.labelled())
    }

    /// Mean of [`ClassAreas::iou`] (mIoU).
    pub fn m_iou(&self) -> Option<f64> {
        self.mean(ClassAreas::iou)
    }

    /// Mean of [`ClassAreas::acc`] (mAcc).
    pub fn m_acc(&self) -> Option<f64> {
        self.mean(ClassAreas::acc)
    }

    /// Mean of [`ClassAreas::dice`] (mDice).
    pub fn m_dice(&self) -> Option<f64> {
        self.mean(ClassAreas::dice)
    }

    /// Mean of [`ClassAreas::fscore`] (mFscore).
    pub fn m_fscore(&self) -> Option<f64> {
        self.mean(ClassAreas::fscore)
    }

    /// Mean of [`ClassAreas::precision`] (mPrecision).
    pub fn m_precision(&self) -> Option<f64> {
        self.mean(ClassAreas::precision)
    }

    /// Mean of [`ClassAreas::recall`] (mRecall): [`Self::m_acc`] by its other name.
    pub fn m_recall(&self) -> Option<f64> {
        self.mean(ClassAreas::recall)
    }

    fn mean(&self, figure: impl Fn(&ClassAreas) -> Option<f64>) -> Option<f64> {
        let (mut sum, mut defined) = (0.0, 0u32);
        for value in self.per_class.iter().filter_map(figure) {
            sum += value;
            defined += 1;
        }
        (defined > 0).then(|| sum / f64::from(defined))
    }
}
