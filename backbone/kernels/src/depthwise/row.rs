//! One row of a depthwise convolution: the primitive under the fused inverted residual.

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
}

per_isa! {
    /// `out[x][i] = bias[i] + Σ inputs[ky][x + kx − KW/2][i] · weights[ky][kx][i]`, summed in the order (ky, kx), zeros outside.
    ///
    /// # Safety
    /// The pointers of the row are good for the sizes it names, and `out` overlaps none of the inputs.
    pub(crate) fn depthwise_row<const KW: usize>(row: &Row) = row_body;
}

#[inline(always)]
unsafe fn row_body<S: Simd, const KW: usize>(s: S, row: &Row) {
    let pad = KW / 2;
    let left = pad.min(row.w);
    let right = row.w.saturating_sub(KW - 1 - pad).max(left);
    // SAFETY: x stays below `w`; strips stay between `left` and `right`, where all taps are within the row.
    unsafe {
        for x in 0..left {
            edge::<S, KW>(s, row, x);
        }
        let mut x = left;
        while x + 8 <= right {
            strip::<S, KW, 8>(s, row, x);
            x += 8;
        }
        if x + 4 <= right {
            strip::<S, KW, 4>(s, row, x);
            x += 4;
        }
        if x + 2 <= right {
            strip::<S, KW, 2>(s, row, x);
            x += 2;
        }
        if x < right {
            strip::<S, KW, 1>(s, row, x);
        }
        for x in right..row.w {
            edge::<S, KW>(s, row, x);
        }
    }
}

/// `N` pixels from `x`, all of whose taps are within the row.
#[inline(always)]
unsafe fn strip<S: Simd, const KW: usize, const N: usize>(s: S, row: &Row, x: usize) {
    let mut c = 0;
    while c < row.c {
        let lanes = (row.c - c).min(S::LANES);
        // SAFETY: the caller keeps x − KW/2 .. x + N + KW/2 within the row; `lanes` channels remain.
        unsafe {
            if lanes == S::LANES {
                strip_lanes::<S, KW, N, true>(s, row, x, c, S::LANES);
            } else {
                strip_lanes::<S, KW, N, false>(s, row, x, c, lanes);
            }
        }
        c += lanes;
    }
}

/// One vector of channels of a strip.
#[inline(always)]
unsafe fn strip_lanes<S: Simd, const KW: usize, const N: usize, const FULL: bool>(
    s: S,
    row: &Row,
    x: usize,
    c: usize,
    lanes: usize,
) {
    // SAFETY: as in `strip`.
    unsafe {
        let mut acc = [load::<S, FULL>(s, row.bias.add(c), lanes); N];
        let mut weight = row.weights.add(c);
        for ky in 0..row.kh {
            let input = (*row.inputs.add(ky)).add((x - KW / 2) * row.x_stride + c);
            for kx in 0..KW {
                let w = load::<S, FULL>(s, weight, lanes);
                weight = weight.add(row.w_stride);
                for (i, acc) in acc.iter_mut().enumerate() {
                    let v = load::<S, FULL>(s, input.add((kx + i) * row.x_stride), lanes);
                    *acc = s.fma(v, w, *acc);
                }
            }
        }
        for (i, acc) in acc.into_iter().enumerate() {
            let out = row.out.add((x + i) * row.out_stride + c);
            if FULL { s.store(out, acc) } else { s.store_first(out, acc, lanes) }
        }
    }
}

/// One pixel near the left or right end of the row: taps outside are skipped.
#[inline(always)]
unsafe fn edge<S: Simd, const KW: usize>(s: S, row: &Row, x: usize) {
    let pad = KW / 2;
    let first = pad.saturating_sub(x);
    let last = KW.min(row.w + pad - x);
    let mut c = 0;
    while c < row.c {
        let lanes = (row.c - c).min(S::LANES);
        // SAFETY: x + kx − pad is in 0..w for kx in first..last; `lanes` channels remain.
        unsafe {
            let mut acc = s.load_first(row.bias.add(c), lanes);
            for ky in 0..row.kh {
                for kx in first..last {
                    let w = s.load_first(row.weights.add((ky * KW + kx) * row.w_stride + c), lanes);
                    let v = s.load_first((*row.inputs.add(ky)).add((x + kx - pad) * row.x_stride + c), lanes);
                    acc = s.fma(v, w, acc);
                }
            }
            s.store_first(row.out.add(x * row.out_stride + c), acc, lanes);
        }
        c += lanes;
    }
}

#[inline(always)]
unsafe fn load<S: Simd, const FULL: bool>(s: S, p: *const f32, lanes: usize) -> S::V {
    // SAFETY: the caller vouches for `lanes` floats, which is all lanes when FULL.
    unsafe { if FULL { s.load(p) } else { s.load_first(p, lanes) } }
}
