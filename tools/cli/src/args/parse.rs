//! Values of flags, and what is said of those that cannot be.

use super::seg::IgnoreIndex;
use care_data::Scale;

/// A finite number from 0 to 1.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if (0.0..=1.0).contains(&v) => Ok(v),
        _ => Err("expected a number from 0 to 1, such as 0.3".to_owned()),
    }
}

/// More than nothing, less than all.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v < 1.0 => Ok(v),
        _ => Err("expected a number between 0 and 1, such as 0.1".to_owned()),
    }
}

/// `255`, `none`, or -1 for none.
pub(super) fn ignore_index(text: &str) -> Result<IgnoreIndex, String> {
    match text {
        "none" | "-1" => Ok(IgnoreIndex(None)),
        _ => text
            .parse()
            .map(|v| IgnoreIndex(Some(v)))
            .map_err(|_| "expected a value from 0 to 65535, or none".to_owned()),
    }
}

/// The message without the words that clap puts in front itself.
pub(super) fn scale(text: &str) -> Result<Scale, String> {
    text.parse().map_err(|e: care_types::Error| e.to_string())
}

/// `800x1344`: height first.
pub(super) fn height_by_width(text: &str) -> Result<(usize, usize), String> {
    let says = || "expected HEIGHTxWIDTH in pixels, such as 800x1344".to_owned();
    let (h, w) = text.split_once('x').ok_or_else(says)?;
    let side = |t: &str| t.parse::<usize>().ok().filter(|v| (1..=65_535).contains(v)).ok_or_else(says);
    Ok((side(h)?, side(w)?))
}
