//! The funnel of a part of the data: every record is counted by the part that its picture belongs to.
use crate::funnel::{AnnotationFunnel, DetectionFunnel, Funnel};
use crate::selection::{Positions, Selection};
use care_types::coco_json::{Dataset, ResultRecord};

/// Replaces the counts of what was dropped, which were made with all pictures in view, by those of `own` pictures.
/// Objects of unknown pictures belong to no part; `orphans` says whether this one counts them.
pub(crate) fn count_own(
    (gt, dt): (&Dataset, &[ResultRecord]),
    own: &Positions,
    selection: &Selection,
    orphans: bool,
    funnel: &mut Funnel,
) {
    let state = |image: i64, category: i64| match selection.known_images.get(image) {
        None => State::Orphan,
        Some(_) if own.get(image).is_none() => State::OfOthers,
        Some(_) if selection.known_categories.get(category).is_none() => State::UnknownCategory,
        Some(_) if selection.images.get(image).is_some() && selection.categories.get(category).is_some() => {
            State::Used
        }
        Some(_) => State::NotSelected,
    };
    let objects = Counts::of(gt.annotations.iter().map(|a| state(a.image_id.0, a.category_id.0)));
    let found = Counts::of(dt.iter().map(|r| state(r.image_id.0, r.category_id.0)));
    let unknown_image = if orphans { objects.orphans } else { 0 };
    funnel.annotations = AnnotationFunnel {
        in_ground_truth: objects.own + unknown_image,
        unknown_image,
        unknown_category: objects.unknown_category,
        not_selected: objects.not_selected,
        ..funnel.annotations.clone()
    };
    funnel.detections = DetectionFunnel {
        in_results: found.own,
        unknown_category: found.unknown_category,
        not_selected: found.not_selected,
        ..funnel.detections.clone()
    };
}

enum State {
    Orphan,
    OfOthers,
    UnknownCategory,
    NotSelected,
    Used,
}

#[derive(Default)]
struct Counts {
    orphans: usize,
    own: usize,
    unknown_category: usize,
    not_selected: usize,
}

impl Counts {
    fn of(states: impl Iterator<Item = State>) -> Self {
        let mut counts = Counts::default();
        for state in states {
            match state {
                State::Orphan => counts.orphans += 1,
                State::OfOthers => continue,
                State::UnknownCategory => counts.unknown_category += 1,
                State::NotSelected => counts.not_selected += 1,
                State::Used => {}
            }
            counts.own += usize::from(!matches!(state, State::Orphan));
        }
        counts
    }
}

/// The numbers of a funnel that are sums over pictures, in a fixed order; the others follow from the pictures.
pub(crate) fn sums(funnel: &mut Funnel) -> [&mut usize; 19] {
    let AnnotationFunnel {
        in_ground_truth,
        unknown_image,
        unknown_category,
        not_selected,
        without_area,
        evaluated,
        crowd,
        ignored,
        ignore_flag_without_effect,
        area_missing,
        duplicate_ids: _,
        id_zero,
    } = &mut funnel.annotations;
    let DetectionFunnel {
        in_results,
        unknown_category: unknown_class,
        not_selected: not_wanted,
        beyond_max_dets,
        unverified,
        without_area: found_without_area,
        used,
        negative_size,
    } = &mut funnel.detections;
    [
        in_ground_truth,
        unknown_image,
        unknown_category,
        not_selected,
        without_area,
        evaluated,
        crowd,
        ignored,
        ignore_flag_without_effect,
        area_missing,
        id_zero,
        in_results,
        unknown_class,
        not_wanted,
        beyond_max_dets,
        unverified,
        found_without_area,
        used,
        negative_size,
    ]
}

/// Adds those of other pictures.
pub(crate) fn add(funnel: &mut Funnel, mut other: Funnel) {
    for (sum, more) in sums(funnel).into_iter().zip(sums(&mut other)) {
        *sum += *more;
    }
}
