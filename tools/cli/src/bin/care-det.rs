//! `care-det`: object detectors on the CARE Transformer, from the command line.
fn main() {}
