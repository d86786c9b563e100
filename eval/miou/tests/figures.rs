//! Figures by hand, what is undefined, and how reports write it.
use care_miou::{ConfusionMatrix, ErrorKind, SegMap, SegMetrics, Size};
use care_types::LabelMap;
use serde_json::{Value, json};

fn metrics(classes: usize, label: &[u8], prediction: &[u8]) -> SegMetrics {
    let size = Size::new(label.len() as u32, 1);
    let mut matrix = ConfusionMatrix::new(classes).unwrap();
    let (label, prediction) = (SegMap::new(label, size).unwrap(), SegMap::new(prediction, size).unwrap());
    matrix.update(label, prediction, Some(255)).unwrap();
    matrix.metrics()
}

/// Class 0 in part, 1 predicted but not labelled, 2 labelled but not predicted, 3 both but never hit, 4 neither.
fn all_kinds() -> SegMetrics {
    metrics(5, &[0, 0, 0, 2, 3, 2, 255], &[0, 0, 1, 0, 0, 3, 4])
}

#[test]
fn each_kind_of_class_has_the_figures_that_mmsegmentation_gives_it() {
    let metrics = all_kinds();
    let figures: Vec<[Option<f64>; 5]> =
        metrics.per_class.iter().map(|c| [c.iou(), c.acc(), c.dice(), c.precision(), c.fscore()]).collect();
    let (precision, recall) = (2.0 / 4.0, 2.0 / 3.0);
    let fscore = 2.0 * (precision * recall) / (precision + recall);
    assert_eq!(figures[0], [Some(2.0 / 5.0), Some(recall), Some(4.0 / 7.0), Some(precision), Some(fscore)]);
    assert_eq!(figures[1], [Some(0.0), None, Some(0.0), Some(0.0), None]);
    assert_eq!(figures[2], [Some(0.0), Some(0.0), Some(0.0), None, None]);
    assert_eq!(figures[3], [Some(0.0), Some(0.0), Some(0.0), Some(0.0), None]);
    assert_eq!(figures[4], [None; 5]);
    assert!((fscore - 4.0 / 7.0).abs() < 1e-15, "F1 is Dice where it is defined");
}

#[test]
fn means_leave_undefined_figures_out() {
    let metrics = all_kinds();
    assert_eq!(metrics.a_acc(), Some(2.0 / 6.0));
    assert_eq!(metrics.m_iou(), Some(2.0 / 5.0 / 4.0));
    assert_eq!(metrics.m_acc(), Some(2.0 / 3.0 / 3.0));
    assert_eq!(metrics.m_recall(), metrics.m_acc());
    assert_eq!(metrics.m_dice(), Some(4.0 / 7.0 / 4.0));
    assert_eq!(metrics.m_precision(), Some(2.0 / 4.0 / 3.0));
    assert_eq!(metrics.m_fscore(), metrics.per_class[0].fscore());
    assert_eq!((metrics.labelled(), metrics.ignored, metrics.images), (6, 1, 1));
}

#[test]
fn without_a_labelled_pixel_everything_is_undefined() {
    for metrics in [metrics(2, &[], &[]), metrics(2, &[255, 255], &[0, 9])] {
        let means = [
            metrics.a_acc(),
            metrics.m_iou(),
            metrics.m_acc(),
            metrics.m_dice(),
            metrics.m_fscore(),
            metrics.m_precision(),
        ];
        assert_eq!(means, [None; 6]);
    }
}

#[test]
fn reports_have_the_keys_of_mmsegmentation_and_minus_one_for_undefined() {
    let labels = LabelMap::from_names(&["wall", "sky"], 0);
    let report = metrics(2, &[0, 0, 255], &[0, 0, 0]).report(&labels).unwrap();
    let expected = json!({
        "aAcc": 1.0, "mIoU": 1.0, "mAcc": 1.0, "mDice": 1.0, "mFscore": 1.0, "mPrecision": 1.0, "mRecall": 1.0,
        "images": 1, "labelled": 2, "ignored": 1,
        "per_class": [
            {"class": 0, "name": "wall", "IoU": 1.0, "Acc": 1.0, "Dice": 1.0, "Fscore": 1.0, "Precision": 1.0,
             "Recall": 1.0, "labelled": 2, "predicted": 2, "intersection": 2},
            {"class": 1, "name": "sky", "IoU": -1.0, "Acc": -1.0, "Dice": -1.0, "Fscore": -1.0, "Precision": -1.0,
             "Recall": -1.0, "labelled": 0, "predicted": 0, "intersection": 0},
        ],
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    let empty: Value = serde_json::to_value(metrics(2, &[], &[]).report(&labels).unwrap()).unwrap();
    assert_eq!((&empty["aAcc"], &empty["mIoU"]), (&json!(-1.0), &json!(-1.0)));
}

#[test]
fn a_report_needs_a_name_for_every_class() {
    let error = all_kinds().report(&LabelMap::from_names(&["a"], 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("names for 1 classes, but 5"), "{error}");
}
