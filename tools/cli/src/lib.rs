//! The command line of the project: arguments, commands, messages and exit codes.
//!
//! A library so that `care-det` and `care-seg` are thin and share one code path per verb; it is the only crate that prints.

#![forbid(unsafe_code)]

mod advice;
pub mod args;
pub mod commands;
pub mod console;
pub mod exit;
pub mod explain_text;
pub mod gate;
pub mod interrupt;
pub mod places;
pub mod progress;
pub mod shard;
pub mod standing;
pub mod table;
pub mod train_pictures;
pub mod train_view;

use args::{Cli, Global, SegCli};
use clap::{CommandFactory, Parser};
use console::Console;
use exit::{Exit, Failure};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `care-det` with the arguments of the process.
pub fn care_det() -> ExitCode {
    program::<Cli>("care-det", |cli| {
        (cli.global, cli.command.map(|c| Box::new(|k| commands::run(c, k)) as Command))
    })
}

/// Runs `care-seg` with the arguments of the process.
pub fn care_seg() -> ExitCode {
    program::<SegCli>("care-seg", |cli| {
        (cli.global, cli.command.map(|c| Box::new(|k| commands::run_seg(c, k)) as Command))
    })
}

/// What was typed, ready to be run.
type Command = Box<dyn FnOnce(Console) -> Result<Exit, Failure>>;

fn program<C: Parser + CommandFactory>(
    name: &'static str,
    parts: impl FnOnce(C) -> (Global, Option<Command>),
) -> ExitCode {
    care_engine::machine::keep_candle_quiet();
    let typed: Vec<OsString> = std::env::args_os().collect();
    let json = typed.iter().any(|a| a == "--json");
    let (global, command) = match C::try_parse_from(&typed) {
        Ok(cli) => parts(cli),
        Err(e) => return refused(advice::improved(e, &typed, name), json),
    };
    let console = Console { json: global.json, quiet: global.quiet, verbose: global.verbose };
    let known: Vec<String> = C::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let exit = run(name, &global, (command, known), console).unwrap_or_else(|failure| {
        console.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit.code())
}

/// Help and version are results; everything else that clap has to say is a usage error.
fn refused(e: clap::Error, json: bool) -> ExitCode {
    if !e.use_stderr() {
        let _ = e.print();
        return ExitCode::from(Exit::Ok.code());
    }
    if json {
        let console = Console { json, quiet: false, verbose: false };
        let text = e.to_string();
        console.failure(&Failure::usage(text.trim_end().trim_start_matches("error: ")));
    } else {
        let _ = e.print();
    }
    ExitCode::from(Exit::Usage.code())
}

fn run(
    name: &'static str,
    global: &Global,
    (command, known): (Option<Command>, Vec<String>),
    console: Console,
) -> Result<Exit, Failure> {
    let isa = care_engine::machine::instruction_set()?;
    let threads = set_threads(global)?;
    if global.version {
        return version(name, &console, isa, threads);
    }
    console.detail(&format!("instruction set {isa}, {threads} threads"));
    match command {
        Some(command) => command(console),
        None => Err(Failure::usage(format!("which command? One of {}; see {name} --help", known.join(", ")))),
    }
}

/// Sizes the one thread pool that kernels, decoding and scoring share.
fn set_threads(global: &Global) -> Result<usize, Failure> {
    if let Some(n) = global.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(n))
            .build_global()
            .map_err(|e| Failure::runtime(format!("--threads {n}: {e}")))?;
    }
    Ok(rayon::current_num_threads())
}

#[derive(serde::Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    isa: String,
    threads: usize,
}

fn version(name: &'static str, console: &Console, isa: String, threads: usize) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    console.text(&format!("{name} {version} ({isa}, {threads} threads)\n"))?;
    console.json(&Version { name, version, isa, threads })?;
    Ok(Exit::Ok)
}
