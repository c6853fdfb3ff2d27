//! A secret: literal in the file, or a reference to its place.

use std::fmt;
use std::path::PathBuf;

/// A text that is never shown: written out, `env:NAME`, or `file:/PATH`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    Literal(String),
    Environment(String),
    File(PathBuf),
}

/// An unreadable secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is absent, or no UTF-8.
    #[error("cannot read a secret from the environment variable {0}: set it, or name another")]
    Environment(String),
    /// The file can't be read.
    #[error("cannot read a secret from {}: mend its rights or name another file", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Secret {
    /// `env:` and a variable's name, `file:` and an absolute path; anything else is the secret itself.
    pub fn parse(text: &str) -> Self {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let variable = text
            .strip_prefix("env:")
            .filter(|variable| !variable.is_empty() && variable.chars().all(name));
        let file = text.strip_prefix("file:").filter(|path| path.starts_with('/'));
        Self(match (variable, file) {
            (Some(variable), _) => Source::Environment(variable.to_owned()),
            (_, Some(path)) => Source::File(PathBuf::from(path)),
            _ => Source::Literal(text.to_owned()),
        })
    }

    /// Returns the current text: a file is read at each use because it may be replaced. Line ends at the file's end are
    /// removed.
    pub fn read(&self) -> Result<String, SecretError> {
        match &self.0 {
            Source::Literal(text) => Ok(text.clone()),
            Source::Environment(name) => std::env::var(name).map_err(|_| SecretError::Environment(name.clone())),
            Source::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(source) => Err(SecretError::File {
                    path: path.clone(),
                    source,
                }),
            },
        }
    }

    /// Returns the text when it is literal in the configuration, for validation.
    pub fn literal(&self) -> Option<&str> {
        match &self.0 {
            Source::Literal(text) => Some(text),
            Source::Environment(_) | Source::File(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_out_or_somewhere_else() {
        for literal in ["hunter2", "env:", "env:A-B", "file:relative", "", "ENV:HOME"] {
            assert_eq!(Secret::parse(literal).literal(), Some(literal));
            assert_eq!(Secret::parse(literal).read().expect("literal"), literal);
        }
        let path = std::env::var("PATH").expect("every test has one");
        assert_eq!(Secret::parse("env:PATH").read().expect("set"), path);
        let absent = Secret::parse("env:NO_SUCH_VARIABLE_HERE").read().expect_err("absent");
        assert!(absent.to_string().contains("NO_SUCH_VARIABLE_HERE"), "{absent}");
    }

    #[test]
    fn a_file_is_read_at_each_use() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        let secret = Secret::parse(&format!("file:{}", path.display()));
        assert!(secret.read().is_err() && secret.literal().is_none());
        for password in ["first", "second"] {
            std::fs::write(&path, format!("{password}\n")).expect("written");
            assert_eq!(secret.read().expect("there"), password);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?} {:?}", Secret::parse("hunter2"), Secret::parse("env:HUNTER"));
        assert_eq!(shown, "[redacted] [redacted]");
    }
}
