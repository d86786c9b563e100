//! A small map of mask logits, pasted into a picture: sigmoid, bilinear resize to the box, threshold.
//!
//! As mmdetection's `FCNMaskHead`: the value of a pixel is the bilinear sample at its centre (`align_corners` false, zeros outside
//! of the map), and a pixel is inside from the threshold on. Only the box is looked at, and only run lengths leave.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/roi_heads/mask_heads/fcn_mask_head.py>

/// Run lengths down the columns of a picture of `height × width`, background first, as COCO stores masks.
///
/// `logits` are `size × size`, row by row; `bbox` is x0, y0, x1, y1 in pixels of that picture. A box without an area has no pixels (mmdetection
/// gives it the mask's middle).
///
/// # Panics
/// When `logits` has not `size × size` values.
pub fn paste_mask(
    logits: &[f32],
    size: usize,
    bbox: [f32; 4],
    picture: [u32; 2],
    threshold: f32,
) -> Vec<u32> {
    assert_eq!(logits.len(), size * size, "logits of a {size} × {size} mask");
    let [height, width] = picture;
    let probabilities: Vec<f32> = logits.iter().map(|&x| 1.0 / (1.0 + (-x).exp())).collect();
    let mut runs = Runs { counts: Vec::new(), inside: false, length: 0 };
    let [x0, y0, x1, y1] = bbox;
    let mut next = 0; // first pixel, column by column, that has not been counted
    if x1 > x0 && y1 > y0 && size > 0 {
        let rows: Vec<Sample> = pixels(y0, y1, height).map(|y| Sample::new(y, (y0, y1), size)).collect();
        let top = pixels(y0, y1, height).start;
        for x in pixels(x0, x1, width) {
            let column = blended(&probabilities, size, Sample::new(x, (x0, x1), size));
            let first = u64::from(x) * u64::from(height) + u64::from(top);
            runs.push(false, first - next);
            for row in &rows {
                runs.push(row.of(|i| column[i]) >= threshold, 1);
            }
            next = first + rows.len() as u64;
        }
    }
    runs.push(false, u64::from(height) * u64::from(width) - next);
    runs.counts.push(runs.length as u32);
    runs.counts
}

/// Pixels whose centres can lie in the box or within a pixel of it.
fn pixels(low: f32, high: f32, side: u32) -> std::ops::Range<u32> {
    let first = (low.floor() - 1.0).clamp(0.0, side as f32) as u32;
    first..((high.ceil() + 1.0).clamp(0.0, side as f32) as u32).max(first)
}

/// Two neighbours of a map and the share of the second; a neighbour outside is `None`.
struct Sample {
    low: Option<usize>,
    high: Option<usize>,
    share: f32,
}

impl Sample {
    /// The arithmetic of `grid_sample`, step by step in f32.
    fn new(pixel: u32, (low, high): (f32, f32), size: usize) -> Self {
        let grid = (pixel as f32 + 0.5 - low) / (high - low) * 2.0 - 1.0;
        let position = ((grid + 1.0) * size as f32 - 1.0) / 2.0;
        let floor = position.floor();
        let cell = |v: f32| (v >= 0.0 && v < size as f32).then_some(v as usize);
        Self { low: cell(floor), high: cell(floor + 1.0), share: position - floor }
    }

    fn of(&self, value: impl Fn(usize) -> f32) -> f32 {
        let at = |i: Option<usize>| i.map_or(0.0, &value);
        at(self.low) * (1.0 - self.share) + at(self.high) * self.share
    }
}

/// The map at a column between its own.
fn blended(map: &[f32], size: usize, x: Sample) -> Vec<f32> {
    (0..size).map(|y| x.of(|i| map[y * size + i])).collect()
}

struct Runs {
    counts: Vec<u32>,
    inside: bool,
    length: u64,
}

impl Runs {
    fn push(&mut self, inside: bool, length: u64) {
        if length > 0 && inside != self.inside {
            self.counts.push(self.length as u32);
            (self.inside, self.length) = (inside, 0);
        }
        self.length += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_mask_fills_its_box() {
        // box of 2 × 3 pixels at (1, 1) in 4 × 5
        let counts = paste_mask(&[9.0; 16], 4, [1.0, 1.0, 3.0, 4.0], [5, 4], 0.5);
        assert_eq!(counts, [6, 3, 2, 3, 6]);
        assert_eq!(paste_mask(&[-9.0; 16], 4, [1.0, 1.0, 3.0, 4.0], [5, 4], 0.5), [20]);
    }

    #[test]
    fn boxes_outside_and_without_area_have_no_pixels() {
        for bbox in [[9.0, 9.0, 12.0, 12.0], [-9.0, -9.0, -2.0, -3.0], [2.0, 2.0, 2.0, 4.0], [f32::NAN; 4]] {
            assert_eq!(paste_mask(&[9.0; 4], 2, bbox, [5, 4], 0.5), [20], "{bbox:?}");
        }
    }

    #[test]
    fn a_mask_that_covers_everything_is_one_run() {
        assert_eq!(paste_mask(&[9.0; 4], 2, [-1.0, -1.0, 6.0, 7.0], [5, 4], 0.5), [0, 20]);
    }
}
