//! The synapse daemon: command line, configuration, logs, then [`synapse::run`].

use std::process::ExitCode;

use common::daemon::{self, report};
use common::exit::Fatal;
use common::process::init;
use common::runtime::block_on;
use synapse::cli::{Cli, Command};
use synapse::config::Source;
use synapse::{child, client, dry_run, run};

fn main() -> ExitCode {
    daemon::main("synapse", |cli: Cli| match &cli.command {
        Some(Command::Health(args)) => Ok(print(block_on(client::health(args))? + "\n")),
        Some(Command::Wait(args)) => Ok(print(block_on(client::wait(args))? + "\n")),
        Some(Command::Haproxy(args)) => block_on(child::haproxy(args, |line| {
            report(format_args!("synapse haproxy: {line}"));
        })),
        None if init::is_pid_1() && cli.runs_until_stopped() => {
            block_on(child::synapse(|line| report(format_args!("synapse: {line}"))))
        }
        Some(Command::Render(_) | Command::Plan(_)) | None => start(&cli),
    })
}

fn start(cli: &Cli) -> Result<ExitCode, Fatal> {
    let mut source = Source::new(cli.configuration())?;
    // A dry run prints its output and warnings only.
    let default_level = cli.command.as_ref().map(|_| "warn");
    let prepared = daemon::prepare(&cli.daemon, default_level, |unknown| {
        source.unknown = unknown;
        source.load()
    })?;
    let Some((config, level)) = prepared else {
        return Ok(ExitCode::SUCCESS);
    };
    match &cli.command {
        Some(Command::Render(args)) => Ok(print(block_on(dry_run::render(config, args))?)),
        Some(Command::Plan(args)) => Ok(print(block_on(dry_run::plan(config, args))?)),
        _ => {
            let once = cli.once.then_some(cli.wait);
            block_on(run::run(source, config, level, once))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(text: String) -> ExitCode {
    daemon::print(text);
    ExitCode::SUCCESS
}
