//! Writes the manual pages of the daemons and the completions of their command lines into a directory, for the packages.

use std::path::PathBuf;

use clap::{Command, CommandFactory, Parser};
use clap_complete::Shell;

/// Writes manual pages and completions.
#[derive(Debug, Parser)]
struct Arguments {
    /// The directory; it is made.
    directory: PathBuf,
}

fn main() -> std::io::Result<()> {
    let Arguments { directory } = Arguments::parse();
    std::fs::create_dir_all(&directory)?;
    for mut command in [nerve::cli::Cli::command(), synapse::cli::Cli::command()] {
        let name = command.get_name().to_owned();
        // There is a page of each subcommand; their help needs none.
        let pages = described(command.clone()).disable_help_subcommand(true);
        clap_mangen::generate_to(pages, &directory)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command, &name, &directory)?;
        }
    }
    Ok(())
}

/// With what the help of the command line leaves to the README.
fn described(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let more = format!(
        "Files: /etc/{name}/{name}.yaml, the configuration; /usr/share/doc/{name}/README.md, what is to be said of each key, \
         the API, the metrics and the signals."
    );
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    command.after_long_help(format!("{help}\n\n{more}"))
}
