//! `care-seg`: semantic segmenters on the CARE Transformer, from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    care_cli::care_seg()
}
