//! The gradient check that all ops share.
//!
//! With `loss = Σ y · dy` (summed in f64) every gradient is compared with a fourth-order central difference. Inputs are
//! multiples of 2⁻¹⁰ and the step is a power of two, so the perturbed values are exact and the error left is that of f32
//! outputs: a gradient may differ from the difference by [`TOLERANCE`] of the largest gradient of that input.

use candle_core::{Device, Tensor, Var};
use care_nn::Result;

/// Measured worst over all ops: about a third of this.
pub(crate) const TOLERANCE: f64 = 2e-3;
/// Step of the differences.
const STEP: f64 = 1.0 / 128.0;
/// Elements of each input that are checked, evenly spread (a prime, to meet every channel).
const SAMPLES: usize = 29;

/// Shape and values of one input.
pub(crate) struct Input {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// A repeatable stream of numbers in −1..1 on the grid of 2⁻¹⁰.
fn stream(seed: u32) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(12_345);
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state % 2047) as f32 / 1024.0 - 1_023.0 / 1024.0
    })
}

impl Input {
    /// Values in −1..1.
    pub(crate) fn new(shape: &[usize], seed: u32) -> Self {
        let n = shape.iter().product();
        Self { shape: shape.to_vec(), values: stream(seed).take(n).collect() }
    }

    /// Values put through `f` (and back onto the grid).
    pub(crate) fn map(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|v| *v = (f(*v) * 1024.0).round() / 1024.0);
        self
    }

    /// Away from 0 by more than every step, for ops with a kink there.
    pub(crate) fn off_zero(self) -> Self {
        self.map(|v| v + if v < 0.0 { -0.0625 } else { 0.0625 })
    }

    /// All values at least four steps apart: no two change order, for ops that compare their inputs.
    pub(crate) fn distinct(mut self) -> Self {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_by(|&a, &b| self.values[a].total_cmp(&self.values[b]).then(a.cmp(&b)));
        let middle = order.len() as f32 / 2.0;
        for (rank, i) in order.into_iter().enumerate() {
            self.values[i] = (rank as f32 - middle) / 16.0;
        }
        self
    }

    /// Given values, which the caller keeps on the grid.
    pub(crate) fn of(shape: &[usize], values: Vec<f32>) -> Self {
        Self { shape: shape.to_vec(), values }
    }

    pub(crate) fn tensor(&self) -> Tensor {
        Tensor::from_vec(self.values.clone(), self.shape.as_slice(), &Device::Cpu).unwrap()
    }
}

fn f64s(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Checks the gradients of `f` in all of its inputs: used once, used twice through a non-leaf, and one tracked at a time.
pub(crate) fn check_grad(name: &str, inputs: &[Input], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let tensors: Vec<Tensor> = inputs.iter().map(Input::tensor).collect();
    let y = f(&tensors).unwrap_or_else(|e| panic!("{name}: {e}"));
    let dy = Input::new(y.dims(), 77).tensor();
    let all: Vec<Tensor> = gradients(&tensors, &[true; 8], &dy, false, &f);
    let twice: Vec<Tensor> = gradients(&tensors, &[true; 8], &dy, true, &f);
    for i in 0..inputs.len() {
        assert_eq!(all[i].dims(), tensors[i].dims(), "{name}: shape of gradient {i}");
        let want = differences(&tensors, i, &dy, &f);
        // The floor is for gradients that are zero but for rounding (attention over one token).
        let scale = want.iter().fold(1e-2f64, |m, (_, d)| m.max(d.abs()));
        for (used, grads) in [("once", &all), ("twice", &twice)] {
            let got = f64s(&grads[i]);
            for &(at, want) in &want {
                let error = (got[at] - want).abs() / scale;
                let ok = error <= TOLERANCE;
                assert!(
                    ok,
                    "{name}: input {i} used {used}, element {at}: gradient {}, difference {want}",
                    got[at]
                );
            }
        }
        let mut only = [false; 8];
        only[i] = true;
        let alone = gradients(&tensors, &only, &dy, false, &f);
        assert_eq!(bits(&alone[0]), bits(&all[i]), "{name}: gradient {i} when nothing else is tracked");
    }
}

/// Gradients of Σ f(x) · dy in the tracked inputs. `twice`: the inputs are non-leaves and feed two copies of `f`, whose
/// upstream gradients add up to `dy`.
fn gradients(
    inputs: &[Tensor],
    tracked: &[bool],
    dy: &Tensor,
    twice: bool,
    f: &impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Tensor> {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let args: Vec<Tensor> = vars
        .iter()
        .zip(tracked)
        .map(|(v, &on)| match (on, twice) {
            (false, _) => v.as_detached_tensor(),
            (true, false) => v.as_tensor().clone(),
            (true, true) => v.affine(2.0, 0.0).unwrap().affine(0.5, 0.0).unwrap(),
        })
        .collect();
    let loss = |dy: &Tensor| (f(&args).unwrap() * dy).unwrap().sum_all().unwrap();
    let total = if twice {
        let part = Input::new(dy.dims(), 5).tensor();
        (loss(&part) + loss(&(dy - &part).unwrap())).unwrap()
    } else {
        loss(dy)
    };
    let grads = total.backward().unwrap();
    let wanted = vars.iter().zip(tracked).filter(|(_, on)| **on);
    wanted.map(|(v, _)| grads.get(v).expect("a gradient for every tracked input").clone()).collect()
}

/// (element, derivative of Σ f(x) · dy) for a sample of the elements of input `i`.
fn differences(
    inputs: &[Tensor],
    i: usize,
    dy: &Tensor,
    f: &impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<(usize, f64)> {
    let base = inputs[i].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let dy = f64s(dy);
    let loss = |at: usize, delta: f64| {
        let mut values = base.clone();
        values[at] = (f64::from(values[at]) + delta) as f32;
        let mut args = inputs.to_vec();
        args[i] = Tensor::from_vec(values, inputs[i].shape(), &Device::Cpu).unwrap();
        f64s(&f(&args).unwrap()).iter().zip(&dy).map(|(y, g)| y * g).sum::<f64>()
    };
    let step = (base.len() / SAMPLES).max(1);
    (0..base.len())
        .step_by(step)
        .map(|at| {
            let near = loss(at, STEP) - loss(at, -STEP);
            let far = loss(at, 2.0 * STEP) - loss(at, -2.0 * STEP);
            (at, (8.0 * near - far) / (12.0 * STEP))
        })
        .collect()
}

/// Result and gradients have the same bits at 1, 2 and 4 threads.
pub(crate) fn check_threads(name: &str, inputs: &[Input], f: impl Fn(&[Tensor]) -> Result<Tensor> + Sync) {
    let tensors: Vec<Tensor> = inputs.iter().map(Input::tensor).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let y = f(&tensors).unwrap();
            let dy = Input::new(y.dims(), 77).tensor();
            let mut all = vec![bits(&y)];
            all.extend(gradients(&tensors, &[true; 8], &dy, false, &f).iter().map(bits));
            all
        })
    };
    let one = run(1);
    for threads in [2, 4] {
        for (i, (a, b)) in one.iter().zip(run(threads)).enumerate() {
            assert!(*a == b, "{name}: tensor {i} differs between 1 and {threads} threads");
        }
    }
}
