//! Gradients of dense convolutions against their definitions, by weights for every instruction set × a grid of shapes, and the same bits for any
//! number of threads.

mod common;

use care_kernels::backward::{
    ConvGeometry, conv_levels, conv_levels_data_grad, conv_levels_weight_grad, conv_weight_grad_direct,
};
use care_kernels::conv::ConvShape;
use care_kernels::epilogue::Act;
use care_kernels::isa::Isa;
use care_kernels::map::{Map, MapMut};
use care_kernels::reference;
use care_kernels::winograd::conv3x3_weight_grad_with;
use common::values;

/// Relative to the largest entry; a wrong tap or border is off by more than 1e-2. (The test prints the worst of the grid.)
const DIRECT: f64 = 3e-6;
const WINOGRAD: f64 = 1e-5;

fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

fn maps<'a>(data: &'a [Vec<f32>], sizes: &[[usize; 3]], c: usize) -> Vec<Map<'a>> {
    data.iter().zip(sizes).map(|(d, &[n, h, w])| Map::dense(d, [n, h, w, c])).collect()
}

/// Largest difference relative to the largest entry.
fn error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let most = want.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    assert!(got.iter().all(|g| g.is_finite()), "a result is not finite, or was not written");
    got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max) / most
}

#[test]
fn weight_gradients_of_3x3_convolutions_equal_their_definition() {
    let (mut worst_direct, mut worst) = (0f64, 0f64);
    for (ci, co, sizes) in [
        (8, 32, vec![[1, 1, 1]]),
        (6, 40, vec![[2, 9, 13], [2, 5, 6]]),
        (35, 16, vec![[1, 7, 7], [1, 4, 4], [1, 1, 2]]),
        (3, 2, vec![[1, 45, 50]]),
        (64, 48, vec![[2, 30, 42], [2, 15, 21]]), // enough work for several threads
        (256, 250, vec![[1, 60, 58]]),            // 225 tiles, more than the block of 192
        (5, 4, vec![[1, 0, 4]]),
    ] {
        let shape = ConvShape::square(co, ci, 3, 1, 1);
        let all = |c: usize, seed: u32| -> Vec<Vec<f32>> {
            sizes.iter().map(|s| values(s.iter().product::<usize>() * c, seed)).collect()
        };
        let (xs, dys) = (all(ci, 3), all(co, 5));
        let mut want = vec![0f64; co * ci * 9];
        for (x, dy) in maps(&xs, &sizes, ci).into_iter().zip(maps(&dys, &sizes, co)) {
            let one = reference::conv2d_weight_grad(x, dy, shape);
            want.iter_mut().zip(one).for_each(|(w, o)| *w += o);
        }
        let mut direct = vec![0f32; want.len()];
        for ((x, dy), &[n, h, w]) in xs.iter().zip(&dys).zip(&sizes) {
            let g = ConvGeometry { n, h, w, ci, co, kernel: (3, 3), stride: 1, pad: (1, 1) };
            let one = conv_weight_grad_direct(x, dy, &g);
            direct.iter_mut().zip(one).for_each(|(d, o)| *d += o);
        }
        worst_direct = worst_direct.max(error(&direct, &want));
        for isa in Isa::available() {
            let run = |threads: usize| {
                with_threads(threads, || {
                    conv3x3_weight_grad_with(isa, &maps(&xs, &sizes, ci), &maps(&dys, &sizes, co), co, ci)
                })
            };
            let dw = run(1);
            let off = error(&dw, &want);
            assert!(off <= WINOGRAD, "{isa}: {ci}->{co} {sizes:?}: off by {off}");
            worst = worst.max(off);
            for threads in [2, 3] {
                assert!(run(threads) == dw, "{isa}: {ci}->{co} {sizes:?}: {threads} threads");
            }
        }
    }
    println!("worst: direct {worst_direct:e}, winograd {worst:e}");
    assert!(worst_direct <= DIRECT, "direct: off by {worst_direct}");
}

/// `[co][ci][3][3]` → `[ci][co][3][3]`, kernels turned by 180°.
fn turned(weights: &[f32], co: usize, ci: usize) -> Vec<f32> {
    let mut turned = vec![0.0; weights.len()];
    for (at, value) in weights.iter().enumerate() {
        let (o, i, tap) = (at / 9 / ci, at / 9 % ci, at % 9);
        turned[(i * co + o) * 9 + 8 - tap] = *value;
    }
    turned
}

/// As many channels and pixels as go by Winograd, with levels that do not by themselves, and below.
#[test]
fn convolutions_over_levels_and_their_gradients_equal_their_definition() {
    let sizes = [[2, 30, 28], [2, 5, 7], [2, 1, 1]];
    for (ci, co) in [(33, 34), (6, 34)] {
        let shape = ConvShape::square(co, ci, 3, 1, 1);
        let all = |c: usize, seed: u32| -> Vec<Vec<f32>> {
            sizes.iter().map(|s| values(s.iter().product::<usize>() * c, seed)).collect()
        };
        let (xs, dys, weights, bias) = (all(ci, 3), all(co, 5), values(co * ci * 9, 1), values(co, 2));
        let geometry =
            sizes.map(|[n, h, w]| ConvGeometry { n, h, w, ci, co, kernel: (3, 3), stride: 1, pad: (1, 1) });
        let x_slices: Vec<&[f32]> = xs.iter().map(|x| &x[..]).collect();
        let dy_slices: Vec<&[f32]> = dys.iter().map(|dy| &dy[..]).collect();
        let mut ys: Vec<Vec<f32>> = dys.iter().map(|dy| vec![f32::NAN; dy.len()]).collect();
        let mut outs: Vec<&mut [f32]> = ys.iter_mut().map(|y| &mut y[..]).collect();
        conv_levels(&x_slices, (&weights, Some(&bias)), &geometry, &mut outs);
        let mut dxs: Vec<Vec<f32>> = xs.iter().map(|x| vec![f32::NAN; x.len()]).collect();
        let mut outs: Vec<&mut [f32]> = dxs.iter_mut().map(|dx| &mut dx[..]).collect();
        conv_levels_data_grad(&weights, &dy_slices, &geometry, &mut outs);
        let dw = conv_levels_weight_grad(&x_slices, &dy_slices, &geometry);
        let mut want_dw = vec![0f64; dw.len()];
        let back = (turned(&weights, co, ci), ConvShape::square(ci, co, 3, 1, 1));
        for (l, (x, dy)) in maps(&xs, &sizes, ci).into_iter().zip(maps(&dys, &sizes, co)).enumerate() {
            let of = |from: Map<'_>, w: &[f32], shape, bias, c: usize| -> Vec<f64> {
                let mut want = vec![0f32; from.pixels() * c];
                let out = MapMut::dense(&mut want, [from.n, from.h, from.w, c]);
                reference::conv2d(from, w, shape, bias, Act::None, out);
                want.into_iter().map(f64::from).collect()
            };
            let off = error(&ys[l], &of(x, &weights, shape, Some(&bias), co));
            assert!(off <= 2e-5, "{ci}->{co}: results of level {l}: off by {off}");
            let off = error(&dxs[l], &of(dy, &back.0, back.1, None, ci));
            assert!(off <= 2e-5, "{ci}->{co}: gradient by the input of level {l}: off by {off}");
            let one = reference::conv2d_weight_grad(x, dy, shape);
            want_dw.iter_mut().zip(one).for_each(|(w, o)| *w += o);
        }
        let off = error(&dw, &want_dw);
        assert!(off <= WINOGRAD, "{ci}->{co}: gradient by the weights: off by {off}");
    }
}
