//! The matrix kernels against their definitions: every instruction set × a grid of shapes, and the same bits for any number of threads.
//!
//! Tolerances are relative to the largest result of the case. A direct sum of k products in f32 is within about √k · 6e-8 of the f64
//! definition; the cases here have k ≤ 1152.

mod common;

use care_kernels::conv::{ConvShape, PackedConv, conv2d_with};
use care_kernels::depthwise::PackedDepthwise;
use care_kernels::epilogue::{Act, Epilogue, Residual};
use care_kernels::gemm::{PackedMatrix, conv1x1_with};
use care_kernels::inverted_residual::{InvertedResidual, inverted_residual_with};
use care_kernels::isa::Isa;
use care_kernels::map::{Map, MapMut};
use care_kernels::reference;
use care_kernels::team;
use care_kernels::winograd::{PackedWinograd, conv3x3_winograd_with};
use common::values;

/// Direct sums. Measured worst over the grid: 1.3e-6 (600 hidden channels, AVX-512).
const DIRECT: f32 = 3e-6;

/// Winograd's transforms cancel digits. Measured worst over the grid: 5.1e-6 here, where sums are short; on 256 channels about 35 times
/// the error of a direct convolution. A wrong tap or border is off by more than 1e-2.
const WINOGRAD: f32 = 2e-5;

/// What stands between and behind the channels of a view; nobody may touch it.
const CANARY: f32 = -77.0;

/// A map of random values whose pixels are `gap` floats wider than its channels, and start `gap / 2` into them.
struct Buffer {
    data: Vec<f32>,
    shape: [usize; 4],
    gap: usize,
}

impl Buffer {
    fn random(shape: [usize; 4], gap: usize, seed: u32) -> Buffer {
        let [n, h, w, c] = shape;
        Buffer { data: values(n * h * w * (c + gap), seed), shape, gap }
    }

    fn canaries(shape: [usize; 4], gap: usize) -> Buffer {
        let mut buffer = Buffer::random(shape, gap, 0);
        buffer.data.fill(CANARY);
        buffer
    }

    fn map(&self) -> Map<'_> {
        let [n, h, w, c] = self.shape;
        Map::dense(&self.data, [n, h, w, c + self.gap]).channels(self.gap / 2..self.gap / 2 + c)
    }

    fn map_mut(&mut self) -> MapMut<'_> {
        let [n, h, w, c] = self.shape;
        MapMut::dense(&mut self.data, [n, h, w, c + self.gap]).channels(self.gap / 2..self.gap / 2 + c)
    }

    /// Equal to `want` within the tolerance in the channels of the view, untouched elsewhere.
    fn assert_close(&self, want: &Buffer, tolerance: f32, what: &str) {
        let largest = want.data.iter().filter(|v| **v != CANARY).fold(1e-3f32, |m, v| m.max(v.abs()));
        let c = self.shape[3];
        for (i, (got, want)) in self.data.iter().zip(&want.data).enumerate() {
            let channel = i % (c + self.gap);
            if (self.gap / 2..self.gap / 2 + c).contains(&channel) {
                let error = (got - want).abs() / largest;
                assert!(error <= tolerance, "{what}: float {i}: {got}, expected {want}, error {error:e}");
            } else {
                assert_eq!(*got, CANARY, "{what}: float {i} is outside of the view");
            }
        }
    }
}

/// Runs `run` on pools of 1, 2 and 3 threads, asleep and awake between loops, and checks that the bits are the same.
fn same_bits(what: &str, out: &mut Buffer, mut run: impl FnMut(MapMut<'_>) + Send) {
    let mut bits: Option<Vec<u32>> = None;
    for (threads, awake) in [(1, false), (2, false), (3, false), (2, true), (3, true)] {
        out.data.fill(CANARY);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| if awake { team::with(|| run(out.map_mut())) } else { run(out.map_mut()) });
        let now: Vec<u32> = out.data.iter().map(|v| v.to_bits()).collect();
        assert!(bits.as_ref().is_none_or(|b| *b == now), "{what}: {threads} threads give other bits");
        bits = Some(now);
    }
}

const ACTS: [Act; 3] = [Act::None, Act::Relu, Act::Gelu];

#[test]
fn conv1x1_equals_its_definition() {
    // (n, h, w), k, n_out, gap: one pixel, odd sizes, empty, tails of 32, 16, 8 and 4 columns, more than one block of rows.
    let cases = [
        ([1, 1, 1], 1, 1, 0),
        ([1, 1, 1], 7, 33, 2),
        ([1, 5, 3], 24, 48, 0),
        ([2, 3, 5], 17, 70, 6),
        ([1, 7, 7], 256, 96, 0),
        ([1, 13, 1], 32, 16, 4),
        ([3, 4, 4], 5, 31, 1),
        ([1, 9, 10], 2, 4, 8),
        ([0, 4, 4], 8, 8, 0),
        ([1, 0, 4], 8, 40, 2),
        ([1, 40, 41], 800, 40, 0),
    ];
    for (i, ([n, h, w], k, n_out, gap)) in cases.into_iter().enumerate() {
        let x = Buffer::random([n, h, w, k], gap, 1);
        let (weights, bias, scale) = (values(n_out * k, 2), values(n_out, 3), values(n_out, 4));
        let r = [Buffer::random([n, h, w, n_out], 3, 5), Buffer::random([n, h, w, n_out], 0, 6)];
        let two = [Residual::plain(r[0].map()), Residual { map: r[1].map(), scale: Some(&scale) }];
        let bias = (i % 3 != 1).then_some(&bias[..]);
        let packed = PackedMatrix::pack(&weights, n_out, k, bias);
        for (act, count) in ACTS.into_iter().zip([2, 1, 0]).chain([(Act::Gelu, 2), (Act::None, 0)]) {
            let epilogue = Epilogue { act, residuals: &two[..count] };
            let mut want = Buffer::canaries([n, h, w, n_out], gap);
            reference::conv1x1(x.map(), &weights, bias, &epilogue, want.map_mut());
            for isa in Isa::available() {
                let mut got = Buffer::canaries([n, h, w, n_out], gap);
                let what = format!("{isa} conv1x1 {:?} -> {n_out} {act:?} {count} residuals", x.shape);
                same_bits(&what, &mut got, |out| conv1x1_with(isa, x.map(), &packed, &epilogue, out));
                got.assert_close(&want, DIRECT, &what);
            }
        }
    }
}

/// Two levels at once: the given size, and a smaller one.
fn levels([n, h, w]: [usize; 3]) -> [[usize; 3]; 2] {
    [[n, h, w], [n, h.div_ceil(2), w / 2]]
}

#[test]
fn conv2d_equals_its_definition() {
    let square = ConvShape::square;
    let lopsided = ConvShape { co: 9, ci: 5, kh: 5, kw: 3, stride: 2, pad_h: 0, pad_w: 2 };
    let cases = [
        (square(32, 8, 3, 1, 1), [1, 1, 1], 0),
        (square(40, 6, 3, 1, 1), [2, 9, 33], 4),
        (square(16, 128, 3, 1, 1), [1, 7, 7], 0),
        (square(33, 16, 3, 2, 1), [1, 25, 42], 0),
        (square(8, 16, 3, 2, 1), [2, 6, 5], 2),
        (square(32, 3, 4, 4, 0), [1, 22, 47], 0),
        (square(32, 3, 4, 4, 0), [1, 8, 8], 1),
        (square(64, 32, 2, 2, 0), [1, 5, 29], 0),
        (square(64, 32, 3, 1, 1), [1, 25, 42], 0), // enough work for several threads, as the next one
        (square(96, 64, 3, 2, 1), [2, 20, 13], 0),
        (square(5, 4, 7, 1, 3), [1, 6, 40], 0),
        (square(5, 4, 1, 1, 0), [1, 6, 4], 0),
        (square(5, 4, 3, 1, 1), [1, 0, 4], 0),
        (square(5, 4, 3, 1, 1), [0, 3, 4], 0),
        (square(7, 3, 4, 4, 0), [1, 3, 3], 0),
        (lopsided, [1, 17, 30], 3),
    ];
    for (shape, size, gap) in cases {
        let weights = values(shape.co * shape.ci * shape.kh * shape.kw, 1);
        let bias = values(shape.co, 2);
        let packed = PackedConv::pack(&weights, shape, Some(&bias));
        check_levels_of(&format!("{shape:?}"), size, gap, shape, DIRECT, &|isa, xs, act, outs| match isa {
            Some(isa) => conv2d_with(isa, xs, &packed, act, outs),
            None => reference::conv2d(xs[0], &weights, shape, Some(&bias), act, outs[0].reborrow()),
        });
    }
}

#[test]
fn winograd_equals_its_definition() {
    let cases = [
        (8, 32, [1, 1, 1], 0),
        (6, 40, [2, 9, 13], 4),
        (128, 16, [1, 7, 7], 0),
        (16, 36, [1, 8, 4], 0),
        (20, 33, [3, 5, 11], 2),
        (4, 5, [1, 0, 4], 0),
        (4, 5, [0, 3, 4], 0),
        (3, 2, [1, 45, 50], 0),
        (32, 64, [1, 30, 42], 0), // enough work for several threads
    ];
    for (ci, co, size, gap) in cases {
        let shape = ConvShape::square(co, ci, 3, 1, 1);
        let (weights, bias) = (values(co * ci * 9, 1), values(co, 2));
        let packed = PackedWinograd::pack(&weights, co, ci, Some(&bias));
        check_levels_of(
            &format!("winograd {ci}->{co}"),
            size,
            gap,
            shape,
            WINOGRAD,
            &|isa, xs, act, outs| match isa {
                Some(isa) => conv3x3_winograd_with(isa, xs, &packed, act, outs),
                None => reference::conv2d(xs[0], &weights, shape, Some(&bias), act, outs[0].reborrow()),
            },
        );
    }
}

/// A convolution of several levels, or (without an instruction set) its definition for one level.
type Convolution<'a> = &'a (dyn Fn(Option<Isa>, &[Map<'_>], Act, &mut [MapMut<'_>]) + Sync);

/// Two levels in one call against the definition of each; the first one on several thread counts.
fn check_levels_of(
    what: &str,
    size: [usize; 3],
    gap: usize,
    shape: ConvShape,
    tolerance: f32,
    run: Convolution<'_>,
) {
    let xs = levels(size).map(|[n, h, w]| Buffer::random([n, h, w, shape.ci], gap, 3));
    let out_shapes = levels(size).map(|[n, h, w]| {
        let (h, w) = shape.out_size(h, w);
        [n, h, w, shape.co]
    });
    for act in ACTS {
        let wants = [0, 1].map(|l| {
            let mut want = Buffer::canaries(out_shapes[l], gap);
            run(None, &[xs[l].map()], act, &mut [want.map_mut()]);
            want
        });
        for isa in Isa::available() {
            let what = format!("{isa} {what} {size:?} {act:?}");
            let [mut a, mut b] = out_shapes.map(|s| Buffer::canaries(s, gap));
            same_bits(&what, &mut a, |out| {
                run(Some(isa), &[xs[0].map(), xs[1].map()], act, &mut [out, b.map_mut()]);
            });
            a.assert_close(&wants[0], tolerance, &what);
            b.assert_close(&wants[1], tolerance, &format!("{what} second level"));
        }
    }
}

#[test]
fn inverted_residual_equals_its_definition() {
    // (n, h, w), c, hidden, n_out (none: without the second 1×1), gap
    let cases = [
        ([1, 1, 1], 8, 16, Some(8), 0),
        ([1, 1, 9], 8, 40, Some(8), 2),
        ([2, 5, 2], 24, 48, Some(24), 8),
        ([1, 7, 7], 64, 256, Some(64), 0),
        ([3, 7, 7], 16, 300, Some(48), 4),
        ([1, 33, 19], 12, 600, Some(12), 0),
        ([1, 40, 130], 32, 64, Some(32), 0),
        ([1, 6, 5], 20, 289, None, 3),
        ([2, 7, 7], 64, 256, None, 0),
        ([0, 7, 7], 8, 16, Some(8), 0),
        ([1, 0, 7], 8, 16, None, 0),
        ([1, 3, 0], 8, 16, Some(8), 2),
    ];
    for ([n, h, w], c, hidden, n_out, gap) in cases {
        let x = Buffer::random([n, h, w, c], gap, 1);
        let layer = |n_out: usize, k: usize, seed| {
            let scale = (k as f32).sqrt().recip();
            (values(n_out * k, seed).iter().map(|v| v * scale).collect::<Vec<_>>(), values(n_out, seed + 1))
        };
        let (fc1, dw) = (layer(hidden, c, 2), layer(hidden, 9, 4));
        let fc2 = n_out.map(|n_out| layer(n_out, hidden, 6));
        let packed = InvertedResidual {
            fc1: PackedMatrix::pack(&fc1.0, hidden, c, Some(&fc1.1)),
            dw: PackedDepthwise::pack(&dw.0, hidden, 3, 3, Some(&dw.1)),
            fc2: fc2.as_ref().map(|fc2| PackedMatrix::pack(&fc2.0, n_out.unwrap(), hidden, Some(&fc2.1))),
        };
        let shape = [n, h, w, packed.n_out()];
        let (r, scale) = ([Buffer::random(shape, 5, 8), Buffer::random(shape, 0, 9)], values(shape[3], 10));
        let two = [Residual::plain(r[0].map()), Residual { map: r[1].map(), scale: Some(&scale) }];
        for count in [0, 1, 2] {
            let layers = [&fc1, &dw].map(|(w, bias)| reference::Layer { w, bias });
            let second = fc2.as_ref().map(|(w, bias)| reference::Layer { w, bias });
            let mut want = Buffer::canaries(shape, gap);
            reference::inverted_residual(x.map(), layers, second, &two[..count], want.map_mut());
            for isa in Isa::available() {
                let what = format!("{isa} inverted residual {:?} -> {hidden} -> {n_out:?}", x.shape);
                let mut got = Buffer::canaries(shape, gap);
                same_bits(&what, &mut got, |out| {
                    inverted_residual_with(isa, x.map(), &packed, &two[..count], out);
                });
                got.assert_close(&want, DIRECT, &what);
            }
        }
    }
}

#[test]
#[should_panic(expected = "input channels")]
fn a_wrong_shape_is_refused() {
    let packed = PackedMatrix::pack(&[1.0; 6], 2, 3, None);
    let (x, mut out) = ([0.0; 4], [0.0; 2]);
    conv1x1_with(
        Isa::Portable,
        Map::dense(&x, [1, 1, 1, 4]),
        &packed,
        &Epilogue::default(),
        MapMut::dense(&mut out, [1, 1, 1, 2]),
    );
}
