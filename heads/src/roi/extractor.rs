//! Features of boxes from the pyramid level that suits their size: mmdetection's `SingleRoIExtractor`.
//!
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/roi_heads/roi_extractors/single_level_roi_extractor.py>

use candle_core::Tensor;
use care_kernels::map::Map;
use care_kernels::roi_align::{Roi, RoiAlign, roi_align};
use care_kernels::scratch::{self, Scratch};
use care_nn::{Error, Result, ops};

/// Takes features of boxes at one resolution.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiExtractor {
    /// Rows and columns of the features.
    pub size: usize,
    /// Network pixels per cell of each level that boxes may come from, finest first.
    pub strides: Vec<u32>,
    /// Boxes up to twice this side (the square root of their area, pixels) come from the finest level; every doubling is a level.
    pub finest_scale: f32,
}

/// Boxes ordered by the level they come from: position `k` holds box `order[k]`; within a level boxes keep their order.
pub struct ByLevel {
    /// Number of the box at each position.
    pub order: Vec<usize>,
    /// Boxes of each level.
    counts: Vec<usize>,
}

impl ByLevel {
    /// Rows that were computed by position, by box.
    pub fn restore<T: Copy + Default>(&self, rows: &[T], width: usize) -> Vec<T> {
        let mut out = vec![T::default(); rows.len()];
        for (row, &i) in rows.chunks_exact(width.max(1)).zip(&self.order) {
            out[i * width..][..width].copy_from_slice(row);
        }
        out
    }
}

impl RoiExtractor {
    /// The level of a box.
    pub fn level(&self, [x0, y0, x1, y1]: [f32; 4]) -> usize {
        let side = ((x1 - x0) * (y1 - y0)).sqrt();
        let level = (side / self.finest_scale + 1e-6).log2().floor();
        level.clamp(0.0, self.strides.len() as f32 - 1.0) as usize
    }

    /// Groups boxes by level.
    pub fn by_level(&self, rois: &[Roi]) -> ByLevel {
        let levels: Vec<usize> = rois.iter().map(|r| self.level(r.bbox)).collect();
        let mut order: Vec<usize> = (0..rois.len()).collect();
        order.sort_by_key(|&i| levels[i]);
        let counts = (0..self.strides.len()).map(|l| levels.iter().filter(|&&k| k == l).count()).collect();
        ByLevel { order, counts }
    }

    /// Features `[rois, size, size, C]` by position of `by`; differentiable.
    ///
    /// # Errors
    /// `Internal` without boxes, or when there are fewer maps than strides.
    pub fn train(&self, maps: &[Tensor], rois: &[Roi], by: &ByLevel) -> Result<Tensor> {
        let mut parts = Vec::new();
        for (level, rois) in self.parts(rois, by)? {
            let map = maps.get(level).ok_or_else(|| self.too_few(maps.len()))?;
            parts.push(ops::roi_align(map, &rois, self.align(level))?);
        }
        match parts.len() {
            0 => Err(Error::internal("features of no box")),
            1 => Ok(parts.swap_remove(0)),
            _ => Ok(Tensor::cat(&parts, 0)?),
        }
    }

    /// The same on slices.
    pub(crate) fn infer(&self, maps: &[Map<'_>], rois: &[Roi], by: &ByLevel) -> Result<Scratch> {
        let channels = maps.first().map_or(0, |m| m.c);
        let volume = self.size * self.size * channels;
        let mut out = scratch::take(rois.len() * volume);
        let mut rest = &mut out[..];
        for (level, rois) in self.parts(rois, by)? {
            let map = maps.get(level).ok_or_else(|| self.too_few(maps.len()))?;
            let (part, tail) = rest.split_at_mut(rois.len() * volume);
            roi_align(*map, &rois, self.align(level), part);
            rest = tail;
        }
        Ok(out)
    }

    /// The boxes of each level that has some.
    fn parts(&self, rois: &[Roi], by: &ByLevel) -> Result<Vec<(usize, Vec<Roi>)>> {
        if by.order.len() != rois.len() {
            return Err(Error::internal(format!("{} boxes grouped as {}", rois.len(), by.order.len())));
        }
        let mut rest = &by.order[..];
        let mut parts = Vec::new();
        for (level, &count) in by.counts.iter().enumerate() {
            let (here, tail) = rest.split_at(count);
            if count > 0 {
                parts.push((level, here.iter().map(|&i| rois[i]).collect()));
            }
            rest = tail;
        }
        Ok(parts)
    }

    fn align(&self, level: usize) -> RoiAlign {
        RoiAlign { size: self.size, sampling: 0, scale: 1.0 / self.strides[level] as f32 }
    }

    fn too_few(&self, maps: usize) -> Error {
        Error::internal(format!("{maps} maps for boxes on {} levels", self.strides.len()))
    }
}
