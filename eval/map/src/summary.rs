//! The figures of all categories and those of each, from the curves.
use crate::figures::{Dets, Figure};
use crate::funnel::Funnel;
use crate::kind::IouType;
use crate::mean::mean_of_defined;
use crate::metrics::{CategoryMetrics, CocoMetrics, Curves, Protocol};
use crate::params::Params;
use crate::selection::Selection;
use care_types::CategoryId;

pub(crate) fn summarize(
    curves: Curves,
    selection: &Selection,
    params: &Params,
    funnel: Funnel,
) -> CocoMetrics {
    let max_dets = params.sorted_max_dets();
    let view = View { curves: &curves, params, max_dets: &max_dets, selection };
    let stats = view.stats();
    let per_category = per_category(&view);
    let protocol = Protocol {
        iou_type: params.iou_type,
        benchmark: params.benchmark,
        iou_thrs: params.iou_thrs.clone(),
        recall_points: params.rec_thrs.len(),
        area_rng: params.area_rng.clone(),
        area_rng_lbl: params.area_rng_lbl.clone(),
        use_cats: params.use_cats,
        categories: selection.categories.len(),
        kpt_oks_sigmas: (params.iou_type == IouType::Keypoints).then(|| params.kpt_oks_sigmas.clone()),
        dilation_ratio: (params.iou_type == IouType::Boundary).then_some(params.dilation_ratio),
        pycocotools_quirks: params.quirks,
        standard: is_standard(params, &max_dets, selection),
    };
    CocoMetrics { stats, max_dets, per_category, funnel, protocol, pycocotools_stats: None, curves }
}

fn is_standard(params: &Params, max_dets: &[usize], selection: &Selection) -> bool {
    let coco = params.standard();
    params.iou_thrs == coco.iou_thrs
        && params.rec_thrs == coco.rec_thrs
        && params.area_rng == coco.area_rng
        && params.area_rng_lbl == coco.area_rng_lbl
        && params.use_cats
        && (params.iou_type != IouType::Keypoints || params.kpt_oks_sigmas == coco.kpt_oks_sigmas)
        && (params.iou_type != IouType::Boundary || params.dilation_ratio == coco.dilation_ratio)
        && max_dets == coco.max_dets
        && selection.images.len() == selection.known_images.len()
        && selection.categories.len() == selection.known_categories.len()
}

fn per_category(view: &View<'_>) -> Vec<CategoryMetrics> {
    let selection = view.selection;
    let max_dets = Dets::Nth(2).of(view.max_dets);
    let figures = |k: usize, id: i64, name: String| {
        let all = Part { iou: None, range: "all", max_dets, categories: &[k] };
        CategoryMetrics {
            id: CategoryId(id),
            name,
            ap: view.precision(&all),
            ap50: view.precision(&Part { iou: Some(0.5), ..all }),
            ar100: view.recall(&all),
        }
    };
    if !selection.use_cats {
        return vec![figures(0, -1, "all categories as one".into())];
    }
    let named = selection.categories.ids.iter().zip(&selection.names).enumerate();
    named.map(|(k, (&id, name))| figures(k, id, name.clone())).collect()
}

/// Means over parts of the curves.
struct View<'a> {
    curves: &'a Curves,
    params: &'a Params,
    max_dets: &'a [usize],
    selection: &'a Selection,
}

impl View<'_> {
    fn stats(&self) -> Vec<f64> {
        let figure = |f: &Figure| {
            let max_dets = f.dets.of(self.max_dets);
            let categories = &self.selection.groups_of(f.frequency)[..];
            let part = Part { iou: f.iou, range: f.area, max_dets, categories };
            if f.precision { self.precision(&part) } else { self.recall(&part) }
        };
        self.params.figures().iter().map(figure).collect()
    }

    /// Mean precision; thresholds are found by equality.
    fn precision(&self, of: &Part<'_>) -> f64 {
        let recalls = self.curves.counts[1];
        self.mean(of, recalls, |at| self.curves.precision[self.curves.precision_index(at)])
    }

    /// Mean recall.
    fn recall(&self, of: &Part<'_>) -> f64 {
        self.mean(of, 1, |[t, _, k, a, m]| self.curves.recall[self.curves.recall_index(t, k, a, m)])
    }

    /// The mean of what is defined, or −1, in the order of the arrays.
    fn mean(&self, of: &Part<'_>, recalls: usize, value: impl Fn([usize; 5]) -> f64) -> f64 {
        let thresholds = positions(&self.params.iou_thrs, |t| of.iou.is_none_or(|iou| *t == iou));
        let ranges = positions(&self.params.area_rng_lbl, |name| name == of.range);
        let dets = positions(self.max_dets, |m| *m == of.max_dets);
        let mut values = Vec::new();
        for &t in &thresholds {
            for r in 0..recalls {
                for &k in of.categories {
                    for &a in &ranges {
                        values.extend(dets.iter().map(|&m| value([t, r, k, a, m])));
                    }
                }
            }
        }
        mean_of_defined(values)
    }
}

/// Part of the curves.
struct Part<'a> {
    /// One threshold, or all.
    iou: Option<f64>,
    /// Name of an area range.
    range: &'a str,
    max_dets: usize,
    categories: &'a [usize],
}

fn positions<T>(values: &[T], wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    (0..values.len()).filter(|&i| wanted(&values[i])).collect()
}
