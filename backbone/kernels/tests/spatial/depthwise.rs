use crate::grid::{Failures, Field, on_pools, random};
use care_kernels::depthwise::{Branch, PackedDepthwise, depthwise_branches_with, depthwise_with};
use care_kernels::{isa::Isa, reference};

/// Up to 49 products of values in [-1, 1] whose sum stays below about 20: the f32 sum is within 49·2⁻²⁴·20 of the f64 one.
const ATOL: f32 = 2e-5;

const KERNELS: [(usize, usize); 8] = [(3, 3), (7, 7), (11, 1), (1, 11), (5, 5), (1, 1), (3, 7), (9, 3)];

const SHAPES: [[usize; 4]; 21] = [
    [1, 1, 1, 1],
    [1, 1, 1, 8],
    [2, 5, 3, 6],
    [1, 7, 7, 64],
    [1, 14, 14, 32],
    [3, 9, 33, 16],
    [1, 12, 20, 24],
    [1, 20, 41, 8],
    [2, 6, 16, 8],
    [1, 3, 50, 13],
    [2, 4, 9, 48],
    [1, 11, 8, 17],
    [1, 2, 31, 40],
    [1, 1, 40, 16],
    [1, 40, 1, 16],
    [1, 6, 10, 96],
    [1, 61, 97, 8],
    [0, 4, 4, 8],
    [1, 0, 5, 8],
    [1, 5, 0, 8],
    [1, 5, 4, 0],
];

fn expected(x: &Field, w: &[f32], kernel: (usize, usize), bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = Field::output(x.shape, 0);
    reference::depthwise(x.map(), w, kernel, bias, out.map_mut());
    out.values()
}

#[test]
fn depthwise_equals_reference() {
    let mut failures = Failures::default();
    for (s, shape) in SHAPES.into_iter().enumerate() {
        let c = shape[3];
        for (kh, kw) in KERNELS {
            for margin in [0, 3, 8] {
                let x = Field::random(shape, margin, s as u32, 1.0);
                let w = random(c * kh * kw, 7, 1.0);
                let bias = random(c, 8, 1.0);
                let bias = (margin != 3).then_some(&bias[..]);
                let want = expected(&x, &w, (kh, kw), bias);
                let packed = PackedDepthwise::pack(&w, c, kh, kw, bias);
                for isa in Isa::available() {
                    let row = format!("{isa:?} {kh}x{kw} {shape:?} margin {margin}");
                    let mut out = Field::output(shape, margin);
                    depthwise_with(isa, x.map(), &packed, out.map_mut());
                    failures.close(&row, &out.values(), &want, ATOL, 0.0);
                    failures.check(&row, out.surroundings_untouched(), "wrote outside its channels");
                }
            }
        }
    }
}

#[test]
fn cross_is_the_sum_of_column_and_row() {
    let mut failures = Failures::default();
    for (s, shape) in SHAPES.into_iter().enumerate() {
        let c = shape[3];
        let x = Field::random(shape, 5, 100 + s as u32, 1.0);
        let (wv, wh) = (random(c * 11, 1, 1.0), random(c * 11, 2, 1.0));
        let (bv, bh) = (random(c, 3, 1.0), random(c, 4, 1.0));
        let mut want = expected(&x, &wv, (11, 1), Some(&bv));
        for (a, b) in want.iter_mut().zip(expected(&x, &wh, (1, 11), Some(&bh))) {
            *a += b;
        }
        let packed = PackedDepthwise::cross(&wv, Some(&bv), &wh, Some(&bh), c);
        for isa in Isa::available() {
            let mut out = Field::output(shape, 2);
            depthwise_with(isa, x.map(), &packed, out.map_mut());
            let row = format!("{isa:?} cross {shape:?}");
            failures.close(&row, &out.values(), &want, ATOL, 0.0);
            failures.check(&row, out.surroundings_untouched(), "wrote outside its channels");
        }
    }
}

#[test]
fn branches_at_once_equal_one_by_one_on_any_number_of_threads() {
    let mut failures = Failures::default();
    let shape = [2, 57, 90, 16];
    let x = Field::random(shape, 8, 9, 1.0);
    let packed: Vec<_> = [(3, 3), (7, 7), (11, 1)]
        .map(|(kh, kw)| PackedDepthwise::pack(&random(16 * kh * kw, 5, 1.0), 16, kh, kw, None))
        .into();
    for isa in Isa::available() {
        let mut single = Field::output([2, 57, 90, 48], 4);
        for (i, w) in packed.iter().enumerate() {
            depthwise_with(isa, x.map(), w, single.map_mut().channels(16 * i..16 * (i + 1)));
        }
        let together = on_pools(|| {
            let mut out = Field::output([2, 57, 90, 48], 4);
            let branches: Vec<_> = packed.iter().map(|w| Branch { x: x.map(), w }).collect();
            depthwise_branches_with(isa, &branches, out.map_mut());
            out.values()
        });
        for t in together {
            failures.check(&format!("{isa:?}"), t == single.values(), "other bits than one branch by itself");
        }
    }
}
