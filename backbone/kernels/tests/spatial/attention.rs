use crate::grid::{Failures, Field, on_pools};
use care_kernels::{attention::linear_attention_with, isa::Isa, reference};

/// (n, h, w), g, head_dim; tokens below and above one chunk, heads that do not fill a vector.
const SHAPES: [([usize; 3], usize, usize); 12] = [
    ([1, 1, 1], 16, 16),
    ([2, 5, 3], 6, 2),
    ([1, 7, 7], 16, 8),
    ([1, 14, 14], 32, 16),
    ([2, 7, 7], 64, 32),
    ([1, 12, 20], 48, 16),
    ([1, 6, 10], 96, 32),
    ([1, 37, 53], 32, 16),
    ([1, 31, 29], 30, 5),
    ([3, 23, 31], 72, 24),
    ([0, 4, 4], 16, 16),
    ([1, 0, 4], 16, 16),
];

fn check(amp: f32, center: f32, atol: f32, rtol: f32) {
    let mut failures = Failures::default();
    for (i, ([n, h, w], g, hd)) in SHAPES.into_iter().enumerate() {
        let mut qk = Field::random([n, h, w, 2 * g], 3, i as u32, amp);
        qk.shift(center);
        let v = Field::random([n, h, w, g], 5, 50 + i as u32, 1.0);
        let mut want = Field::output([n, h, w, g], 0);
        reference::linear_attention(qk.map(), v.map(), hd, want.map_mut());
        for isa in Isa::available() {
            let row = format!("{isa:?} {n}x{h}x{w} g {g} head {hd}");
            let mut out = Field::output([n, h, w, g], 4);
            linear_attention_with(isa, qk.map(), v.map(), hd, out.map_mut());
            failures.close(&row, &out.values(), &want.values(), atol, rtol);
            failures.check(&row, out.surroundings_untouched(), "wrote outside its channels");
        }
    }
}

/// Outputs are averages of v in [-1, 1]; f32 sums over up to 2,000 tokens.
#[test]
fn attention_equals_reference() {
    check(2.0, 0.3, 2e-6, 1e-5);
}

/// q and k near e^-7.5: the denominator is of the order of the 1e-6 guard.
#[test]
fn attention_equals_reference_where_the_guard_matters() {
    check(1.5, -7.5, 2e-6, 1e-5);
}

#[test]
fn attention_gives_the_same_bits_on_any_number_of_threads() {
    let mut failures = Failures::default();
    let qk = Field::random([2, 50, 84, 64], 0, 1, 2.0);
    let v = Field::random([2, 50, 84, 32], 0, 2, 1.0);
    for isa in Isa::available() {
        let outs = on_pools(|| {
            let mut out = Field::output([2, 50, 84, 32], 0);
            linear_attention_with(isa, qk.map(), v.map(), 16, out.map_mut());
            out.values()
        });
        failures.check(&format!("{isa:?}"), outs.iter().all(|o| *o == outs[0]), "bits depend on the threads");
    }
}
