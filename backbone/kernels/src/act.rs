//! Element-wise functions on slices. Errors are against f64, measured over the inputs of `tests/spatial/act.rs`.

use crate::isa::Isa;
use crate::par::{self, SharedMut};
use crate::simd::{Simd, math, per_isa};

/// Floats of a parallel task: 64 KiB in and out, so that results are still near when the next kernel wants them.
const CHUNK: usize = 1 << 14;

/// GELU, exact (erf) form: `y = x/2 · (1 + erf(x/√2))`. Error against f64 ≤ 1.5e-6 + 1e-6·|y|.
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
    run(Op { kernel: gelu_kernel(isa), cost: 16 }, [x, x], y);
}

/// Gradient of [`gelu`]: `dx = dy · (Φ(x) + x·φ(x))`. Error against f64 ≤ 5e-7·|dy|.
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
    run(Op { kernel: gelu_grad_kernel(isa), cost: 24 }, [x, dy], dx);
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
    run(Op { kernel: relu_kernel(isa), cost: 2 }, [x, x], y);
}

/// `y = 1 / (1 + e^−x)`. Relative error against f64 ≤ 4e-7 (values below 1e-37 may be 0).
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
    run(Op { kernel: sigmoid_kernel(isa), cost: 16 }, [x, x], y);
}

/// ELU with alpha 1: `x` above zero, `e^x − 1` below. Relative error against f64 ≤ 3e-7.
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
    run(Op { kernel: elu_kernel(isa), cost: 12 }, [x, x], y);
}

/// `y = e^x`. Relative error against f64 ≤ 3e-7 (values below 1e-37 may be 1e-38 or 0).
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
    run(Op { kernel: exp_kernel(isa), cost: 12 }, [x, x], y);
}

/// A kernel on `n` floats of two inputs (functions of one are given it twice) and its cost per float in multiply-adds.
#[derive(Clone, Copy)]
struct Op {
    kernel: unsafe fn(*const f32, *const f32, *mut f32, usize),
    cost: usize,
}

fn run(op: Op, [a, b]: [&[f32]; 2], y: &mut [f32]) {
    let n = y.len();
    assert!(a.len() == n && b.len() == n, "lengths of inputs ({} and {}) and output ({n})", a.len(), b.len());
    let out = SharedMut::new(y);
    par::for_each(n.div_ceil(CHUNK), n * op.cost, |i| {
        let chunk = i * CHUNK..((i + 1) * CHUNK).min(n);
        let (a, b) = (&a[chunk.clone()], &b[chunk.clone()]);
        // SAFETY: the chunk is within the slices of length n, and no two chunks overlap.
        unsafe { (op.kernel)(a.as_ptr(), b.as_ptr(), out.get().add(chunk.start), chunk.len()) };
    });
}

/// Makes a kernel of [`Op`] for every instruction set from a function on vectors.
macro_rules! elementwise {
    ($(fn $kernel:ident = $body:ident, |$s:ident, $a:ident, $b:ident| $value:expr;)+) => {
        $(per_isa! {
            /// `y[i] = f(a[i], b[i])` for `i` in `0..n`.
            ///
            /// # Safety
            /// `a` and `b` point to `n` readable floats, `y` to `n` writable ones.
            fn $kernel(a: *const f32, b: *const f32, y: *mut f32, n: usize) = $body;
        }

        #[inline(always)]
        unsafe fn $body<S: Simd>($s: S, a: *const f32, b: *const f32, y: *mut f32, n: usize) {
            let mut i = 0;
            // SAFETY: i + LANES ≤ n in the loop and `rest` floats remain after it; the caller vouches for n floats.
            unsafe {
                while i + S::LANES <= n {
                    let ($a, $b) = ($s.load(a.add(i)), $s.load(b.add(i)));
                    $s.store(y.add(i), $value);
                    i += S::LANES;
                }
                let rest = n - i;
                if rest > 0 {
                    let ($a, $b) = ($s.load_first(a.add(i), rest), $s.load_first(b.add(i), rest));
                    $s.store_first(y.add(i), $value, rest);
                }
            }
        })+
    };
}

elementwise! {
    fn gelu_kernel = gelu_body, |s, x, _x| math::gelu(s, x);
    fn gelu_grad_kernel = gelu_grad_body, |s, x, dy| s.mul(dy, math::gelu_derivative(s, x));
    fn relu_kernel = relu_body, |s, x, _x| math::relu(s, x);
    fn sigmoid_kernel = sigmoid_body, |s, x, _x| math::sigmoid(s, x);
    fn elu_kernel = elu_body, |s, x, _x| math::elu(s, x);
    fn exp_kernel = exp_body, |s, x, _x| math::exp(s, x);
}
