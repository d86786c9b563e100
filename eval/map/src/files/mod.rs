//! From files to figures without records of the results in between: a results file is read in blocks into columns.
//!
//! Boxes and masks by COCO's rules go this way. Everything else, and every file that the plain reader gives up on, is read
//! and scored by [`crate::evaluate`]; so is what is wrong, which then has its message.
mod boxes;
mod masks;
mod parts;
mod records;

use crate::cells::Cells;
use crate::columns::Truth;
use crate::detections::Detections;
use crate::funnel::{DetectionFunnel, Funnel};
use crate::metrics::CocoMetrics;
use crate::selection::Selection;
use crate::{Benchmark, IouType, Params, Result, accumulate, columns, summary};
use care_types::coco_json::{self, Annotation, Dataset, PlainResult, Start};
use std::path::Path;

/// Scores a results file against an annotation file: what [`crate::evaluate`] gives on what
/// [`read_dataset`](coco_json::read_dataset) and [`read_results`](coco_json::read_results) read, bit for bit, in a fraction of
/// its time and memory. The files must not change meanwhile.
///
/// # Errors
/// Those of reading and of [`crate::evaluate`].
pub fn evaluate_files(gt: &Path, dt: &Path, params: &Params) -> Result<CocoMetrics> {
    match by_columns(gt, dt, params) {
        Some(metrics) => Ok(metrics),
        None => crate::evaluate(&coco_json::read_dataset(gt)?, &coco_json::read_results(dt)?, params),
    }
}

/// `None` for what has to go the general way.
fn by_columns(gt: &Path, dt: &Path, params: &Params) -> Option<CocoMetrics> {
    if params.benchmark != Benchmark::Coco || params.validate().is_err() {
        return None;
    }
    let masks = match params.iou_type {
        IouType::Bbox => false,
        IouType::Segm => true,
        IouType::Keypoints | IouType::Boundary => return None,
    };
    let gt = read_dataset(gt, masks)?;
    let selection = Selection::new(&gt, params).ok()?;
    if masks {
        let found = masks::read(dt, &gt, &selection)?;
        score(&gt, &found, params, masks::truths)
    } else {
        let found = boxes::read(dt, &selection)?;
        score(&gt, &found, params, columns::truth_boxes)
    }
}

/// Matches what was read, with pycocotools' quirks once more if that is asked for.
fn score<'a, D: Detections>(
    gt: &'a Dataset,
    (found, count): &(Cells<D>, DetectionFunnel),
    params: &Params,
    truths: impl Fn(&'a Dataset, &Selection, &mut Funnel) -> Result<Cells<Vec<Truth<D::Truth>>>>,
) -> Option<CocoMetrics> {
    crate::with_quirks(params, |params| {
        let selection = Selection::new(gt, params)?;
        let mut funnel = Funnel { detections: count.clone(), ..Funnel::default() };
        let truths = truths(gt, &selection, &mut funnel)?;
        let curves = accumulate::curves(&truths, found, &selection, params, &mut funnel);
        Ok(summary::summarize(curves, &selection, params, funnel))
    })
    .ok()
}

/// An annotation file, without masks when they are not needed.
fn read_dataset(path: &Path, masks: bool) -> Option<Dataset> {
    let length = path.metadata().ok()?.len();
    coco_json::plain_dataset(path, |opening| {
        let mut all: Vec<Annotation> = Vec::new();
        let read = |part: &mut Vec<Annotation>, start, to| {
            coco_json::plain_annotations(path, start, to, masks, |a| part.push(a))
        };
        let take = |part: &mut Vec<Annotation>| {
            all.append(part);
            Some(())
        };
        let end = parts::read_list(opening, length, read, take)?;
        Some((all, end))
    })
}

/// A results file: `read` adds each record to a part, and `take` empties the parts in the order of the file.
fn read_results<T: Send + Default>(
    path: &Path,
    read: impl Fn(&mut T, PlainResult<'_>) -> Option<()> + Sync,
    take: impl FnMut(&mut T) -> Option<()> + Send,
) -> Option<()> {
    let length = path.metadata().ok()?.len();
    let part = |part: &mut T, start: Start, to: u64| {
        let mut is_good = true;
        let covered = coco_json::plain_results(path, start, to, |record| {
            is_good = is_good && read(part, record).is_some();
        })?;
        is_good.then_some(covered)
    };
    let end = parts::read_list(coco_json::plain_results_opening(path)?, length, part, take)?;
    coco_json::plain_end(path, end).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rest of the tests would also pass if everything went the general way.
    #[test]
    fn the_usual_files_are_read_by_columns() {
        let folder = std::env::temp_dir().join(format!("care-map-columns-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [gt, dt] = ["gt.json", "dt.json"].map(|name| folder.join(name));
        std::fs::write(
            &gt,
            r#"{"images":[{"id":1,"width":4,"height":3,"file_name":"a.jpg"}],"categories":[{"id":2,"name":"dog"}],
"annotations":[{"id":1,"image_id":1,"category_id":2,"bbox":[0,0,4,3],"area":12,"iscrowd":0,"segmentation":[[0,0,4,0,4,3,0,3]]}]}"#,
        )
        .unwrap();
        for (kind, record) in [
            (IouType::Bbox, r#""bbox":[0,0,4,3]"#),
            (IouType::Bbox, r#""segmentation":{"size":[3,4],"counts":"0<"}"#),
            (IouType::Segm, r#""segmentation":{"size":[3,4],"counts":"0<"}"#),
            (IouType::Segm, r#""bbox":[0,0,4,3],"segmentation":{"size":[3,4],"counts":[0,12]}"#),
        ] {
            std::fs::write(&dt, format!(r#"[{{"image_id":1,"category_id":2,{record},"score":0.5}}]"#))
                .unwrap();
            let metrics = by_columns(&gt, &dt, &Params::new(kind)).expect(record);
            assert!((metrics.stats[0] - 1.0).abs() < 1e-9, "{record}: {:?}", metrics.stats);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
