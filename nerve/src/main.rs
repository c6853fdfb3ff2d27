//! The nerve daemon: command line, configuration, logs, then [`nerve::run`].

use std::process::ExitCode;

use common::config::UnknownKeys;
use common::daemon;
use common::exit::Fatal;
use common::runtime::block_on;
use nerve::cli::Cli;
use nerve::client;
use nerve::config::Source;
use nerve::run;

fn main() -> ExitCode {
    daemon::main("nerve", |cli: Cli| match &cli.command {
        Some(command) => block_on(client::run(command)).map(|output| daemon::print(output + "\n")),
        None => start(&cli),
    })
}

fn start(cli: &Cli) -> Result<(), Fatal> {
    let mut source = Source {
        path: cli.daemon.path(),
        environment: Source::environment(),
        strict_template: cli.strict_template,
        unknown: UnknownKeys::Warn,
    };
    let prepared = daemon::prepare(&cli.daemon, None, |unknown| {
        source.unknown = unknown;
        source.load()
    })?;
    prepared.map_or(Ok(()), |(config, level)| block_on(run::run(source, config, level)))
}
