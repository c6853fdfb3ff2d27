//! The synapse daemon: command line, configuration, logs, then [`synapse::run`].

use std::process::ExitCode;

use clap::Parser;
use common::config::Problems;
use common::exit::{self, Fatal};
use common::telemetry::log::{self, Format};
use synapse::cli::{Cli, Look};
use synapse::config::Source;
use synapse::{look, run};

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
    match start(&cli) {
        Ok(()) => code(exit::ExitCode::Ok),
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
        None if cli.look.is_some() => log::init("warn", format).map_err(|error| Fatal::runtime(error.to_string()))?,
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
    let ended = match &cli.look {
        None => {
            let once = cli.once.then_some(cli.wait);
            runtime.block_on(run::run(source, read.value, level, once))
        }
        Some(Look::Render(args)) => runtime
            .block_on(look::render(read.value, args))
            .map(|text| print(&text)),
        Some(Look::Plan(args)) => runtime.block_on(look::plan(read.value, args)).map(|text| print(&text)),
    };
    // A look-up or a write that hangs must not hold the process.
    runtime.shutdown_background();
    ended
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
