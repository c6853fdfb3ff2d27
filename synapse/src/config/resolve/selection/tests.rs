use super::super::tests::{config, problems, with_services};
use super::*;
use crate::config::Weights;

/// What one service of these keys selects.
fn selection(keys: &str) -> SelectionConfig {
    let config = config(&with_services(&[keys, "name: other, "]));
    config.routers[0].services[0].selection.clone()
}

#[test]
fn a_service_without_selection_keys_takes_all() {
    assert_eq!(selection(""), SelectionConfig::default());
}

#[test]
fn every_selection_key_is_read() {
    let read = selection(
        "labelFilters: [{label: az, value: a}, {label: az, condition: NOT-IN, values: [b, 1]}, {label: v, condition: exists}], \
         leaderElection: true, portOverride: 81, keepDefaultServers: true, usePreviousServers: true, subsetSize: 20, \
         defaultServers: [{host: '[::1]', port: 80}, {name: n, host: 10.0.0.1, port: 65535, weight: 0}], \
         serverSort: name-desc, serverCorrelation: {otherServiceName: other, scope: all}, \
         zone: {local: a, label: az, policy: spill-over, localShare: 40}, ",
    );
    let set = |values: &[&str]| values.iter().map(ToString::to_string).collect();
    let filter = |label: &str, condition| LabelFilter {
        label: label.to_owned(),
        condition,
    };
    let expected = SelectionConfig {
        label_filters: vec![
            filter("az", Condition::In(set(&["a"]))),
            filter("az", Condition::NotIn(set(&["b", "1"]))),
            filter("v", Condition::Exists),
        ],
        leader_election: true,
        port_override: NonZeroU16::new(81),
        default_servers: vec![
            DefaultServer {
                name: "[::1]".to_owned(),
                address: "[::1]:80".parse().expect("an address"),
                weight: None,
            },
            DefaultServer {
                name: "n".to_owned(),
                address: "10.0.0.1:65535".parse().expect("an address"),
                weight: Some(0),
            },
        ],
        keep_default_servers: true,
        use_previous_servers: true,
        sort: ServerSort::NameDescending,
        correlation: Some(Correlation {
            other_service: "other".to_owned(),
            scope: Scope::All,
        }),
        zone: Some(ZoneConfig {
            local: LocalZone::Known("a".to_owned()),
            label: "az".to_owned(),
            policy: ZonePolicy::SpillOver { local_share: Some(40) },
        }),
        subset_size: Some(20),
        weights: Weights::Registered,
    };
    assert_eq!(read, expected);
}

#[test]
fn a_selection_that_makes_no_sense_is_a_problem() {
    for (keys, expected) in [
        (
            "labelFilters: [{condition: exists}]",
            "labelFilters[0].label: is required",
        ),
        ("labelFilters: [{label: a}]", "value: is required by this condition"),
        (
            "labelFilters: [{label: a, condition: in}]",
            "values: is required by this condition",
        ),
        (
            "labelFilters: [{label: a, condition: in, value: b, values: [c]}]",
            "compares with `values`",
        ),
        (
            "labelFilters: [{label: a, value: b, values: [c]}]",
            "compares with one `value`",
        ),
        (
            "labelFilters: [{label: a, condition: exists, value: b}]",
            "looks at no value",
        ),
        ("labelFilters: [{label: a, condition: like, value: b}]", "condition: "),
        (
            "labelFilters: [{label: a, condition: matches, value: '('}]",
            "value: is not a regular expression",
        ),
        ("portOverride: 65536", "portOverride: "),
        ("subsetSize: 1", "subsetSize: "),
        ("serverSort: weight", "serverSort: "),
        ("keepDefaultServers: true", "there are no `defaultServers` to keep"),
        ("defaultServers: [{host: db.example, port: 1}]", "is not an IP address"),
        ("defaultServers: [{host: 10.0.0.1}]", "port: is required"),
        ("defaultServers: [{host: 10.0.0.1, port: 0}]", "port: is required"),
        ("defaultServers: [{host: 10.0.0.1, port: 1, weight: 257}]", "weight: "),
        (
            "defaultServers: [{host: 10.0.0.1, port: 1}, {host: 10.0.0.1, port: 1}]",
            "10.0.0.1:1 stands there twice",
        ),
        ("zone: {}", "zone.local: the zone of this host is missing"),
        ("zone: {local: 'env:'}", "names neither a variable nor an absolute path"),
        (
            "zone: {local: 'file:etc/zone'}",
            "names neither a variable nor an absolute path",
        ),
        ("zone: {local: a, localShare: 5}", "it belongs to `policy: spill-over`"),
        ("zone: {local: a, policy: spill-over, localShare: 101}", "localShare: "),
    ] {
        let problems = problems(&with_services(&[&format!("{keys}, ")]));
        assert_eq!(problems.len(), 1, "{keys}: {problems:?}");
        assert!(problems[0].contains(expected), "{keys}: {problems:?}");
    }
}

#[test]
fn a_zone_is_inherited_key_by_key() {
    let watcher = "watcher: {type: zookeeper, hosts: [z], path: /s}";
    let text = format!(
        "zone: {{local: 'env:AZ', label: az}}\n\
         routers:\n\
         - {{type: console, zone: {{policy: spill-over, localShare: 40}}, services: [\
             {{{watcher}}}, {{{watcher}, zone: {{local: b}}}}, {{{watcher}, zone: {{policy: require}}}}, \
             {{{watcher}, zone: {{policy: none}}}}, {{{watcher}, zone: {{policy: spill-over}}}}]}}\n\
         - {{type: console, services: [{{{watcher}}}]}}\n"
    );
    let zones: Vec<Option<(String, String, ZonePolicy)>> = config(&text)
        .routers
        .iter()
        .flat_map(|router| router.services.iter())
        .map(|service| {
            let zone = service.selection.zone.clone()?;
            Some((zone.local.to_string(), zone.label, zone.policy))
        })
        .collect();
    let variable = "the environment variable AZ";
    let forty = ZonePolicy::SpillOver { local_share: Some(40) };
    let expected = [
        Some((variable, forty)),
        Some(("b", forty)),
        Some((variable, ZonePolicy::Require)),
        None,
        Some((variable, forty)),
        Some((variable, ZonePolicy::Prefer)),
    ];
    let expected = expected.map(|zone| zone.map(|(local, policy)| (local.to_owned(), "az".to_owned(), policy)));
    assert_eq!(zones, expected);
}

#[test]
fn all_backups_are_used_unless_the_operator_decides() {
    let backend = |keys: &str| {
        let config = config(&with_services(&[keys]));
        config.routers[0].services[0].backend.clone()
    };
    assert_eq!(backend("zone: {local: a}, "), ["option allbackups"]);
    assert_eq!(backend("zone: {local: a, policy: spill-over}, "), [""; 0]);
    assert_eq!(
        backend("zone: {local: a}, routerOptions: {backend: ['no option allbackups']}, "),
        ["no option allbackups"]
    );
}
