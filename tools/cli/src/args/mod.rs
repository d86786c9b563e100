//! The command line as typed: flags, their checks, and the words of `--help`.
//!
//! Only what can be judged without opening a file is checked here; clap ends with exit code 2 on its own.

mod det;
mod parse;
mod seg;
mod shared;
mod tools;
mod train;
mod words;

pub use det::*;
pub use seg::*;
pub use shared::*;
pub use tools::*;
pub use train::*;

#[cfg(test)]
mod tests {
    use super::parse::{fraction, height_by_width};
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
        SegCli::command().debug_assert();
    }

    #[test]
    fn sizes_read_as_documented() {
        assert_eq!(height_by_width("800x1344"), Ok((800, 1344)));
        assert!(height_by_width("800").is_err());
    }

    #[test]
    fn fractions_are_finite_and_within_bounds() {
        assert_eq!(fraction(".3"), Ok(0.3));
        for bad in ["NaN", "inf", "-0.1", "1.01", "a", ""] {
            assert!(fraction(bad).is_err(), "{bad}");
        }
    }
}
