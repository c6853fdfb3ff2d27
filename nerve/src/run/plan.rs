//! The difference between the running and a desired configuration. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::config::{Config, ReporterConfig, ServiceConfig, ZookeeperConfig};
use crate::reload::ServiceChanges;

/// Compares services; names are unique on either side.
pub(super) fn plan<'a>(
    running: impl Iterator<Item = &'a ServiceConfig>,
    desired: &[Arc<ServiceConfig>],
) -> ServiceChanges {
    let mut running: BTreeMap<&str, &ServiceConfig> = running.map(|service| (service.name.as_str(), service)).collect();
    let mut plan = ServiceChanges::default();
    for service in desired {
        let list = match running.remove(service.name.as_str()) {
            Some(same) if *same == **service => &mut plan.kept,
            Some(_) => &mut plan.changed,
            None => &mut plan.added,
        };
        list.push(service.name.clone());
    }
    plan.removed = running.into_keys().map(str::to_owned).collect();
    plan
}

/// Returns the keys of the root that differ and require a restart.
pub(super) fn needs_restart(running: &Config, desired: &Config) -> Vec<&'static str> {
    // Exhaustive, so that a new key of the root is decided here.
    let Config {
        log_level: _,
        log_format,
        api,
        hooks,
        probes,
        shutdown_timeout: _,
        state_dir,
        hacheck_spool,
        effective: _,
        legacy_get_mutations,
        services: _,
    } = desired;
    [
        ("logFormat", *log_format != running.log_format),
        ("apiHost, apiPort or apiSocket", *api != running.api),
        ("hooks", *hooks != running.hooks),
        ("probes", *probes != running.probes),
        (
            "legacyGetMutations",
            *legacy_get_mutations != running.legacy_get_mutations,
        ),
        ("stateDir", *state_dir != running.state_dir),
        ("hacheckSpool", *hacheck_spool != running.hacheck_spool),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// The keys of [`needs_restart`].
const RESTART_KEYS: [&str; 9] = [
    "logFormat",
    "apiHost",
    "apiPort",
    "apiSocket",
    "hooks",
    "probes",
    "legacyGetMutations",
    "stateDir",
    "hacheckSpool",
];

/// Returns the configuration in effect once `desired` is applied: keys that require a restart keep their values.
pub(super) fn in_effect(running: &str, desired: &str) -> String {
    let read = |text| serde_json::from_str::<Map<String, Json>>(text).unwrap_or_default();
    let (mut running, mut shown) = (read(running), read(desired));
    for key in RESTART_KEYS {
        if let Some(value) = running.remove(key) {
            shown.insert(key.to_owned(), value);
        }
    }
    Json::Object(shown).to_string()
}

/// Whether two reporters keep the same node or file, which only one may at a time.
pub(super) fn same_target(one: &ReporterConfig, other: &ReporterConfig) -> bool {
    match (one, other) {
        (ReporterConfig::Zookeeper(one), ReporterConfig::Zookeeper(other)) => {
            let node = |config: &ZookeeperConfig| (config.node.directory.clone(), config.node.name.clone());
            one.ensemble.canonical() == other.ensemble.canonical() && node(one) == node(other)
        }
        (ReporterConfig::File { path, .. }, ReporterConfig::File { path: other, .. }) => path == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::testing;

    fn services(weights: &BTreeMap<u8, u8>) -> Vec<Arc<ServiceConfig>> {
        weights
            .iter()
            .map(|(name, weight)| testing::service(&format!("{{ name: s{name}, port: 80, weight: {weight} }}")))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_service_is_in_one_list(
            before in prop::collection::btree_map(0_u8..6, 1_u8..3, 0..6),
            after in prop::collection::btree_map(0_u8..6, 1_u8..3, 0..6),
        ) {
            let (running, desired) = (services(&before), services(&after));
            let plan = plan(running.iter().map(AsRef::as_ref), &desired);
            let names = |test: &dyn Fn(Option<&u8>, Option<&u8>) -> bool| -> Vec<String> {
                (0..6).filter(|name| test(before.get(name), after.get(name))).map(|name| format!("s{name}")).collect()
            };
            let expected = ServiceChanges {
                kept: names(&|before, after| before.is_some() && before == after),
                changed: names(&|before, after| before.is_some() && after.is_some() && before != after),
                added: names(&|before, after| before.is_none() && after.is_some()),
                removed: names(&|before, after| before.is_some() && after.is_none()),
            };
            prop_assert_eq!(plan, expected);
        }
    }

    #[test]
    fn keys_that_need_a_restart_are_named() {
        let read = |text: &str| testing::read(text).expect("good").value;
        let running = read("services: []");
        assert!(needs_restart(&running, &read("logLevel: debug\nshutdownTimeout: 5m\nservices: []")).is_empty());
        let desired = read(
            "logFormat: json\napiPort: 1\nhooks: { host: a }\nprobes: { host: a }\nlegacyGetMutations: true\nstateDir: /x\nhacheckSpool: /y\nservices: []",
        );
        assert_eq!(
            needs_restart(&running, &desired),
            [
                "logFormat",
                "apiHost, apiPort or apiSocket",
                "hooks",
                "probes",
                "legacyGetMutations",
                "stateDir",
                "hacheckSpool"
            ]
        );
    }

    #[test]
    fn keys_that_need_a_restart_keep_their_effect() {
        let effective = |text: &str| testing::read(text).expect("good").effective.to_string();
        let running = effective("apiPort: 1\nlogLevel: info\nservices: []");
        let desired = effective(
            "logFormat: json\napiPort: 2\napiHost: ::1\napiSocket: /x\nlegacyGetMutations: true\nstateDir: /x\n\
             hacheckSpool: /y\nhooks: { host: a }\nprobes: { host: a }\nlogLevel: debug\nshutdownTimeout: 5m\nservices: []",
        );
        let expected = effective("apiPort: 1\nlogLevel: debug\nshutdownTimeout: 5m\nservices: []");
        assert_eq!(in_effect(&running, &desired), expected);
    }

    #[test]
    fn a_target_is_a_node_of_an_ensemble_or_a_file() {
        let reporter = |text: &str| {
            let service = testing::service(&format!("{{ port: 80, reporters: [{text}] }}"));
            service.reporters.first().cloned().expect("one")
        };
        let node = reporter("{ type: zookeeper, hosts: [a], path: /x }");
        let same = reporter("{ type: zookeeper, hosts: [a], path: /x, exposeOnUnavailable: true }");
        assert!(same_target(&node, &same));
        for other in [
            "{ type: zookeeper, hosts: [b], path: /x }",
            "{ type: zookeeper, hosts: [a], path: /y }",
            "{ type: file, path: /x }",
        ] {
            assert!(!same_target(&node, &reporter(other)), "{other}");
        }
        let console = reporter("{ type: console }");
        assert!(!same_target(&console, &console));
        let file = reporter("{ type: file, path: /x }");
        assert!(same_target(&file, &reporter("{ type: file, path: /x, append: true }")));
    }
}
