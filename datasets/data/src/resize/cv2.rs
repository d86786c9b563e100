//! OpenCV's `cv2.resize(.., INTER_LINEAR)` on 8-bit RGB, bit for bit.
//!
//! Half-pixel centres, two taps per axis and no antialiasing when shrinking. Weights are 11-bit fixed point; the
//! horizontal pass keeps its sums shifted right by 4 (they fit 16 bits), the vertical pass truncates each product by
//! 16 bits before it adds, and 2 more bits are rounded away. Those shifts are what makes the result differ from float
//! bilinear by one level in about an eighth of the bytes.
//! Source: `modules/imgproc/src/resize.cpp` (`HResizeLinear`, `VResizeLinear<uchar, int, short, …>`).

use image::RgbImage;

use super::for_row_groups;

/// `INTER_RESIZE_COEF_SCALE`: weights are stored in units of 1/2048.
const WEIGHT_ONE: f32 = 2048.0;

/// One result position along an axis: the two source positions and their weights.
#[derive(Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weight_first: i32,
    weight_second: i32,
}

/// Resizes to `width` × `height` pixels exactly as OpenCV does with `INTER_LINEAR`.
///
/// # Panics
/// When the source or the result has a side of 0.
pub fn resize_bilinear(src: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (src_w, src_h) = src.dimensions();
    assert!(
        src_w > 0 && src_h > 0 && width > 0 && height > 0,
        "cannot resize {src_w}x{src_h} to {width}x{height}: a side is 0"
    );
    if (src_w, src_h) == (width, height) {
        return src.clone();
    }
    let xs = taps(src_w, width, Edge::OneTap);
    let ys = taps(src_h, height, Edge::Clamp);
    let row_bytes = width as usize * 3;
    let mut out = vec![0u8; row_bytes * height as usize];
    for_row_groups(&mut out, row_bytes, |first_row, rows| {
        let mut cache = RowCache::new(src, &xs, row_bytes);
        for (y, row) in rows.chunks_exact_mut(row_bytes).enumerate() {
            let tap = ys[first_row + y];
            let (a, b) = cache.rows(tap.first, tap.second);
            blend(a, b, tap.weight_first, tap.weight_second, row);
        }
    });
    RgbImage::from_raw(width, height, out).expect("the buffer has width * height * 3 bytes")
}

/// What happens where a tap would leave the picture.
#[derive(Clone, Copy, PartialEq)]
enum Edge {
    /// Horizontally OpenCV puts the whole weight on the border pixel.
    OneTap,
    /// Vertically it reads the border row twice with the two weights (which, truncated separately, can differ by one).
    Clamp,
}

fn taps(src: u32, dst: u32, edge: Edge) -> Vec<Tap> {
    // The reference computes the inverse scale first; 1/(dst/src) is not always src/dst in the last bit.
    let scale = 1.0 / (f64::from(dst) / f64::from(src));
    let last = i64::from(src) - 1;
    (0..dst)
        .map(|d| {
            let center = ((f64::from(d) + 0.5) * scale - 0.5) as f32;
            let mut first = center.floor() as i64;
            let mut fraction = center - first as f32;
            if edge == Edge::OneTap && (first < 0 || first >= last) {
                first = first.clamp(0, last);
                fraction = 0.0;
            }
            Tap {
                first: first.clamp(0, last) as usize,
                second: (first + 1).clamp(0, last) as usize,
                weight_first: ((1.0 - fraction) * WEIGHT_ONE).round_ties_even() as i32,
                weight_second: (fraction * WEIGHT_ONE).round_ties_even() as i32,
            }
        })
        .collect()
}

/// The two most recent horizontally resized source rows: neighbouring result rows mostly share them.
struct RowCache<'a> {
    src: &'a RgbImage,
    xs: &'a [Tap],
    /// (source row, its values), most recently requested second row last.
    rows: [(usize, Vec<i16>); 2],
}

impl<'a> RowCache<'a> {
    fn new(src: &'a RgbImage, xs: &'a [Tap], len: usize) -> Self {
        Self { src, xs, rows: [(usize::MAX, vec![0; len]), (usize::MAX, vec![0; len])] }
    }

    fn rows(&mut self, first: usize, second: usize) -> (&[i16], &[i16]) {
        if self.rows[1].0 == first {
            self.rows.swap(0, 1);
        }
        self.fill(0, first);
        if first == second {
            return (&self.rows[0].1, &self.rows[0].1);
        }
        self.fill(1, second);
        (&self.rows[0].1, &self.rows[1].1)
    }

    fn fill(&mut self, slot: usize, y: usize) {
        let (held, values) = &mut self.rows[slot];
        if *held == y {
            return;
        }
        *held = y;
        let stride = self.src.width() as usize * 3;
        let row = &self.src.as_raw()[y * stride..(y + 1) * stride];
        for (out, tap) in values.chunks_exact_mut(3).zip(self.xs) {
            let a = &row[tap.first * 3..tap.first * 3 + 3];
            let b = &row[tap.second * 3..tap.second * 3 + 3];
            for c in 0..3 {
                let sum = i32::from(a[c]) * tap.weight_first + i32::from(b[c]) * tap.weight_second;
                out[c] = (sum >> 4) as i16; // at most 255 * 2048 / 16 = 32640
            }
        }
    }
}

fn blend(a: &[i16], b: &[i16], weight_a: i32, weight_b: i32, out: &mut [u8]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        let sum = ((weight_a * i32::from(a)) >> 16) + ((weight_b * i32::from(b)) >> 16);
        *out = ((sum + 2) >> 2) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_size_is_a_copy_and_constant_stays_constant() {
        let flat = RgbImage::from_pixel(7, 5, image::Rgb([0, 128, 255]));
        assert_eq!(resize_bilinear(&flat, 7, 5), flat);
        for (w, h) in [(1, 1), (13, 11), (3, 40), (70, 2)] {
            let out = resize_bilinear(&flat, w, h);
            assert!(out.pixels().all(|p| p.0 == [0, 128, 255]), "{w}x{h}");
        }
    }

    #[test]
    fn parallel_groups_give_the_same_bytes_as_one_group() {
        let src =
            RgbImage::from_fn(300, 200, |x, y| image::Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]));
        let big = resize_bilinear(&src, 900, 600); // over the parallel threshold
        let (xs, ys) = (taps(300, 900, Edge::OneTap), taps(200, 600, Edge::Clamp));
        let mut cache = RowCache::new(&src, &xs, 2700);
        let mut row = vec![0; 2700];
        for (y, tap) in ys.iter().enumerate() {
            let (a, b) = cache.rows(tap.first, tap.second);
            blend(a, b, tap.weight_first, tap.weight_second, &mut row);
            assert!(big.as_raw()[y * 2700..(y + 1) * 2700] == row, "row {y}");
        }
    }
}
