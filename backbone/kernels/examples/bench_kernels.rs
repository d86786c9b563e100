//! GFLOP/s of every dense kernel on one thread, as a share of what the processor can do.
//!
//! `cargo run --release -p care-kernels --example bench_kernels [-- FILTER [ISA [SECONDS]]]`, where FILTER is part of a row's name.
//! Time is that of the thread where the system tells it (Linux), and the best of several batches is shown: on a shared machine only the
//! undisturbed ones say something about the kernel.

use std::time::Instant;

use care_kernels::backward::{ConvGeometry, conv_weight_grad_direct};
use care_kernels::conv::{ConvShape, PackedConv, conv2d_with};
use care_kernels::depthwise::PackedDepthwise;
use care_kernels::epilogue::{Act, Epilogue, Residual};
use care_kernels::gemm::{PackedMatrix, conv1x1_with};
use care_kernels::inverted_residual::{InvertedResidual, inverted_residual_with};
use care_kernels::isa::Isa;
use care_kernels::map::{Map, MapMut};
use care_kernels::peak::measured_gflops;
use care_kernels::winograd::{PackedWinograd, conv3x3_weight_grad_with, conv3x3_winograd_with};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    let isa = arguments.next().unwrap_or_default();
    let budget = arguments.next().and_then(|r| r.parse().ok()).unwrap_or(0.3);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread");
    pool.install(|| Bench { filter, isa, budget }.all());
}

struct Bench {
    filter: String,
    isa: String,
    /// Seconds per row.
    budget: f64,
}

/// A map size and channels in and out.
type Case = ([usize; 2], usize, usize);

impl Bench {
    fn all(&self) {
        println!("{:<44} {:>9} {:>10} {:>9} {:>7}", "kernel", "isa", "ms", "GFLOP/s", "peak");
        // Every instruction set is compared with what the processor can do, not with what that instruction set could.
        let peak = measured_gflops(Isa::best(), 50);
        println!("{:<44} {:>9} {:>10} {peak:>9.1}", "peak", Isa::best().name(), "");
        for isa in Isa::available().into_iter().rev().filter(|i| i.name().contains(&self.isa)) {
            self.products(isa, peak);
            self.inverted_residuals(isa, peak);
            self.convolutions(isa, peak);
        }
    }

    fn wanted(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }

    /// Prints a row: the best time and its share of the peak.
    fn row(&self, isa: Isa, peak: f64, name: &str, macs: usize, mut run: impl FnMut()) {
        run(); // warm-up: pages, caches, frequency
        let mut time = |runs: usize| {
            let start = Clock::now();
            (0..runs).for_each(|_| run());
            start.seconds() / runs as f64
        };
        let once = time(1);
        let batch = (0.001 / once).ceil().clamp(1.0, 1000.0) as usize; // about 1 ms
        let batches = (self.budget / (once * batch as f64)).clamp(5.0, 1000.0) as usize;
        let best = (0..batches).map(|_| time(batch)).fold(f64::INFINITY, f64::min);
        let gflops = 2.0 * macs as f64 / best / 1e9;
        let share = 100.0 * gflops / peak;
        println!("{name:<44} {:>9} {:>10.3} {gflops:>9.1} {share:>6.1}%", isa.name(), best * 1e3);
    }

    fn products(&self, isa: Isa, peak: f64) {
        const CASES: [Case; 9] = [
            ([200, 336], 32, 64),
            ([56, 56], 32, 64),
            ([100, 168], 64, 256),
            ([50, 84], 128, 512),
            ([50, 84], 512, 128),
            ([25, 42], 1024, 256),
            ([56, 56], 24, 48),
            ([14, 14], 128, 512),
            ([7, 7], 256, 1024),
        ];
        for ([h, w], k, n) in CASES {
            if !self.wanted(&format!("1x1 {k}->{n} {h}x{w}")) {
                continue;
            }
            let x = values(h * w * k);
            let packed = PackedMatrix::pack(&values(n * k), n, k, Some(&values(n)));
            let mut out = vec![0.0; h * w * n];
            for act in [Act::None, Act::Gelu] {
                let name = format!("1x1 {k}->{n} {h}x{w} {act:?}");
                self.row(isa, peak, &name, h * w * k * n, || {
                    let out = MapMut::dense(&mut out, [1, h, w, n]);
                    conv1x1_with(isa, Map::dense(&x, [1, h, w, k]), &packed, &Epilogue::act(act), out);
                });
            }
        }
    }

    fn inverted_residuals(&self, isa: Isa, peak: f64) {
        const CASES: [Case; 8] = [
            ([200, 336], 32, 64),
            ([100, 168], 64, 256),
            ([50, 84], 128, 512),
            ([25, 42], 256, 1024),
            ([56, 56], 32, 64),
            ([28, 28], 64, 256),
            ([14, 14], 128, 512),
            ([7, 7], 256, 1024),
        ];
        for ([h, w], c, hidden) in CASES {
            let name = format!("inverted residual {c}->{hidden} {h}x{w}");
            if !self.wanted(&name) {
                continue;
            }
            let x = values(h * w * c);
            let weights = InvertedResidual {
                fc1: PackedMatrix::pack(&values(hidden * c), hidden, c, Some(&values(hidden))),
                dw: PackedDepthwise::pack(&values(hidden * 9), hidden, 3, 3, Some(&values(hidden))),
                fc2: Some(PackedMatrix::pack(&values(hidden * c), c, hidden, Some(&values(c)))),
            };
            let mut out = vec![0.0; h * w * c];
            let macs = h * w * hidden * (2 * c + 9);
            self.row(isa, peak, &name, macs, || {
                let x = Map::dense(&x, [1, h, w, c]);
                let out = MapMut::dense(&mut out, [1, h, w, c]);
                inverted_residual_with(isa, x, &weights, &[Residual::plain(x)], out);
            });
        }
    }

    fn convolutions(&self, isa: Isa, peak: f64) {
        let conv = |name: &str, [h, w]: [usize; 2], shape: ConvShape| {
            if !self.wanted(name) {
                return;
            }
            let x = values(h * w * shape.ci);
            let taps = shape.kh * shape.kw;
            let packed = PackedConv::pack(&values(shape.co * shape.ci * taps), shape, None);
            let (oh, ow) = shape.out_size(h, w);
            let mut out = vec![0.0; oh * ow * shape.co];
            let macs = oh * ow * shape.co * shape.ci * taps;
            self.row(isa, peak, name, macs, || {
                let outs = &mut [MapMut::dense(&mut out, [1, oh, ow, shape.co])];
                conv2d_with(isa, &[Map::dense(&x, [1, h, w, shape.ci])], &packed, Act::Relu, outs);
            });
        };
        conv("stem 4x4/4 3->32 800x1344", [800, 1344], ConvShape::square(32, 3, 4, 4, 0));
        conv("downsample 2x2/2 32->64 200x336", [200, 336], ConvShape::square(64, 32, 2, 2, 0));
        conv("3x3/2 256->256 25x42", [25, 42], ConvShape::square(256, 256, 3, 2, 1));
        conv("3x3 direct 256->256 100x168", [100, 168], ConvShape::square(256, 256, 3, 1, 1));
        conv("3x3 direct 256->256 13x21", [13, 21], ConvShape::square(256, 256, 3, 1, 1));
        self.winograd(isa, peak, "3x3 winograd 256->256 100x168", &[[100, 168]]);
        let levels = [[100, 168], [50, 84], [25, 42], [13, 21], [7, 11]];
        self.winograd(isa, peak, "3x3 winograd 256->256 five levels", &levels);
        let training = [[64, 64], [32, 32], [16, 16], [8, 8], [4, 4]];
        self.weight_grads(isa, peak, "3x3 weight gradient 256->256 five levels", &training);
        self.row_of_packing(isa, peak);
        self.pointwise_weight_grads(isa, peak);
    }

    /// Gradients by the weights: Winograd with the given instruction set, direct with the fastest one. Shares as in [`Bench::winograd`].
    fn weight_grads(&self, isa: Isa, peak: f64, name: &str, sizes: &[[usize; 2]]) {
        const C: usize = 256;
        if !self.wanted(name) {
            return;
        }
        let data: Vec<Vec<f32>> = sizes.iter().map(|[h, w]| values(2 * h * w * C)).collect();
        let shape = |[h, w]: [usize; 2]| [2, h, w, C];
        let maps: Vec<Map<'_>> = data.iter().zip(sizes).map(|(d, s)| Map::dense(d, shape(*s))).collect();
        let macs = maps.iter().map(|m| m.pixels() * C * C * 9).sum();
        self.row(isa, peak, &format!("{name} winograd"), macs, || {
            conv3x3_weight_grad_with(isa, &maps, &maps, C, C);
        });
        if isa == Isa::best() {
            self.row(isa, peak, &format!("{name} direct"), macs, || {
                for (d, &[h, w]) in data.iter().zip(sizes) {
                    let (kernel, pad) = ((3, 3), (1, 1));
                    let g = ConvGeometry { n: 2, h, w, ci: C, co: C, kernel, stride: 1, pad };
                    conv_weight_grad_direct(d, d, &g);
                }
            });
        }
    }

    /// Gradients by the weights of 1×1 convolutions, at the sizes of CARE-S0 at 224×224 with 8 pictures.
    fn pointwise_weight_grads(&self, isa: Isa, peak: f64) {
        const CASES: [Case; 9] = [
            ([56, 56], 32, 64),
            ([56, 56], 64, 32),
            ([28, 28], 64, 256),
            ([28, 28], 256, 64),
            ([14, 14], 128, 512),
            ([14, 14], 512, 128),
            ([14, 14], 96, 384),
            ([7, 7], 256, 1024),
            ([7, 7], 1024, 256),
        ];
        for ([h, w], ci, co) in CASES {
            let name = format!("1x1 weight gradient {ci}->{co} 8x{h}x{w}");
            if isa == Isa::best() && self.wanted(&name) {
                let g = ConvGeometry { n: 8, h, w, ci, co, kernel: (1, 1), stride: 1, pad: (0, 0) };
                let (x, dy) = (values(8 * h * w * ci), values(8 * h * w * co));
                self.row(isa, peak, &name, 8 * h * w * ci * co, || {
                    conv_weight_grad_direct(&x, &dy, &g);
                });
            }
        }
    }

    fn row_of_packing(&self, isa: Isa, peak: f64) {
        const C: usize = 256;
        if isa == Isa::best() && self.wanted("winograd pack 256->256") {
            let weights = values(C * C * 9);
            self.row(isa, peak, "winograd pack 256->256", C * C * 72, || {
                PackedWinograd::pack(&weights, C, C, None);
            });
        }
    }

    /// Shares of the peak count the multiplications of the direct convolution, so they can exceed 100 %.
    fn winograd(&self, isa: Isa, peak: f64, name: &str, sizes: &[[usize; 2]]) {
        const C: usize = 256;
        if !self.wanted(name) {
            return;
        }
        let packed = PackedWinograd::pack(&values(C * C * 9), C, C, Some(&values(C)));
        let data: Vec<Vec<f32>> = sizes.iter().map(|[h, w]| values(h * w * C)).collect();
        let mut results = data.clone();
        let macs = sizes.iter().map(|[h, w]| h * w * C * C * 9).sum();
        let shape = |[h, w]: [usize; 2]| [1, h, w, C];
        self.row(isa, peak, name, macs, || {
            let xs: Vec<Map<'_>> = data.iter().zip(sizes).map(|(d, s)| Map::dense(d, shape(*s))).collect();
            let mut outs: Vec<MapMut<'_>> =
                results.iter_mut().zip(sizes).map(|(d, s)| MapMut::dense(d, shape(*s))).collect();
            conv3x3_winograd_with(isa, &xs, &packed, Act::Relu, &mut outs);
        });
    }
}

/// Time of this thread, or of the wall where the system does not tell.
struct Clock {
    wall: Instant,
    thread: Option<f64>,
}

impl Clock {
    fn now() -> Clock {
        Clock { wall: Instant::now(), thread: Clock::thread() }
    }

    fn seconds(&self) -> f64 {
        match (self.thread, Clock::thread()) {
            (Some(start), Some(now)) => now - start,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }

    fn thread() -> Option<f64> {
        std::thread::yield_now(); // brings the kernel's account up to date
        let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(account.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
    }
}

/// Small pseudo-random numbers in ±0.1.
fn values(len: usize) -> Vec<f32> {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 0.1
    };
    (0..len).map(|_| next()).collect()
}
