//! How much memory a pass may take: asked before pictures are read, so that a slip of a digit is a message and not a
//! machine that stands still.

use crate::error::{Error, Result};
use crate::views::{self, Views};
use care_data::Preprocess;

/// Most input pixels of a pass: beyond any sensible run.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Activations of a detector take about this many bytes per input pixel.
const BYTES_PER_PIXEL: u64 = 1 << 10;

/// Refuses a pass of `batch` pictures of `width`×`height` pixels that no machine has the memory for.
///
/// # Errors
/// `Config` with an estimate.
pub fn check_pass(width: u64, height: u64, batch: u64) -> Result<()> {
    let pixels = width.saturating_mul(height).saturating_mul(batch);
    if pixels <= MAX_PIXELS {
        return Ok(());
    }
    let gb = pixels as f64 * BYTES_PER_PIXEL as f64 / 1e9;
    Err(Error::config(format!(
        "a pass of {batch} picture{} of up to {width}x{height} pixels would need some {gb:.0} GB of memory; at most {MAX_PIXELS} \
         pixels are taken at once",
        if batch == 1 { "" } else { "s" }
    )))
}

/// The same for pictures that are prepared by `preprocess`.
///
/// # Errors
/// `Config` with an estimate and the flags to change.
pub fn check_batch(preprocess: &Preprocess, batch: usize) -> Result<()> {
    let padded = |side: u32| u64::from(side).next_multiple_of(u64::from(preprocess.pad_divisor.max(1)));
    let (long, short) = (padded(preprocess.scale.long), padded(preprocess.scale.short));
    check_pass(long, short, batch as u64)
        .map_err(|e| e.with_hint(Some("take a smaller --imgsz or --batch".to_owned())))
}

/// The same for a segmenter that looks at pictures in some way: its largest scale, or a window of it.
///
/// # Errors
/// As [`check_batch`].
pub fn check_views(preprocess: &Preprocess, views: &Views) -> Result<()> {
    if let Some(slide) = views.slide {
        return check_pass(slide.crop.into(), slide.crop.into(), 1)
            .map_err(|e| e.with_hint(Some("take smaller windows (--slide)".to_owned())));
    }
    let largest = views.scales.iter().copied().fold(0.0, f64::max);
    check_batch(&views::scaled(preprocess, largest), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_machine_has_is_refused() {
        assert!(check_batch(&Preprocess::default(), 32).is_ok());
        assert!(check_pass(8192, 8192, 1).is_ok());
        let refused = check_batch(&Preprocess::default(), 1024).unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::Config);
        assert!(refused.to_string().contains("GB") && refused.to_string().contains("--batch"), "{refused}");
        let large = Preprocess { scale: "8192".parse().unwrap(), ..Preprocess::default() };
        let windows = Views { slide: Some("512/341".parse().unwrap()), ..Views::augmented() };
        assert!(check_batch(&large, 1).is_ok() && check_views(&large, &Views::default()).is_ok());
        assert!(check_views(&large, &Views::augmented()).is_err(), "1.75 of 8192x8192");
        assert!(check_views(&large, &windows).is_ok(), "a window is a pass");
        assert!(check_pass(u64::MAX, u64::MAX, u64::MAX).is_err());
    }
}
