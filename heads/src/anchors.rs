//! Anchor boxes of a feature pyramid, bit for bit as mmdetection's `AnchorGenerator`.
//!
//! An anchor is `base anchor + shift` in f32: the matcher breaks ties by float equality, and anchors
//! computed in f64 assign up to 25 of 3,852 priors differently.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/task_modules/prior_generators/anchor_generator.py>

use care_nn::{Error, Result};
use care_types::{BoxXyxy, Size};
use serde::{Deserialize, Serialize};

/// Shapes and strides of the anchors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorConfig {
    /// Pixels of the network's input per cell, one per pyramid level; also the base size of the level.
    pub strides: Vec<u32>,
    /// Height / width of each shape.
    pub ratios: Vec<f64>,
    /// Side of the smallest anchor in strides.
    pub base_scale: f64,
    /// Sizes per octave: `base_scale * 2^(i / scales_per_octave)`.
    pub scales_per_octave: usize,
}

impl AnchorConfig {
    /// RetinaNet: 9 anchors of base 4 in 3 octave steps, strides 8 to 128.
    pub fn retinanet() -> Self {
        let strides = vec![8, 16, 32, 64, 128];
        Self { strides, ratios: vec![0.5, 1.0, 2.0], base_scale: 4.0, scales_per_octave: 3 }
    }

    /// Region proposals of Mask R-CNN: 3 anchors of base 8, strides 4 to 64.
    pub fn rpn() -> Self {
        let strides = vec![4, 8, 16, 32, 64];
        Self { strides, ratios: vec![0.5, 1.0, 2.0], base_scale: 8.0, scales_per_octave: 1 }
    }

    /// Anchors per cell.
    pub fn per_cell(&self) -> usize {
        self.ratios.len() * self.scales_per_octave
    }
}

/// Height and width of a feature map in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Grid {
    /// Number of cells.
    pub fn cells(self) -> usize {
        self.height * self.width
    }
}

/// The base anchors of each level; a grid of cells shifts them.
#[derive(Clone, Debug)]
pub struct AnchorGenerator {
    strides: Vec<u32>,
    base: Vec<Vec<BoxXyxy>>,
}

impl AnchorGenerator {
    /// # Errors
    /// `Config` when a list is empty or a number is not positive and finite.
    pub fn new(config: &AnchorConfig) -> Result<Self> {
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if config.strides.is_empty() || config.strides.contains(&0) {
            return Err(Error::config("anchors.strides: expected at least one stride, none of them 0"));
        }
        if config.ratios.is_empty() || !config.ratios.iter().all(|&r| positive(r)) {
            return Err(Error::config(format!(
                "anchors.ratios: expected positive numbers, got {:?}",
                config.ratios
            )));
        }
        if !positive(config.base_scale) || config.scales_per_octave == 0 {
            let (base, steps) = (config.base_scale, config.scales_per_octave);
            return Err(Error::config(format!(
                "anchors: expected base_scale > 0 and scales_per_octave >= 1, got {base} and {steps}"
            )));
        }
        let base = config.strides.iter().map(|&s| base_anchors(s, config)).collect();
        Ok(Self { strides: config.strides.clone(), base })
    }

    /// Number of pyramid levels.
    pub fn levels(&self) -> usize {
        self.strides.len()
    }

    /// Anchors per cell (the same on every level).
    pub fn per_cell(&self) -> usize {
        self.base[0].len()
    }

    /// The anchors of a cell centred at (0, 0), ratio-major, then scale.
    pub fn base(&self, level: usize) -> &[BoxXyxy] {
        &self.base[level]
    }

    /// Anchor `index` of a level whose map is `grid_width` cells wide; order y, x, anchor. Network pixels.
    #[inline]
    pub fn anchor(&self, level: usize, grid_width: usize, index: usize) -> BoxXyxy {
        let (cell, a) = (index / self.per_cell(), index % self.per_cell());
        let stride = self.strides[level] as f32;
        let (x, y) = ((cell % grid_width) as f32 * stride, (cell / grid_width) as f32 * stride);
        let b = &self.base[level][a];
        BoxXyxy { x0: b.x0 + x, y0: b.y0 + y, x1: b.x1 + x, y1: b.y1 + y }
    }

    /// All anchors of a level, order y, x, anchor. Network pixels.
    pub fn grid_anchors(&self, level: usize, grid: Grid) -> Vec<BoxXyxy> {
        (0..grid.cells() * self.per_cell()).map(|i| self.anchor(level, grid.width, i)).collect()
    }

    /// The part of a level's grid whose cells start inside the padded picture: `ceil(padded / stride)` cells.
    pub fn valid_grid(&self, level: usize, grid: Grid, padded: Size) -> Grid {
        let stride = self.strides[level];
        Grid {
            height: grid.height.min(padded.height.div_ceil(stride) as usize),
            width: grid.width.min(padded.width.div_ceil(stride) as usize),
        }
    }

    /// One flag per anchor of [`Self::grid_anchors`]: whether its cell lies in [`Self::valid_grid`].
    pub fn valid_flags(&self, level: usize, grid: Grid, padded: Size) -> Vec<bool> {
        let valid = self.valid_grid(level, grid, padded);
        let per_cell = self.per_cell();
        let inside = |cell: usize| cell / grid.width < valid.height && cell % grid.width < valid.width;
        (0..grid.cells()).flat_map(|cell| std::iter::repeat_n(inside(cell), per_cell)).collect()
    }
}

/// mmdetection computes the scales in f64 and stores them as f32; everything after is f32.
fn base_anchors(stride: u32, config: &AnchorConfig) -> Vec<BoxXyxy> {
    let size = stride as f32;
    let steps = config.scales_per_octave;
    let scale = |i: usize| ((2f64).powf(i as f64 / steps as f64) * config.base_scale) as f32;
    let mut out = Vec::with_capacity(config.per_cell());
    for &ratio in &config.ratios {
        let h_ratio = (ratio as f32).sqrt();
        let w_ratio = 1.0 / h_ratio;
        for i in 0..steps {
            let (w, h) = (size * w_ratio * scale(i), size * h_ratio * scale(i));
            out.push(BoxXyxy { x0: -0.5 * w, y0: -0.5 * h, x1: 0.5 * w, y1: 0.5 * h });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_base_plus_shift_in_order_y_x_anchor() {
        let g = AnchorGenerator::new(&AnchorConfig::rpn()).unwrap();
        let grid = Grid { height: 2, width: 3 };
        let all = g.grid_anchors(1, grid);
        assert_eq!(all.len(), 2 * 3 * 3);
        // cell (y 1, x 2), second shape (ratio 1): a 64-pixel square around (16, 8)
        assert_eq!(all[(3 + 2) * 3 + 1], BoxXyxy { x0: -16., y0: -24., x1: 48., y1: 40. });
    }

    #[test]
    fn cells_that_start_in_the_padding_are_invalid() {
        let g = AnchorGenerator::new(&AnchorConfig::rpn()).unwrap();
        let flags = g.valid_flags(0, Grid { height: 3, width: 3 }, Size { width: 5, height: 8 });
        let cells: Vec<bool> = flags.iter().step_by(3).copied().collect();
        assert_eq!(cells, [true, true, false, true, true, false, false, false, false]);
    }

    #[test]
    fn unusable_settings_are_config_errors() {
        let bad = |f: fn(&mut AnchorConfig)| {
            let mut c = AnchorConfig::retinanet();
            f(&mut c);
            AnchorGenerator::new(&c).unwrap_err().kind()
        };
        assert_eq!(bad(|c| c.strides.clear()), care_nn::ErrorKind::Config);
        assert_eq!(bad(|c| c.ratios[0] = 0.0), care_nn::ErrorKind::Config);
        assert_eq!(bad(|c| c.scales_per_octave = 0), care_nn::ErrorKind::Config);
    }
}
