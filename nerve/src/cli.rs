//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Checks local services and registers them in ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "nerve",
    version,
    override_usage = "nerve [OPTIONS] --config <FILE>\n       nerve [OPTIONS] <FILE>",
    after_help = "Exit codes: 0 stopped as asked, 1 broke while running, 64 wrong command line, 78 wrong configuration or what it names on this machine."
)]
pub struct Cli {
    /// The configuration file, YAML or JSON
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    pub file: Option<PathBuf>,

    /// The same, as an option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Overrides the file's `logLevel`: trace, debug, info, warn, error or off, alone or per module
    #[arg(short = 'L', long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Read the configuration, name every problem in it and leave; unknown keys are problems
    #[arg(long)]
    pub check_config: bool,

    /// A template in the configuration that names an absent environment variable is a problem, not `<no value>`
    #[arg(long)]
    pub strict_template: bool,
}

impl Cli {
    /// The configuration file.
    pub fn path(&self) -> PathBuf {
        self.config.clone().or_else(|| self.file.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_one_way_or_the_other() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["nerve"], args].concat());
        assert_eq!(parse(&["a.yaml"]).expect("positional").path(), PathBuf::from("a.yaml"));
        assert_eq!(
            parse(&["--config", "a.yaml"]).expect("option").path(),
            PathBuf::from("a.yaml")
        );
        assert!(parse(&[]).is_err());
        assert!(parse(&["a.yaml", "--config", "b.yaml"]).is_err());
    }
}
