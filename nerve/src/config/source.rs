//! Where the configuration comes from, at the start and whenever it is read again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use common::config::{Loaded, Problem, Problems, UnknownKeys};

use super::expand::{Expanded, expand};
use super::{Config, resolve};

/// A file and how it is to be read.
#[derive(Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What its templates see.
    pub environment: BTreeMap<String, String>,
    /// Whether a template that names an absent variable is a problem, not `<no value>`.
    pub strict_template: bool,
    /// What an unknown key is.
    pub unknown: UnknownKeys,
}

/// The environment may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Source").field(&self.path).finish()
    }
}

impl Source {
    /// What the templates see by default: this process's environment.
    pub fn environment() -> BTreeMap<String, String> {
        std::env::vars_os()
            .map(|(key, value)| (key.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect()
    }

    /// Reads, expands and resolves the file. Values of the environment are in no problem and no warning.
    pub fn load(&self) -> Result<Loaded<Config>, Problems> {
        let file = self.path.display().to_string();
        let mut expanded = Expanded::default();
        let document = common::config::load(&self.path, |text| {
            expanded = expand(&file, text, &self.environment, self.strict_template)?;
            Ok(std::mem::take(&mut expanded.text))
        });
        let hide = |problems: Vec<Problem>| -> Vec<Problem> {
            problems.into_iter().map(|problem| expanded.hide(problem)).collect()
        };
        match document.and_then(|document| document.resolve(self.unknown, resolve)) {
            Ok(mut loaded) => {
                loaded.value.effective = Arc::clone(&loaded.effective);
                loaded.warnings = hide(loaded.warnings);
                loaded.warnings.extend(expanded.warnings);
                Ok(loaded)
            }
            Err(Problems(problems)) => Err(Problems(hide(problems))),
        }
    }
}
