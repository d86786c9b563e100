//! One row of a depthwise convolution: the primitive under [`super::depthwise`] and the fused inverted residual.
//!
//! A row is cut into strips of 8 pixels × one vector of channels. Within a strip the kernel slides over the inputs: an input is
//! loaded once and added to every output that it reaches, so the loads do not grow with the width of the kernel. Strips at the
//! ends of the row leave out the inputs outside; nothing is padded or copied.

use crate::simd::{Simd, per_isa};

/// One output row. Rows of the kernel that fall outside of the map are left out by the caller.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// For every kernel row within the map: first channel of the first pixel of the input row.
    pub(crate) inputs: *const *const f32,
    /// Kernel rows within the map.
    pub(crate) kh: usize,
    /// Floats from one input pixel to the next.
    pub(crate) x_stride: usize,
    /// Pixels of the row, in and out.
    pub(crate) w: usize,
    /// Channels.
    pub(crate) c: usize,
    /// First tap of the first of these kernel rows; then `[kh][KW][w_stride]`.
    pub(crate) weights: *const f32,
    /// Floats from one tap to the next.
    pub(crate) w_stride: usize,
    /// `[c]`.
    pub(crate) bias: *const f32,
    /// First channel of the first output pixel.
    pub(crate) out: *mut f32,
    /// Floats from one output pixel to the next.
    pub(crate) out_stride: usize,
    /// `c` is 8, and at every tap and at the bias 8 floats stand twice: two pixels may share a vector of 16 floats.
    pub(crate) doubled: bool,
}

/// What a cross adds to its centre row: one tap in each of the rows above and below.
#[derive(Clone, Copy)]
pub(crate) struct Arms {
    /// As [`Row::inputs`], for the rows above and below that are within the map.
    pub(crate) inputs: *const *const f32,
    /// How many.
    pub(crate) count: usize,
    /// The tap of the first of them; then `[count][w_stride]`.
    pub(crate) weights: *const f32,
}

impl Arms {
    const NONE: Arms = Arms { inputs: std::ptr::null(), count: 0, weights: std::ptr::null() };
}

per_isa! {
    /// `out[x][i] = bias[i] + Σ inputs[ky][x + kx − KW/2][i] · weights[ky][kx][i]`, summed in the order (ky, kx), zeros outside.
    ///
    /// # Safety
    /// The pointers of the row are good for the sizes it names, and `out` overlaps none of the inputs.
    pub(crate) fn depthwise_row<const KW: usize>(row: &Row) = row_body;
}

per_isa! {
    /// [`depthwise_row`] plus `Σ arms.inputs[a][x][i] · arms.weights[a][i]`, added after the row's taps.
    ///
    /// # Safety
    /// As [`depthwise_row`], for the arms too.
    pub(crate) fn cross_row<const KW: usize>(row: &Row, arms: &Arms) = cross_body;
}

#[inline(always)]
unsafe fn row_body<S: Simd, const KW: usize>(s: S, row: &Row) {
    // SAFETY: the contract of the caller.
    unsafe { strips::<S, KW>(s, row, &Arms::NONE) }
}

#[inline(always)]
unsafe fn cross_body<S: Simd, const KW: usize>(s: S, row: &Row, arms: &Arms) {
    // SAFETY: the contract of the caller.
    unsafe { strips::<S, KW>(s, row, arms) }
}

/// Pixels of a strip: with the weights of a kernel row they fit 32 registers, and hide the latency of the multiply-adds.
const STRIP: usize = 8;

/// The widest kernel that [`each_input!`] has room for.
pub(super) const MAX_WIDTH: usize = 11;

/// Runs the body for each of the `STRIP + KW − 1` inputs of a strip with a constant index. Written out, because the compiler leaves a loop
/// of this length rolled and the accumulators in memory (measured: a third of the speed).
macro_rules! each_input {
    ($j:ident, $kw:ident, $body:block) => {
        each_input!(@ $j, $kw, $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17)
    };
    (@ $j:ident, $kw:ident, $body:block; $($n:literal)+) => {
        $({
            let $j: usize = $n;
            if $j < STRIP + $kw - 1 $body
        })+
    };
}

#[inline(always)]
unsafe fn strips<S: Simd, const KW: usize>(s: S, row: &Row, arms: &Arms) {
    let pad = KW / 2;
    // Whether all inputs of `pixels` outputs from `x` lie within the row.
    let inside = |x: usize, pixels: usize| x >= pad && x + pixels + pad <= row.w;
    let mut x = 0;
    while x < row.w {
        // SAFETY: strips without checks are `inside`, the others check every pixel.
        unsafe {
            if S::LANES == 16 && row.doubled && inside(x, 2 * STRIP) {
                double_strip::<S, KW>(s, row, arms, x);
                x += 2 * STRIP;
                continue;
            }
            if inside(x, STRIP) {
                strip::<S, KW, false>(s, row, arms, x);
            } else {
                strip::<S, KW, true>(s, row, arms, x);
            }
        }
        x += STRIP;
    }
}

/// All channels of a strip that starts at pixel `x`; with `CHECK` it may reach over the ends of the row.
#[inline(always)]
unsafe fn strip<S: Simd, const KW: usize, const CHECK: bool>(s: S, row: &Row, arms: &Arms, x: usize) {
    let mut c = 0;
    while c < row.c {
        let lanes = (row.c - c).min(S::LANES);
        // SAFETY: `lanes` channels remain; the pixels are the caller's promise.
        unsafe {
            if lanes == S::LANES {
                strip_lanes::<S, KW, CHECK, true>(s, row, arms, x, c..c + S::LANES);
            } else {
                strip_lanes::<S, KW, CHECK, false>(s, row, arms, x, c..c + lanes);
            }
        }
        c += lanes;
    }
}

/// One vector of channels of a strip, the first `channels.len()` lanes of it unless `FULL`.
#[inline(always)]
unsafe fn strip_lanes<S: Simd, const KW: usize, const CHECK: bool, const FULL: bool>(
    s: S,
    row: &Row,
    arms: &Arms,
    x: usize,
    channels: std::ops::Range<usize>,
) {
    let (c, lanes, pad) = (channels.start, channels.len(), KW / 2);
    // SAFETY: input pixel x + j − pad is within the row (by the caller's promise, or checked); `lanes` channels remain at c.
    unsafe {
        let mut acc = [load::<S, FULL>(s, row.bias.add(c), lanes); STRIP];
        for ky in 0..row.kh {
            let weights = row.weights.add(ky * KW * row.w_stride + c);
            let w: [S::V; KW] = load_taps::<S, KW, FULL>(s, weights, row.w_stride, lanes);
            let input = (*row.inputs.add(ky)).add(c);
            each_input!(j, KW, {
                if !CHECK || (x + j >= pad && x + j - pad < row.w) {
                    let v = load::<S, FULL>(s, input.add((x + j - pad) * row.x_stride), lanes);
                    add_to_reached(s, &mut acc, v, &w, j);
                }
            });
        }
        for a in 0..arms.count {
            let w = load::<S, FULL>(s, arms.weights.add(a * row.w_stride + c), lanes);
            let input = (*arms.inputs.add(a)).add(x * row.x_stride + c);
            for (i, acc) in acc.iter_mut().enumerate() {
                if !CHECK || x + i < row.w {
                    *acc = s.fma(load::<S, FULL>(s, input.add(i * row.x_stride), lanes), w, *acc);
                }
            }
        }
        for (i, acc) in acc.into_iter().enumerate() {
            if !CHECK || x + i < row.w {
                let out = row.out.add((x + i) * row.out_stride + c);
                if FULL { s.store(out, acc) } else { s.store_first(out, acc, lanes) }
            }
        }
    }
}

/// Twice [`STRIP`] pixels of 8 channels: the lower half of a vector is a pixel of the first strip, the upper half of the second.
#[inline(always)]
unsafe fn double_strip<S: Simd, const KW: usize>(s: S, row: &Row, arms: &Arms, x: usize) {
    let pad = KW / 2;
    let (far_in, far_out) = (STRIP * row.x_stride, STRIP * row.out_stride);
    // SAFETY: the caller keeps x − KW/2 .. x + 2·STRIP + KW/2 within the row, and a vector has two halves of 8 floats.
    unsafe {
        let mut acc = [s.load(row.bias); STRIP];
        for ky in 0..row.kh {
            let weights = row.weights.add(ky * KW * row.w_stride);
            let w: [S::V; KW] = load_taps::<S, KW, true>(s, weights, row.w_stride, S::LANES);
            let input = (*row.inputs.add(ky)).add((x - pad) * row.x_stride);
            each_input!(j, KW, {
                let at = input.add(j * row.x_stride);
                add_to_reached(s, &mut acc, s.load_halves(at, at.add(far_in)), &w, j);
            });
        }
        for a in 0..arms.count {
            let w = s.load(arms.weights.add(a * row.w_stride));
            let input = (*arms.inputs.add(a)).add(x * row.x_stride);
            for (i, acc) in acc.iter_mut().enumerate() {
                let at = input.add(i * row.x_stride);
                *acc = s.fma(s.load_halves(at, at.add(far_in)), w, *acc);
            }
        }
        for (i, acc) in acc.into_iter().enumerate() {
            let at = row.out.add((x + i) * row.out_stride);
            s.store_halves(at, at.add(far_out), acc);
        }
    }
}

/// Adds input `j` of a strip to the outputs `j − KW + 1 ..= j` that it reaches.
#[inline(always)]
fn add_to_reached<S: Simd, const KW: usize>(
    s: S,
    acc: &mut [S::V; STRIP],
    v: S::V,
    w: &[S::V; KW],
    j: usize,
) {
    for kx in 0..KW {
        if j >= kx && j - kx < STRIP {
            acc[j - kx] = s.fma(v, w[kx], acc[j - kx]);
        }
    }
}

/// The taps of one kernel row.
#[inline(always)]
unsafe fn load_taps<S: Simd, const KW: usize, const FULL: bool>(
    s: S,
    p: *const f32,
    w_stride: usize,
    lanes: usize,
) -> [S::V; KW] {
    let mut w = [s.zero(); KW];
    for (kx, w) in w.iter_mut().enumerate() {
        // SAFETY: the caller vouches for KW taps of `lanes` floats.
        *w = unsafe { load::<S, FULL>(s, p.add(kx * w_stride), lanes) };
    }
    w
}

#[inline(always)]
unsafe fn load<S: Simd, const FULL: bool>(s: S, p: *const f32, lanes: usize) -> S::V {
    // SAFETY: the caller vouches for `lanes` floats, which is all lanes when FULL.
    unsafe { if FULL { s.load(p) } else { s.load_first(p, lanes) } }
}
