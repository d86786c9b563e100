//! Times the spatial and element-wise kernels at the sizes of CARE-S0 at 800×1344 and 224×224, per instruction set.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p care-kernels --example bench_spatial [FILTER]`
//!
//! A row is the best of many runs in µs, with billions of multiply-adds (or elements) per second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use care_kernels::attention::linear_attention_with;
use care_kernels::backward::depthwise_weight_grad_with;
use care_kernels::depthwise::{PackedDepthwise, depthwise_with};
use care_kernels::isa::Isa;
use care_kernels::map::{Map, MapMut};
use care_kernels::nms::batched_nms_with;
use care_kernels::{act, resample};

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let bench = Bench { filter };
    println!("{} threads; best of many runs: µs (G per second)", rayon::current_num_threads());
    // (height, width, channels of the map, channels of a group) of stages 1..4
    for (h, w, c, g) in [(200, 336, 32, 8), (100, 168, 64, 16), (50, 84, 128, 32), (25, 42, 256, 64)] {
        stage(&bench, h, w, c, g);
    }
    for (h, w, c, g) in [(56, 56, 32, 8), (28, 28, 64, 16), (14, 14, 128, 32), (7, 7, 256, 64)] {
        stage(&bench, h, w, c, g);
    }
    weight_grads(&bench);
    elementwise(&bench);
    resampling(&bench);
    suppression(&bench);
}

struct Bench {
    filter: String,
}

impl Bench {
    fn row(&self, name: &str, work: usize, mut f: impl FnMut(Isa)) {
        if !name.contains(&self.filter) {
            return;
        }
        print!("{name:34}");
        for isa in Isa::available() {
            let best = best(|| f(isa));
            print!(
                "  {isa} {:8.1} ({:6.2})",
                best.as_secs_f64() * 1e6,
                work as f64 / best.as_secs_f64() / 1e9
            );
        }
        println!();
    }
}

/// The fastest of at least 5 runs and a quarter of a second.
fn best(mut f: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 5 || start.elapsed() < Duration::from_millis(250) {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed());
        runs += 1;
    }
    best
}

fn random(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn stage(bench: &Bench, h: usize, w: usize, c: usize, g: usize) {
    let (x, mut y) = (random(h * w * c), vec![0.0; h * w * 3 * g]);
    let map = Map::dense(&x, [1, h, w, c]).channels(c - g..c);
    for (kh, kw) in [(3, 3), (7, 7)] {
        let packed = PackedDepthwise::pack(&random(g * kh * kw), g, kh, kw, None);
        bench.row(&format!("depthwise {kh}x{kw} {h}x{w} {g} of {c}"), h * w * g * kh * kw, |isa| {
            depthwise_with(isa, map, &packed, MapMut::dense(&mut y, [1, h, w, 3 * g]).channels(g..2 * g));
        });
    }
    if g <= 16 {
        let packed = PackedDepthwise::cross(&random(g * 11), None, &random(g * 11), None, g);
        bench.row(&format!("depthwise cross {h}x{w} {g} of {c}"), h * w * g * 21, |isa| {
            depthwise_with(isa, map, &packed, MapMut::dense(&mut y, [1, h, w, 3 * g]).channels(0..g));
        });
    } else {
        let qk = random(h * w * 2 * g);
        let (qk, head_dim) = (Map::dense(&qk, [1, h, w, 2 * g]), g / 2);
        bench.row(&format!("attention {h}x{w} {g} of {c}"), 2 * h * w * g * head_dim, |isa| {
            let out = MapMut::dense(&mut y, [1, h, w, 3 * g]).channels(0..g);
            linear_attention_with(isa, qk, map, head_dim, out);
        });
    }
}

/// Gradients by depthwise weights, at the sizes of CARE-S0 at 224×224 with 8 pictures.
fn weight_grads(bench: &Bench) {
    for (side, g, hidden) in [(56, 8, 64), (28, 16, 256), (14, 32, 512), (7, 64, 1024)] {
        for (c, (kh, kw)) in [(g, (7, 7)), (g, (11, 1)), (g, (1, 11)), (hidden, (3, 3))] {
            let dims = [8, side, side, c];
            let x = random(dims.iter().product());
            let work = x.len() * kh * kw;
            let w = PackedDepthwise::pack(&random(c * kh * kw), c, kh, kw, None);
            let mut out = x.clone();
            bench.row(&format!("depthwise {kh}x{kw} 8x{side}x{side}x{c}"), work, |isa| {
                depthwise_with(isa, Map::dense(&x, dims), &w, MapMut::dense(&mut out, dims));
            });
            bench.row(&format!("weight grad {kh}x{kw} {side}x{side}x{c}"), work, |isa| {
                black_box(depthwise_weight_grad_with(isa, &x, &x, dims, (kh, kw)));
            });
        }
    }
}

fn elementwise(bench: &Bench) {
    let n = 1 << 20;
    let (x, dy, mut y) = (random(n), random(n), vec![0.0; n]);
    type Kernel = fn(Isa, &[f32], &mut [f32]);
    let kernels: [(&str, Kernel); 5] = [
        ("gelu", act::gelu_with),
        ("relu", act::relu_with),
        ("sigmoid", act::sigmoid_with),
        ("elu", act::elu_with),
        ("exp", act::exp_with),
    ];
    for (name, kernel) in kernels {
        bench.row(&format!("{name} of 2^20"), n, |isa| kernel(isa, &x, &mut y));
    }
    bench.row("gelu_grad of 2^20", n, |isa| act::gelu_grad_with(isa, &x, &dy, &mut y));
}

fn resampling(bench: &Bench) {
    let (h, w, c) = (50, 84, 256);
    let (x, mut y) = (random(h * w * c), random(4 * h * w * c));
    let (small, large) = (Map::dense(&x, [1, h, w, c]), [1, 2 * h, 2 * w, c]);
    bench.row("nearest_add to 100x168 256", y.len(), |isa| {
        resample::nearest_add_with(isa, small, MapMut::dense(&mut y, large));
    });
    bench.row("nearest to 100x168 256", y.len(), |isa| {
        resample::nearest_with(isa, small, MapMut::dense(&mut y, large));
    });
    bench.row("bilinear to 100x168 256", y.len(), |isa| {
        resample::bilinear_with(isa, small, MapMut::dense(&mut y, large), false);
    });
}

fn suppression(bench: &Bench) {
    for (n, classes) in [(1000, 1), (5000, 1), (5000, 80)] {
        let r = random(6 * n);
        let boxes: Vec<[f32; 4]> = (0..n)
            .map(|i| {
                let (x, y) = ((r[6 * i] + 1.0) * 600.0, (r[6 * i + 1] + 1.0) * 350.0);
                [x, y, x + 20.0 + 80.0 * r[6 * i + 2].abs(), y + 20.0 + 80.0 * r[6 * i + 3].abs()]
            })
            .collect();
        let scores: Vec<f32> = (0..n).map(|i| r[6 * i + 4].abs()).collect();
        let groups: Vec<u32> = (0..n).map(|i| (r[6 * i + 5].abs() * classes as f32) as u32).collect();
        bench.row(&format!("nms of {n} boxes, {classes} classes"), n, |isa| {
            black_box(batched_nms_with(isa, &boxes, &scores, &groups, 0.5));
        });
    }
}
