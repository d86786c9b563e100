//! Cross-entropy of every pixel of a picture, from logits on a coarser grid, in one pass.
//!
//! The logits of a pixel are a weighted sum of a few cells (see [`crate::label_map`]), made, used and forgotten row by row: for 150
//! classes at 512×512 they would take 157 MB per picture, and as much again for their gradient.

use super::softmax::exp_row;
use crate::isa::Isa;
use crate::label_map::{Taps, add_scaled};
use rayon::prelude::*;

/// What every pixel should be.
#[derive(Clone, Copy, Debug)]
pub struct PixelLabels<'a> {
    /// Rows and columns of a picture.
    pub size: [usize; 2],
    /// Class of every pixel, picture by picture, row by row; a value that is no class does not count.
    pub labels: &'a [u8],
    /// Factor of each class.
    pub weights: &'a [f32],
}

/// Taps along both axes and the shape that they are for.
struct Grid {
    n: usize,
    rows: Vec<Taps>,
    columns: Vec<Taps>,
    width: usize,
    classes: usize,
}

impl Grid {
    fn new(x: &[f32], [n, h, w, c]: [usize; 4], how: &PixelLabels<'_>) -> Self {
        let [height, width] = how.size;
        assert_eq!(x.len(), n * h * w * c, "logits of shape {:?}", [n, h, w, c]);
        assert_eq!(how.labels.len(), n * height * width, "labels of {n} pictures of {height} × {width}");
        assert_eq!(how.weights.len(), c, "one weight per class");
        Self {
            n,
            rows: Taps::axis(h, height, height, height),
            columns: Taps::axis(w, width, width, width),
            width: w * c,
            classes: c,
        }
    }

    /// Cells `[w][classes]` of a picture's row.
    fn blended(&self, isa: Isa, x: &[f32], y: usize) -> Vec<f32> {
        let (row, mut out) = (&self.rows[y], vec![0.0; self.width]);
        for (weight, line) in row.weights.iter().zip(x[row.first * self.width..].chunks_exact(self.width)) {
            add_scaled(isa, *weight, line, &mut out);
        }
        out
    }

    /// Calls `f(taps, class, logits)` for every pixel of a row that counts.
    fn for_pixels(
        &self,
        isa: Isa,
        x: &[f32],
        (y, labels): (usize, &[u8]),
        mut f: impl FnMut(&Taps, usize, &[f32]),
    ) {
        let (cells, mut pixel) = (self.blended(isa, x, y), vec![0.0; self.classes]);
        for (taps, &label) in self.columns.iter().zip(labels) {
            let class = usize::from(label);
            if class >= self.classes {
                continue;
            }
            pixel.fill(0.0);
            let own = cells[taps.first * self.classes..].chunks_exact(self.classes);
            taps.weights
                .iter()
                .zip(own)
                .for_each(|(&weight, cell)| add_scaled(isa, weight, cell, &mut pixel));
            f(taps, class, &pixel);
        }
    }
}

/// Σ over pixels of weight · −ln softmax(logits)[class], the same sum at any number of threads.
///
/// # Shapes
/// `x`: `shape` `[n, h, w, classes]`, resized to the size of the labels (bilinear, `align_corners` false).
///
/// # Panics
/// When a length does not fit.
pub fn pixel_cross_entropy(x: &[f32], shape: [usize; 4], how: &PixelLabels<'_>) -> f64 {
    let (grid, isa) = (Grid::new(x, shape, how), Isa::current());
    let [height, width] = how.size;
    let of_row = |i: usize| {
        let (picture, y) = (i / height, i % height);
        let x = &x[picture * x.len() / grid.n..][..x.len() / grid.n];
        let (mut sum, mut row_exp) = (0.0f64, vec![0.0; grid.classes]);
        grid.for_pixels(isa, x, (y, &how.labels[i * width..][..width]), |_, class, pixel| {
            let (most, total) = exp_row(isa, pixel, &mut row_exp);
            sum += f64::from(how.weights[class] * (total.ln() + (most - pixel[class])));
        });
        sum
    };
    let sums: Vec<f64> = (0..grid.n * height).into_par_iter().map(of_row).collect();
    sums.iter().sum()
}

/// dx of [`pixel_cross_entropy`], times `scale`.
///
/// # Panics
/// When a length does not fit.
pub fn pixel_cross_entropy_grad(
    x: &[f32],
    shape: [usize; 4],
    how: &PixelLabels<'_>,
    scale: f32,
    dx: &mut [f32],
) {
    assert_eq!(x.len(), dx.len(), "gradient of logits");
    let (grid, isa) = (Grid::new(x, shape, how), Isa::current());
    let [height, width] = how.size;
    if x.is_empty() {
        return;
    }
    let readers = readers(&grid.rows, shape[1]);
    let size = x.len() / grid.n;
    let pictures =
        x.chunks_exact(size).zip(dx.chunks_exact_mut(size)).zip(how.labels.chunks_exact(height * width));
    for ((x, dx), labels) in pictures {
        // what every row of pixels sends to the cells of its blended row
        let of_row = |y: usize| {
            let (mut sent, mut slope) = (vec![0.0; grid.width], vec![0.0; grid.classes]);
            grid.for_pixels(isa, x, (y, &labels[y * width..][..width]), |taps, class, pixel| {
                let factor = scale * how.weights[class];
                let share = factor / exp_row(isa, pixel, &mut slope).1;
                slope.iter_mut().for_each(|v| *v *= share);
                slope[class] -= factor;
                let cells = sent[taps.first * grid.classes..].chunks_exact_mut(grid.classes);
                taps.weights
                    .iter()
                    .zip(cells)
                    .for_each(|(&weight, cell)| add_scaled(isa, weight, &slope, cell));
            });
            sent
        };
        let sent: Vec<Vec<f32>> = (0..height).into_par_iter().map(of_row).collect();
        dx.par_chunks_exact_mut(grid.width).zip(&readers).for_each(|(dx, readers)| {
            dx.fill(0.0);
            readers.iter().for_each(|&(y, weight)| add_scaled(isa, weight, &sent[y], dx));
        });
    }
}

/// For every row of cells the rows of pixels that read it, ascending, with their weights.
fn readers(rows: &[Taps], cells: usize) -> Vec<Vec<(usize, f32)>> {
    let mut readers = vec![Vec::new(); cells];
    for (y, taps) in rows.iter().enumerate() {
        for (k, &weight) in taps.weights.iter().enumerate() {
            readers[taps.first + k].push((y, weight));
        }
    }
    readers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward::{bilinear_grad, cross_entropy, cross_entropy_grad};
    use crate::map::{Map, MapMut};
    use crate::resample::bilinear;

    #[test]
    fn it_is_a_resize_and_a_cross_entropy_at_any_number_of_threads() {
        let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_769) >> 8) as f32 / (1 << 22) as f32 - 2.0;
        for (shape, size) in [([2, 5, 4, 3], [17, 16]), ([1, 3, 6, 20], [3, 6]), ([2, 4, 4, 5], [9, 7])] {
            let [n, _, _, c] = shape;
            let x: Vec<f32> = (0..shape.iter().product()).map(noise).collect();
            let pixels = n * size[0] * size[1];
            let labels: Vec<u8> =
                (0..pixels).map(|i| if i % 7 == 3 { 255 } else { (i * 5 % c) as u8 }).collect();
            let weights: Vec<f32> = (0..c).map(|i| 0.5 + i as f32).collect();
            let how = PixelLabels { size, labels: &labels, weights: &weights };

            let mut full = vec![0.0; pixels * c];
            let to = [n, size[0], size[1], c];
            bilinear(Map::dense(&x, shape), MapMut::dense(&mut full, to), false);
            let targets: Vec<u32> = labels.iter().map(|&l| u32::from(l)).collect();
            let mut each = vec![0.0; pixels];
            cross_entropy(&full, &targets, c, &mut each);
            let weight = |l: u8| weights.get(usize::from(l)).copied().unwrap_or(0.0);
            let want: f64 = each.iter().zip(&labels).map(|(e, &l)| f64::from(e * weight(l))).sum();
            let slopes: Vec<f32> = labels.iter().map(|&l| 0.3 * weight(l)).collect();
            let (mut dfull, mut wanted) = (vec![0.0; full.len()], vec![0.0; x.len()]);
            cross_entropy_grad(&full, &targets, c, &slopes, &mut dfull);
            bilinear_grad(&dfull, shape, (size[0], size[1]), false, &mut wanted);

            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut dx = vec![f32::NAN; x.len()];
                pool.install(|| pixel_cross_entropy_grad(&x, shape, &how, 0.3, &mut dx));
                (pool.install(|| pixel_cross_entropy(&x, shape, &how)), dx)
            };
            let (sum, dx) = run(1);
            assert!((sum - want).abs() <= 1e-5 * want.abs(), "{sum}, want {want}");
            for (got, want) in dx.iter().zip(&wanted) {
                assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "{got}, want {want}");
            }
            assert!(run(3) == (sum, dx), "three threads");
        }
    }
}
