use super::*;

#[test]
fn mask_round_trip_is_column_major() {
    let mask = [0, 1, 1, 0, 1, 0];
    let rle = Rle::from_mask(&mask, 2, 3).unwrap();
    assert_eq!(rle.counts(), [2, 3, 1]);
    assert_eq!(rle.to_mask(), mask);
    assert_eq!(rle.area(), 3);
    assert_eq!(rle.bbox(), BoxXywh::new(1.0, 0.0, 2.0, 2.0));
}

#[test]
fn runs_that_do_not_fill_the_picture_are_refused() {
    for counts in [vec![5], vec![7], vec![], vec![0, 5, u32::MAX, u32::MAX]] {
        assert!(Rle::from_counts(2, 3, &counts).is_err(), "{counts:?}");
    }
    assert_eq!(Rle::from_counts(2, 3, &[1, 0, 2, 3, 0, 0]).unwrap().counts(), [3, 3]);
    assert_eq!(Rle::from_counts(0, 3, &[]).unwrap().counts(), [0]);
}

#[test]
fn a_long_polygon_far_outside_costs_nothing() {
    let rle = Rle::from_polygon(&[-1e9, -1e9, 1e9, -1e9, 1e9, 1e9, -1e9, 1e9], 10, 10).unwrap();
    assert_eq!(rle.counts(), [0, 100]);
}
