//! Whether anything can be scored at all: a funnel that ends in nothing is an error that says what was found, never
//! twelve figures of −1 or 0.

use crate::exit::Failure;
use care_map::{AnnotationFunnel, CocoMetrics, Params};
use care_types::coco_json::{Category, Dataset, ResultRecord};
use std::collections::BTreeSet;

/// Classes listed of each side before "and N more".
const LISTED: usize = 8;

/// Whether [`require_objects`] and [`require_common_categories`] hold, from the counts alone.
pub(super) fn is_lined_up(metrics: &CocoMetrics) -> bool {
    let (objects, found) = (&metrics.funnel.annotations, &metrics.funnel.detections);
    let any_known = found.in_results == 0 || found.unknown_category < found.in_results;
    objects.evaluated > objects.crowd && any_known
}

/// Objects to find must be left of the ground truth.
///
/// # Errors
/// Exit 3 with what became of the objects.
pub(super) fn require_objects(
    metrics: &CocoMetrics,
    truth: &Dataset,
    params: &Params,
) -> Result<(), Failure> {
    let (images, objects) = (&metrics.funnel.images, &metrics.funnel.annotations);
    if objects.evaluated > objects.crowd {
        return Ok(());
    }
    let chosen = [("--limit or imgIds", images.not_selected > 0), ("catIds", params.cat_ids.is_some())];
    let chosen: Vec<&str> = chosen.into_iter().filter(|c| c.1).map(|c| c.0).collect();
    let mut message = format!(
        "no objects to score against: {} pictures and {} categories are evaluated, and of {} annotations {}",
        images.evaluated,
        metrics.protocol.categories,
        objects.in_ground_truth,
        fate(objects)
    );
    match (objects.in_ground_truth, chosen.is_empty()) {
        (0, _) => {
            message += "\nan image list without annotations can be detected in (`infer`), but not scored"
        }
        (_, false) => message += &format!("\nwiden {}", chosen.join(" and ")),
        (_, true) => message += &format!("\ncategories: {}", categories(&truth.categories)),
    }
    Err(Failure::data(message))
}

/// Where the annotations went.
fn fate(objects: &AnnotationFunnel) -> String {
    let fates = [
        (objects.unknown_image, "are of a picture that is not listed"),
        (objects.unknown_category, "are of a category that is not listed"),
        (objects.not_selected, "are not selected"),
        (objects.crowd, "are crowds, which count neither way"),
    ];
    let fates: Vec<String> = fates.iter().filter(|f| f.0 > 0).map(|f| format!("{} {}", f.0, f.1)).collect();
    if fates.is_empty() { "none is left".to_owned() } else { fates.join(", ") }
}

/// Categories of results and ground truth must have something in common, unless there are no results at all (an AP of 0).
///
/// # Errors
/// Exit 3 with both lists.
pub(super) fn require_common_categories(truth: &Dataset, found: &[ResultRecord]) -> Result<(), Failure> {
    let known: BTreeSet<i64> = truth.categories.iter().map(|c| c.id.0).collect();
    if found.is_empty() || found.iter().any(|r| known.contains(&r.category_id.0)) {
        return Ok(());
    }
    let ids: BTreeSet<i64> = found.iter().map(|r| r.category_id.0).collect();
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    Err(Failure::data(format!(
        "none of the {} detections is of a category of the ground truth\n  ground truth: {}\n  results: {}\n\
         category_id must be the ids of the ground truth's `categories`, not positions in a list of classes",
        found.len(),
        categories(&truth.categories),
        listed(&ids)
    )))
}

fn categories(categories: &[Category]) -> String {
    let names: Vec<String> = categories.iter().map(|c| format!("{} {}", c.id.0, c.name)).collect();
    listed(&names)
}

fn listed(words: &[String]) -> String {
    let shown = words[..words.len().min(LISTED)].join(", ");
    match words.len().saturating_sub(LISTED) {
        _ if words.is_empty() => "none".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
