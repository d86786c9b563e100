//! Semantic segmentation scored by a confusion matrix: the numbers of mmsegmentation's `IoUMetric`, from exact counts.
//!
//! Maps stream into a [`ConfusionMatrix`]; figures come out as plain data, and nothing is printed:
//! ```
//! use care_miou::{ConfusionMatrix, SegMap, Size};
//! let size = Size::new(3, 2);
//! let mut matrix = ConfusionMatrix::new(2)?;
//! let label = SegMap::new(&[0u8, 0, 1, 1, 1, 255], size)?;
//! let prediction = SegMap::new(&[0u8, 1, 1, 1, 1, 0], size)?;
//! matrix.update(label, prediction, Some(255))?;
//! let metrics = matrix.metrics();
//! assert_eq!(metrics.a_acc(), Some(4.0 / 5.0));
//! assert_eq!(metrics.m_iou(), Some((1.0 / 2.0 + 3.0 / 4.0) / 2.0));
//! # Ok::<(), care_types::Error>(())
//! ```
//! Counts are sums, so pictures may be counted in any order and on any number of threads: one matrix per thread, joined
//! by [`ConfusionMatrix::merge`], is the same matrix.
//! ```
//! # use care_miou::{ConfusionMatrix, Result, SegMap, Size};
//! use rayon::prelude::*;
//! # fn count(pairs: &[(Vec<u8>, Vec<u8>)], size: Size) -> Result<ConfusionMatrix> {
//! let empty = ConfusionMatrix::new(150)?;
//! let add = |mut matrix: ConfusionMatrix, (label, prediction): &(Vec<u8>, Vec<u8>)| {
//!     matrix.update(SegMap::new(label, size)?, SegMap::new(prediction, size)?, Some(255))?;
//!     Ok(matrix)
//! };
//! let join = |mut a: ConfusionMatrix, b: ConfusionMatrix| a.merge(&b).map(|()| a);
//! pairs.par_iter().try_fold(|| empty.clone(), add).try_reduce(|| empty.clone(), join)
//! # }
//! # let matrix = count(&vec![(vec![3; 6], vec![3; 6]); 9], Size::new(3, 2))?;
//! # assert_eq!((matrix.count(3, 3), matrix.images()), (54, 9));
//! # Ok::<(), care_types::Error>(())
//! ```
//! A [`SegEvaluator`] also knows which pictures it has counted: parts that were counted on several machines travel as bytes
//! and are merged without counting a picture twice.
//!
//! The rules that published numbers depend on
//! ([`IoUMetric`](https://github.com/open-mmlab/mmsegmentation/blob/v1.2.2/mmseg/evaluation/metrics/iou_metric.py)):
//! - areas are summed over pictures first, and figures are made of the sums;
//! - a pixel with an ignored label counts nowhere, whatever is predicted there;
//! - a figure whose denominator is 0 is undefined and left out of means: all of a class that is neither labelled nor
//!   predicted; `Acc` (not `IoU`, which is 0) of a class that is predicted but never labelled; `Fscore` of a class that is
//!   never hit, whose `Dice` is 0 all the same.
//!
//! Different from mmsegmentation: values that are no class are errors (there, such a label still counts as a wrong
//! prediction, and such a prediction as a missed label), areas are exact (there, f32 sums, which round from 2²⁴ pixels
//! on), and figures are fractions, not rounded percentages.
#![deny(unsafe_code)] // but for the instruction sets in `isa.rs`

mod bins;
mod confusion;
mod evaluator;
mod isa;
mod metrics;
mod report;
mod scatter;
mod seg_map;
mod state;
mod tally;

pub use care_types::{Error, ErrorKind, Result, Size};
pub use confusion::{ConfusionMatrix, MAX_CLASSES};
pub use evaluator::{SegEvaluator, SegSource};
pub use metrics::{ClassAreas, SegMetrics};
pub use report::{ClassReport, SegReport};
pub use seg_map::{PixelValue, SegMap};
