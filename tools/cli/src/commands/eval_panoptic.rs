//! `eval panoptic`: panoptic quality of two panoptic JSON files and their PNGs, as panopticapi computes it.

use crate::args::EvalPanoptic;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::gate;
use crate::places::require_file;
use crate::progress::Progress;
use care_map::panoptic::{
    Categories, PanopticAnnotation, PanopticFile, PanopticQuality, PanopticSummary, Quality, SegmentMap,
    ids_from_rgb, pair, parse,
};
use rayon::prelude::*;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Pictures that one thread takes at a time.
const CHUNK: usize = 16;

/// Runs the command.
///
/// # Errors
/// Exit 2 for what is not there, 3 for files that cannot be scored.
pub fn run(args: &EvalPanoptic, console: Console) -> Result<Exit, Failure> {
    let (truth, truth_dir) = open(&args.gt, args.gt_dir.as_deref(), ["--gt", "--gt-dir"])?;
    let (found, found_dir) = open(&args.pred, args.pred_dir.as_deref(), ["--pred", "--pred-dir"])?;
    let in_truth = |e: care_map::Error| e.context(args.gt.display());
    let categories = Categories::new(truth.categories).map_err(in_truth)?;
    if categories.list().is_empty() {
        return Err(Failure::data(format!("{}: has no categories", args.gt.display())));
    }
    let pairs = pair(&truth.annotations, &found.annotations)
        .map_err(|e| e.context(format!("{} against {}", args.pred.display(), args.gt.display())))?;
    if pairs.is_empty() {
        return Err(Failure::data(format!("{}: has no pictures", args.gt.display())));
    }
    let progress = Mutex::new(Progress::start(console, "pictures", pairs.len()));
    let parts: Vec<Result<PanopticQuality, Failure>> = pairs
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut quality = PanopticQuality::new(categories.clone());
            for (truth, found) in chunk {
                add(&mut quality, (truth, &truth_dir), (found, &found_dir))?;
                progress.lock().unwrap_or_else(|p| p.into_inner()).tick();
            }
            Ok(quality)
        })
        .collect();
    progress.into_inner().unwrap_or_else(|p| p.into_inner()).finish();
    let mut whole = PanopticQuality::new(categories);
    for part in parts {
        whole.merge(&part?)?; // exact sums: the order does not matter, but the first error is told
    }
    let summary = whole.summary();
    console.text(&text(&summary, args.per_category))?;
    console.json(&summary)?;
    Ok(gate::judge(&args.fail_under, "", |name| figure(&summary, name), console))
}

/// The file, and the folder of its PNGs: panopticapi's default is the file's name without its ending.
fn open(
    file: &Path,
    folder: Option<&Path>,
    [file_flag, folder_flag]: [&str; 2],
) -> Result<(PanopticFile, PathBuf), Failure> {
    require_file(file, file_flag)?;
    let folder = folder.map_or_else(|| file.with_extension(""), Path::to_path_buf);
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "{folder_flag} {}: there is no such folder; it holds the PNGs of {}",
            folder.display(),
            file.display()
        )));
    }
    let unreadable = |e| Failure::data(format!("{}: cannot be read: {e}", file.display()));
    let bytes = std::fs::read(file).map_err(unreadable)?;
    Ok((parse(&bytes).map_err(|e| e.context(file.display()))?, folder))
}

fn add(
    quality: &mut PanopticQuality,
    (truth, truth_dir): (&PanopticAnnotation, &Path),
    (found, found_dir): (&PanopticAnnotation, &Path),
) -> Result<(), Failure> {
    let read = |dir: &Path, annotation: &PanopticAnnotation| -> Result<Vec<u32>, Failure> {
        let picture = care_data::decode_path(&dir.join(&annotation.file_name))?;
        Ok(ids_from_rgb(picture.as_raw())?)
    };
    let (truth_ids, found_ids) = (read(truth_dir, truth)?, read(found_dir, found)?);
    let truth_map = SegmentMap { ids: &truth_ids, segments: &truth.segments_info };
    let found_map = SegmentMap { ids: &found_ids, segments: &found.segments_info };
    let named = |e: care_map::Error| e.context(found_dir.join(&found.file_name).display());
    Ok(quality.add(&truth.image_id, truth_map, found_map).map_err(named)?)
}

fn figure(summary: &PanopticSummary, name: &str) -> Option<f64> {
    let (kind, rest) = name.split_at_checked(2)?;
    let of = |q: &Quality| match kind {
        "PQ" => Some(q.pq),
        "SQ" => Some(q.sq),
        _ => Some(q.rq),
    };
    match rest {
        "" => of(&summary.all),
        "th" => of(&summary.things),
        _ => of(&summary.stuff),
    }
}

/// panopticapi's table, in percent.
fn text(summary: &PanopticSummary, per_category: bool) -> String {
    let percent = |v: f64| if v < 0.0 { "–".to_owned() } else { format!("{:.1}", 100.0 * v) };
    let mut text = format!(" {:<8} {:>6} {:>6} {:>6} {:>11}\n", "", "PQ", "SQ", "RQ", "categories");
    for (name, q) in [("all", &summary.all), ("things", &summary.things), ("stuff", &summary.stuff)] {
        let [pq, sq, rq] = [q.pq, q.sq, q.rq].map(percent);
        let _ = writeln!(text, " {name:<8} {pq:>6} {sq:>6} {rq:>6} {:>11}", q.categories);
    }
    if per_category {
        let width = summary.per_category.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(8);
        let _ = writeln!(
            text,
            "\n {:>6} {:<width$} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}",
            "id", "category", "PQ", "SQ", "RQ", "TP", "FP", "misses"
        );
        for c in &summary.per_category {
            let [pq, sq, rq] = [c.pq, c.sq, c.rq].map(percent);
            let counts = [c.true_positives, c.false_positives, c.misses].map(|n| format!("{n:>6}")).join(" ");
            let _ = writeln!(text, " {:>6} {:<width$} {pq:>6} {sq:>6} {rq:>6} {counts}", c.id, c.name);
        }
    }
    let _ = writeln!(text, " {} pictures", summary.pictures);
    let odd = &summary.ground_truth;
    let notes = [
        (odd.unknown_category, "segments of the ground truth are of an unknown category: not scored"),
        (odd.without_pixels, "segments of the ground truth have no pixels: always missed"),
        (odd.unlisted, "ids in the ground truth's PNGs are not in its JSON: not scored"),
        (
            odd.area_differs,
            "segments of the ground truth have another area in the JSON; their pixels are counted",
        ),
    ];
    for (n, what) in notes.iter().filter(|n| n.0 > 0) {
        let _ = writeln!(text, " {n} {what}");
    }
    text
}
