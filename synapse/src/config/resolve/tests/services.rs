//! A service's keys.

use super::super::*;
use super::{config, haproxy_router, problems, read, warnings, watcher, with_services};
use crate::config::{Guard, GuardPolicy, WatcherConfig};
use common::ratio::PerMille;

#[test]
fn server_options_hold_without_router_options() {
    let config = config(&with_services(&["serverOptions: check, "]));
    assert_eq!(config.routers[0].services[0].server_options, "check");
}

#[test]
fn duplicate_service_names_have_ids_of_their_own() {
    let config = config(&with_services(&["name: a, ", "name: a, "]));
    let ids: Vec<&str> = config.routers[0]
        .services
        .iter()
        .map(|service| service.id.as_str())
        .collect();
    assert_eq!(ids, ["a_1", "a_2"]);
}

#[test]
fn the_session_timeout_has_two_names() {
    let keys = |more: &str| watcher(&format!("hosts: [z], path: /s, {more}"));
    let timeout = |more: &str| {
        let watcher = config(&keys(more)).routers[0].services[0].watcher.clone();
        let WatcherConfig::Zookeeper(zookeeper) = watcher else {
            panic!("{watcher:?}");
        };
        zookeeper.ensemble.session_timeout
    };
    assert_eq!(timeout("sessionTimeout: 6s"), Duration::from_secs(6));
    assert_eq!(timeout("timeoutInMilli: 2000"), Duration::from_secs(2));
    assert_eq!(timeout("timeoutInMilli: 0"), Duration::from_secs(10));
    assert_eq!(warnings(&keys("timeoutInMilli: 3999")).len(), 1);
    assert!(warnings(&keys("timeoutInMilli: 4000")).is_empty());
    assert_eq!(problems(&keys("timeoutInMilli: 5000, sessionTimeout: 5s")).len(), 1);
}

#[test]
fn hosts_and_paths_are_checked() {
    for hosts in [
        "[]",
        "['a:0']",
        "['a:x']",
        "['a b']",
        "['a,b']",
        "['a/x', b]",
        "['']",
        "['::1']",
    ] {
        assert_eq!(
            problems(&watcher(&format!("hosts: {hosts}, path: /s"))).len(),
            1,
            "{hosts}"
        );
    }
    for path in ["s", "/", "/a//b", "/a/../b", "\"/a\\nb\""] {
        assert_eq!(
            problems(&watcher(&format!("hosts: [z], path: {path}"))).len(),
            1,
            "{path}"
        );
    }
    for hosts in ["['[::1]:2181', '[::1]', a, 'b:1/x/y']", "[10.0.0.1]"] {
        assert!(read(&watcher(&format!("hosts: {hosts}, path: /s"))).is_ok(), "{hosts}");
    }
}

#[test]
fn correlation_needs_another_service_of_the_router() {
    let other = |name: &str| {
        with_services(&[
            &format!("name: a, serverCorrelation: {{otherServiceName: {name}}}, "),
            "name: b, ",
        ])
    };
    assert!(read(&other("b")).is_ok());
    assert!(problems(&other("c"))[0].contains("this router has no service `c`"));
    assert!(problems(&other("a"))[0].contains("is the service itself"));
    let twice = with_services(&[
        "name: a, serverCorrelation: {otherServiceName: b}, ",
        "name: b, ",
        "name: b, ",
    ]);
    assert!(warnings(&twice)[0].contains("several services are named `b`"));
}

#[test]
fn templates_are_tried_at_once() {
    let options = |text: &str| with_services(&[&format!("serverOptions: '{text}', ")]);
    assert!(read(&options("cookie {{.Name}} {{randString 3}}")).is_ok());
    assert!(problems(&options("{{.Nme}}"))[0].contains("a field that a server does not have"));
    assert_eq!(
        problems(&options("{{"))[0].split(':').next(),
        Some("routers[0].services[0].serverOptions")
    );
}

#[test]
fn stale_keys_are_ignored_with_a_warning() {
    let text = with_services(&["port: 1, socketFile: /x, reloadTimeout: 3, "]);
    let keys: Vec<String> = warnings(&text);
    assert_eq!(keys.len(), 3);
    assert!(keys[0].starts_with("routers[0].services[0].port: is ignored"));
    assert_eq!(warnings(&haproxy_router("statePath: /x,")).len(), 1);
}

#[test]
fn what_is_written_on_this_host_is_believed() {
    let service = |keys: &str| format!("routers: [{{type: console, services: [{{name: a, {keys}}}]}}]");
    let policy = |keys: &str| config(&service(keys)).routers[0].services[0].guard.policy;
    let list = "type: static, servers: [{host: h, port: 1}]";
    let file = "type: file, path: /f";
    let zookeeper = "type: zookeeper, hosts: [zk], path: /a";
    let multi = |sources: &[&str]| {
        let named = (1..)
            .zip(sources)
            .map(|(n, source)| format!("{{name: s{n}, {source}}}"));
        let named = named.collect::<Vec<_>>().join(", ");
        format!("type: multi, method: union, watchers: [{named}]")
    };
    assert_eq!(policy(&format!("watcher: {{{list}}}")), GuardPolicy::Trust);
    assert_eq!(policy(&format!("watcher: {{{list}}}, guard: {{}}")), GuardPolicy::Trust);
    assert_eq!(policy(&format!("watcher: {{{file}}}")), GuardPolicy::Trust);
    let doubted = format!("watcher: {{{file}}}, guard: {{policy: hold}}");
    assert_eq!(policy(&doubted), GuardPolicy::Hold);
    let both = multi(&[list, file]);
    assert_eq!(policy(&format!("watcher: {{{both}}}")), GuardPolicy::Trust);
    let mixed = multi(&[list, zookeeper]);
    assert_eq!(policy(&format!("watcher: {{{mixed}}}")), GuardPolicy::Hold);
    let lists = multi(&[list]);
    let held = problems(&service(&format!("watcher: {{{lists}}}, guard: {{policy: hold}}")));
    assert!(held[0].contains("always apply at once"), "{held:?}");
}

#[test]
fn a_guard_has_a_policy_and_its_measures() {
    let guard = |keys: &str| {
        let text = with_services(&[&format!("guard: {{{keys}}}, ")]);
        config(&text).routers[0].services[0].guard
    };
    assert_eq!(
        config(&with_services(&[""])).routers[0].services[0].guard,
        Guard::default()
    );
    assert_eq!(guard(""), Guard::default());
    let written = guard("policy: trust, share: 25%, least: 2, window: 1m, settle: 10s, holdTime: 1h");
    let expected = Guard {
        policy: GuardPolicy::Trust,
        share: PerMille::from_percent(25),
        least: 2,
        window: Duration::from_mins(1),
        settle: Duration::from_secs(10),
        hold_time: Duration::from_hours(1),
    };
    assert_eq!(written, expected);
    let helped = with_services(&["guard: {policy: defaults}, defaultServers: [{host: 10.0.0.1, port: 1}], "]);
    assert_eq!(
        config(&helped).routers[0].services[0].guard.policy,
        GuardPolicy::Defaults
    );
    let helpless = problems(&with_services(&["guard: {policy: defaults}, "]));
    assert!(
        helpless[0].contains("no default servers that could help"),
        "{helpless:?}"
    );
    assert_eq!(guard("share: 0.333").share, PerMille::parse("33.3 %").expect("a share"));
    for share in ["0", "1.1", "-1", "101%", "half", "NaN", "inf"] {
        let text = with_services(&[&format!("guard: {{share: '{share}'}}, ")]);
        assert!(problems(&text)[0].contains("is not a share"), "{share}");
    }
}
