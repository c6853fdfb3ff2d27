//! What keeps others running and does nothing else: a synapse, as the first process of its container, and HAProxy, in a
//! container of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::config::UnknownKeys;
use common::exit::Fatal;
use common::process::first::{self, Kept};
use common::signal::{Signal, Signals};
use rustix::process::Signal as Raw;
use tokio::time::sleep;

use crate::config::{Config, RouterKind, Source};
use crate::haproxy;

/// How often it is looked for the first file.
const LOOK: Duration = Duration::from_millis(100);

/// As a container's first process: keeps a synapse running that HAProxy, in the same container, outlives; the exit code.
pub fn itself(say: impl Fn(&str)) -> Result<u8, Fatal> {
    let lost = |error| {
        Fatal::runtime(format!(
            "it can't start itself as its container's second process: {error}"
        ))
    };
    let program = std::env::current_exe().map_err(lost)?;
    let argv: Vec<OsString> = [program.into()]
        .into_iter()
        .chain(std::env::args_os().skip(1))
        .collect();
    let kept = Kept {
        name: "synapse",
        argv: &argv,
        translate: |signal, _| Some(signal),
    };
    run(async { first::keep(kept, say).await.map_err(lost) })
}

/// `synapse haproxy`: keeps the HAProxy of the synapse with the configuration `path` running, with the file that this one
/// writes; the exit code. `router` says which HAProxy, counted from 1, where there are several.
pub fn haproxy(path: PathBuf, router: Option<usize>, say: impl Fn(&str)) -> Result<u8, Fatal> {
    let base = std::env::current_dir()
        .map_err(|error| Fatal::config(format!("the current directory can't be told: {error}")))?;
    let source = Source {
        path,
        base,
        unknown: UnknownKeys::Warn,
        level_is_fixed: false,
    };
    let read = source.load().map_err(|problems| Fatal::config(problems.to_string()))?;
    let (file, command) = chosen(&read.value, router)?;
    let kept = Kept {
        name: "HAProxy",
        argv: &command,
        translate: to_haproxy,
    };
    run(async {
        if !is_written(&file, &say).await? {
            return Ok(0);
        }
        let kept = first::keep(kept, say).await;
        kept.map_err(|error| Fatal::config(format!("HAProxy can't be started: {error}")))
    })
}

fn run(keep: impl Future<Output = Result<u8, Fatal>>) -> Result<u8, Fatal> {
    let runtime =
        common::runtime::build().map_err(|error| Fatal::runtime(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(keep)
}

/// The file and the command line of the HAProxy that is to be kept running.
fn chosen(config: &Config, number: Option<usize>) -> Result<(PathBuf, Vec<OsString>), Fatal> {
    let all = (1..)
        .zip(&config.routers)
        .filter_map(|(at, router)| match &router.kind {
            RouterKind::Haproxy(haproxy) => Some((at, haproxy)),
            RouterKind::Console | RouterKind::Template(_) | RouterKind::FileOutput(_) => None,
        });
    let kept = all.filter_map(|(at, haproxy)| Some((at, &haproxy.config_path, haproxy::kept_elsewhere(haproxy)?)));
    let mut wanted = kept.filter(|(at, ..)| number.is_none_or(|wanted| wanted == *at));
    let (_, file, argv) = wanted.next().ok_or_else(|| {
        let which = number.map_or_else(
            || "no router".to_owned(),
            |number| format!("router {number} is not one that"),
        );
        Fatal::config(format!(
            "{which} has `runHaproxy: false`: synapse runs HAProxy itself, and two would take each other's ports"
        ))
    })?;
    if wanted.next().is_some() {
        return Err(Fatal::config(
            "several routers have `runHaproxy: false`; say with `--router` which one's HAProxy is to be run here",
        ));
    }
    Ok((file.clone(), argv.map(OsString::from).into()))
}

/// Waits until synapse has written the first file; not when it is told to stop before that.
async fn is_written(file: &Path, say: impl Fn(&str)) -> Result<bool, Fatal> {
    let signals = Signals::of_process();
    let mut signals = signals.map_err(|error| Fatal::runtime(format!("signals can't be heard: {error}")))?;
    if !file.exists() {
        say(&format!("waiting until synapse has written {}", file.display()));
    }
    while !file.exists() {
        tokio::select! {
            () = sleep(LOOK) => {}
            signal = signals.next() => if signal == Signal::Stop { return Ok(false) },
        }
    }
    Ok(true)
}

/// Softly first, at once when that was asked for before. Reloads are synapse's.
fn to_haproxy(signal: Raw, asked_before: bool) -> Option<Raw> {
    match signal {
        Raw::HUP => None,
        _ if asked_before => Some(Raw::TERM),
        _ => Some(Raw::USR1),
    }
}

#[cfg(test)]
mod tests {
    use common::config::Document;

    use super::*;
    use crate::config::resolve;

    fn two(first: bool, second: bool) -> Config {
        let router = |name: &str, run: bool| {
            format!("  - {{type: haproxy, configPath: /run/{name}.cfg, runHaproxy: {run}, services: []}}\n")
        };
        let text = format!("routers:\n{}{}", router("a", first), router("b", second));
        let document = Document::parse("synapse.yaml", text).expect("it parses");
        let loaded = resolve(&document, UnknownKeys::Refuse, Path::new("/"));
        loaded.expect("it is right").value
    }

    fn file(config: &Config, number: Option<usize>) -> Result<String, String> {
        let chosen = chosen(config, number).map_err(|fatal| fatal.message);
        chosen.map(|(file, argv)| {
            assert_eq!(argv.last().expect("a file"), file.as_os_str());
            file.display().to_string()
        })
    }

    #[test]
    fn it_runs_the_haproxy_that_synapse_does_not_run() {
        assert_eq!(file(&two(true, false), None).as_deref(), Ok("/run/b.cfg"));
        assert_eq!(file(&two(false, false), Some(1)).as_deref(), Ok("/run/a.cfg"));
        for (config, number, said) in [
            (two(true, true), None, "no router has"),
            (two(true, false), Some(1), "router 1 is not one"),
            (two(true, false), Some(3), "router 3 is not one"),
            (two(false, false), None, "several routers"),
        ] {
            let error = file(&config, number).expect_err("there is none to run");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_stop_is_soft_until_it_is_asked_for_again() {
        assert_eq!(to_haproxy(Raw::TERM, false), Some(Raw::USR1));
        assert_eq!(to_haproxy(Raw::INT, true), Some(Raw::TERM));
        assert_eq!(to_haproxy(Raw::HUP, false), None);
    }
}
