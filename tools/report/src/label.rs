//! Text on a coloured plate, and where to put it.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale};
use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_filled_rect_mut, draw_text_mut, text_size};
use imageproc::rect::Rect;

/// Hack Regular: legible when small, with Latin, Greek and Cyrillic letters. Its licence is in `FONT-LICENSE.txt`.
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR)
        .expect("the embedded font is a whole TrueType file")
});

/// Longer names are cut: a plate across the whole picture says less than the objects under it.
const MAX_CHARACTERS: usize = 40;

/// A line of text on a plate.
pub(crate) struct Plate {
    text: String,
    color: [u8; 3],
    /// Height of a line, in pixels.
    scale: f32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// Left, top, width, height, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

impl Area {
    fn overlaps(self, other: Area) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

impl Plate {
    pub(crate) fn new(text: &str, color: [u8; 3], scale: f32) -> Self {
        let text = printable(text);
        let (width, height) = text_size(PxScale::from(scale), &*FONT, &text);
        let margin = margin(scale);
        Self { text, color, scale, width: width as i32 + 2 * margin, height: height as i32 + margin }
    }

    /// A place at the object's box, inside the picture: above it, inside it, below it, above its right end or in its
    /// lower right corner; the first that hides none of the plates in `taken`, if any.
    pub(crate) fn place(&self, object: Area, picture: [i32; 2], taken: &[Area]) -> Option<Area> {
        let at = |x: i32, y: i32| Area {
            x: x.min(picture[0] - self.width).max(0),
            y: y.min(picture[1] - self.height).max(0),
            width: self.width,
            height: self.height,
        };
        let Area { x, y, width, height } = object;
        let above = if y >= self.height { y - self.height } else { y };
        let places = [
            at(x, above),
            at(x, y),
            at(x, y + height),
            at(x + width - self.width, above),
            at(x + width - self.width, y + height - self.height),
        ];
        places.into_iter().find(|p| !taken.iter().any(|t| p.overlaps(*t)))
    }

    /// Draws the plate with its upper left corner there.
    pub(crate) fn draw_at(&self, picture: &mut RgbImage, [x, y]: [i32; 2]) {
        self.draw(picture, Area { x, y, width: self.width, height: self.height });
    }

    pub(crate) fn draw(&self, picture: &mut RgbImage, area: Area) {
        let rect = Rect::at(area.x, area.y).of_size(area.width.max(1) as u32, area.height.max(1) as u32);
        draw_filled_rect_mut(picture, rect, Rgb(self.color));
        let margin = margin(self.scale);
        let ink = Rgb(ink_on(self.color));
        draw_text_mut(
            picture,
            ink,
            area.x + margin,
            area.y + margin / 2,
            PxScale::from(self.scale),
            &*FONT,
            &self.text,
        );
    }
}

fn margin(scale: f32) -> i32 {
    (scale / 6.0).round().max(1.0) as i32
}

/// One line, of characters that the font has.
fn printable(text: &str) -> String {
    let cut = text.chars().count() > MAX_CHARACTERS;
    let kept = text.chars().take(if cut { MAX_CHARACTERS - 1 } else { MAX_CHARACTERS });
    let known = |c: char| match c {
        c if c.is_whitespace() || c.is_control() => ' ',
        c if FONT.glyph_id(c).0 == 0 => '?',
        c => c,
    };
    kept.map(known).chain(cut.then_some('…')).collect()
}

/// Black or white, whichever reads better on the colour (by its luma).
fn ink_on([r, g, b]: [u8; 3]) -> [u8; 3] {
    let luma = (299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) / 1000;
    if luma > 140 { [0; 3] } else { [255; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_line_of_known_characters_and_not_too_long() {
        assert_eq!(printable("a\nb\tc"), "a b c");
        assert_eq!(printable("père собака ñ"), "père собака ñ");
        assert_eq!(printable("犬 dog"), "? dog");
        let long = printable(&"x".repeat(99));
        assert!(long.ends_with('…') && long.chars().count() == MAX_CHARACTERS, "{long}");
    }

    #[test]
    fn plates_stay_inside_and_avoid_each_other() {
        let plate = Plate::new("person 0.97", [10, 20, 30], 14.0);
        let picture = [300, 200];
        for (x, y) in [(-40, -40), (290, 195), (0, 0), (150, 3)] {
            let place = plate.place(Area { x, y, width: 20, height: 10 }, picture, &[]).unwrap();
            assert!(place.x >= 0 && place.y >= 0, "{place:?}");
            assert!(place.x + place.width <= 300 && place.y + place.height <= 200, "{place:?}");
        }
        let object = Area { x: 50, y: 80, width: 200, height: 90 };
        let mut taken = Vec::new();
        while let Some(place) = plate.place(object, picture, &taken) {
            assert!(taken.iter().all(|t| !place.overlaps(*t)), "{place:?} {taken:?}");
            taken.push(place);
        }
        assert!((3..=5).contains(&taken.len()), "{taken:?}");
    }
}
