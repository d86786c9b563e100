//! One file per command; each takes its arguments and says how it ended.

pub mod bench;
pub mod demo;
mod detector;
pub mod eval;
mod eval_data;
pub mod infer;
mod lined_up;
pub mod train;
pub mod weights;

use crate::args::{Command, Eval};
use crate::console::Console;
use crate::exit::{Exit, Failure};

/// Runs the command that was typed.
///
/// # Errors
/// The message and exit code of whatever ended it early.
pub fn run(command: Command, console: Console) -> Result<Exit, Failure> {
    match command {
        Command::Eval(Eval::Coco(args)) => eval::run(args, console),
        Command::Infer(args) => infer::run(args, console),
        Command::Train(args) => train::run(*args, console),
        Command::Resume(args) => train::resume(args, console),
        Command::Weights(args) => weights::run(args, console),
        Command::Bench(args) => bench::run(args, console),
        Command::Demo(args) => demo::run(args, console),
    }
}
