//! The nerve daemon: command line, configuration, logs, then [`nerve::run`].

use std::process::ExitCode;

use clap::Parser;
use common::config::{Problems, UnknownKeys};
use common::exit::{self, Fatal};
use common::telemetry::log;
use nerve::ask;
use nerve::cli::Cli;
use nerve::config::Source;
use nerve::run;

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
    if let Some(command) = &cli.command {
        return tell(ask::ask(command));
    }
    match start(&cli) {
        Ok(()) => code(exit::ExitCode::Ok),
        Err(fatal) => {
            say(&format!("nerve: {}", fatal.message.trim_end()));
            code(fatal.code)
        }
    }
}

fn start(cli: &Cli) -> Result<(), Fatal> {
    let unknown = if cli.check_config {
        UnknownKeys::Refuse
    } else {
        UnknownKeys::Warn
    };
    let source = Source {
        path: cli.path(),
        environment: Source::environment(),
        strict_template: cli.strict_template,
        unknown,
        level_is_fixed: cli.log_level.is_some(),
    };
    let read = source.load().map_err(|problems| Fatal::config(problems.to_string()))?;
    if cli.check_config {
        if !read.warnings.is_empty() {
            say(&format!("Warnings:\n{}", Problems(read.warnings)));
        }
        say(&format!("{}: the configuration is valid.", cli.path().display()));
        return Ok(());
    }
    let level = match &cli.log_level {
        Some(level) => log::init(level, read.value.log_format).map_err(|error| Fatal {
            code: exit::ExitCode::Usage,
            message: error.to_string(),
        })?,
        None => log::init(&read.value.log_level, read.value.log_format)
            .map_err(|error| Fatal::config(format!("{}: logLevel: {error}", cli.path().display())))?,
    };
    for warning in read.warnings {
        tracing::warn!(warning = %Problems(vec![warning]), "The configuration has a peculiarity.");
    }
    let runtime =
        common::runtime::build().map_err(|error| Fatal::runtime(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(run::run(source, read.value, level));
    // A write that is stuck on a full pipe must not hold the process.
    runtime.shutdown_background();
    ended
}

/// The answer of the nerve that runs: a yes on standard output, anything else on standard error.
fn tell(answer: Result<String, Fatal>) -> ExitCode {
    match answer {
        Ok(said) => {
            print(&said);
            code(exit::ExitCode::Ok)
        }
        Err(fatal) => {
            say(fatal.message.trim_end());
            code(fatal.code)
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "for the operator, before there are logs")]
fn say(line: &str) {
    eprintln!("{line}");
}

fn code(code: exit::ExitCode) -> ExitCode {
    ExitCode::from(code as u8)
}
