//! Detections drawn over their picture: masks, boxes and labels in the colours of their classes.
//!
//! Whatever a detection holds, drawing does not fail: boxes are clipped to the picture, and a box with a coordinate that
//! is no number, or a mask of another size, is left out.

use care_types::{Detection, LabelMap, Rle};
use image::{Rgb, RgbImage};
use imageproc::drawing::draw_filled_rect_mut;
use imageproc::rect::Rect;

use crate::label::{Area, Plate};

/// What is drawn, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverlayOptions {
    /// Detections below this score are left out.
    pub min_score: f32,
    /// Whether labels show the score (ground truth has none).
    pub scores: bool,
    /// Share of the class colour inside a mask: 0 shows only its outline.
    pub mask_opacity: f32,
    /// Width of lines in pixels; by default it follows the picture's size.
    pub line_width: Option<u32>,
}

impl Default for OverlayOptions {
    fn default() -> Self {
        Self { min_score: 0.0, scores: true, mask_opacity: 0.45, line_width: None }
    }
}

/// A copy of the picture with the detections drawn over it.
///
/// Sure detections are drawn over unsure ones; between equal scores the earlier one is on top.
pub fn overlay(
    picture: &RgbImage,
    detections: &[Detection],
    labels: &LabelMap,
    options: &OverlayOptions,
) -> RgbImage {
    let mut out = picture.clone();
    let mut shown: Vec<&Detection> = detections.iter().filter(|d| d.score >= options.min_score).collect();
    shown.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable: ties keep their order
    let style = Style::new(picture, options);
    for d in shown.iter().rev() {
        if let Some(mask) = d.mask.as_ref().filter(|m| (m.width, m.height) == picture.dimensions()) {
            style.fill_mask(&mut out, mask, labels.color(d.class));
        }
    }
    for d in shown.iter().rev() {
        if let Some(area) = visible_area(d, picture) {
            style.draw_box(&mut out, area, labels.color(d.class));
        }
    }
    style.draw_labels(&mut out, &shown, labels, options.scores);
    out
}

/// The pixels that a box covers inside the picture, if any.
fn visible_area(d: &Detection, picture: &RgbImage) -> Option<Area> {
    let b = d.bbox;
    if b.to_array().iter().any(|v| !v.is_finite()) || b.x1 < b.x0 || b.y1 < b.y0 {
        return None;
    }
    let side = |low: f32, high: f32, limit: u32| {
        let low = low.round().clamp(0.0, limit as f32) as i32;
        let high = high.round().clamp(0.0, limit as f32) as i32;
        // A box thinner than a pixel is still drawn, unless it lies outside.
        (low < limit as i32 && (high > 0 || low > 0)).then(|| (low, (high - low).max(1)))
    };
    let (x, width) = side(b.x0, b.x1, picture.width())?;
    let (y, height) = side(b.y0, b.y1, picture.height())?;
    Some(Area { x, y, width, height })
}

/// Sizes that follow from the picture and the options.
struct Style {
    line: i32,
    text: f32,
    /// Of the class colour inside masks, in 256ths.
    opacity: u32,
}

impl Style {
    fn new(picture: &RgbImage, options: &OverlayOptions) -> Self {
        let side = picture.width().min(picture.height()) as f32;
        // 2 pixels and a 14-pixel text on a picture of 640×480, growing in proportion.
        let line = options.line_width.unwrap_or(((side / 240.0).round() as u32).clamp(1, 16));
        let opacity = (options.mask_opacity.clamp(0.0, 1.0) * 256.0) as u32;
        Self { line: line.clamp(1, 1 << 12) as i32, text: (side / 34.0).clamp(11.0, 80.0), opacity }
    }

    fn fill_mask(&self, out: &mut RgbImage, mask: &Rle, color: [u8; 3]) {
        let (w, h) = (mask.width as usize, mask.height as usize);
        let inside = mask.to_mask();
        let reach = (self.line as usize).div_ceil(2);
        // Within `reach` of a pixel that is outside the mask. The picture's border is no outline.
        let near_edge = |x: usize, y: usize| {
            (1..=reach).any(|d| {
                (x >= d && inside[y * w + x - d] == 0)
                    || (x + d < w && inside[y * w + x + d] == 0)
                    || (y >= d && inside[(y - d) * w + x] == 0)
                    || (y + d < h && inside[(y + d) * w + x] == 0)
            })
        };
        let bounds = mask.bbox();
        let [x0, y0, x1, y1] =
            [bounds.x, bounds.y, bounds.x + bounds.w, bounds.y + bounds.h].map(|v| v as usize);
        for (x, y) in (y0..y1).flat_map(|y| (x0..x1).map(move |x| (x, y))) {
            if inside[y * w + x] == 0 {
                continue;
            }
            let share = if near_edge(x, y) { 256 } else { self.opacity };
            let pixel = out.get_pixel_mut(x as u32, y as u32);
            for (value, target) in pixel.0.iter_mut().zip(color) {
                *value = ((u32::from(*value) * (256 - share) + u32::from(target) * share) >> 8) as u8;
            }
        }
    }

    /// Four bars inside the area.
    fn draw_box(&self, out: &mut RgbImage, area: Area, color: [u8; 3]) {
        let Area { x, y, width, height } = area;
        let (across, down) = (self.line.min(width), self.line.min(height));
        let mut bar = |x: i32, y: i32, width: i32, height: i32| {
            // `area` has at least one pixel per side, so no bar is empty.
            let rect = Rect::at(x, y).of_size(width as u32, height as u32);
            draw_filled_rect_mut(out, rect, Rgb(color));
        };
        bar(x, y, width, down);
        bar(x, y + height - down, width, down);
        bar(x, y, across, height);
        bar(x + width - across, y, across, height);
    }

    /// Places are given to sure detections first; a label that would hide another one is left out, and so is, in a
    /// crowded picture, one that is larger than its object. The colour of the box still tells the class.
    fn draw_labels(&self, out: &mut RgbImage, shown: &[&Detection], labels: &LabelMap, scores: bool) {
        let size = [out.width() as i32, out.height() as i32];
        let crowded = shown.len() > CROWD;
        let scale = if crowded { (self.text * 0.8).max(10.0) } else { self.text };
        let mut taken: Vec<Area> = Vec::new();
        for d in shown {
            let Some(area) = visible_area(d, out) else { continue };
            let name = labels.name(d.class);
            let text = if scores { format!("{name} {:.2}", d.score) } else { name };
            let plate = Plate::new(&text, labels.color(d.class), scale);
            if crowded && plate.width * plate.height > area.width * area.height {
                continue;
            }
            if let Some(place) = plate.place(area, size, &taken) {
                plate.draw(out, place);
                taken.push(place);
            }
        }
    }
}

/// With more detections than this, labels would hide the picture.
const CROWD: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;
    use care_types::{BoxXyxy, ClassIndex};

    fn detection(bbox: [f32; 4], score: f32) -> Detection {
        Detection { class: ClassIndex(1), score, bbox: BoxXyxy::from(bbox), mask: None }
    }

    fn labels() -> LabelMap {
        LabelMap::from_names(&["cat", "dog"], 1)
    }

    fn grey(w: u32, h: u32) -> RgbImage {
        RgbImage::from_pixel(w, h, Rgb([100; 3]))
    }

    #[test]
    fn a_box_is_drawn_on_its_border_in_the_colour_of_its_class() {
        let out = overlay(
            &grey(200, 100),
            &[detection([20.0, 40.0, 120.0, 90.0], 0.5)],
            &labels(),
            &Default::default(),
        );
        let color = Rgb(labels().color(ClassIndex(1)));
        for (x, y) in [(20, 60), (119, 60), (70, 40), (70, 89), (119, 89)] {
            assert_eq!(out.get_pixel(x, y), &color, "{x},{y}");
        }
        for (x, y) in [(19, 60), (120, 60), (70, 90), (70, 60), (21, 60)] {
            assert_eq!(out.get_pixel(x, y), &Rgb([100; 3]), "{x},{y}");
        }
    }

    #[test]
    fn nothing_that_a_detection_can_hold_makes_drawing_fail() {
        let nan = f32::NAN;
        let odd = [
            [nan, 0.0, 5.0, 5.0],
            [0.0, 0.0, f32::INFINITY, 5.0],
            [-1e30, -1e30, 1e30, 1e30],
            [500.0, 500.0, 600.0, 600.0],
            [-50.0, -50.0, -10.0, -10.0],
            [30.0, 30.0, 10.0, 10.0],
            [5.0, 5.0, 5.0, 5.0],
            [0.2, 0.2, 0.4, 0.4],
            [39.9, 29.9, 40.0, 30.0],
        ];
        for (w, h) in [(40, 30), (1, 1), (1, 500), (3000, 2)] {
            for bbox in odd {
                for line_width in [None, Some(0), Some(1), Some(9999)] {
                    let mut d = detection(bbox, nan);
                    d.mask = Some(Rle::from_mask(&[1, 0, 1, 1], 2, 2).unwrap());
                    let options =
                        OverlayOptions { min_score: f32::NEG_INFINITY, line_width, ..Default::default() };
                    overlay(&grey(w, h), &[detection(bbox, 0.5), d], &labels(), &options);
                }
            }
        }
        let outside = [detection([500.0, 0.0, 600.0, 9.0], 1.0), detection([nan, 0.0, 5.0, 5.0], 1.0)];
        assert_eq!(overlay(&grey(40, 30), &outside, &labels(), &Default::default()), grey(40, 30));
    }

    #[test]
    fn scores_below_the_limit_are_left_out() {
        let options = OverlayOptions { min_score: 0.5, ..Default::default() };
        let out = overlay(&grey(90, 90), &[detection([20.0, 20.0, 70.0, 70.0], 0.49)], &labels(), &options);
        assert_eq!(out, grey(90, 90));
    }

    #[test]
    fn a_mask_is_blended_inside_with_an_outline_and_nowhere_else() {
        let mut data = vec![0u8; 60 * 50];
        (10..40).for_each(|y| (20..50).for_each(|x| data[y * 60 + x] = 1));
        let mut d = detection([f32::NAN; 4], 0.9); // no box and no label in the way
        d.mask = Some(Rle::from_mask(&data, 50, 60).unwrap());
        let out = overlay(
            &grey(60, 50),
            &[d],
            &labels(),
            &OverlayOptions { mask_opacity: 0.5, ..Default::default() },
        );
        let color = labels().color(ClassIndex(1));
        let half = color.map(|c| ((100 * 128 + u32::from(c) * 128) >> 8) as u8);
        assert_eq!(out.get_pixel(35, 25).0, half);
        assert_eq!(out.get_pixel(20, 25).0, color);
        assert_eq!(out.get_pixel(19, 25).0, [100; 3]);
    }
}
