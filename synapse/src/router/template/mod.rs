//! Writes a file from a template and runs a command when it has changed, as Go-Synapse does.
//!
//! The command counts: the desired state is applied when the command has succeeded for the file that is there. A mark beside
//! the file records that it still has to, from before the file changes until the command has succeeded, so that a command
//! that fails is retried, and one that a crash prevented is run at the next start.

mod mark;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::exit::Fatal;
use common::file::{Lock, write_atomic};
use common::process::{Outcome, Program};
use common::ready::Latch;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::{PaceConfig, ServiceConfig, TemplateConfig, TemplateSource};
use crate::desired::Desired;
use crate::template::Template;

use super::Locks;
use super::applier::{Applied, Applier, ApplierTask, Target};
use mark::Mark;

/// Shown while nothing else is left to do.
const WAITS_FOR_COMMAND: &str = "the command waits for its share of `reloadJitter`";

/// A file made from a template.
#[derive(Debug)]
pub struct TemplateFile {
    template: Template,
    names: BTreeMap<String, String>,
    destination: Arc<Path>,
    mode: u32,
    /// `None` when nothing is run.
    command: Option<Program>,
    jitter: Duration,
    /// When the command may run; drawn once for each need.
    command_at: Option<Instant>,
    _lock: Arc<Lock>,
}

/// What a write found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// The file is another one now.
    changed: bool,
    /// There was none before.
    created: bool,
    /// The command has yet to succeed for the file that is there.
    command_due: bool,
}

/// Reads the template and takes the file for this router.
pub fn build(
    config: TemplateConfig,
    services: &[ServiceConfig],
    pace: PaceConfig,
    desired: watch::Receiver<Arc<Desired>>,
    first_apply: Latch,
    locks: &mut Locks,
) -> Result<(Applier, ApplierTask<TemplateFile>), Fatal> {
    let template = read(&config.source).map_err(Fatal::config)?;
    let destination: Arc<Path> = config.destination.into();
    make_directory(&destination).map_err(|error| Fatal::config(format!("destinationFile: {error}")))?;
    let lock = match locks.take(&hidden(&destination, "lock")) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            return Err(Fatal::config(format!(
                "destinationFile: another synapse writes {}. Stop it, or give this router another file.",
                destination.display()
            )));
        }
        Err(error) => return Err(Fatal::config(format!("destinationFile: {error}"))),
    };
    let target = TemplateFile {
        template,
        names: names(services),
        destination,
        mode: config.mode,
        command: (!config.command.is_empty()).then(|| Program {
            argv: config.command,
            env: Vec::new(),
            timeout: config.command_timeout,
        }),
        jitter: pace.jitter,
        command_at: None,
        _lock: lock,
    };
    let look_every = Some(config.reconcile_interval);
    Ok(Applier::new(target, desired, pace, look_every, first_apply))
}

/// The file as it would be written for `desired`; writes nothing. An error is for the operator.
pub fn render(config: &TemplateConfig, services: &[ServiceConfig], desired: &Desired) -> Result<String, String> {
    let rendered = read(&config.source)?.render(&names(services), desired);
    rendered.map_err(|error| error.to_string())
}

fn read(source: &TemplateSource) -> Result<Template, String> {
    match source {
        TemplateSource::Text(text) => Template::parse("template", text).map_err(|error| error.to_string()),
        TemplateSource::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("templateFile: cannot read {}: {error}", path.display()))?;
            Template::parse(&path.to_string_lossy(), &text).map_err(|error| format!("templateFile: {error}"))
        }
    }
}

/// The services' names by id.
fn names(services: &[ServiceConfig]) -> BTreeMap<String, String> {
    let names = services
        .iter()
        .map(|service| (service.id.clone(), service.name.clone()));
    names.collect()
}

impl Target for TemplateFile {
    async fn apply(&mut self, desired: &Arc<Desired>) -> Result<Applied, String> {
        if let Some(unknown) = unknown(desired) {
            return Ok(Applied::NotYet(unknown));
        }
        let text = self.template.render(&self.names, desired);
        let text = text.map_err(|error| error.to_string())?;
        let (path, mode, marks) = (Arc::clone(&self.destination), self.mode, self.command.is_some());
        let step = spawn_blocking(move || write(&path, text.as_bytes(), mode, marks)).await;
        let step = step.unwrap_or_else(|error| Err(error.to_string()))?;
        if step.changed {
            tracing::info!(file = %self.destination.display(), "Wrote the file.");
        }
        let Some(command) = self.command.as_ref().filter(|_| step.command_due) else {
            return Ok(if step.changed {
                Applied::Changed
            } else {
                Applied::Unchanged
            });
        };
        let now = Instant::now();
        // No jitter on first creation: the consumer cannot have started without the file.
        let hold = if step.created {
            Duration::ZERO
        } else {
            self.jitter.mul_f64(fastrand::f64())
        };
        let at = *self.command_at.get_or_insert(now + hold);
        if now < at {
            return Ok(Applied::Rest {
                at,
                what: WAITS_FOR_COMMAND,
            });
        }
        run(command).await?;
        self.command_at = None;
        let mark = Mark::of(&self.destination);
        let cleared = spawn_blocking(move || mark.clear()).await;
        cleared.unwrap_or_else(|error| Err(error.to_string()))?;
        tracing::info!(file = %self.destination.display(), "The command has taken the file over.");
        Ok(Applied::Changed)
    }
}

/// The services whose servers are unknown yet: without them the file would remove servers that exist.
fn unknown(desired: &Desired) -> Option<String> {
    let unknown = desired.services.iter().filter(|service| service.servers.is_none());
    let names: Vec<&str> = unknown.map(|service| service.id.as_str()).collect();
    (!names.is_empty()).then(|| format!("the first word of {}", names.join(", ")))
}

/// Makes the file hold `bytes`; `marks`: there is a command to run for it.
fn write(path: &Path, bytes: &[u8], mode: u32, marks: bool) -> Result<Step, String> {
    make_directory(path)?;
    let mark = Mark::of(path);
    let changed = !common::file::holds(path, bytes, mode);
    let created = changed && !path.exists();
    if changed {
        if marks {
            mark.set()?;
        }
        write_atomic(path, bytes, mode).map_err(|error| error.to_string())?;
    }
    Ok(Step {
        changed,
        created,
        command_due: marks && mark.is_set(),
    })
}

fn make_directory(file: &Path) -> Result<(), String> {
    let Some(directory) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(directory).map_err(|error| format!("cannot create {}: {error}", directory.display()))
}

/// A file of ours beside `path`, hidden from programs that include a whole directory.
fn hidden(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

async fn run(command: &Program) -> Result<(), String> {
    let name = command.argv.join(" ");
    match command.run().await {
        Ok(Outcome::Success { .. }) => Ok(()),
        Ok(Outcome::Failure { how, output }) => Err(format!("`{name}` failed ({how}): {}", output.trim())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
