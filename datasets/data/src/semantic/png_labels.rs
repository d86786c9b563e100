//! The numbers that a label PNG stores: palette indices are not turned into colours, 16 bits stay 16 bits.
//!
//! `image` (and OpenCV, unless it is asked for `IMREAD_UNCHANGED`) expand a palette and lose which index a pixel had, so the
//! PNG is read by the `png` crate without any transformation. An alpha channel is dropped.

use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use care_types::Size;
use png::{BitDepth, ColorType, DecodingError, Limits, OutputInfo, Transformations};

use crate::{DecodeLimits, Error, Result};

/// What every PNG file begins with.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A label map as it is stored.
#[derive(Debug)]
pub(super) struct RawLabels {
    pub(super) size: Size,
    pub(super) values: Values,
}

/// One entry per pixel, row by row.
#[derive(Debug)]
pub(super) enum Values {
    /// Grey levels of 1 to 16 bits.
    Grey(LabelValues),
    /// Indices and the colours they stand for.
    Palette(LabelValues, Vec<[u8; 3]>),
    /// 8-bit RGB.
    Color(Vec<[u8; 3]>),
}

/// One number per pixel, row by row, as wide as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelValues {
    /// Of 1 to 8 bits.
    Bytes(Vec<u8>),
    /// Of 16 bits.
    Words(Vec<u16>),
}

/// Size and stored values of a label map, row by row: grey levels of up to 16 bits, or indices of a palette.
///
/// # Errors
/// `Input` when the file is no PNG, cannot be read, is too large, or stores colours; the message names it.
pub fn read_label_values(path: &Path) -> Result<(Size, LabelValues)> {
    let limits = DecodeLimits::default();
    let decoded = read(path, &limits).and_then(|bytes| decode(&bytes, &limits));
    let RawLabels { size, values } = decoded.map_err(|e| e.context(path.display()))?;
    match values {
        Values::Grey(values) | Values::Palette(values, _) => Ok((size, values)),
        Values::Color(_) => Err(Error::input(format!(
            "{}: stores colours, expected one number per pixel (8 or 16 bits, or a palette)",
            path.display()
        ))),
    }
}

/// The bytes of a label file.
///
/// # Errors
/// `Input` when it is no regular file, cannot be read, or is larger than allowed. The path is not in the message.
pub(super) fn read(path: &Path, limits: &DecodeLimits) -> Result<Vec<u8>> {
    let unreadable = |e: std::io::Error| Error::input(format!("cannot be read: {e}"));
    // Asked before opening: opening a FIFO or a device could wait for ever.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Error::input("is not a regular file, expected a label map"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(limits.max_file_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(Error::input(format!("has more than the {} bytes allowed", limits.max_file_bytes)));
    }
    Ok(bytes)
}

/// Width and height of a label map; only its header is looked at.
///
/// # Errors
/// `Input` when the bytes are no PNG.
pub(super) fn size(bytes: &[u8]) -> Result<Size> {
    // The first chunk is always IHDR: length, name, width, height.
    let side = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    match (bytes.starts_with(SIGNATURE), side(16), side(20)) {
        (true, Some(width), Some(height)) => Ok(Size::new(width, height)),
        _ => Err(no_png(bytes)),
    }
}

/// Decodes a label map.
///
/// # Errors
/// `Input` when the bytes are no PNG, damaged, larger than the limits, or RGB of 16 bits. The file is not in the message.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RawLabels> {
    let size = size(bytes)?;
    if size.area() == 0 || size.area() > limits.max_pixels {
        return Err(Error::input(format!(
            "its header says {}x{} pixels, expected 1 to {} pixels in all",
            size.width, size.height, limits.max_pixels
        )));
    }
    catch_unwind(AssertUnwindSafe(|| decode_png(bytes, size, limits)))
        .unwrap_or_else(|_| Err(Error::input("damaged PNG: its decoder gave up")))
}

fn decode_png(bytes: &[u8], size: Size, limits: &DecodeLimits) -> Result<RawLabels> {
    let damaged = |e: DecodingError| Error::input(format!("damaged PNG: {e}"));
    let allowed = usize::try_from(limits.max_decoder_bytes).unwrap_or(usize::MAX);
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: allowed });
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let palette = reader.info().palette.as_ref().map(|p| p.as_chunks::<3>().0.to_vec()).unwrap_or_default();
    let length = reader.output_buffer_size().filter(|&n| n <= allowed);
    let length = length.ok_or_else(|| Error::input(format!("needs more than {allowed} bytes of memory")))?;
    let mut buffer = vec![0u8; length];
    let frame = reader.next_frame(&mut buffer).map_err(damaged)?;
    buffer.truncate(frame.buffer_size());
    let values = match (frame.color_type, frame.bit_depth) {
        (ColorType::Rgb | ColorType::Rgba, BitDepth::Eight) => {
            let pixels = buffer.chunks_exact(frame.color_type.samples());
            Values::Color(pixels.map(|p| [p[0], p[1], p[2]]).collect())
        }
        (ColorType::Rgb | ColorType::Rgba, _) => {
            return Err(Error::input(
                "is an RGB picture with 16 bits per channel; save the label map with 8 bits, or as grey values",
            ));
        }
        (ColorType::Indexed, _) => Values::Palette(numbers(buffer, &frame), palette),
        (ColorType::Grayscale | ColorType::GrayscaleAlpha, _) => Values::Grey(numbers(buffer, &frame)),
    };
    Ok(RawLabels { size, values })
}

/// The first sample of every pixel, whatever its width in bits (alpha, if any, is the second).
fn numbers(buffer: Vec<u8>, frame: &OutputInfo) -> LabelValues {
    let (width, step) = (frame.width as usize, frame.color_type.samples());
    match frame.bit_depth {
        BitDepth::Eight if step == 1 => LabelValues::Bytes(buffer),
        BitDepth::Eight => LabelValues::Bytes(buffer.chunks_exact(step).map(|p| p[0]).collect()),
        BitDepth::Sixteen => {
            let pixels = buffer.chunks_exact(2 * step);
            LabelValues::Words(pixels.map(|p| u16::from_be_bytes([p[0], p[1]])).collect())
        }
        depth => {
            let (bits, mut out) = (depth as usize, Vec::with_capacity(width * frame.height as usize));
            for row in buffer.chunks_exact(frame.line_size) {
                let at = |x: usize| (row[x * bits / 8] >> (8 - bits - x * bits % 8)) & ((1 << bits) - 1);
                out.extend((0..width).map(at));
            }
            LabelValues::Bytes(out)
        }
    }
}

fn no_png(bytes: &[u8]) -> Error {
    let what = match image::guess_format(bytes) {
        Ok(image::ImageFormat::Png) => "is cut off",
        Ok(image::ImageFormat::Jpeg) => "is a JPEG picture, whose values have been blurred by compression",
        Ok(_) => "is a picture, but no PNG",
        Err(_) if bytes.is_empty() => "is empty (0 bytes)",
        Err(_) => "is no picture",
    };
    Error::input(format!("{what}; a label map is expected as PNG (grey, palette or RGB)"))
}
