//! Why a score is what it is, as text: the operating point, what errors cost, confusions, calibration, the worst pictures.

use care_map::explain::{Explanation, TideKind, worst_first};
use care_types::CategoryId;
use std::fmt::Write;

/// Lines per list; the JSON has all.
const LISTED: usize = 10;

/// The text for one kind of comparison.
pub fn explanation_text(e: &Explanation) -> String {
    let best = if e.score_is_best_f1 { ", where F1 is best" } else { "" };
    let mut text = format!(" at IoU {:.2} and score {:.3}{best}:\n", e.iou, e.score);
    let f1 = &e.f1.overall.at_score;
    let _ = writeln!(
        text,
        "   F1 {}, precision {}, recall {}: {} right, {} wrong, {} missed",
        figure(f1.f1),
        figure(f1.precision),
        figure(f1.recall),
        f1.true_positives,
        f1.false_positives,
        f1.misses
    );
    if let (Some(best), false) = (&e.f1.overall.best, e.score_is_best_f1) {
        let _ = writeln!(text, "   best F1 {} at score {:.3}", figure(best.f1), best.score);
    }
    let _ = writeln!(
        text,
        "   calibration error {} (scores against how often they are right)",
        figure(e.calibration.overall.ece)
    );
    text += &errors(e);
    text += &confusions(e);
    text += &pictures(e);
    text
}

fn figure(value: f64) -> String {
    if value < 0.0 { "undefined".to_owned() } else { format!("{value:.3}") }
}

fn errors(e: &Explanation) -> String {
    let mut text = format!(" AP50 {} would rise by (TIDE):\n", figure(e.tide.ap));
    for error in &e.tide.errors {
        let what = match error.kind {
            TideKind::Cls => "right place, wrong category",
            TideKind::Loc => "right category, box or mask too far off",
            TideKind::Both => "wrong category and too far off",
            TideKind::Dupe => "found a second time",
            TideKind::Bkg => "nothing there",
            TideKind::Miss => "not found at all",
        };
        let name = format!("{:?}", error.kind);
        let _ = writeln!(text, "   {name:<5} {:.3}  {what}, {}", error.dap, error.count);
    }
    text
}

fn confusions(e: &Explanation) -> String {
    let name = |id: CategoryId| {
        let at = e.confusion.categories.iter().position(|c| *c == id);
        at.and_then(|at| e.confusion.names.get(at)).map_or("?", String::as_str)
    };
    let both =
        e.confusion.most_confused().into_iter().filter_map(|c| Some((c.object?, c.detection?, c.count)));
    let mut text = String::new();
    for (object, detection, count) in both.take(LISTED) {
        if text.is_empty() {
            text += " taken for another category:\n";
        }
        let _ = writeln!(text, "   {count:>5} {} as {}", name(object), name(detection));
    }
    text
}

fn pictures(e: &Explanation) -> String {
    let mut text = String::new();
    for picture in worst_first(&e.per_image).into_iter().filter(|p| p.mistakes() > 0).take(LISTED) {
        if text.is_empty() {
            text += " pictures with most mistakes:\n";
        }
        let (wrong, missed) = (picture.false_positives, picture.misses);
        let _ = writeln!(
            text,
            "   {} (id {}): {wrong} wrong, {missed} of {} missed",
            picture.file_name, picture.id, picture.objects
        );
    }
    text
}
