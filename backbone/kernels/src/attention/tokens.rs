//! The two passes of linear attention over a run of tokens: the sums over k and v, and the outputs from q and the sums.

use crate::simd::{Simd, math, per_isa};

/// Tokens whose activated q or k wait in a buffer (of `BLOCK · g` floats) in the level 1 cache.
pub(super) const BLOCK: usize = 32;

/// Added to the denominator.
const GUARD: f32 = 1e-6;

/// How channels divide into heads.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    /// Channels of q, of k and of v.
    pub(super) g: usize,
    /// Channels of a head; divides `g`.
    pub(super) head_dim: usize,
}

impl Heads {
    /// Floats of the sums: `[g]` of k, then `[g][head_dim]` of kᵀv.
    pub(super) fn sums_len(self) -> usize {
        self.g * (1 + self.head_dim)
    }
}

/// `count` tokens of `g` channels.
#[derive(Clone, Copy)]
pub(super) struct Tokens {
    pub(super) data: *const f32,
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl Tokens {
    /// At most `count` tokens from `first`.
    #[inline(always)]
    unsafe fn slice(self, first: usize, count: usize) -> Tokens {
        let count = count.min(self.count - first);
        // SAFETY: the caller keeps `first` within the tokens.
        Tokens { data: unsafe { self.data.add(first * self.stride) }, count, ..self }
    }
}

/// Where outputs go.
#[derive(Clone, Copy)]
pub(super) struct TokensMut {
    pub(super) data: *mut f32,
    pub(super) stride: usize,
}

per_isa! {
    /// `sums = [Σ k, Σ kᵀv per head]` with `k = elu(k) + 1`, over the tokens in order.
    ///
    /// # Safety
    /// `k` and `v` are readable, of the same count; `sums` has room for `sums_len` floats, `buffer` for `BLOCK · g`.
    pub(super) fn token_sums(heads: Heads, k: Tokens, v: Tokens, sums: *mut f32, buffer: *mut f32) = sums_body;
}

per_isa! {
    /// `out = (q · kv) / (q · k + 1e-6)` with `q = elu(q) + 1` and the means `[k, kv per head]`.
    ///
    /// # Safety
    /// `q` is readable, `means` has `sums_len` floats, `out` is writable for the tokens of `q`, `buffer` has room for `BLOCK · g` floats.
    pub(super) fn token_outputs(heads: Heads, q: Tokens, means: *const f32, out: TokensMut, buffer: *mut f32) = outputs_body;
}

#[inline(always)]
unsafe fn sums_body<S: Simd>(s: S, heads: Heads, k: Tokens, v: Tokens, sums: *mut f32, buffer: *mut f32) {
    let Heads { g, head_dim } = heads;
    // SAFETY: the contract of the caller; blocks, heads and vectors stay within their sizes.
    unsafe {
        std::slice::from_raw_parts_mut(sums, heads.sums_len()).fill(0.0);
        let mut first = 0;
        while first < k.count {
            let (k, v) = (k.slice(first, BLOCK), v.slice(first, BLOCK));
            activate(s, k, g, buffer);
            add_columns(s, buffer, k.count, g, sums);
            for head in (0..g).step_by(head_dim) {
                let kv = sums.add(g + head * head_dim);
                let v = Tokens { data: v.data.add(head), ..v };
                let mut e = 0;
                while e < head_dim {
                    let (k, v, kv) = (buffer.add(head), Tokens { data: v.data.add(e), ..v }, kv.add(e));
                    let rest = head_dim - e;
                    if rest >= 2 * S::LANES {
                        products::<S, 4, 2, true>(s, k, g, v, kv, head_dim, S::LANES);
                        e += 2 * S::LANES;
                    } else if rest >= S::LANES {
                        products::<S, 8, 1, true>(s, k, g, v, kv, head_dim, S::LANES);
                        e += S::LANES;
                    } else {
                        products::<S, 8, 1, false>(s, k, g, v, kv, head_dim, rest);
                        e += rest;
                    }
                }
            }
            first += BLOCK;
        }
    }
}

#[inline(always)]
unsafe fn outputs_body<S: Simd>(
    s: S,
    heads: Heads,
    q: Tokens,
    means: *const f32,
    out: TokensMut,
    buffer: *mut f32,
) {
    let Heads { g, head_dim } = heads;
    // SAFETY: the contract of the caller; blocks, heads and vectors stay within their sizes.
    unsafe {
        let mut first = 0;
        while first < q.count {
            let q = q.slice(first, BLOCK);
            activate(s, q, g, buffer);
            for head in (0..g).step_by(head_dim) {
                let mut e = 0;
                while e < head_dim {
                    let task = Outputs {
                        q: buffer.add(head),
                        g,
                        count: q.count,
                        head_dim,
                        k: means.add(head),
                        kv: means.add(g + head * head_dim + e),
                        out: TokensMut { data: out.data.add(first * out.stride + head + e), ..out },
                    };
                    let rest = head_dim - e;
                    if rest >= 2 * S::LANES {
                        task.all::<S, 4, 2, true>(s, S::LANES);
                        e += 2 * S::LANES;
                    } else if rest >= S::LANES {
                        task.all::<S, 4, 1, true>(s, S::LANES);
                        e += S::LANES;
                    } else {
                        task.all::<S, 4, 1, false>(s, rest);
                        e += rest;
                    }
                }
            }
            first += BLOCK;
        }
    }
}

/// `buffer[t][i] = elu(x[t][i]) + 1`.
#[inline(always)]
unsafe fn activate<S: Simd>(s: S, x: Tokens, g: usize, buffer: *mut f32) {
    for t in 0..x.count {
        let mut c = 0;
        // SAFETY: the caller vouches for `count` tokens of g channels on both sides.
        unsafe {
            let (from, to) = (x.data.add(t * x.stride), buffer.add(t * g));
            while c + S::LANES <= g {
                s.store(to.add(c), math::elu_plus_1(s, s.load(from.add(c))));
                c += S::LANES;
            }
            if c < g {
                let v = math::elu_plus_1(s, s.load_first(from.add(c), g - c));
                s.store_first(to.add(c), v, g - c);
            }
        }
    }
}

/// `sums[i] += Σ_t x[t][i]`, tokens in order.
#[inline(always)]
unsafe fn add_columns<S: Simd>(s: S, x: *const f32, count: usize, g: usize, sums: *mut f32) {
    let mut c = 0;
    while c < g {
        let lanes = (g - c).min(S::LANES);
        // SAFETY: `lanes` channels remain.
        unsafe {
            let mut acc = s.load_first(sums.add(c), lanes);
            for t in 0..count {
                acc = s.add(acc, s.load_first(x.add(t * g + c), lanes));
            }
            s.store_first(sums.add(c), acc, lanes);
        }
        c += lanes;
    }
}

/// `kv[d][..] += Σ_t k[t][d] · v[t][..]` for `NV` vectors of columns (the first `lanes` of them unless `FULL`) and all d.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // plain numbers of one tile
unsafe fn products<S: Simd, const D: usize, const NV: usize, const FULL: bool>(
    s: S,
    k: *const f32,
    g: usize,
    v: Tokens,
    kv: *mut f32,
    head_dim: usize,
    lanes: usize,
) {
    let mut d = 0;
    // SAFETY: d + rows ≤ head_dim; the columns are the caller's promise.
    unsafe {
        while d + D <= head_dim {
            product_rows::<S, D, NV, FULL>(s, k.add(d), g, v, kv.add(d * head_dim), head_dim, lanes);
            d += D;
        }
        while d < head_dim {
            product_rows::<S, 1, NV, FULL>(s, k.add(d), g, v, kv.add(d * head_dim), head_dim, lanes);
            d += 1;
        }
    }
}

/// `D` rows of [`products`], in registers.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // plain numbers of one tile
unsafe fn product_rows<S: Simd, const D: usize, const NV: usize, const FULL: bool>(
    s: S,
    k: *const f32,
    g: usize,
    v: Tokens,
    kv: *mut f32,
    head_dim: usize,
    lanes: usize,
) {
    let mut acc = [[s.zero(); NV]; D];
    // SAFETY: D rows and NV vectors of columns lie within the head.
    unsafe {
        for (d, acc) in acc.iter_mut().enumerate() {
            *acc = load::<S, NV, FULL>(s, kv.add(d * head_dim), lanes);
        }
        for t in 0..v.count {
            let row = load::<S, NV, FULL>(s, v.data.add(t * v.stride), lanes);
            for (d, acc) in acc.iter_mut().enumerate() {
                let factor = s.splat(*k.add(t * g + d));
                for (acc, v) in acc.iter_mut().zip(row) {
                    *acc = s.fma(factor, v, *acc);
                }
            }
        }
        for (d, acc) in acc.into_iter().enumerate() {
            store::<S, NV, FULL>(s, kv.add(d * head_dim), acc, lanes);
        }
    }
}

/// Some columns of one head of the outputs of a block.
#[derive(Clone, Copy)]
struct Outputs {
    /// Activated, `[count][g]`, from the first channel of the head.
    q: *const f32,
    g: usize,
    count: usize,
    head_dim: usize,
    /// Mean of k, `[head_dim]`.
    k: *const f32,
    /// Mean of kᵀv, `[head_dim][head_dim]`, from the first of the columns.
    kv: *const f32,
    /// From the first of the columns of the first token.
    out: TokensMut,
}

impl Outputs {
    #[inline(always)]
    unsafe fn all<S: Simd, const T: usize, const NV: usize, const FULL: bool>(self, s: S, lanes: usize) {
        let mut t = 0;
        // SAFETY: t + tokens ≤ count; the columns are the caller's promise.
        unsafe {
            while t + T <= self.count {
                self.tokens::<S, T, NV, FULL>(s, t, lanes);
                t += T;
            }
            while t < self.count {
                self.tokens::<S, 1, NV, FULL>(s, t, lanes);
                t += 1;
            }
        }
    }

    /// `T` tokens from `first`, in registers. The denominator is formed in all lanes of a vector: that needs no sum across lanes.
    #[inline(always)]
    unsafe fn tokens<S: Simd, const T: usize, const NV: usize, const FULL: bool>(
        self,
        s: S,
        first: usize,
        lanes: usize,
    ) {
        let mut acc = [[s.zero(); NV]; T];
        let mut denominator = [s.splat(GUARD); T];
        // SAFETY: T tokens and NV vectors of columns lie within the block and the head.
        unsafe {
            for d in 0..self.head_dim {
                let row = load::<S, NV, FULL>(s, self.kv.add(d * self.head_dim), lanes);
                let k = s.splat(*self.k.add(d));
                for t in 0..T {
                    let q = s.splat(*self.q.add((first + t) * self.g + d));
                    denominator[t] = s.fma(q, k, denominator[t]);
                    for (acc, v) in acc[t].iter_mut().zip(row) {
                        *acc = s.fma(q, v, *acc);
                    }
                }
            }
            for (t, mut acc) in acc.into_iter().enumerate() {
                let factor = s.div(s.splat(1.0), denominator[t]);
                for v in &mut acc {
                    *v = s.mul(*v, factor);
                }
                store::<S, NV, FULL>(s, self.out.data.add((first + t) * self.out.stride), acc, lanes);
            }
        }
    }
}

/// `NV` vectors; the first `lanes` of one unless `FULL`.
#[inline(always)]
unsafe fn load<S: Simd, const NV: usize, const FULL: bool>(s: S, p: *const f32, lanes: usize) -> [S::V; NV] {
    let mut out = [s.zero(); NV];
    for (i, v) in out.iter_mut().enumerate() {
        // SAFETY: the caller vouches for NV vectors, or for `lanes` floats.
        *v = unsafe { if FULL { s.load(p.add(i * S::LANES)) } else { s.load_first(p, lanes) } };
    }
    out
}

/// The counterpart of [`load`].
#[inline(always)]
unsafe fn store<S: Simd, const NV: usize, const FULL: bool>(
    s: S,
    p: *mut f32,
    values: [S::V; NV],
    lanes: usize,
) {
    for (i, v) in values.into_iter().enumerate() {
        // SAFETY: as in `load`.
        unsafe { if FULL { s.store(p.add(i * S::LANES), v) } else { s.store_first(p, v, lanes) } }
    }
}
