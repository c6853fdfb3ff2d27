//! What another configuration means for what runs. Pure.

use std::collections::BTreeMap;

use crate::config::{Config, RouterConfig, RouterKind, ServiceConfig};
use crate::haproxy;
use crate::reload::{Act, By, RouterReload};

/// What becomes of each router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// For each wanted router, in order: the running one that it goes on from, and whether it is equal.
    pub(super) wanted: Vec<Fate>,
    /// The running ones that nobody goes on from.
    pub(super) removed: Vec<usize>,
    /// The same for people.
    pub(super) told: Vec<RouterReload>,
}

/// Where a wanted router comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// This running one is it.
    Kept(usize),
    /// It takes this running one's place.
    Changed(usize),
    /// Nobody was there.
    Added,
}

impl Plan {
    /// Whether everything runs on as it is.
    pub(super) fn is_nothing(&self) -> bool {
        self.removed.is_empty() && self.told.iter().all(|router| router.act == Act::Kept)
    }
}

/// Compares.
pub(super) fn plan(running: &[&RouterConfig], wanted: &[RouterConfig]) -> Plan {
    let mut left: BTreeMap<Place, (usize, &RouterConfig)> = places(running.iter().copied())
        .into_iter()
        .zip(running.iter().copied().enumerate())
        .collect();
    let mut plan = Plan::default();
    for (place, router) in places(wanted.iter()).into_iter().zip(wanted) {
        let before = left.remove(&place);
        let (fate, act) = match before {
            Some((index, same)) if same == router => (Fate::Kept(index), Act::Kept),
            Some((index, _)) => (Fate::Changed(index), Act::Changed),
            None => (Fate::Added, Act::Added),
        };
        plan.wanted.push(fate);
        plan.told
            .push(tell(&place, act, before.map(|(_, before)| before), Some(router)));
    }
    for (place, (index, router)) in left {
        plan.removed.push(index);
        plan.told.push(tell(&place, Act::Removed, Some(router), None));
    }
    plan.removed.sort_unstable();
    plan
}

/// What tells a router from the others of its file: its type, what it writes, and its number among its equals.
type Place = (&'static str, String, usize);

fn places<'r>(routers: impl Iterator<Item = &'r RouterConfig>) -> Vec<Place> {
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

fn tell(
    (kind, writes, _): &Place,
    act: Act,
    before: Option<&RouterConfig>,
    after: Option<&RouterConfig>,
) -> RouterReload {
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
        (Some(before), Some(after)) if act == Act::Changed => by(before, after),
        _ => None,
    };
    RouterReload {
        router: format!("{kind} {writes}").trim_end().to_owned(),
        act,
        by,
        kept: is.iter().filter(|(id, service)| was.get(*id) == Some(service)).count(),
        added: ids(&is, &|id, _| !was.contains_key(id)),
        changed: ids(&is, &|id, service| was.get(id).is_some_and(|was| was != service)),
        removed: ids(&was, &|id, _| !is.contains_key(id)),
    }
}

fn by(before: &RouterConfig, after: &RouterConfig) -> Option<By> {
    let (RouterKind::Haproxy(was), RouterKind::Haproxy(is)) = (&before.kind, &after.kind) else {
        return None;
    };
    let differs = haproxy::differs_in_structure((was, &before.services), (is, &after.services));
    Some(if differs { By::Reload } else { By::Runtime })
}

/// The keys of the root that differ and can't change while synapse runs.
pub(super) fn needs_restart(running: &Config, wanted: &Config) -> Vec<&'static str> {
    // Whoever adds a key to the root decides here.
    let Config {
        log_level: _,
        log_json,
        api,
        probes,
        stop: _,
        snapshot_path,
        routers: _,
        effective: _,
    } = wanted;
    [
        ("logFormat", *log_json != running.log_json),
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
        loaded.expect("it is right").value
    }

    fn routers(text: &str) -> Vec<RouterConfig> {
        config(&format!("routers: [{text}]")).routers
    }

    fn service(keys: &str) -> String {
        format!("{{{keys}, watcher: {{type: zookeeper, hosts: [z], path: /s}}}}")
    }

    fn plan(running: &str, wanted: &str) -> Plan {
        let (running, wanted) = (routers(running), routers(wanted));
        super::plan(&running.iter().collect::<Vec<_>>(), &wanted)
    }

    #[test]
    fn equal_files_change_nothing() {
        let file = format!(
            "{{type: console}}, {{type: haproxy, configPath: /h, services: [{}]}}, {{type: console}}",
            service("name: a")
        );
        let plan = plan(&file, &file);
        assert_eq!(plan.wanted, [Fate::Kept(0), Fate::Kept(1), Fate::Kept(2)]);
        assert!(plan.is_nothing());
        assert_eq!(plan.told[1].kept, 1);
    }

    #[test]
    fn a_router_is_recognised_by_what_it_writes() {
        let plan = plan(
            "{type: haproxy, configPath: /a}, {type: haproxy, configPath: /b}, {type: console}",
            "{type: haproxy, configPath: /c}, {type: haproxy, configPath: /a, startWait: 1s}",
        );
        assert_eq!(plan.wanted, [Fate::Added, Fate::Changed(0)]);
        assert_eq!(plan.removed, [1, 2]);
        let told: Vec<(&str, Act)> = plan.told.iter().map(|told| (told.router.as_str(), told.act)).collect();
        let expected = [
            ("haproxy /c", Act::Added),
            ("haproxy /a", Act::Changed),
            ("console", Act::Removed),
            ("haproxy /b", Act::Removed),
        ];
        assert_eq!(told, expected);
        assert!(!plan.is_nothing());
    }

    #[test]
    fn only_what_haproxy_can_not_change_needs_a_reload() {
        let file = |keys: &str, services: &[&str]| {
            let services: Vec<String> = services.iter().map(|keys| service(keys)).collect();
            format!(
                "{{type: haproxy, configPath: /h{keys}, services: [{}]}}",
                services.join(", ")
            )
        };
        let before = file("", &["name: a", "name: b"]);
        for (after, by, changed) in [
            (file(", startWait: 1s", &["name: a", "name: b"]), By::Runtime, vec![]),
            (
                file("", &["name: a, serverSort: name", "name: b"]),
                By::Runtime,
                vec!["a_1"],
            ),
            (
                file("", &["name: a, serverOptions: check", "name: b"]),
                By::Reload,
                vec!["a_1"],
            ),
            (
                file("", &["name: a, routerOptions: {backend: [mode http]}", "name: b"]),
                By::Reload,
                vec!["a_1"],
            ),
            (
                file(", defaults: [mode http]", &["name: a", "name: b"]),
                By::Reload,
                vec![],
            ),
        ] {
            let plan = plan(&before, &after);
            assert_eq!(
                (plan.told[0].by, plan.told[0].changed.clone()),
                (Some(by), changed.iter().map(|id| (*id).to_owned()).collect()),
                "{after}"
            );
        }
        let fewer = plan(&before, &file("", &["name: a", "name: c"]));
        assert_eq!(fewer.told[0].by, Some(By::Reload));
        assert_eq!(
            (fewer.told[0].kept, &fewer.told[0].added, &fewer.told[0].removed),
            (1, &vec!["c_2".to_owned()], &vec!["b_2".to_owned()])
        );
    }

    #[test]
    fn keys_that_need_a_restart_are_named() {
        let running = config("routers: [{type: console}]");
        let same = config("logLevel: debug\nshutdownTimeout: 5m\nstopDelay: 1s\nrouters: [{type: console}]");
        assert!(needs_restart(&running, &same).is_empty());
        let wanted = config("logFormat: json\napiPort: 1\nprobes: {host: a}\nrouters: [{type: console}]");
        assert_eq!(
            needs_restart(&running, &wanted),
            ["logFormat", "apiHost, apiPort or apiSocket", "probes"]
        );
    }
}
