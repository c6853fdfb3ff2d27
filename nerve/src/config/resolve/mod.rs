//! The file's keys become a [`Config`]: defaults, ranges, cross-checks.
//!
//! Each key is read in one place, here or in `resolve/`; the reference in the README is compared with what is read.
//! A reader goes on after a problem, so that one run names them all.

mod access;
mod advertise;
pub(super) mod check;
mod clash;
mod node;
mod reporter;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::config::Section;
use common::http::ProbesConfig;
use common::process::Program;
use common::telemetry::log::Format;

use super::{
    ApiAddress, Config, DisableConfig, HooksConfig, LOOPBACK, LifecycleConfig, PreAvailable, Repeated, ServiceConfig,
    Unstable, WarmUpConfig,
};
use crate::config::warmup_shape::{INTERVALS, Shape};

/// The port of `probes` when none is configured.
const PROBES_PORT: u16 = 3458;
/// `shutdownTimeout`, unless a service needs longer.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(90);
/// What the stop sequence needs beyond the longest disable sequence: withdrawing, closing sessions.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(10);

/// Reads the root of the file.
pub fn resolve(root: &mut Section<'_>) -> Option<Config> {
    let log_level = root.text_or("logLevel", "info");
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let log_format = root.choice_or("logFormat", "text", &formats);
    let api = api_address(root);
    let hooks = hooks(root);
    let probes = ProbesConfig::read(root, PROBES_PORT);
    let directory = |path: Option<String>| path.filter(|path| !path.is_empty()).map(PathBuf::from);
    let state_dir = directory(root.text("stateDir"));
    let hacheck_spool = directory(root.text("hacheckSpool"));
    let legacy_get_mutations = root.flag_or("legacyGetMutations", false);
    root.ignored(
        "templatedConfigPath",
        "the expanded file is never written to disk: it may hold secrets",
    );
    let services: Vec<_> = root.sections("services", "service").iter_mut().map(service).collect();
    if services.is_empty() {
        root.warning("services", "names no service", "nerve has nothing to do without one");
    }
    unique_names(root, &services);
    clash::nodes(root, &services);
    let shutdown_timeout = shutdown_timeout(root, &services);
    Some(Config {
        log_level,
        log_format: log_format?,
        api,
        hooks,
        probes: probes.ok()?,
        shutdown_timeout,
        state_dir,
        hacheck_spool,
        effective: "".into(),
        legacy_get_mutations,
        services: services
            .into_iter()
            .map(|service| service.map(Arc::new))
            .collect::<Option<_>>()?,
    })
}

fn api_address(root: &mut Section<'_>) -> ApiAddress {
    let host = root.text_or("apiHost", &LOOPBACK.to_string());
    let port = u16::try_from(root.integer_or("apiPort", 3454, 1..=65535)).unwrap_or(3454);
    match root.text("apiSocket").filter(|path| !path.is_empty()) {
        Some(path) => ApiAddress::Unix(PathBuf::from(path)),
        None => ApiAddress::Tcp { host, port },
    }
}

/// Where hooks are taken; what is wrong with it is a problem of the file.
fn hooks(root: &mut Section<'_>) -> Option<HooksConfig> {
    let mut section = root.section("hooks", "hooks")?;
    let host = section.required_text("host");
    let host = host.and_then(|host| self::host(&mut section, "host", host));
    let port = u16::try_from(section.integer_or("port", 3457, 1..=65535)).unwrap_or(3457);
    Some(HooksConfig { host: host?, port })
}

fn unique_names(root: &mut Section<'_>, services: &[Option<ServiceConfig>]) {
    let mut seen = BTreeSet::new();
    for service in services.iter().flatten() {
        if !seen.insert(&service.name) {
            root.problem(
                "services",
                format!("two services are named `{}`", service.name),
                "give each a `name` of its own: it names the node and the API's paths",
            );
        }
    }
}

fn shutdown_timeout(root: &mut Section<'_>, services: &[Option<ServiceConfig>]) -> Duration {
    let longest = services
        .iter()
        .flatten()
        .filter(|service| service.down_on_shutdown)
        .map(|service| longest_disable(&service.lifecycle.disable))
        .max()
        .unwrap_or_default();
    let timeout = root.duration_or("shutdownTimeout", SHUTDOWN_TIMEOUT);
    if !root.has("shutdownTimeout") {
        return timeout.max(longest + SHUTDOWN_MARGIN);
    }
    if timeout <= longest {
        root.problem(
            "shutdownTimeout",
            format!("leaves no time for the longest disable sequence, which takes up to {longest:?}"),
            format!(
                "at least {:?}, or shorten the services' `disableMaxDurationInMilli`",
                longest + SHUTDOWN_MARGIN
            ),
        );
    }
    timeout
}

/// The most time that disabling takes at a stop.
fn longest_disable(disable: &DisableConfig) -> Duration {
    let shutdown = disable
        .shutdown
        .as_ref()
        .map_or(Duration::ZERO, |program| program.timeout);
    let graceful = disable.gracefully_done.as_ref().map_or(Duration::ZERO, |_| disable.max);
    disable.min.max(shutdown.max(graceful))
}

fn service(section: &mut Section<'_>) -> Option<ServiceConfig> {
    let host = section.text_or("host", &LOOPBACK.to_string());
    let host = self::host(section, "host", host);
    let port = service_port(section);
    let default_name = format!("{}:{}", host.as_deref().unwrap_or_default(), port.unwrap_or_default());
    let name = section
        .text("name")
        .filter(|name| !name.is_empty())
        .unwrap_or(default_name);
    if name.contains('/') || name.chars().any(char::is_control) {
        section.problem(
            "name",
            "has a `/` or a control character",
            "the name is part of the node's name and of the API's paths: leave those out",
        );
    }
    let report_name = section
        .text("reporterServiceName")
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| name.clone());
    let prefer_ipv4 = section.flag_or("preferIpv4", false);
    let weight = u8::try_from(section.integer_or("weight", 255, 1..=255)).unwrap_or(u8::MAX);
    for key in ["rise", "fall", "checkIntervalInMilli"] {
        section.ignored(key, "it belongs to each entry of `checks`");
    }
    let target = host.clone().zip(port);
    let checks = check::checks(section, target.as_ref(), prefer_ipv4);
    let (advertised, others) = advertise::advertised(section).unzip();
    let host = advertised.or(host);
    let instance = node::Instance {
        name: &name,
        report_name: &report_name,
        host: host.as_deref().unwrap_or_default(),
        port: port.unwrap_or_default(),
    };
    let reporters = reporter::reporters(section, instance);
    advertise::warn_of_loopback(section, instance.host, reporters.as_deref().unwrap_or_default());
    let lifecycle = lifecycle(section);
    let report_replay = millis_or(section, "reportReplayInMilli", 1000);
    let mut labels = section.text_map("labels");
    labels.extend(others.flatten().map(|others| (advertise::LABEL.to_owned(), others)));
    let haproxy_server_options = section.text_or("haproxyServerOptions", "");
    let down_on_shutdown = section.flag_or("setServiceAsDownOnShutdown", true);
    let exclude_from_global = section.flag_or("excludeFromGlobalDisable", false);
    let no_metrics = section.flag_or("noMetrics", false);
    Some(ServiceConfig {
        name,
        host: host?,
        port: port?,
        weight,
        report_name,
        haproxy_server_options,
        labels,
        report_replay,
        down_on_shutdown,
        exclude_from_global,
        no_metrics,
        lifecycle,
        checks: checks?,
        reporters: reporters?,
    })
}

/// The port of a service has no default.
fn service_port(section: &mut Section<'_>) -> Option<u16> {
    let port = section.integer("port", 0..=65535);
    if port == Some(0) || (port.is_none() && !section.has("port")) {
        section.problem("port", "is missing", "the port the service listens on, 1 to 65535");
    }
    port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

fn lifecycle(section: &mut Section<'_>) -> LifecycleConfig {
    LifecycleConfig {
        pre_available: pre_available(section),
        warm_up: warm_up(section),
        disable: disable(section),
    }
}

fn pre_available(section: &mut Section<'_>) -> Option<PreAvailable> {
    let program = program(section, "preAvailableCommand", "preAvailableMaxDurationInMilli", 1000);
    let blocking = section.flag_or("preAvailableBlocking", false);
    let retry = section.duration_or("preAvailableRetryInterval", Duration::from_secs(1));
    if blocking && program.is_none() {
        section.problem(
            "preAvailableBlocking",
            "blocks for nothing: there is no `preAvailableCommand`",
            "add the command or remove this",
        );
    }
    program.map(|program| PreAvailable {
        program,
        retry: blocking.then_some(retry),
    })
}

fn warm_up(section: &mut Section<'_>) -> Option<WarmUpConfig> {
    let wanted = section.flag_or("enableWarmup", true);
    let stable = program(
        section,
        "enableCheckStableCommand",
        "enableCheckStableMaxDurationInMilli",
        2000,
    );
    let stable_interval = millis_or(section, "enableCheckStableIntervalInMilli", 1000);
    let interval = millis_or(section, "enableWarmupIntervalInMilli", 2000);
    let max = longest_warm_up(section, interval);
    let shapes = [
        ("fibonacci", Shape::Fibonacci),
        ("linear", Shape::Linear),
        ("exponential", Shape::Exponential),
    ];
    let shape = section.choice_or("enableWarmupShape", "fibonacci", &shapes)?;
    let reactions = [("reset", Unstable::Reset), ("hold", Unstable::Hold)];
    let unstable = section.choice_or("enableCheckStableFailure", "reset", &reactions)?;
    if stable.is_some() && !wanted {
        section.warning(
            "enableCheckStableCommand",
            "is never run: it watches the warm-up, and `enableWarmup` is false",
            "",
        );
    }
    let stable = stable.map(|program| Repeated {
        program,
        interval: stable_interval,
    });
    wanted.then_some(WarmUpConfig {
        interval,
        max,
        shape,
        stable,
        unstable,
    })
}

fn longest_warm_up(section: &mut Section<'_>, interval: Duration) -> Duration {
    let shortest = interval * INTERVALS;
    let max = section.milliseconds_or("enableWarmupMaxDurationInMilli", interval * 30);
    if max < shortest {
        section.problem(
            "enableWarmupMaxDurationInMilli",
            format!(
                "is {} ms, but a warm-up takes {} intervals of {} ms",
                max.as_millis(),
                INTERVALS,
                interval.as_millis()
            ),
            format!(
                "at least {}, or a shorter `enableWarmupIntervalInMilli`",
                shortest.as_millis()
            ),
        );
    }
    max
}

fn disable(section: &mut Section<'_>) -> DisableConfig {
    let graceful = program(
        section,
        "disableGracefullyDoneCommand",
        "disableGracefullyDoneIntervalInMilli",
        1000,
    );
    DisableConfig {
        shutdown: program(
            section,
            "disableShutdownCommand",
            "disableShutdownMaxDurationInMilli",
            30_000,
        ),
        gracefully_done: graceful.map(|program| Repeated {
            interval: program.timeout,
            program,
        }),
        max: millis_or(section, "disableMaxDurationInMilli", 60_000),
        min: millis_or(section, "disableMinDurationInMilli", 3000),
    }
}

/// A command, when there is one, and its deadline.
fn program(section: &mut Section<'_>, command: &'static str, deadline: &'static str, default: u64) -> Option<Program> {
    let argv = section.texts(command);
    let timeout = millis_or(section, deadline, default);
    if argv.first().is_some_and(String::is_empty) {
        section.problem(command, "starts with an empty text", "the program, then its arguments");
    }
    (!argv.is_empty()).then(|| Program {
        argv,
        env: Vec::new(),
        timeout,
    })
}

fn millis_or(section: &mut Section<'_>, key: &'static str, default: u64) -> Duration {
    section.milliseconds_or(key, Duration::from_millis(default))
}

/// The `host` of a section that inherits it.
fn host_of(section: &mut Section<'_>, inherited: &str) -> Option<String> {
    match section.text("host").filter(|host| !host.is_empty()) {
        Some(host) => self::host(section, "host", host),
        None => Some(inherited.to_owned()),
    }
}

/// A literal address or a DNS name.
fn host(section: &mut Section<'_>, key: &str, host: String) -> Option<String> {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.parse::<std::net::IpAddr>().is_ok() || (!host.starts_with(['-', '.']) && host.chars().all(name)) {
        return Some(host);
    }
    section.problem(
        key,
        format!("`{}` is neither an address nor a host name", host.escape_debug()),
        "an address without brackets and port, or a DNS name",
    );
    None
}

#[cfg(test)]
mod tests;
