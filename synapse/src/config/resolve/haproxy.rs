//! `type: haproxy`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::config::Section;
use common::file::with_suffix;

use super::lines::words;
use super::obsolete::Place;
use super::router_context::{DEFAULT_BIND, RouterContext};
use super::sections::extra_sections;
use super::{ResolveContext, lines};
use crate::config::{HaproxyConfig, HaproxyControl, OptionsPolicy, ServersMode, Weights};

impl RouterContext {
    /// The settings of an HAProxy router for its services.
    pub(super) fn of(section: &mut Section<'_>) -> Self {
        let bind_address = section.text_or("bindAddress", DEFAULT_BIND);
        lines::bind_host(section, "bindAddress", &bind_address);
        Self {
            haproxy: true,
            modernise: section.flag_or("modernise", false),
            bind_address,
            shared_frontend: section.has("sharedFrontend"),
            weights: if section.flag_or("useRegisteredWeights", true) {
                Weights::Registered
            } else {
                Weights::Equal
            },
        }
    }
}

impl ResolveContext<'_> {
    /// Reads the keys of an HAProxy router; `ids` are the sections that its services make.
    pub(super) fn haproxy(&mut self, section: &mut Section<'_>, ids: &[String]) -> Option<HaproxyConfig> {
        let config_path = self.config_path(section);
        let reload_min_interval = section.milliseconds_or("reloadMinIntervalInMilli", Duration::from_millis(500));
        let start_wait = section.duration_or("startWait", Duration::from_secs(10));
        let reconcile_interval = section.duration_or("reconcileInterval", Duration::from_secs(10));
        section.ignored(
            "statePath",
            "Go-Synapse never used it, and the state is read from HAProxy itself here",
        );
        let global = self.context.lines(section, "global", Place::Global);
        let defaults = self.context.lines(section, "defaults", Place::Defaults);
        let extra_sections = extra_sections(section, &self.context, ids);
        let shared_frontend = self.context.lines(section, "sharedFrontend", Place::Proxy);
        if self.context.shared_frontend && !shared_frontend.iter().any(|line| words(line).next() == Some("bind")) {
            section.problem(
                "sharedFrontend",
                "the frontend that services share listens nowhere",
                "add a line such as `bind 127.0.0.1:80`",
            );
        }
        let options_policy = options_policy(section);
        let servers = servers(section);
        let control = control(section, config_path.as_deref(), &global);
        let stats_socket = self.stats_socket(section, config_path.as_deref(), &control, &global);
        let state_file = state_file(config_path.as_deref(), &control, &global, &defaults);
        Some(HaproxyConfig {
            config_path: config_path?,
            control,
            stats_socket: stats_socket?,
            reload_min_interval,
            start_wait,
            reconcile_interval,
            global,
            defaults,
            extra_sections,
            shared_frontend: self.context.shared_frontend.then_some(shared_frontend),
            options_policy: options_policy?,
            servers: servers?,
            state_file,
        })
    }

    fn config_path(&mut self, section: &mut Section<'_>) -> Option<PathBuf> {
        let written = section.required_text("configPath")?;
        let path = self.base.join(&written);
        if written.ends_with('/') || path.file_name().is_none() {
            section.problem(
                "configPath",
                format!("{written:?} is a directory"),
                "name the file, e.g. /run/synapse/haproxy.cfg",
            );
            return None;
        }
        lines::plain_path(section, "configPath", &path);
        self.take(section, "configPath", &path);
        Some(path)
    }

    /// The socket that commands go through. Our own is next to the configuration file; in managed mode only, because an
    /// HAProxy of another program reads the lines of `global[]` and no other path is certain.
    fn stats_socket(
        &self,
        section: &mut Section<'_>,
        config_path: Option<&Path>,
        control: &HaproxyControl,
        global: &[String],
    ) -> Option<PathBuf> {
        let written: Vec<StatsSocket<'_>> = global.iter().filter_map(|line| StatsSocket::of(line)).collect();
        if written.is_empty() && matches!(control, HaproxyControl::Managed { .. }) {
            let path = with_suffix(config_path?, ".sock");
            lines::socket_path(section, "configPath", &path, lines::HAPROXY_SOCKET_MAX);
            return Some(path);
        }
        let unix: Vec<&StatsSocket<'_>> = written.iter().filter(|socket| socket.path.is_some()).collect();
        let help = "add `stats socket /run/haproxy.sock mode 600 level admin` to `global`";
        let Some(first) = unix.first() else {
            let what = if written.is_empty() {
                "no `stats socket` is configured, and servers can't be changed without one"
            } else {
                "no `stats socket` is a Unix socket, and synapse talks to HAProxy through one"
            };
            section.problem("global", what, help);
            return None;
        };
        let Some(socket) = unix.iter().find(|socket| socket.admin) else {
            let path = first.path.unwrap_or_default();
            section.problem(
                "global",
                format!("the stats socket {path} is not of `level admin`, so servers can't be changed through it"),
                "append `level admin` to its line",
            );
            return None;
        };
        let path = self.base.join(socket.path?);
        lines::socket_path(section, "global", &path, lines::HAPROXY_SOCKET_MAX);
        Some(path)
    }
}

fn control(section: &mut Section<'_>, config_path: Option<&Path>, global: &[String]) -> HaproxyControl {
    let reload_command = section.texts("reloadCommand");
    let reload_timeout = section.milliseconds_or("reloadTimeoutInMilli", Duration::from_secs(1));
    let cleanup_command = section.texts("cleanupCommand");
    let cleanup_timeout = section.milliseconds_or("cleanupTimeoutInMilli", Duration::from_secs(35));
    let program = section.text_or("haproxyProgram", "haproxy");
    let stop_on_exit = section.flag_or("stopOnExit", false);
    let run = section.flag_or("runHaproxy", true);
    if !run {
        for (key, is_set) in [
            ("stopOnExit", stop_on_exit),
            ("reloadCommand", !reload_command.is_empty()),
        ] {
            if is_set {
                section.problem(
                    key,
                    "with `runHaproxy: false` HAProxy is run by `synapse haproxy`, which reloads and stops it",
                    format!("remove `{key}`, or `runHaproxy`"),
                );
            }
        }
    }
    if !reload_command.is_empty() {
        if stop_on_exit {
            section.problem(
                "stopOnExit",
                "`reloadCommand` owns HAProxy, so synapse can't stop it",
                "remove `stopOnExit`, or `reloadCommand` to let synapse run HAProxy",
            );
        }
        let bounded = global.iter().any(|line| words(line).next() == Some("hard-stop-after"));
        if cleanup_command.is_empty() && !bounded {
            section.warning(
                "global",
                "nothing ends the workers that a reload has replaced while a connection of theirs lives",
                "add `hard-stop-after 5m`, longer than the longest request",
            );
        }
        return HaproxyControl::External {
            reload_command,
            reload_timeout,
            cleanup_command,
            cleanup_timeout,
            program,
        };
    }
    for key in ["cleanupCommand", "cleanupTimeoutInMilli", "reloadTimeoutInMilli"] {
        if section.has(key) {
            section.problem(
                key,
                "this belongs to `reloadCommand`, and without one synapse runs HAProxy by itself",
                "remove it, or add `reloadCommand`",
            );
        }
    }
    if global.iter().any(|line| words(line).next() == Some("daemon")) {
        section.problem(
            "global",
            "`daemon` sends HAProxy into the background, where synapse can't watch over it",
            "remove the line: without `reloadCommand` synapse starts HAProxy and keeps it running",
        );
    }
    let master_socket = config_path
        .map(|path| with_suffix(path, ".master.sock"))
        .unwrap_or_default();
    lines::socket_path(section, "configPath", &master_socket, lines::HAPROXY_SOCKET_MAX);
    HaproxyControl::Managed {
        run,
        program,
        master_socket,
        stop_on_exit,
    }
}

fn options_policy(section: &mut Section<'_>) -> Option<OptionsPolicy> {
    section.choice_or(
        "haproxyServerOptionsPolicy",
        "strict",
        &[
            ("strict", OptionsPolicy::Strict),
            ("legacy", OptionsPolicy::Legacy),
            ("ignore", OptionsPolicy::Ignore),
        ],
    )
}

fn servers(section: &mut Section<'_>) -> Option<ServersMode> {
    section.choice_or(
        "servers",
        "auto",
        &[
            ("auto", ServersMode::Auto),
            ("slots", ServersMode::Slots),
            ("dynamic", ServersMode::Dynamic),
        ],
    )
}

/// Where the health of the servers is stored for the next worker: in the file that `global` names, because backends read it
/// from there unless `defaults` decides otherwise. Both lines are added for an HAProxy of ours; for another program's they
/// have to be there.
fn state_file(
    config_path: Option<&Path>,
    control: &HaproxyControl,
    global: &[String],
    defaults: &[String],
) -> Option<PathBuf> {
    let value = |lines: &[String], keyword: &str| {
        let mut values = lines.iter().rev().filter_map(|line| {
            let mut words = words(line);
            (words.next() == Some(keyword)).then(|| words.next().unwrap_or_default().to_owned())
        });
        values.next()
    };
    let managed = matches!(control, HaproxyControl::Managed { .. });
    match value(defaults, "load-server-state-from-file") {
        Some(from) if from != "global" => return None,
        None if !managed => return None,
        Some(_) | None => {}
    }
    match value(global, "server-state-file") {
        // Relative ones start from `server-state-base`, or from wherever HAProxy was started.
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_absolute()),
        None if managed => config_path.map(|path| with_suffix(path, ".state")),
        None => None,
    }
}

/// One `stats socket` line.
struct StatsSocket<'l> {
    /// `None` when it is not a Unix socket.
    path: Option<&'l str>,
    admin: bool,
}

impl<'l> StatsSocket<'l> {
    fn of(line: &'l str) -> Option<Self> {
        let mut words = words(line);
        if words.next() != Some("stats") || words.next() != Some("socket") {
            return None;
        }
        let address = words.next()?;
        let path = address.strip_prefix("unix@").unwrap_or(address);
        let is_path = !path.contains('@') && (path.contains('/') || !path.contains(':'));
        let rest: Vec<&str> = words.collect();
        Some(Self {
            path: is_path.then_some(path),
            admin: rest.windows(2).any(|pair| pair == ["level", "admin"]),
        })
    }
}
