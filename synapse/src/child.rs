//! Supervises a child and does nothing else: a synapse, as PID 1 of its container, or HAProxy in a container of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use common::exit::Fatal;
use common::process::init::{ChildSpec, supervise_child};
use common::signal::{Signal, Signals};
use rustix::process::Signal as Raw;
use tokio::time::sleep;

use crate::cli::ChildArgs;
use crate::config::{Config, RouterKind, Source};
use crate::haproxy;

/// How often the first file is checked for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// As PID 1: supervises a synapse, whose crash HAProxy in the same container survives; returns the exit code.
pub async fn synapse(report: impl Fn(&str)) -> Result<ExitCode, Fatal> {
    let failed = |error| Fatal::runtime(format!("cannot start a synapse as the child of PID 1: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let argv: Vec<OsString> = [program.into()]
        .into_iter()
        .chain(std::env::args_os().skip(1))
        .collect();
    let child = ChildSpec {
        name: "synapse",
        argv: &argv,
        translate: |signal, _| Some(signal),
    };
    supervise_child(child, report).await.map(ExitCode::from).map_err(failed)
}

/// `synapse haproxy`: supervises the HAProxy of a synapse, with the file that this one writes; returns the exit code.
pub async fn haproxy(args: &ChildArgs, report: impl Fn(&str)) -> Result<ExitCode, Fatal> {
    let config = Source::new(args.configuration.path())?.load()?.value;
    let (file, command) = select(&config, args.router)?;
    if !wait_for_file(&file, &report).await? {
        return Ok(ExitCode::SUCCESS);
    }
    let child = ChildSpec {
        name: "HAProxy",
        argv: &command,
        translate: to_haproxy,
    };
    let ended = supervise_child(child, report).await;
    ended
        .map(ExitCode::from)
        .map_err(|error| Fatal::config(format!("HAProxy can't be started: {error}")))
}

/// Returns the file and the command line of the HAProxy to run.
fn select(config: &Config, number: Option<usize>) -> Result<(PathBuf, Vec<OsString>), Fatal> {
    let mut candidates = (1..)
        .zip(&config.routers)
        .filter_map(|(at, router)| match &router.kind {
            RouterKind::Haproxy(haproxy) if number.is_none_or(|number| number == at) => {
                Some((&haproxy.config_path, haproxy::kept_elsewhere(haproxy)?))
            }
            _ => None,
        });
    let (file, argv) = candidates.next().ok_or_else(|| {
        let which = number.map_or_else(
            || "no router".to_owned(),
            |number| format!("router {number} is not one that"),
        );
        Fatal::config(format!(
            "{which} has `runHaproxy: false`: synapse runs HAProxy itself, and two would compete for the same ports"
        ))
    })?;
    if candidates.next().is_some() {
        return Err(Fatal::config(
            "several routers have `runHaproxy: false`; select one by `--router`",
        ));
    }
    Ok((file.clone(), argv.map(OsString::from).into()))
}

/// Waits until synapse has written the first file; `false` when a signal requests a stop before that.
async fn wait_for_file(file: &Path, report: impl Fn(&str)) -> Result<bool, Fatal> {
    let signals = Signals::of_process();
    let mut signals = signals.map_err(|error| Fatal::runtime(format!("cannot receive signals: {error}")))?;
    if !file.exists() {
        report(&format!("waiting until synapse has written {}", file.display()));
    }
    while !file.exists() {
        tokio::select! {
            () = sleep(POLL_INTERVAL) => {}
            signal = signals.next() => if signal == Signal::Stop { return Ok(false) },
        }
    }
    Ok(true)
}

/// Stops softly first, and at once when a stop was requested before. Reloads are the task of synapse.
fn to_haproxy(signal: Raw, is_stopping: bool) -> Option<Raw> {
    match signal {
        Raw::HUP => None,
        _ if is_stopping => Some(Raw::TERM),
        _ => Some(Raw::USR1),
    }
}

#[cfg(test)]
mod tests {
    use common::config::{Document, UnknownKeys};

    use super::*;
    use crate::config::resolve;

    fn two(first: bool, second: bool) -> Config {
        let router = |name: &str, run: bool| {
            format!("  - {{type: haproxy, configPath: /run/{name}.cfg, runHaproxy: {run}, services: []}}\n")
        };
        let text = format!("routers:\n{}{}", router("a", first), router("b", second));
        let document = Document::parse("synapse.yaml", text).expect("it parses");
        let loaded = resolve(&document, UnknownKeys::Refuse, Path::new("/"));
        loaded.expect("a valid file").value
    }

    fn file(config: &Config, number: Option<usize>) -> Result<String, String> {
        let selected = select(config, number).map_err(|fatal| fatal.message);
        selected.map(|(file, argv)| {
            assert_eq!(argv.last().expect("a file"), file.as_os_str());
            file.display().to_string()
        })
    }

    #[test]
    fn the_haproxy_that_synapse_does_not_run_is_selected() {
        assert_eq!(file(&two(true, false), None).as_deref(), Ok("/run/b.cfg"));
        assert_eq!(file(&two(false, false), Some(1)).as_deref(), Ok("/run/a.cfg"));
        for (config, number, expected) in [
            (two(true, true), None, "no router has"),
            (two(true, false), Some(1), "router 1 is not one"),
            (two(true, false), Some(3), "router 3 is not one"),
            (two(false, false), None, "several routers"),
        ] {
            let error = file(&config, number).expect_err("there is none to run");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_second_stop_is_not_soft() {
        assert_eq!(to_haproxy(Raw::TERM, false), Some(Raw::USR1));
        assert_eq!(to_haproxy(Raw::INT, true), Some(Raw::TERM));
        assert_eq!(to_haproxy(Raw::HUP, false), None);
    }
}
