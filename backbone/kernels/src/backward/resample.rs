//! Gradients of nearest and bilinear resizing: every source pixel collects from the destinations that read it.

use rayon::prelude::*;

/// What the destinations along one axis read: per source index, (destination, weight) in ascending order.
type Readers = Vec<Vec<(usize, f32)>>;

/// Nearest: destination d reads floor(d · (source / destination)) in f32, as PyTorch's explicit-size interpolation.
fn nearest_readers(source: usize, destination: usize) -> Readers {
    let scale = source as f32 / destination as f32;
    let mut readers = vec![Vec::new(); source];
    for d in 0..destination {
        let s = ((d as f32 * scale).floor() as usize).min(source - 1);
        readers[s].push((d, 1.0));
    }
    readers
}

/// Bilinear without antialiasing: half-pixel centres, or corner pixels aligned.
fn bilinear_readers(source: usize, destination: usize, align_corners: bool) -> Readers {
    let mut readers = vec![Vec::new(); source];
    for d in 0..destination {
        let at = if align_corners {
            let scale = if destination > 1 { (source - 1) as f32 / (destination - 1) as f32 } else { 0.0 };
            d as f32 * scale
        } else {
            ((d as f32 + 0.5) * (source as f32 / destination as f32) - 0.5).max(0.0)
        };
        let low = (at.floor() as usize).min(source - 1);
        let part = (at - low as f32).clamp(0.0, 1.0);
        readers[low].push((d, 1.0 - part));
        if part > 0.0 {
            readers[(low + 1).min(source - 1)].push((d, part));
        }
    }
    readers
}

/// dx of nearest resizing; `from` is the input's `[n, h, w, c]`, `to` the (height, width) of `dy`.
pub fn nearest_grad(dy: &[f32], from: [usize; 4], to: (usize, usize), dx: &mut [f32]) {
    let [_, h, w, _] = from;
    if h * w > 0 {
        collect(dy, from, to, &nearest_readers(h, to.0), &nearest_readers(w, to.1), dx);
    }
}

/// dx of bilinear resizing; `from` is the input's `[n, h, w, c]`, `to` the (height, width) of `dy`.
pub fn bilinear_grad(dy: &[f32], from: [usize; 4], to: (usize, usize), align_corners: bool, dx: &mut [f32]) {
    let [_, h, w, _] = from;
    if h * w > 0 {
        let rows = bilinear_readers(h, to.0, align_corners);
        collect(dy, from, to, &rows, &bilinear_readers(w, to.1, align_corners), dx);
    }
}

fn collect(
    dy: &[f32],
    from: [usize; 4],
    to: (usize, usize),
    rows: &Readers,
    columns: &Readers,
    dx: &mut [f32],
) {
    let [n, h, w, c] = from;
    let (ho, wo) = to;
    assert!(dx.len() == n * h * w * c && dy.len() == n * ho * wo * c, "resize gradient {from:?} to {to:?}");
    if dx.is_empty() {
        return;
    }
    dx.par_chunks_mut(w * c).enumerate().for_each(|(row, dx)| {
        let (image, y) = (row / h, row % h);
        dx.fill(0.0);
        for &(oy, wy) in &rows[y] {
            let dy = &dy[(image * ho + oy) * wo * c..][..wo * c];
            for (dx, readers) in dx.chunks_exact_mut(c).zip(columns) {
                for &(ox, wx) in readers {
                    let weight = wy * wx;
                    dx.iter_mut().zip(&dy[ox * c..][..c]).for_each(|(o, g)| *o += weight * g);
                }
            }
        }
    });
}
