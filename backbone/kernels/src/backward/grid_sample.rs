//! Bilinear sampling at given places, zeros outside, half-pixel convention (`align_corners = false`).

use rayon::prelude::*;

/// Sizes of one sampling: `x [n, h, w, c]`, `grid [n, ho, wo, 2]` (x then y in −1..1), result `[n, ho, wo, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridSampleShape {
    /// Input dimensions `[n, h, w, c]`.
    pub dims: [usize; 4],
    /// Output (height, width).
    pub out: (usize, usize),
}

impl GridSampleShape {
    fn check(&self, x: usize, grid: usize, y: usize) {
        let [n, h, w, c] = self.dims;
        let pixels = n * self.out.0 * self.out.1;
        assert!(x == n * h * w * c && grid == 2 * pixels && y == pixels * c, "grid_sample {self:?}");
    }

    /// The four neighbours of a place: (offset of the pixel or none, weight, ∂weight/∂x, ∂weight/∂y), and the pixels per unit.
    fn corners(&self, place: &[f32]) -> [(Option<usize>, f32, f32, f32); 4] {
        let [_, h, w, c] = self.dims;
        // The arithmetic of PyTorch's grid_sampler_unnormalize.
        let x = ((place[0] + 1.0) * w as f32 - 1.0) / 2.0;
        let y = ((place[1] + 1.0) * h as f32 - 1.0) / 2.0;
        let (x0, y0) = (x.floor(), y.floor());
        let (fx, fy) = (x - x0, y - y0);
        let corner = |dx: f32, dy: f32| {
            let (px, py) = (x0 + dx, y0 + dy);
            let inside = px >= 0.0 && py >= 0.0 && px < w as f32 && py < h as f32;
            let (wx, wy) = (if dx > 0.0 { fx } else { 1.0 - fx }, if dy > 0.0 { fy } else { 1.0 - fy });
            let (sx, sy) = (2.0 * dx - 1.0, 2.0 * dy - 1.0);
            (inside.then(|| (py as usize * w + px as usize) * c), wx * wy, sx * wy, wx * sy)
        };
        [corner(0.0, 0.0), corner(1.0, 0.0), corner(0.0, 1.0), corner(1.0, 1.0)]
    }
}

/// Samples `x` at `grid`.
pub fn grid_sample(x: &[f32], grid: &[f32], shape: &GridSampleShape, y: &mut [f32]) {
    shape.check(x.len(), grid.len(), y.len());
    let [_, h, w, c] = shape.dims;
    let row = shape.out.1 * c;
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(row).zip(grid.par_chunks(2 * shape.out.1)).enumerate().for_each(|(i, (y, grid))| {
        let x = &x[i / shape.out.0 * h * w * c..][..h * w * c];
        for (y, place) in y.chunks_exact_mut(c).zip(grid.chunks_exact(2)) {
            y.fill(0.0);
            for (at, weight, ..) in shape.corners(place) {
                if let Some(at) = at {
                    y.iter_mut().zip(&x[at..at + c]).for_each(|(o, v)| *o += weight * v);
                }
            }
        }
    });
}

/// Gradients (dx, dgrid) of [`grid_sample`].
pub fn grid_sample_grad(
    x: &[f32],
    grid: &[f32],
    dy: &[f32],
    shape: &GridSampleShape,
) -> (Vec<f32>, Vec<f32>) {
    shape.check(x.len(), grid.len(), dy.len());
    let [_, h, w, c] = shape.dims;
    let (mut dx, mut dgrid) = (vec![0.0; x.len()], vec![0.0; grid.len()]);
    let places = shape.out.0 * shape.out.1;
    if dy.is_empty() || x.is_empty() {
        return (dx, dgrid);
    }
    let (half_w, half_h) = (w as f32 / 2.0, h as f32 / 2.0);
    // Places may share pixels, so one picture is one task.
    let pictures = dx.par_chunks_mut(h * w * c).zip(dgrid.par_chunks_mut(2 * places)).enumerate();
    pictures.for_each(|(i, (dx, dgrid))| {
        let x = &x[i * h * w * c..][..h * w * c];
        let grid = &grid[i * 2 * places..][..2 * places];
        let dy = &dy[i * places * c..][..places * c];
        let rows = grid.chunks_exact(2).zip(dgrid.chunks_exact_mut(2)).zip(dy.chunks_exact(c));
        for ((place, dplace), dy) in rows {
            for (at, weight, slope_x, slope_y) in shape.corners(place) {
                let Some(at) = at else { continue };
                let dot: f32 = x[at..at + c].iter().zip(dy).map(|(v, g)| v * g).sum();
                dplace[0] += dot * slope_x * half_w;
                dplace[1] += dot * slope_y * half_h;
                dx[at..at + c].iter_mut().zip(dy).for_each(|(o, g)| *o += weight * g);
            }
        }
    });
    (dx, dgrid)
}
