//! Colours of the demo set: integer HSV, mixing, contrast.

use super::dice::{Dice, lerp};

pub(super) type Color = [i32; 3];

/// RGB of a hue (0..=1535, red at 0), saturation and value (0..=255).
pub(super) fn hsv(hue: i32, saturation: i32, value: i32) -> Color {
    let hue = hue.rem_euclid(1536);
    let (sextant, f) = (hue >> 8, hue & 255);
    let low = value * (255 - saturation) / 255;
    let rising = low + (value - low) * f / 255;
    let falling = low + (value - low) * (255 - f) / 255;
    match sextant {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// Between `a` (t = 0) and `b` (t = 256), per channel.
pub(super) fn blend(a: Color, b: Color, t: i32) -> Color {
    [lerp(a[0], b[0], t), lerp(a[1], b[1], t), lerp(a[2], b[2], t)]
}

/// `color` made brighter (over 256) or darker (under 256); not clamped.
pub(super) fn scaled(color: Color, by_256th: i32) -> Color {
    color.map(|v| (v * by_256th) >> 8)
}

/// Sum of the absolute channel differences.
pub(super) fn distance(a: Color, b: Color) -> i32 {
    (0..3).map(|c| (a[c] - b[c]).abs()).sum()
}

/// A calm colour for a background and a relative of it.
pub(super) fn calm_pair(dice: &mut Dice) -> [Color; 2] {
    let hue = dice.between(0, 1535);
    let saturation = dice.between(20, 110);
    let value = dice.between(80, 215);
    let other = (value + dice.pick(&[-1, 1]) * dice.between(24, 60)).clamp(50, 245);
    [hsv(hue, saturation, value), hsv(hue + dice.between(-90, 90), saturation + dice.between(-15, 30), other)]
}

/// A colour for an object that stands out from what lies under it.
///
/// Colours are drawn the same way for every class, so a colour says nothing about the class.
pub(super) fn standing_out(dice: &mut Dice, under: Color) -> Color {
    const ENOUGH: i32 = 150;
    let mut best = under;
    for _ in 0..8 {
        let color = hsv(dice.between(0, 1535), dice.between(90, 255), dice.between(70, 255));
        if distance(color, under) > distance(best, under) {
            best = color;
        }
        if distance(best, under) >= ENOUGH {
            break;
        }
    }
    best
}
