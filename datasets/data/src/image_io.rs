//! A file or bytes in, 8-bit RGB out: upright, bounded in size, or an error that names the file.
//!
//! The format is decided by content, never by extension. EXIF orientation is applied (as `cv2.imread` does, and as the
//! annotators saw the picture). Grey is replicated, palettes expanded, alpha dropped without blending, 16 bits become 8
//! by rounding `v / 257`, CMYK is converted, and of an animation or a multi-page file the first frame counts.
//! A decoder that panics on hostile bytes becomes an error like any other: one bad picture must never end a run.

use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use care_types::Size;
use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::{Error, Result};

/// What a picture may cost before it is refused.
///
/// Checked against the header, before pixels are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Width × height, in pixels. Default 200 million: above every camera on sale (151 megapixels), and a result of at
    /// most 600 MB. (Pillow refuses from 179 million on.)
    pub max_pixels: u64,
    /// Bytes of one file. Default 1 GiB.
    pub max_file_bytes: u64,
    /// Bytes a decoder may allocate for the picture in its own format, where the decoder keeps count. Default 1 GiB.
    pub max_decoder_bytes: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_pixels: 200_000_000, max_file_bytes: 1 << 30, max_decoder_bytes: 1 << 30 }
    }
}

/// Reads and decodes the picture at `path` within the default limits.
///
/// # Errors
/// `Input` when the file is not there, not a regular file, empty, damaged, too big or no picture; `Unsupported` for a
/// picture format that this build does not read. Every message starts with the path.
pub fn decode_path(path: &Path) -> Result<RgbImage> {
    decode_path_within(path, &DecodeLimits::default())
}

/// [`decode_path`] with limits of the caller's choice.
///
/// # Errors
/// As [`decode_path`].
pub fn decode_path_within(path: &Path, limits: &DecodeLimits) -> Result<RgbImage> {
    let name = path.display().to_string();
    read_file(path, limits).and_then(|bytes| decode_unnamed(&bytes, limits)).map_err(|e| e.context(name))
}

/// Decodes a picture that is already in memory; `name` is what error messages call it.
///
/// # Errors
/// As [`decode_path`].
pub fn decode_bytes(bytes: &[u8], name: &str, limits: &DecodeLimits) -> Result<RgbImage> {
    decode_unnamed(bytes, limits).map_err(|e| e.context(name))
}

/// Width and height that a picture has when its EXIF orientation is applied; only its header is looked at.
///
/// # Errors
/// As [`decode_path`], as far as the header shows it.
pub fn upright_size(path: &Path) -> Result<Size> {
    let limits = DecodeLimits::default();
    let measure = |bytes: Vec<u8>| {
        let format = sniff(&bytes)?;
        let fail = |e: ImageError| refused(format, e, &limits);
        let read = || {
            let mut decoder =
                ImageReader::with_format(Cursor::new(&bytes), format).into_decoder().map_err(fail)?;
            let (width, height) = decoder.dimensions();
            check_size(width, height, &limits)?;
            let turned = matches!(
                decoder.orientation().unwrap_or(Orientation::NoTransforms),
                Orientation::Rotate90
                    | Orientation::Rotate270
                    | Orientation::Rotate90FlipH
                    | Orientation::Rotate270FlipH
            );
            Ok(if turned { Size::new(height, width) } else { Size::new(width, height) })
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            Err(Error::input(format!("damaged {}: its decoder gave up", name_of(format))))
        })
    };
    read_file(path, &limits).and_then(measure).map_err(|e| e.context(path.display()))
}

fn read_file(path: &Path, limits: &DecodeLimits) -> Result<Vec<u8>> {
    // Asked before opening: opening a FIFO or a device could wait for ever.
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::input("no such file"),
        _ => Error::input(format!("cannot be read: {e}")),
    })?;
    if !meta.is_file() {
        let what = if meta.is_dir() { "is a folder" } else { "is not a regular file" };
        return Err(Error::input(format!("{what}, expected a picture")));
    }
    let unreadable = |e: std::io::Error| Error::input(format!("cannot be read: {e}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(limits.max_file_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn decode_unnamed(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage> {
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(Error::input(format!(
            "has more than the {} bytes allowed for one file",
            limits.max_file_bytes
        )));
    }
    let format = sniff(bytes)?;
    catch_unwind(AssertUnwindSafe(|| decode_as(bytes, format, limits)))
        .unwrap_or_else(|_| Err(Error::input(format!("damaged {}: its decoder gave up", name_of(format)))))
}

fn decode_as(bytes: &[u8], format: ImageFormat, limits: &DecodeLimits) -> Result<RgbImage> {
    let fail = |e: ImageError| refused(format, e, limits);
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.max_decoder_bytes);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(allowed.clone());
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits)?;
    allowed.reserve(decoder.total_bytes()).map_err(fail)?;
    decoder.set_limits(allowed).map_err(fail)?;
    // Damaged EXIF is no reason to lose the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut upright = DynamicImage::ImageRgb8(DynamicImage::from_decoder(decoder).map_err(fail)?.into_rgb8());
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

fn check_size(width: u32, height: u32, limits: &DecodeLimits) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Error::input(format!("its header says {width}x{height} pixels: a side is 0")));
    }
    if pixels > limits.max_pixels {
        return Err(Error::input(format!(
            "its header says {width}x{height} = {} megapixels, the limit is {}",
            pixels / 1_000_000,
            limits.max_pixels / 1_000_000
        )));
    }
    Ok(())
}

fn refused(format: ImageFormat, error: ImageError, limits: &DecodeLimits) -> Error {
    let name = name_of(format);
    match error {
        ImageError::Unsupported(e) => {
            Error::unsupported(format!("this kind of {name} is not supported: {e}"))
        }
        ImageError::Limits(e) if e.kind() == LimitErrorKind::InsufficientMemory => Error::input(format!(
            "decoding this {name} needs more than the {} MiB allowed for one picture",
            limits.max_decoder_bytes >> 20
        )),
        // Some decoders end their message with a line break.
        e => Error::input(format!("damaged {name}: {}", e.to_string().trim_end())),
    }
}

/// Formats that this build decodes, as users call them.
const READABLE: &str = "JPEG, PNG, BMP, GIF, WebP, TIFF, PNM";

fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Avif => "AVIF",
        ImageFormat::Ico => "ICO",
        ImageFormat::Dds => "DDS",
        ImageFormat::Hdr => "Radiance HDR",
        ImageFormat::OpenExr => "OpenEXR",
        ImageFormat::Qoi => "QOI",
        ImageFormat::Farbfeld => "Farbfeld",
        _ => "picture",
    }
}

fn sniff(bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(Error::input("is empty (0 bytes)"));
    }
    match image::guess_format(bytes) {
        Ok(format) if is_readable(format) => Ok(format),
        Ok(format) => Err(unreadable_format(name_of(format))),
        Err(_) => Err(explain_unknown(bytes)),
    }
}

fn is_readable(format: ImageFormat) -> bool {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
    matches!(format, Jpeg | Png | Bmp | Gif | WebP | Tiff | Pnm)
}

fn unreadable_format(name: &str) -> Error {
    Error::unsupported(format!("{name} pictures are not supported; convert it to one of {READABLE}"))
}

fn explain_unknown(bytes: &[u8]) -> Error {
    const JPEG_2000: &[u8] = b"\x00\x00\x00\x0cjP  \r\n\x87\n";
    let start = bytes[..bytes.len().min(256)].trim_ascii_start().to_ascii_lowercase();
    if bytes.starts_with(JPEG_2000) {
        return unreadable_format("JPEG 2000");
    }
    if bytes.len() >= 12
        && &bytes[4..8] == b"ftyp"
        && [b"heic", b"heix", b"mif1"].contains(&&[bytes[8], bytes[9], bytes[10], bytes[11]])
    {
        return unreadable_format("HEIC");
    }
    if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
        return Error::input("is an HTML page, not a picture (a failed download?)");
    }
    let head: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    Error::input(format!(
        "is not a picture this tool knows ({} bytes, starting {}); it reads {READABLE}",
        bytes.len(),
        head.join(" ")
    ))
}
