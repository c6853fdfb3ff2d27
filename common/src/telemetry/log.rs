//! Logs through `tracing`, as text or JSON, with a level that can be changed while running.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people; colour only on a terminal and without `NO_COLOR`.
    Text,
    /// One JSON object per line.
    Json,
}

/// Changes the level while running.
#[derive(Debug, Clone)]
pub struct LevelHandle {
    filter: reload::Handle<Targets, Registry>,
    /// The current level as it was set.
    text: Arc<Mutex<String>>,
}

/// An invalid level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no log level; the levels are trace, debug, info, warn, error and off, alone or per module as in `info,common::zk=debug`"
)]
pub struct LevelError(pub String);

/// Libraries whose lines at `info` and below our own lines duplicate; quiet unless the level names them.
const NOISY_MODULES: [&str; 3] = ["zookeeper_client", "hyper", "h2"];

/// Starts logging to standard error. `level` also takes the originals' names (`fatal`, `panic` read as `error`,
/// `warning` as `warn`). Modules that it leaves open log at `info`.
/// Call once, first thing in `main`; a later call only changes the level.
pub fn init(level: &str, format: Format) -> Result<LevelHandle, LevelError> {
    static HANDLE: OnceLock<LevelHandle> = OnceLock::new();
    parse(level)?;
    let handle = HANDLE.get_or_init(|| {
        let (subscriber, handle) = subscriber(format, std::io::stderr);
        // Fails when another subscriber is in place (a test's), which then stays.
        if tracing::subscriber::set_global_default(subscriber).is_err() {
            tracing::warn!("Logging was already set up; the configured level and format have no effect.");
        }
        handle
    });
    handle.set(level)?;
    Ok(handle.clone())
}

impl LevelHandle {
    /// Checks a level without setting it.
    pub fn check(&self, level: &str) -> Result<(), LevelError> {
        parse(level).map(drop)
    }

    /// Changes the level.
    pub fn set(&self, level: &str) -> Result<(), LevelError> {
        let filter = parse(level)?;
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only when the subscriber is gone, and with it everything that would be filtered.
        if self.filter.reload(filter).is_ok() {
            level.trim().clone_into(&mut text);
        }
        Ok(())
    }

    /// Returns the current level, as it was set.
    pub fn get(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn subscriber<W>(format: Format, writer: W) -> (impl Subscriber + Send + Sync, LevelHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(Targets::new().with_default(LevelFilter::INFO));
    // A line that can't be written (standard error closed) must not become a panic about it.
    let lines = fmt::layer().with_writer(writer).log_internal_errors(false);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = match format {
        Format::Text => lines.with_ansi(colour).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let handle = LevelHandle {
        filter: handle,
        text: Arc::new(Mutex::new("info".to_owned())),
    };
    (Registry::default().with(filter).with(lines), handle)
}

/// `info`, `hyper=debug` or several of them with commas; of a repeated one the last holds.
fn parse(text: &str) -> Result<Targets, LevelError> {
    let error = || LevelError(text.trim().to_owned());
    let mut general = LevelFilter::INFO;
    let mut named = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            None => general = level_filter(part).ok_or_else(error)?,
            Some((module, level)) => {
                let module = module.trim();
                let level = level_filter(level.trim()).ok_or_else(error)?;
                if module.is_empty() || !module.chars().all(|c| c.is_alphanumeric() || "_:-".contains(c)) {
                    return Err(error());
                }
                named.push((module.to_owned(), level));
            }
        }
    }
    let quiet = NOISY_MODULES.map(|module| (module.to_owned(), general.min(LevelFilter::WARN)));
    // Later directives replace earlier ones of the same module.
    Ok(Targets::new()
        .with_default(general)
        .with_targets(quiet)
        .with_targets(named))
}

fn level_filter(level: &str) -> Option<LevelFilter> {
    Some(match level.to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        _ => return None,
    })
}

/// A subscriber at `level` whose text lines can be read; the handle works as long as the subscriber lives.
#[cfg(test)]
pub(crate) fn captured(level: &str) -> (impl Subscriber + Send + Sync, LevelHandle, impl Fn() -> String) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (subscriber, handle) = subscriber(Format::Text, tests::Lines(Arc::clone(&lines)));
    handle.set(level).unwrap();
    let read = move || String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    (subscriber, handle, read)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone)]
    pub(super) struct Lines(pub(super) Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(format: Format, act: impl FnOnce(&LevelHandle)) -> String {
        let lines = Lines(Arc::default());
        let (subscriber, handle) = subscriber(format, lines.clone());
        with_default(subscriber, || act(&handle));
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_level_changes_while_running() {
        let text = logged(Format::Text, |level| {
            assert_eq!(level.get(), "info");
            tracing::debug!("first");
            tracing::info!("second");
            level.set(" Warning\n").unwrap();
            assert_eq!(level.get(), "Warning");
            tracing::info!("third");
            level.set("debug").unwrap();
            tracing::debug!("fourth");
            assert!(level.set("loud").is_err());
            assert_eq!(level.get(), "debug");
        });
        let seen: Vec<_> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(seen, ["second", "fourth"], "{text}");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = logged(Format::Json, |_| tracing::info!(service = "web", "Up.\n\"ok\""));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "Up.\n\"ok\"");
        assert_eq!(line["service"], "web");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn noisy_libraries_are_quiet_until_named() {
        let lets = |level: &str, target: &str, at: tracing::Level| parse(level).unwrap().would_enable(target, &at);
        assert!(!lets("debug", "hyper::proto", tracing::Level::INFO));
        assert!(lets("debug", "hyper::proto", tracing::Level::WARN));
        assert!(!lets("error", "zookeeper_client", tracing::Level::WARN));
        assert!(lets("info,hyper=trace", "hyper::proto", tracing::Level::TRACE));
        assert!(lets("common::zk=debug", "common::zk::session", tracing::Level::DEBUG));
        assert!(lets("common::zk=debug", "nerve", tracing::Level::INFO));
        assert!(!lets("common::zk=debug", "nerve", tracing::Level::DEBUG));
        assert!(!lets("off", "nerve", tracing::Level::ERROR));
    }

    #[test]
    fn the_originals_names_are_levels_and_others_are_not() {
        for level in ["TRACE", "fatal", "panic", "warning", "info, common=debug"] {
            assert!(parse(level).is_ok(), "{level}");
        }
        for level in ["", "inf", "info,", "=debug", "nerve=", "nerve=loud", "a b=debug"] {
            assert_eq!(parse(level), Err(LevelError(level.to_owned())));
        }
    }

    #[test]
    fn a_second_init_changes_the_level() {
        let first = init("warn", Format::Text).unwrap();
        assert!(init("loud", Format::Text).is_err());
        let second = init("error", Format::Json).unwrap();
        assert_eq!((first.get(), second.get()), ("error".to_owned(), "error".to_owned()));
    }
}
