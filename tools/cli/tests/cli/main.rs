//! Runs the real binary in a fresh folder: exit codes, messages, and what lands on stdout.

mod bench;
mod eval_data;
mod eval_files;
mod eval_kinds;
mod frame;
mod infer;
mod masks;
mod panoptic;
mod parts;
mod run;
mod seg;
mod train;
mod weights;
