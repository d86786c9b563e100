//! The command line of the project: arguments, commands, messages and exit codes.
//!
//! A library so that `care-det` (and later other programs) are thin; it is the only crate that prints.

#![forbid(unsafe_code)]

mod advice;
pub mod args;
pub mod commands;
pub mod console;
pub mod exit;
pub mod interrupt;
pub mod places;
pub mod progress;
pub mod table;
pub mod train_pictures;
pub mod train_view;

use args::{Cli, Global};
use clap::{CommandFactory, Parser};
use console::Console;
use exit::{Exit, Failure};
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `care-det` with the arguments of the process.
pub fn care_det() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let json = typed.iter().any(|a| a == "--json");
    let cli = match Cli::try_parse_from(&typed) {
        Ok(cli) => cli,
        Err(e) => return refused(advice::improved(e, &typed), json),
    };
    let console = Console { json: cli.global.json, quiet: cli.global.quiet, verbose: cli.global.verbose };
    let exit = run(cli, console).unwrap_or_else(|failure| {
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

fn run(cli: Cli, console: Console) -> Result<Exit, Failure> {
    let isa = care_engine::machine::instruction_set()?;
    let threads = set_threads(&cli.global)?;
    if cli.global.version {
        return version(&console, isa, threads);
    }
    console.detail(&format!("instruction set {isa}, {threads} threads"));
    match cli.command {
        Some(command) => commands::run(command, console),
        None => {
            let names: Vec<String> =
                Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
            Err(Failure::usage(format!("which command? One of {}; see care-det --help", names.join(", "))))
        }
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

fn version(console: &Console, isa: String, threads: usize) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    console.text(&format!("care-det {version} ({isa}, {threads} threads)\n"))?;
    console.json(&Version { name: "care-det", version, isa, threads })?;
    Ok(Exit::Ok)
}
