//! The figures of all categories and those of each, from the curves.
use crate::figures::{Dets, Figure};
use crate::funnel::Funnel;
use crate::kind::IouType;
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
    let m = Dets::Nth(2).of(view.max_dets);
    let figures = |k: usize, id: i64, name: String| CategoryMetrics {
        id: CategoryId(id),
        name,
        ap: view.precision(None, "all", m, &[k]),
        ap50: view.precision(Some(0.5), "all", m, &[k]),
        ar100: view.recall(None, "all", m, &[k]),
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
            let categories = self.selection.groups_of(f.frequency);
            match f.precision {
                true => self.precision(f.iou, f.area, max_dets, &categories),
                false => self.recall(f.iou, f.area, max_dets, &categories),
            }
        };
        self.params.figures().iter().map(figure).collect()
    }

    /// Mean precision of categories at one IoU threshold or all; thresholds are found by equality.
    fn precision(&self, iou: Option<f64>, range: &str, max_dets: usize, categories: &[usize]) -> f64 {
        let recalls = self.curves.counts[1];
        self.mean(iou, range, max_dets, categories, |[t, k, a, m], add| {
            (0..recalls)
                .for_each(|r| add(self.curves.precision[self.curves.precision_index([t, r, k, a, m])]));
        })
    }

    /// Mean recall of categories at one IoU threshold or all.
    fn recall(&self, iou: Option<f64>, range: &str, max_dets: usize, categories: &[usize]) -> f64 {
        self.mean(iou, range, max_dets, categories, |[t, k, a, m], add| {
            add(self.curves.recall[self.curves.recall_index(t, k, a, m)]);
        })
    }

    /// The mean of what is defined, or −1.
    fn mean(
        &self,
        iou: Option<f64>,
        range: &str,
        max_dets: usize,
        categories: &[usize],
        visit: impl Fn([usize; 4], &mut dyn FnMut(f64)),
    ) -> f64 {
        let thresholds = positions(&self.params.iou_thrs, |t| iou.is_none_or(|iou| *t == iou));
        let ranges = positions(&self.params.area_rng_lbl, |name| name == range);
        let dets = positions(self.max_dets, |m| *m == max_dets);
        let (mut sum, mut n) = (0.0, 0u64);
        let mut add = |value: f64| {
            if value > -1.0 {
                sum += value;
                n += 1;
            }
        };
        for &t in &thresholds {
            for &k in categories {
                for &a in &ranges {
                    dets.iter().for_each(|&m| visit([t, k, a, m], &mut add));
                }
            }
        }
        if n == 0 { -1.0 } else { sum / n as f64 }
    }
}

fn positions<T>(values: &[T], wanted: impl Fn(&T) -> bool) -> Vec<usize> {
    (0..values.len()).filter(|&i| wanted(&values[i])).collect()
}
