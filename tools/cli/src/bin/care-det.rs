//! `care-det`: object detectors on the CARE Transformer, from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    care_cli::care_det()
}
