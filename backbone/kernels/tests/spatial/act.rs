use crate::grid::{Failures, random};
use care_kernels::{act, isa::Isa, reference};

/// Every length up to a few vectors, then one above the threading threshold; values over the whole interesting range
/// and the special ones.
fn inputs() -> Vec<Vec<f32>> {
    let mut all: Vec<Vec<f32>> = (0..70).map(|n| random(n, n as u32, 6.0)).collect();
    all.push(random(300_001, 3, 12.0));
    all.push((0..40_001).map(|i| (i as f32 - 20_000.0) * 1e-3).collect());
    all.push(vec![
        0.0,
        -0.0,
        f32::INFINITY,
        -1e30,
        1e30,
        -100.0,
        100.0,
        88.8,
        -87.4,
        -88.0,
        1e-30,
        -1e-30,
        5e-41,
    ]);
    all
}

type Kernel = fn(Isa, &[f32], &mut [f32]);

fn check(name: &str, kernel: Kernel, truth: fn(f64) -> f64, atol: f32, rtol: f32) {
    let mut failures = Failures::default();
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for x in inputs() {
        let want: Vec<f32> = x.iter().map(|&v| truth(f64::from(v)) as f32).collect();
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; x.len()];
            kernel(isa, &x, &mut y);
            failures.close(&format!("{isa:?} {name} of {}", x.len()), &y, &want, atol, rtol);
            let mut again = vec![f32::NAN; x.len()];
            alone.install(|| kernel(isa, &x, &mut again));
            failures.check(
                name,
                y.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()),
                "bits depend on the threads",
            );
        }
    }
}

#[test]
fn gelu_equals_reference() {
    check("gelu", act::gelu_with, reference::act::gelu, 1.5e-6, 1e-6);
}

#[test]
fn sigmoid_equals_reference() {
    check("sigmoid", act::sigmoid_with, reference::act::sigmoid, 1e-37, 4e-7);
}

#[test]
fn elu_equals_reference() {
    check("elu", act::elu_with, reference::act::elu, 1e-7, 3e-7);
}

#[test]
fn exp_equals_reference() {
    check("exp", act::exp_with, f64::exp, 1e-37, 3e-7);
}

#[test]
fn relu_equals_reference() {
    check("relu", act::relu_with, |x| x.max(0.0), 0.0, 0.0);
}

#[test]
fn gelu_grad_equals_reference() {
    let mut failures = Failures::default();
    for x in inputs().into_iter().filter(|x| x.iter().all(|v| v.is_finite())) {
        let dy = random(x.len(), 77, 1.0);
        let want: Vec<f32> = x
            .iter()
            .zip(&dy)
            .map(|(&x, &d)| (reference::act::gelu_derivative(f64::from(x)) * f64::from(d)) as f32)
            .collect();
        for isa in Isa::available() {
            let mut dx = vec![f32::NAN; x.len()];
            act::gelu_grad_with(isa, &x, &dy, &mut dx);
            failures.close(&format!("{isa:?} gelu_grad of {}", x.len()), &dx, &want, 5e-7, 1e-6);
        }
    }
}

#[test]
fn a_nan_stays_a_nan() {
    let x = vec![f32::NAN; 33];
    for isa in Isa::available() {
        for kernel in
            [act::gelu_with as Kernel, act::sigmoid_with, act::elu_with, act::exp_with, act::relu_with]
        {
            let mut y = vec![0.0; 33];
            kernel(isa, &x, &mut y);
            assert!(y.iter().all(|v| v.is_nan()), "{isa:?}");
        }
    }
}
