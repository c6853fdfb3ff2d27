//! The synapse daemon: command line, configuration, logs, then [`synapse::run`].

use std::process::ExitCode;

use clap::Parser;
use common::config::Problems;
use common::exit::{self, Fatal};
use common::process::first;
use common::telemetry::log::{self, Format};
use synapse::cli::{Cli, Command};
use synapse::config::Source;
use synapse::{ask, keep, look, run};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            error.print().ok();
            return code(if wrong {
                exit::ExitCode::Usage
            } else {
                exit::ExitCode::Ok
            });
        }
    };
    let told = match &cli.command {
        Some(Command::Health(args)) => return tell(ask::health(args)),
        Some(Command::Wait(args)) => return tell(ask::wait(args)),
        Some(Command::Haproxy(args)) => {
            keep::haproxy(cli.path(), args.router, |line| say(&format!("synapse haproxy: {line}")))
        }
        Some(Command::Render(_) | Command::Plan(_)) | None => {
            if first::is_first() && cli.stays() {
                keep::itself(|line| say(&format!("synapse: {line}")))
            } else {
                start(&cli).map(|()| exit::ExitCode::Ok as u8)
            }
        }
    };
    match told {
        Ok(code) => ExitCode::from(code),
        Err(fatal) => {
            say(&format!("synapse: {}", fatal.message.trim_end()));
            code(fatal.code)
        }
    }
}

fn start(cli: &Cli) -> Result<(), Fatal> {
    let base = std::env::current_dir()
        .map_err(|error| Fatal::config(format!("the current directory can't be told: {error}")))?;
    let source = Source {
        path: cli.path(),
        base,
        unknown: cli.unknown_keys(),
        level_is_fixed: cli.log_level.is_some(),
    };
    let read = source.load().map_err(|problems| Fatal::config(problems.to_string()))?;
    let format = if read.value.log_json {
        Format::Json
    } else {
        Format::Text
    };
    let level = match &cli.log_level {
        Some(level) => log::init(level, format).map_err(|error| Fatal {
            code: exit::ExitCode::Usage,
            message: error.to_string(),
        })?,
        // Who looks wants to see what was asked for, and what is wrong.
        None if cli.command.is_some() => {
            log::init("warn", format).map_err(|error| Fatal::runtime(error.to_string()))?
        }
        None => log::init(&read.value.log_level, format)
            .map_err(|error| Fatal::config(format!("{}: logLevel: {error}", cli.path().display())))?,
    };
    if cli.check_config {
        if !read.warnings.is_empty() {
            say(&format!("Warnings:\n{}", Problems(read.warnings)));
        }
        say(&format!("{}: the configuration is valid.", cli.path().display()));
        return Ok(());
    }
    for warning in read.warnings {
        tracing::warn!(%warning, "The configuration has a peculiarity.");
    }
    let runtime =
        common::runtime::build().map_err(|error| Fatal::runtime(format!("cannot start the runtime: {error}")))?;
    let ended = match &cli.command {
        None | Some(Command::Health(_) | Command::Wait(_) | Command::Haproxy(_)) => {
            let once = cli.once.then_some(cli.wait);
            runtime.block_on(run::run(source, read.value, level, once))
        }
        Some(Command::Render(args)) => runtime
            .block_on(look::render(read.value, args))
            .map(|text| print(&text)),
        Some(Command::Plan(args)) => runtime.block_on(look::plan(read.value, args)).map(|text| print(&text)),
    };
    // A look-up or a write that hangs must not hold the process.
    runtime.shutdown_background();
    ended
}

/// The answer of the synapse that runs: a yes on standard output, anything else on standard error.
fn tell(answer: Result<String, Fatal>) -> ExitCode {
    match answer {
        Ok(said) => {
            print(&(said + "\n"));
            code(exit::ExitCode::Ok)
        }
        Err(fatal) => {
            say(fatal.message.trim_end());
            code(fatal.code)
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "for the operator, before there are logs")]
fn say(line: &str) {
    eprintln!("{line}");
}

fn code(code: exit::ExitCode) -> ExitCode {
    ExitCode::from(code as u8)
}
