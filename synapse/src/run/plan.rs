//! The difference between the running and a desired configuration. Pure.

use std::collections::BTreeMap;

use crate::config::{Config, RouterConfig, RouterKind, ServiceConfig};
use crate::haproxy;
use crate::reload::{Change, RouterChange, Via};

/// The transitions of all routers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// By desired router, in order.
    pub(super) transitions: Vec<Transition>,
    /// The indices of running routers without a successor.
    pub(super) removed: Vec<usize>,
    /// The changes, for the operator.
    pub(super) changes: Vec<RouterChange>,
}

/// The predecessor of a desired router, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    /// The running router is equal.
    Kept(usize),
    /// The running router is replaced.
    Changed(usize),
    /// It is new.
    Added,
}

impl Plan {
    /// Whether every router is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.act == Change::Kept)
    }
}

/// Compares routers, which are identified by what they write.
pub(super) fn plan(running: &[&RouterConfig], desired: &[RouterConfig]) -> Plan {
    let mut left: BTreeMap<Target, (usize, &RouterConfig)> = targets(running.iter().copied())
        .into_iter()
        .zip(running.iter().copied().enumerate())
        .collect();
    let mut plan = Plan::default();
    for (target, router) in targets(desired.iter()).into_iter().zip(desired) {
        let before = left.remove(&target);
        let (transition, act) = match before {
            Some((index, same)) if same == router => (Transition::Kept(index), Change::Kept),
            Some((index, _)) => (Transition::Changed(index), Change::Changed),
            None => (Transition::Added, Change::Added),
        };
        plan.transitions.push(transition);
        plan.changes
            .push(change(&target, act, before.map(|(_, before)| before), Some(router)));
    }
    for (target, (index, router)) in left {
        plan.removed.push(index);
        plan.changes.push(change(&target, Change::Removed, Some(router), None));
    }
    plan.removed.sort_unstable();
    plan
}

/// The identity of a router in its file: its type, what it writes, and its number among equal ones.
type Target = (&'static str, String, usize);

fn targets<'r>(routers: impl Iterator<Item = &'r RouterConfig>) -> Vec<Target> {
    let mut seen: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
    routers
        .map(|router| {
            let (kind, writes) = match &router.kind {
                RouterKind::Console => ("console", String::new()),
                RouterKind::Haproxy(haproxy) => ("haproxy", haproxy.config_path.display().to_string()),
                RouterKind::Template(template) => ("template", template.destination.display().to_string()),
                RouterKind::FileOutput(output) => ("file_output", output.directory.display().to_string()),
            };
            let count = seen.entry((kind, writes.clone())).or_default();
            *count += 1;
            (kind, writes, *count)
        })
        .collect()
}

fn change(
    (kind, writes, _): &Target,
    act: Change,
    before: Option<&RouterConfig>,
    after: Option<&RouterConfig>,
) -> RouterChange {
    let services = |router: Option<&RouterConfig>| -> BTreeMap<String, ServiceConfig> {
        let services = router.map_or(&[][..], |router| &router.services);
        services
            .iter()
            .map(|service| (service.id.clone(), service.clone()))
            .collect()
    };
    let (was, is) = (services(before), services(after));
    let ids = |of: &BTreeMap<String, ServiceConfig>, test: &dyn Fn(&String, &ServiceConfig) -> bool| -> Vec<String> {
        let found = of.iter().filter(|(id, service)| test(id, service));
        found.map(|(id, _)| id.clone()).collect()
    };
    let by = match (before, after) {
        (Some(before), Some(after)) if act == Change::Changed => via(before, after),
        _ => None,
    };
    RouterChange {
        router: format!("{kind} {writes}").trim_end().to_owned(),
        act,
        by,
        kept: is.iter().filter(|(id, service)| was.get(*id) == Some(service)).count(),
        added: ids(&is, &|id, _| !was.contains_key(id)),
        changed: ids(&is, &|id, service| was.get(id).is_some_and(|was| was != service)),
        removed: ids(&was, &|id, _| !is.contains_key(id)),
    }
}

fn via(before: &RouterConfig, after: &RouterConfig) -> Option<Via> {
    let (RouterKind::Haproxy(was), RouterKind::Haproxy(is)) = (&before.kind, &after.kind) else {
        return None;
    };
    let differs = haproxy::differs_in_structure((was, &before.services), (is, &after.services));
    Some(if differs { Via::Reload } else { Via::Runtime })
}

/// Returns the keys of the root that differ and require a restart.
pub(super) fn needs_restart(running: &Config, desired: &Config) -> Vec<&'static str> {
    // Exhaustive, so that a new key of the root is decided here.
    let Config {
        log_level: _,
        log_format,
        api,
        probes,
        stop: _,
        snapshot_path,
        routers: _,
        effective: _,
    } = desired;
    [
        ("logFormat", *log_format != running.log_format),
        ("apiHost, apiPort or apiSocket", *api != running.api),
        ("probes", *probes != running.probes),
        ("snapshotPath", *snapshot_path != running.snapshot_path),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use common::config::{Document, UnknownKeys};

    use super::*;

    fn config(text: &str) -> Config {
        let document = Document::parse("test", text.to_owned()).expect("it parses");
        let loaded = crate::config::resolve(&document, UnknownKeys::Refuse, Path::new("/"));
        loaded.expect("a valid file").value
    }

    fn routers(text: &str) -> Vec<RouterConfig> {
        config(&format!("routers: [{text}]")).routers
    }

    fn service(keys: &str) -> String {
        format!("{{{keys}, watcher: {{type: zookeeper, hosts: [z], path: /s}}}}")
    }

    fn plan(running: &str, desired: &str) -> Plan {
        let (running, desired) = (routers(running), routers(desired));
        super::plan(&running.iter().collect::<Vec<_>>(), &desired)
    }

    #[test]
    fn equal_files_change_nothing() {
        let file = format!(
            "{{type: console}}, {{type: haproxy, configPath: /h, services: [{}]}}, {{type: console}}",
            service("name: a")
        );
        let plan = plan(&file, &file);
        assert_eq!(
            plan.transitions,
            [Transition::Kept(0), Transition::Kept(1), Transition::Kept(2)]
        );
        assert!(plan.is_empty());
        assert_eq!(plan.changes[1].kept, 1);
    }

    #[test]
    fn a_router_is_recognised_by_what_it_writes() {
        let plan = plan(
            "{type: haproxy, configPath: /a}, {type: haproxy, configPath: /b}, {type: console}",
            "{type: haproxy, configPath: /c}, {type: haproxy, configPath: /a, startWait: 1s}",
        );
        assert_eq!(plan.transitions, [Transition::Added, Transition::Changed(0)]);
        assert_eq!(plan.removed, [1, 2]);
        let changes: Vec<(&str, Change)> = plan
            .changes
            .iter()
            .map(|change| (change.router.as_str(), change.act))
            .collect();
        let expected = [
            ("haproxy /c", Change::Added),
            ("haproxy /a", Change::Changed),
            ("console", Change::Removed),
            ("haproxy /b", Change::Removed),
        ];
        assert_eq!(changes, expected);
        assert!(!plan.is_empty());
    }

    #[test]
    fn only_structural_changes_need_a_reload() {
        let file = |keys: &str, services: &[&str]| {
            let services: Vec<String> = services.iter().map(|keys| service(keys)).collect();
            format!(
                "{{type: haproxy, configPath: /h{keys}, services: [{}]}}",
                services.join(", ")
            )
        };
        let before = file("", &["name: a", "name: b"]);
        for (after, by, changed) in [
            (file(", startWait: 1s", &["name: a", "name: b"]), Via::Runtime, vec![]),
            (
                file("", &["name: a, serverSort: name", "name: b"]),
                Via::Runtime,
                vec!["a_1"],
            ),
            (
                file("", &["name: a, serverOptions: check", "name: b"]),
                Via::Reload,
                vec!["a_1"],
            ),
            (
                file("", &["name: a, routerOptions: {backend: [mode http]}", "name: b"]),
                Via::Reload,
                vec!["a_1"],
            ),
            (
                file(", defaults: [mode http]", &["name: a", "name: b"]),
                Via::Reload,
                vec![],
            ),
        ] {
            let plan = plan(&before, &after);
            assert_eq!(
                (plan.changes[0].by, plan.changes[0].changed.clone()),
                (Some(by), changed.iter().map(|id| (*id).to_owned()).collect()),
                "{after}"
            );
        }
        let fewer = plan(&before, &file("", &["name: a", "name: c"]));
        assert_eq!(fewer.changes[0].by, Some(Via::Reload));
        assert_eq!(
            (
                fewer.changes[0].kept,
                &fewer.changes[0].added,
                &fewer.changes[0].removed
            ),
            (1, &vec!["c_2".to_owned()], &vec!["b_2".to_owned()])
        );
    }

    #[test]
    fn keys_that_need_a_restart_are_named() {
        let running = config("routers: [{type: console}]");
        let same = config("logLevel: debug\nshutdownTimeout: 5m\nstopDelay: 1s\nrouters: [{type: console}]");
        assert!(needs_restart(&running, &same).is_empty());
        let desired = config("logFormat: json\napiPort: 1\nprobes: {host: a}\nrouters: [{type: console}]");
        assert_eq!(
            needs_restart(&running, &desired),
            ["logFormat", "apiHost, apiPort or apiSocket", "probes"]
        );
    }
}
