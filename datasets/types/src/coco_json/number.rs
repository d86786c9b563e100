//! Numbers as other tools write them: ids as `7`, `7.0`; flags as `0`, `1`, `true`, `null`.
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// A whole number, also when written as `7.0`.
pub(super) fn whole<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = i64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number")
        }
        fn visit_i64<E: Error>(self, v: i64) -> Result<i64, E> {
            Ok(v)
        }
        fn visit_u64<E: Error>(self, v: u64) -> Result<i64, E> {
            i64::try_from(v).map_err(|_| E::custom(format_args!("{v} is too large")))
        }
        fn visit_f64<E: Error>(self, v: f64) -> Result<i64, E> {
            const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
            if v.fract() == 0.0 && v.abs() <= EXACT {
                Ok(v as i64)
            } else {
                Err(E::custom(format_args!("{v} is not a whole number")))
            }
        }
    }
    d.deserialize_any(Whole)
}

/// A side of a picture; 0 when absent or null.
pub(super) fn side<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    #[derive(serde::Deserialize)]
    struct Whole(#[serde(deserialize_with = "whole")] i64);
    let v = Option::<Whole>::deserialize(d)?.map_or(0, |v| v.0);
    u32::try_from(v).map_err(|_| D::Error::custom(format_args!("{v} is not a size in pixels")))
}

/// A number of things; `None` when null.
pub(super) fn count<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    #[derive(serde::Deserialize)]
    struct Whole(#[serde(deserialize_with = "whole")] i64);
    let Some(Whole(v)) = Option::<Whole>::deserialize(d)? else { return Ok(None) };
    u32::try_from(v).map(Some).map_err(|_| D::Error::custom(format_args!("{v} is not a number of things")))
}

/// A flag as `0`, `1`, `true`, `false` or `null`.
pub(super) fn flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    struct Flag;
    impl<'de> Visitor<'de> for Flag {
        type Value = bool;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("0 or 1")
        }
        fn visit_bool<E: Error>(self, v: bool) -> Result<bool, E> {
            Ok(v)
        }
        fn visit_i64<E: Error>(self, v: i64) -> Result<bool, E> {
            Ok(v != 0)
        }
        fn visit_u64<E: Error>(self, v: u64) -> Result<bool, E> {
            Ok(v != 0)
        }
        fn visit_f64<E: Error>(self, v: f64) -> Result<bool, E> {
            Ok(v != 0.0)
        }
        fn visit_unit<E: Error>(self) -> Result<bool, E> {
            Ok(false)
        }
    }
    d.deserialize_any(Flag)
}

/// A finite number.
pub(super) fn finite<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let v = f64::deserialize(d)?;
    if v.is_finite() { Ok(v) } else { Err(D::Error::custom(format_args!("{v} is not a finite number"))) }
}
