//! OpenCV's 8-bit RGB ↔ HSV (hue in 0 to 179), bit for bit.
//!
//! Towards HSV: 12-bit fixed point with tables of reciprocals. Back: single floats, **truncated** to 8 bits. OpenCV's code for
//! the last few pixels of a row (fewer than one vector) rounds instead; here every pixel goes the way that nearly all pixels
//! of a training picture went. Source: `modules/imgproc/src/color_hsv.simd.hpp` (`RGB2HSV_b`, `HSV2RGB_b`).

use std::sync::LazyLock;

/// Hues of a full turn.
pub(super) const TURN: i32 = 180;
/// Fraction bits of the reciprocals.
const SHIFT: i32 = 12;

/// `255 / v` and `30 / d` in fixed point, by `v` and `d`; 0 at 0.
static RECIPROCALS: LazyLock<[(i32, i32); 256]> = LazyLock::new(|| {
    let fixed =
        |numerator: i32, v: usize| (f64::from(numerator << SHIFT) / v as f64).round_ties_even() as i32;
    std::array::from_fn(|v| if v == 0 { (0, 0) } else { (fixed(255, v), fixed(TURN / 6, v)) })
});

pub(super) fn hsv_from_rgb(rgb: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << (SHIFT - 1);
    let [r, g, b] = rgb.map(i32::from);
    let value = r.max(g).max(b);
    let range = value - r.min(g).min(b);
    let (of_value, of_range) = (RECIPROCALS[value as usize].0, RECIPROCALS[range as usize].1);
    let saturation = (range * of_value + HALF) >> SHIFT;
    let sixths = match value {
        v if v == r => g - b,
        v if v == g => b - r + 2 * range,
        _ => r - g + 4 * range,
    };
    let hue = (sixths * of_range + HALF) >> SHIFT;
    let hue = if hue < 0 { hue + TURN } else { hue };
    [hue as u8, saturation as u8, value as u8]
}

pub(super) fn rgb_from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    let h = f32::from(hue) * (6.0 / TURN as f32);
    let (s, v) = (f32::from(saturation) * (1.0 / 255.0), f32::from(value) * (1.0 / 255.0));
    let sector = h.floor();
    let h = h - sector;
    // 1 - a * b rounded once: compilers fuse it in OpenCV. The product of two floats is exact as a double.
    let one_minus = |a: f32, b: f32| (1.0 - f64::from(a) * f64::from(b)) as f32;
    let low = v * (1.0 - s);
    let falling = v * one_minus(s, h);
    let rising = v * one_minus(s, 1.0 - h);
    let rgb = match sector as i32 % 6 {
        0 => [v, rising, low],
        1 => [falling, v, low],
        2 => [low, v, rising],
        3 => [low, falling, v],
        4 => [rising, low, v],
        _ => [v, low, falling],
    };
    rgb.map(|c| (c * 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32 of what OpenCV 5.0.0 (opencv-python-headless, x86-64) gives for whole vectors of pixels.
    #[test]
    fn colours_turn_as_opencv_turns_them() {
        let each = |step: usize| (0..=255u8).step_by(step);
        let (mut to, mut from) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
        for r in each(3) {
            each(3).for_each(|g| each(3).for_each(|b| to.update(&hsv_from_rgb([r, g, b]))));
        }
        for h in 0..TURN as u8 {
            each(3).for_each(|s| each(4).for_each(|v| from.update(&rgb_from_hsv([h, s, v]))));
        }
        assert_eq!(to.finalize(), 0x11bf_2d3a, "cv2.COLOR_RGB2HSV, every third level");
        assert_eq!(from.finalize(), 0xb889_9846, "cv2.COLOR_HSV2RGB, rows of 5504 pixels");
    }
}
