use crate::grid::{Failures, Field, on_pools};
use care_kernels::{isa::Isa, reference, resample};

/// Source and target sizes: growing, shrinking, equal, one pixel, odd ratios, empty.
const SIZES: [([usize; 2], [usize; 2]); 14] = [
    ([6, 10], [12, 20]),
    ([12, 20], [25, 41]),
    ([3, 5], [7, 8]),
    ([1, 2], [3, 4]),
    ([5, 7], [20, 28]),
    ([5, 7], [13, 11]),
    ([16, 12], [5, 4]),
    ([7, 7], [7, 14]),
    ([4, 6], [9, 11]),
    ([1, 1], [6, 5]),
    ([25, 42], [50, 84]),
    ([13, 9], [1, 1]),
    ([4, 4], [0, 3]),
    ([9, 31], [40, 63]),
];

fn each(mut f: impl FnMut(&mut Failures, &str, Isa, &Field, [usize; 4])) {
    let mut failures = Failures::default();
    for (i, ([h, w], [oh, ow])) in SIZES.into_iter().enumerate() {
        for c in [1, 8, 19, 256] {
            for margin in [0, 3] {
                let x = Field::random([2, h, w, c], margin, i as u32, 1.0);
                for isa in Isa::available() {
                    let row = format!("{isa:?} {h}x{w} to {oh}x{ow}, {c} channels, margin {margin}");
                    f(&mut failures, &row, isa, &x, [2, oh, ow, c]);
                }
            }
        }
    }
}

#[test]
fn nearest_equals_reference_exactly() {
    each(|failures, row, isa, x, shape| {
        let (mut got, mut want) = (Field::output(shape, 2), Field::output(shape, 0));
        resample::nearest_with(isa, x.map(), got.map_mut());
        reference::nearest(x.map(), want.map_mut());
        failures.close(row, &got.values(), &want.values(), 0.0, 0.0);
        failures.check(row, got.surroundings_untouched(), "wrote outside its channels");
    });
}

#[test]
fn nearest_add_equals_reference_exactly() {
    each(|failures, row, isa, x, shape| {
        let (mut got, mut want) = (Field::random(shape, 2, 5, 1.0), Field::random(shape, 2, 5, 1.0));
        resample::nearest_add_with(isa, x.map(), got.map_mut());
        reference::nearest_add(x.map(), want.map_mut());
        failures.close(row, &got.values(), &want.values(), 0.0, 0.0);
    });
}

/// Four products of values in [-1, 1]; positions are the same f32 on both sides.
#[test]
fn bilinear_equals_reference() {
    for align_corners in [false, true] {
        each(|failures, row, isa, x, shape| {
            let (mut got, mut want) = (Field::output(shape, 2), Field::output(shape, 0));
            resample::bilinear_with(isa, x.map(), got.map_mut(), align_corners);
            reference::bilinear(x.map(), want.map_mut(), align_corners);
            failures.close(row, &got.values(), &want.values(), 5e-7, 0.0);
            failures.check(row, got.surroundings_untouched(), "wrote outside its channels");
        });
    }
}

#[test]
fn resampling_gives_the_same_bits_on_any_number_of_threads() {
    let x = Field::random([1, 25, 42, 64], 0, 1, 1.0);
    let outs = on_pools(|| {
        let mut out = Field::output([1, 100, 168, 64], 0);
        resample::bilinear(x.map(), out.map_mut(), false);
        resample::nearest_add(x.map(), out.map_mut());
        out.values()
    });
    assert!(outs.iter().all(|o| *o == outs[0]));
}
