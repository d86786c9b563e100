//! Element-wise functions on slices.

use crate::isa::Isa;
use crate::reference::act as definition;

/// GELU, exact (erf) form: `y = x/2 · (1 + erf(x/√2))`.
///
/// # Panics
/// When the lengths differ.
pub fn gelu(x: &[f32], y: &mut [f32]) {
    gelu_with(Isa::current(), x, y);
}

/// [`gelu`] with a given instruction set.
///
/// # Panics
/// When the lengths differ, or the processor lacks the instruction set.
pub fn gelu_with(isa: Isa, x: &[f32], y: &mut [f32]) {
    map(isa, x, y, |v| definition::gelu(f64::from(v)) as f32);
}

/// Gradient of [`gelu`]: `dx = dy · (Φ(x) + x·φ(x))`.
///
/// # Panics
/// When the lengths differ.
pub fn gelu_grad(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    gelu_grad_with(Isa::current(), x, dy, dx);
}

/// [`gelu_grad`] with a given instruction set.
///
/// # Panics
/// When the lengths differ, or the processor lacks the instruction set.
pub fn gelu_grad_with(isa: Isa, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(x.len(), dy.len(), "lengths of the input and of the gradient");
    map(isa, x, dx, |v| definition::gelu_derivative(f64::from(v)) as f32);
    dx.iter_mut().zip(dy).for_each(|(d, g)| *d *= g);
}

/// `y = max(x, 0)`; a NaN stays a NaN.
///
/// # Panics
/// When the lengths differ.
pub fn relu(x: &[f32], y: &mut [f32]) {
    relu_with(Isa::current(), x, y);
}

/// [`relu`] with a given instruction set.
///
/// # Panics
/// When the lengths differ, or the processor lacks the instruction set.
pub fn relu_with(isa: Isa, x: &[f32], y: &mut [f32]) {
    map(isa, x, y, |v| if v < 0.0 { 0.0 } else { v });
}

/// `y = 1 / (1 + e^−x)`.
///
/// # Panics
/// When the lengths differ.
pub fn sigmoid(x: &[f32], y: &mut [f32]) {
    sigmoid_with(Isa::current(), x, y);
}

/// [`sigmoid`] with a given instruction set.
///
/// # Panics
/// When the lengths differ, or the processor lacks the instruction set.
pub fn sigmoid_with(isa: Isa, x: &[f32], y: &mut [f32]) {
    map(isa, x, y, |v| definition::sigmoid(f64::from(v)) as f32);
}

/// ELU with alpha 1: `x` above zero, `e^x − 1` below.
///
/// # Panics
/// When the lengths differ.
pub fn elu(x: &[f32], y: &mut [f32]) {
    elu_with(Isa::current(), x, y);
}

/// [`elu`] with a given instruction set.
///
/// # Panics
/// When the lengths differ, or the processor lacks the instruction set.
pub fn elu_with(isa: Isa, x: &[f32], y: &mut [f32]) {
    map(isa, x, y, |v| definition::elu(f64::from(v)) as f32);
}

/// `y = e^x`.
///
/// # Panics
/// When the lengths differ.
pub fn exp(x: &[f32], y: &mut [f32]) {
    exp_with(Isa::current(), x, y);
}

/// [`exp`] with a given instruction set.
///
/// # Panics
/// When the lengths differ, or the processor lacks the instruction set.
pub fn exp_with(isa: Isa, x: &[f32], y: &mut [f32]) {
    map(isa, x, y, |v| f64::from(v).exp() as f32);
}

fn map(isa: Isa, x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    isa.assert_available();
    assert_eq!(x.len(), y.len(), "lengths of input and output");
    y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x));
}
