//! Detections as matching sees them: at hand with their shapes, or in columns whose shapes are looked at late.
use crate::columns::{Found, Truth};
use crate::shape::Shape;

/// What matching needs of a detection beside its shape.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) score: f64,
    pub(crate) area: f64,
    /// Finding nothing is not held against it.
    pub(crate) forgiven: bool,
}

/// Detections by position, in the order of their cells.
pub(crate) trait Detections: Sync {
    /// What they are compared with.
    type Truth: Send + Sync;
    /// Memory that is used from cell to cell.
    type Space: Default + Send;

    fn facts(&self, at: usize) -> Facts;

    /// Appends the IoU of each detection of a cell with each object, detection by detection.
    fn ious(
        &self,
        order: &[usize],
        truths: &[Truth<Self::Truth>],
        space: &mut Self::Space,
        ious: &mut Vec<f64>,
    );
}

impl<S: Shape> Detections for Vec<Found<S>> {
    type Truth = S;
    type Space = ();

    fn facts(&self, at: usize) -> Facts {
        let &Found { score, area, forgiven, .. } = &self[at];
        Facts { score, area, forgiven }
    }

    fn ious(&self, order: &[usize], truths: &[Truth<S>], (): &mut (), ious: &mut Vec<f64>) {
        for &d in order {
            let shape = &self[d].shape;
            ious.extend(truths.iter().map(|t| shape.iou(&t.shape, t.crowd)));
        }
    }
}
