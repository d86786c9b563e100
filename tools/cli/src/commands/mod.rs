//! One file per command; each takes its arguments and says how it ended.

pub mod bench;
pub mod compare;
pub mod demo;
mod detector;
pub mod eval;
mod eval_data;
pub mod eval_panoptic;
mod eval_part;
mod eval_scenes;
pub mod eval_seg;
pub mod infer;
pub mod infer_seg;
mod lined_up;
pub mod merge;
mod parts;
mod seg_maps;
pub mod train;
pub mod weights;

use crate::args::{Command, Eval, SegCommand};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use care_engine::Task;

/// Runs the command that was typed.
///
/// # Errors
/// The message and exit code of whatever ended it early.
pub fn run(command: Command, console: Console) -> Result<Exit, Failure> {
    match command {
        Command::Eval(Eval::Coco(args)) => eval::run(*args, console),
        Command::Eval(Eval::Lvis(args)) => eval::run_lvis(&args, console),
        Command::Eval(Eval::Panoptic(args)) => eval_panoptic::run(&args, console),
        Command::Merge(args) => merge::run(args, console),
        Command::Compare(args) => compare::run(args, console),
        Command::Infer(args) => infer::run(args, console),
        Command::Train(args) => train::run(*args, Task::Detection, console),
        Command::Resume(args) => train::resume(args, console),
        Command::Weights(args) => weights::run(args, Task::Detection, console),
        Command::Bench(args) => bench::run(args, console),
        Command::Demo(args) => demo::run(args, Task::Detection, console),
    }
}

/// Runs the command of `care-seg` that was typed.
///
/// # Errors
/// The message and exit code of whatever ended it early.
pub fn run_seg(command: SegCommand, console: Console) -> Result<Exit, Failure> {
    match command {
        SegCommand::Eval(args) => eval_seg::run(args, console),
        SegCommand::Merge(args) => merge::run_seg(args, console),
        SegCommand::Infer(args) => infer_seg::run(args, console),
        SegCommand::Train(args) => train::run(*args, Task::Segmentation, console),
        SegCommand::Resume(args) => train::resume(args, console),
        SegCommand::Weights(args) => weights::run(args, Task::Segmentation, console),
        SegCommand::Bench(args) => bench::run(args, console),
        SegCommand::Demo(args) => demo::run(args, Task::Segmentation, console),
    }
}
