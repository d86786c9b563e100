//! What the mask of a region should be: the object's mask, cut out by the region and resampled.
//!
//! As mmdetection's `BitmapMasks.crop_and_resize`: RoIAlign of the bitmap at scale 1, then inside from one half on.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/structures/mask/structures.py>

use care_kernels::map::Map;
use care_kernels::roi_align::{Roi, RoiAlign, roi_align};
use care_types::{Rle, Size};

/// The share of the mask at each cell of a `size × size` grid over each box, row by row, before the threshold.
pub fn mask_shares(mask: &Rle, boxes: &[[f32; 4]], size: usize) -> Vec<f32> {
    let Size { width, height } = mask.size();
    let bitmap: Vec<f32> = mask.to_mask().into_iter().map(f32::from).collect();
    let map = Map::dense(&bitmap, [1, height as usize, width as usize, 1]);
    let inside = |[x0, y0, x1, y1]: [f32; 4]| {
        let (w, h) = (width as f32, height as f32);
        [x0.clamp(0.0, w), y0.clamp(0.0, h), x1.clamp(0.0, w), y1.clamp(0.0, h)]
    };
    let rois: Vec<Roi> = boxes.iter().map(|&b| Roi { image: 0, bbox: inside(b) }).collect();
    let mut out = vec![0.0; boxes.len() * size * size];
    roi_align(map, &rois, RoiAlign { size, sampling: 0, scale: 1.0 }, &mut out);
    out
}

/// [`mask_shares`], 1 from one half on and 0 below.
pub fn mask_targets(mask: &Rle, boxes: &[[f32; 4]], size: usize) -> Vec<f32> {
    mask_shares(mask, boxes, size).into_iter().map(|v| f32::from(u8::from(v >= 0.5))).collect()
}
