//! The class of every pixel, drawn over its picture.

use care_types::{ClassIndex, LabelMap, SegTarget};
use image::RgbImage;

use crate::label::Plate;

/// A copy of the picture in the colours of its classes, with their names (largest first) down the left side. Ignored pixels stay as
/// they are; `opacity` is the share of the colour. A map of another size leaves the picture alone.
pub fn scene_overlay(picture: &RgbImage, map: &SegTarget, labels: &LabelMap, opacity: f32) -> RgbImage {
    let mut out = picture.clone();
    let size = map.size();
    if (size.width, size.height) != picture.dimensions() {
        return out;
    }
    let share = (opacity.clamp(0.0, 1.0) * 256.0) as u32;
    for (pixel, &class) in out.pixels_mut().zip(map.classes()).filter(|(_, c)| **c != SegTarget::IGNORE) {
        let color = labels.color(ClassIndex(usize::from(class)));
        for (value, target) in pixel.0.iter_mut().zip(color) {
            *value = ((u32::from(*value) * (256 - share) + u32::from(target) * share) >> 8) as u8;
        }
    }
    legend(&mut out, map, labels);
    out
}

/// Names that fit; the rest is left out.
fn legend(out: &mut RgbImage, map: &SegTarget, labels: &LabelMap) {
    let counts = map.counts();
    let mut present: Vec<usize> = (0..usize::from(SegTarget::IGNORE)).filter(|&c| counts[c] > 0).collect();
    present.sort_by_key(|&c| std::cmp::Reverse(counts[c]));
    let text = (out.width().min(out.height()) as f32 / 34.0).clamp(11.0, 80.0);
    let mut top = 0;
    for class in present.into_iter().map(ClassIndex) {
        let plate = Plate::new(&labels.name(class), labels.color(class), text);
        if top + plate.height > out.height() as i32 {
            break;
        }
        plate.draw_at(out, [0, top]);
        top += plate.height;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use care_types::Size;

    #[test]
    fn classes_get_their_colour_and_ignored_pixels_stay() {
        let labels = LabelMap::from_names(&["road", "sky"], 0);
        let picture = RgbImage::from_pixel(60, 40, image::Rgb([10, 20, 30]));
        let classes: Vec<u8> =
            (0..60 * 40).map(|i| if i % 60 < 50 { 1 } else { SegTarget::IGNORE }).collect();
        let map = SegTarget::new(Size::new(60, 40), classes).unwrap();
        let out = scene_overlay(&picture, &map, &labels, 1.0);
        assert_eq!(out.get_pixel(40, 39).0, labels.color(ClassIndex(1)));
        assert_eq!(out.get_pixel(55, 39).0, [10, 20, 30]);
        let small = SegTarget::new(Size::new(2, 2), vec![0; 4]).unwrap();
        assert_eq!(scene_overlay(&picture, &small, &labels, 1.0), picture);
    }
}
