//! Pillow's `Image.resize` with `BILINEAR` or `BICUBIC` on 8-bit RGB, bit for bit.
//!
//! A convolution whose support grows with the shrink factor (antialiasing), one axis after the other, rounded to 8 bits
//! in between. Weights are normalised in float64, then held as 22-bit fixed point.
//! Source: `src/libImaging/Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`, `ImagingResample*_8bpc`); the order
//! of the two passes is that of Pillow 13 (python-pillow/Pillow#9549).

use image::RgbImage;

use super::for_row_groups;

/// `32 - 8 - 2`: 8 bits of picture and 2 bits of headroom for negative lobes leave 22 for the weights.
const PRECISION_BITS: u32 = 22;

/// Pillow's resampling filters that vision code uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `Image.BILINEAR`: a triangle, support 1.
    Bilinear,
    /// `Image.BICUBIC`: Keys' cubic with a = −0.5, support 2.
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}

/// Resizes to `width` × `height` pixels exactly as Pillow does.
///
/// # Panics
/// When the source or the result has a side of 0.
pub fn resize(src: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let (src_w, src_h) = src.dimensions();
    assert!(
        src_w > 0 && src_h > 0 && width > 0 && height > 0,
        "cannot resize {src_w}x{src_h} to {width}x{height}: a side is 0"
    );
    let across =
        |picture: &RgbImage| if width == src_w { None } else { Some(horizontal(picture, width, filter)) };
    let down =
        |picture: &RgbImage| if height == src_h { None } else { Some(vertical(picture, height, filter)) };
    // Which pass comes first shows, because the result of the first is rounded. Pillow 13 takes the vertical one when
    // it removes more than twice as many rows as columns go; before, the horizontal one always came first.
    let vertical_first =
        src_h > height && i64::from(src_h - height) > 2 * (i64::from(src_w) - i64::from(width));
    let first = if vertical_first { down(src) } else { across(src) };
    let between = first.as_ref().unwrap_or(src);
    let second = if vertical_first { across(between) } else { down(between) };
    second.or(first).unwrap_or_else(|| src.clone())
}

/// The weights of every result position of one axis, `taps` slots each.
struct Weights {
    taps: usize,
    /// (first source position, number of used slots).
    bounds: Vec<(usize, usize)>,
    values: Vec<i32>,
}

impl Weights {
    fn new(src: u32, dst: u32, filter: Filter) -> Self {
        let scale = f64::from(src) / f64::from(dst);
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let taps = support.ceil() as usize * 2 + 1;
        let mut weights = Weights { taps, bounds: Vec::with_capacity(dst as usize), values: Vec::new() };
        let mut row = vec![0f64; taps];
        for d in 0..dst {
            let center = (f64::from(d) + 0.5) * scale;
            // Truncation toward zero of a value clamped at 0, as the C code's `(int)`.
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(src as usize);
            let used = end - first;
            row.fill(0.0);
            let mut sum = 0.0;
            for (i, w) in row[..used].iter_mut().enumerate() {
                *w = filter.at(((i + first) as f64 - center + 0.5) * (1.0 / filter_scale));
                sum += *w;
            }
            if sum != 0.0 {
                row[..used].iter_mut().for_each(|w| *w /= sum);
            }
            weights.bounds.push((first, used));
            weights.values.extend(row.iter().map(|&w| fixed(w)));
        }
        weights
    }

    fn at(&self, d: usize) -> (usize, &[i32]) {
        let (first, used) = self.bounds[d];
        (first, &self.values[d * self.taps..d * self.taps + used])
    }
}

/// Rounds half away from zero, as the C code does with `(int)(±0.5 + w * 2^22)`.
fn fixed(w: f64) -> i32 {
    let scaled = w * f64::from(1u32 << PRECISION_BITS);
    if scaled < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 }
}

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn horizontal(src: &RgbImage, width: u32, filter: Filter) -> RgbImage {
    let weights = Weights::new(src.width(), width, filter);
    let (src_bytes, row_bytes) = (src.width() as usize * 3, width as usize * 3);
    let mut out = vec![0u8; row_bytes * src.height() as usize];
    for_row_groups(&mut out, row_bytes, |first_row, rows| {
        for (y, row) in rows.chunks_exact_mut(row_bytes).enumerate() {
            let from = &src.as_raw()[(first_row + y) * src_bytes..][..src_bytes];
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let (first, weights) = weights.at(x);
                let mut sums = [1i32 << (PRECISION_BITS - 1); 3];
                for (source, &w) in from[first * 3..].chunks_exact(3).zip(weights) {
                    for c in 0..3 {
                        sums[c] += i32::from(source[c]) * w;
                    }
                }
                pixel.copy_from_slice(&sums.map(rounded));
            }
        }
    });
    RgbImage::from_raw(width, src.height(), out).expect("the buffer has width * height * 3 bytes")
}

fn vertical(src: &RgbImage, height: u32, filter: Filter) -> RgbImage {
    let weights = Weights::new(src.height(), height, filter);
    let row_bytes = src.width() as usize * 3;
    let mut out = vec![0u8; row_bytes * height as usize];
    for_row_groups(&mut out, row_bytes, |first_row, rows| {
        let mut sums = vec![0i32; row_bytes];
        for (y, row) in rows.chunks_exact_mut(row_bytes).enumerate() {
            let (first, weights) = weights.at(first_row + y);
            sums.fill(1 << (PRECISION_BITS - 1));
            for (i, &w) in weights.iter().enumerate() {
                let from = &src.as_raw()[(first + i) * row_bytes..][..row_bytes];
                sums.iter_mut().zip(from).for_each(|(sum, &v)| *sum += i32::from(v) * w);
            }
            row.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = rounded(sum));
        }
    });
    RgbImage::from_raw(src.width(), height, out).expect("the buffer has width * height * 3 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_size_is_a_copy_and_constant_stays_constant() {
        let flat = RgbImage::from_pixel(9, 6, image::Rgb([0, 77, 255]));
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            assert_eq!(resize(&flat, 9, 6, filter), flat);
            for (w, h) in [(1, 1), (20, 3), (4, 31), (9, 2)] {
                let out = resize(&flat, w, h, filter);
                assert!(out.pixels().all(|p| p.0 == [0, 77, 255]), "{filter:?} {w}x{h}");
            }
        }
    }
}
