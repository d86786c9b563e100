use care_kernels::isa::Isa;
use care_kernels::nms::{batched_nms, batched_nms_images, batched_nms_with, nms, nms_with};
use care_kernels::reference;
use proptest::prelude::*;

/// Boxes on a coarse grid, so that touching, equal, empty and inverted boxes and equal scores are frequent.
fn candidates() -> impl Strategy<Value = Vec<([f32; 4], f32, u32, u32)>> {
    let corner = -8i8..40;
    let side = -1i8..16;
    let candidate = (corner.clone(), corner, side.clone(), side, 0u8..12, 0u32..4, 0u32..3).prop_map(
        |(x, y, w, h, score, group, image)| {
            let (x, y, w, h) = (f32::from(x), f32::from(y), f32::from(w) * 1.5, f32::from(h) * 1.5);
            ([x, y, x + w, y + h], f32::from(score) / 12.0, group, image)
        },
    );
    prop::collection::vec(candidate, 0..120)
}

type Columns = (Vec<[f32; 4]>, Vec<f32>, Vec<u32>, Vec<u32>);

fn columns(all: &[([f32; 4], f32, u32, u32)]) -> Columns {
    let boxes = all.iter().map(|c| c.0).collect();
    let scores = all.iter().map(|c| c.1).collect();
    (boxes, scores, all.iter().map(|c| c.2).collect(), all.iter().map(|c| c.3).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nms_equals_reference(all in candidates(), thr in prop::sample::select(vec![0.0f32, 0.25, 1.0 / 3.0, 0.5, 0.7, 1.0, -0.5])) {
        let (boxes, scores, groups, _) = columns(&all);
        let want = reference::nms(&boxes, &scores, thr);
        let want_batched = reference::batched_nms(&boxes, &scores, &groups, thr);
        for isa in Isa::available() {
            prop_assert_eq!(&nms_with(isa, &boxes, &scores, thr), &want);
            prop_assert_eq!(&batched_nms_with(isa, &boxes, &scores, &groups, thr), &want_batched);
        }
    }

    #[test]
    fn a_picture_does_not_depend_on_its_neighbours(all in candidates()) {
        let (boxes, scores, groups, images) = columns(&all);
        let mut want = Vec::new();
        for image in 0..3 {
            let of_image: Vec<usize> = (0..all.len()).filter(|&i| images[i] == image).collect();
            let (b, s, g, _) = columns(&of_image.iter().map(|&i| all[i]).collect::<Vec<_>>());
            want.extend(reference::batched_nms(&b, &s, &g, 0.5).into_iter().map(|k| of_image[k]));
        }
        prop_assert_eq!(batched_nms_images(&boxes, &scores, &groups, &images, 0.5), want);
    }
}

#[test]
fn nms_suppresses_only_strictly_above_the_threshold() {
    let boxes = [[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 2.0, 1.0]]; // IoU exactly 0.5
    assert_eq!(nms(&boxes, &[0.9, 0.8], 0.5), [0, 1]);
    assert_eq!(nms(&boxes, &[0.9, 0.8], 0.499_999), [0]);
}

#[test]
fn nms_breaks_ties_by_index() {
    let same = [[0.0, 0.0, 4.0, 4.0]; 3];
    assert_eq!(nms(&same, &[0.5, 0.5, 0.5], 0.5), [0]);
    let apart = [[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0], [9.0, 9.0, 10.0, 10.0]];
    assert_eq!(nms(&apart, &[0.5, 0.7, 0.5], 0.5), [1, 0, 2]);
}

#[test]
fn nms_keeps_overlapping_boxes_of_different_classes() {
    let same = [[0.0, 0.0, 4.0, 4.0]; 3];
    assert_eq!(batched_nms(&same, &[0.5, 0.9, 0.6], &[0, 1, 0], 0.5), [1, 2]);
}

#[test]
fn nms_of_nothing_is_nothing() {
    assert!(nms(&[], &[], 0.5).is_empty());
    assert!(batched_nms(&[], &[], &[], 0.5).is_empty());
    assert!(batched_nms_images(&[], &[], &[], &[], 0.5).is_empty());
}

#[test]
fn nms_lets_zero_areas_and_nan_coordinates_live() {
    let flat = [[1.0, 1.0, 1.0, 1.0]; 2]; // 0/0 is not above any threshold
    assert_eq!(nms(&flat, &[0.5, 0.4], 0.5), [0, 1]);
    let nan = [[f32::NAN, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]];
    assert_eq!(nms(&nan, &[0.9, 0.8], 0.5), [0, 1]);
}

/// From 10,000 candidates groups are run one by one; with non-negative coordinates that changes nothing.
#[test]
fn many_candidates_give_what_one_pass_gives() {
    let n = 10_500u32;
    let hash = |i: u32, salt: u32| {
        (i.wrapping_mul(2_654_435_761).wrapping_add(salt).wrapping_mul(40_503) >> 16) as f32 / 65_536.0
    };
    let boxes: Vec<[f32; 4]> = (0..n)
        .map(|i| {
            let (x, y) = (hash(i, 1) * 500.0, hash(i, 2) * 300.0);
            [x, y, x + 20.0 + hash(i, 3) * 60.0, y + 20.0 + hash(i, 4) * 60.0]
        })
        .collect();
    let scores: Vec<f32> = (0..n).map(|i| (hash(i, 5) * 1000.0).floor() / 1000.0).collect();
    let groups: Vec<u32> = (0..n).map(|i| i % 7).collect();
    assert_eq!(
        batched_nms(&boxes, &scores, &groups, 0.5),
        reference::batched_nms(&boxes, &scores, &groups, 0.5)
    );
}
