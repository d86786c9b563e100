//! Pictures beside each other: what is there against what was found, and many pictures on one sheet.

use care_types::{Detection, LabelMap};
use image::imageops::{FilterType, replace, resize};
use image::{Rgb, RgbImage};

use crate::draw::{OverlayOptions, overlay};
use crate::label::Plate;

/// A grey that no photograph's border hides in, and that suits light and dark pages.
const BACKGROUND: Rgb<u8> = Rgb([44, 48, 54]);

/// A tile may be this many times as tall as wide; a taller picture is shrunk further, so that one picture of 1×10000
/// does not make a sheet of ten million rows.
const TALLEST: u32 = 2;

/// Ground truth on the left, without scores; what was found on the right, with scores; a line above says which is which
/// and how many.
///
/// The result is twice the picture's width plus a gap, and its height plus the line of words.
pub fn side_by_side(
    picture: &RgbImage,
    truth: &[Detection],
    found: &[Detection],
    labels: &LabelMap,
) -> RgbImage {
    let half = |detections: &[Detection], scores: bool| {
        overlay(picture, detections, labels, &OverlayOptions { scores, ..OverlayOptions::default() })
    };
    let captions = [format!("truth: {}", truth.len()), format!("found: {}", found.len())];
    beside([half(truth, false), half(found, true)], captions)
}

/// Two pictures of one size beside each other, with a line of words above each.
pub fn beside(halves: [RgbImage; 2], captions: [String; 2]) -> RgbImage {
    let (width, height) = halves[0].dimensions();
    let text = (width.min(height) as f32 / 26.0).clamp(12.0, 80.0);
    let captions = captions.map(|words| Plate::new(&words, BACKGROUND.0, text));
    let strip = captions.iter().map(|c| c.height).max().unwrap_or(0) as u32;
    let gap = (width / 160).clamp(2, 16);
    let mut out = RgbImage::from_pixel(2 * width + gap, height + strip, BACKGROUND);
    for (i, (half, caption)) in halves.into_iter().zip(captions).enumerate() {
        let x = i64::from(width + gap) * i as i64;
        caption.draw_at(&mut out, [x as i32, 0]);
        replace(&mut out, &half, x, i64::from(strip));
    }
    out
}

/// A sheet of tiles, row by row, each `tile_width` pixels wide (a very tall one is narrower) and centred in its place.
///
/// A row is as high as its highest tile. Without tiles the sheet is one empty tile.
pub fn mosaic(tiles: &[RgbImage], columns: usize, tile_width: u32) -> RgbImage {
    let tile_width = tile_width.max(1);
    let columns = columns.clamp(1, tiles.len().max(1));
    let gap = (tile_width / 60).max(1);
    let shrunk: Vec<RgbImage> = tiles.iter().map(|tile| fit(tile, tile_width)).collect();
    let row_height = |row: &[RgbImage]| row.iter().map(RgbImage::height).max().unwrap_or(1);
    let height = shrunk.chunks(columns).map(|row| row_height(row) + gap).sum::<u32>().max(1 + gap) + gap;
    let width = columns as u32 * (tile_width + gap) + gap;
    let mut out = RgbImage::from_pixel(width, height, BACKGROUND);
    let mut top = gap;
    for row in shrunk.chunks(columns) {
        let high = row_height(row);
        for (column, tile) in row.iter().enumerate() {
            let x = gap + column as u32 * (tile_width + gap) + (tile_width - tile.width()) / 2;
            replace(&mut out, tile, i64::from(x), i64::from(top + (high - tile.height()) / 2));
        }
        top += high + gap;
    }
    out
}

/// The picture at the width of a tile, its ratio kept, or narrower where it would be too tall.
fn fit(picture: &RgbImage, tile_width: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return RgbImage::from_pixel(tile_width, 1, BACKGROUND);
    }
    let tallest = tile_width.saturating_mul(TALLEST);
    let scale = (f64::from(tile_width) / f64::from(width)).min(f64::from(tallest) / f64::from(height));
    let side = |length: u32, most: u32| ((f64::from(length) * scale).round() as u32).clamp(1, most);
    resize(picture, side(width, tile_width), side(height, tallest), FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use care_types::{BoxXyxy, ClassIndex};

    fn plain(width: u32, height: u32, grey: u8) -> RgbImage {
        RgbImage::from_pixel(width, height, Rgb([grey; 3]))
    }

    #[test]
    fn both_halves_show_the_picture_and_only_their_own_boxes() {
        let labels = LabelMap::from_names(&["cat"], 1);
        let color = Rgb(labels.color(ClassIndex(0)));
        let at = |bbox: [f32; 4]| Detection {
            class: ClassIndex(0),
            score: 1.0,
            bbox: BoxXyxy::from(bbox),
            mask: None,
        };
        let truth = [at([20.0, 40.0, 120.0, 90.0])];
        let found = [at([60.0, 50.0, 160.0, 95.0])];
        let out = side_by_side(&plain(200, 100, 100), &truth, &found, &labels);
        let (gap, strip) = (out.width() - 400, out.height() - 100);
        assert!(gap > 0 && strip > 8, "{:?}", out.dimensions());
        let left = |x: u32, y: u32| *out.get_pixel(x, y + strip);
        let right = |x: u32, y: u32| *out.get_pixel(200 + gap + x, y + strip);
        assert_eq!((left(20, 70), right(20, 70)), (color, Rgb([100; 3])));
        assert_eq!((left(159, 70), right(159, 70)), (Rgb([100; 3]), color));
        assert_eq!(
            (left(199, 99), right(199, 99), right(0, 0)),
            (Rgb([100; 3]), Rgb([100; 3]), Rgb([100; 3]))
        );
    }

    #[test]
    fn tiles_stand_row_by_row_at_their_width_and_ratio() {
        let tiles = [plain(120, 60, 10), plain(60, 60, 90), plain(300, 300, 170)];
        let out = mosaic(&tiles, 2, 60);
        assert_eq!(out.dimensions(), (2 * 61 + 1, 1 + 61 + 61));
        // The first is 60×30, in the middle of a row of 60; the third starts the second row.
        let pixel = |x: u32, y: u32| out.get_pixel(x, y).0[0];
        assert_eq!([pixel(1, 15), pixel(1, 16), pixel(60, 45), pixel(60, 46)], [44, 10, 10, 44]);
        assert_eq!([pixel(61, 1), pixel(62, 1), pixel(121, 60), pixel(122, 60)], [44, 90, 90, 44]);
        assert_eq!([pixel(1, 62), pixel(60, 121), pixel(62, 90)], [170, 170, 44]);
    }

    #[test]
    fn odd_sheets_are_made_too() {
        assert_eq!(mosaic(&[], 4, 100).dimensions(), (102, 3));
        assert_eq!(mosaic(&[plain(1, 1, 0)], 0, 0).dimensions(), (3, 3));
        let tall = mosaic(&[plain(1, 9000, 7)], 5, 100);
        assert_eq!(tall.dimensions(), (102, 202));
        let empty = RgbImage::new(0, 0);
        assert_eq!(mosaic(&[empty], 1, 50).dimensions(), (52, 3));
    }
}
