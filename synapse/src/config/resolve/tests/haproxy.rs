//! The keys of an HAProxy router beyond Go-Synapse's.

use std::path::Path;

use super::{config, haproxy, haproxy_router, problems, read, warnings};
use crate::config::{Below, CookieValue, OptionsPolicy, PanicThreshold, RouterKind, ServiceConfig, Then, Weights};
use common::ratio::PerMille;

/// A file of one HAProxy router with these keys and services.
fn file(keys: &str, services: &[&str]) -> String {
    let watcher = "watcher: {type: zookeeper, hosts: [zk], path: /s}";
    let services: Vec<String> = services
        .iter()
        .map(|keys| format!("{{name: s, {keys} {watcher}}}"))
        .collect();
    format!(
        "routers: [{{type: haproxy, configPath: /run/h.cfg, {keys} services: [{}]}}]",
        services.join(", ")
    )
}

fn service(keys: &str) -> ServiceConfig {
    service_with("", keys)
}

fn service_with(router: &str, keys: &str) -> ServiceConfig {
    config(&file(router, &[keys])).routers[0].services[0].clone()
}

fn problem(keys: &str, service: &str) -> String {
    let mut found = problems(&file(keys, &[service]));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn keys_stand_for_lines() {
    for (keys, frontend, backend) in [
        ("port: 2200", &["bind 127.0.0.1:2200"][..], &[][..]),
        ("port: 2200, bindAddress: '::1'", &["bind [::1]:2200"], &[]),
        ("port: 2200, bindAddress: '[::1]'", &["bind [::1]:2200"], &[]),
        (
            "port: 2200, bindAddress: '*', bindOptions: accept-proxy",
            &["bind *:2200 accept-proxy"],
            &[],
        ),
        (
            "port: null, bindAddress: /run/web.sock, bindOptions: mode 666",
            &["bind /run/web.sock mode 666"],
            &[],
        ),
        (
            "mode: http, port: 1",
            &["mode http", "bind 127.0.0.1:1"],
            &["mode http"],
        ),
        // Without a place to listen at there is only a backend.
        ("mode: tcp", &[], &["mode tcp"]),
        ("", &[], &[]),
    ] {
        let service = service(&format!("haproxy: {{{keys}}},"));
        assert_eq!(
            (service.frontend.as_slice(), service.backend.as_slice()),
            (
                frontend.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(),
                backend.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(),
            ),
            "{keys}"
        );
    }
    let both =
        service("haproxy: {port: 1, mode: tcp}, routerOptions: {frontend: [maxconn 5], backend: [balance first]},");
    assert_eq!(both.frontend, ["mode tcp", "bind 127.0.0.1:1", "maxconn 5"]);
    assert_eq!(both.backend, ["mode tcp", "balance first"]);
    let lines = service("haproxy: {mode: tcp}, routerOptions: {frontend: ['bind :1']},");
    assert_eq!(lines.frontend, ["mode tcp", "bind :1"]);
}

#[test]
fn a_services_own_address_wins_over_the_routers() {
    let text = file(
        "bindAddress: 10.0.0.1,",
        &["haproxy: {port: 1},", "haproxy: {port: 2, bindAddress: 10.0.0.2},"],
    );
    let services = config(&text).routers.remove(0).services;
    assert_eq!(services[0].frontend, ["bind 10.0.0.1:1"]);
    assert_eq!(services[1].frontend, ["bind 10.0.0.2:2"]);
}

#[test]
fn keys_that_can_not_hold_are_problems() {
    for (keys, what) in [
        ("port: 1, bindAddress: web.example", "is not an IP address"),
        ("bindAddress: 10.0.0.1", "without a `port` is no place to listen at"),
        ("bindAddress: run/web.sock", "without a `port` is no place to listen at"),
        ("bindAddress: /run/a b.sock", "holds a blank"),
        ("bindOptions: accept-proxy", "no `port` and no `bindAddress`"),
        ("port: 1, bindOptions: \"a\\nb\"", "control character"),
        ("port: 65536", "65535"),
        ("mode: health", "must be one of `http`, `tcp`"),
        ("mode: tcp, cookieValue: hash", "cookies are HTTP's"),
        ("cookieValue: sha1", "must be one of `name`, `hash`"),
        ("backendName: a b", "can't be the name"),
        ("sharedFrontend: [acl a src 10.0.0.1]", "has no shared frontend"),
    ] {
        let found = problem("", &format!("haproxy: {{{keys}}},"));
        assert!(found.contains(what), "{found}");
    }
    let twice = problem("", "haproxy: {mode: http}, routerOptions: {backend: [mode tcp]},");
    assert!(twice.contains("`mode` line as well"), "{twice}");
    assert!(problem("bindAddress: eth0,", "").contains("is not an IP address"));
    assert!(problem("sharedFrontend: [mode http],", "").contains("listens nowhere"));
}

#[test]
fn a_chosen_name_is_the_id_and_is_unique() {
    assert_eq!(service("haproxy: {backendName: web},").id, "web");
    assert_eq!(
        service("haproxy: {cookieValue: hash},").haproxy.cookie,
        Some(CookieValue::Hash)
    );
    for services in [
        ["haproxy: {backendName: web},", "haproxy: {backendName: web},"],
        ["haproxy: {backendName: s_2},", ""],
        ["", "haproxy: {backendName: s_1},"],
    ] {
        let found = problems(&file("", &services));
        assert!(found[0].contains("is what another service is called"), "{found:?}");
    }
    let first = file("", &["haproxy: {backendName: web},"]);
    let second =
        "{type: console, services: [{haproxy: {backendName: web}, watcher: {type: zookeeper, hosts: [z], path: /s}}]}]";
    let both = format!("{}, {second}", first.trim_end_matches(']'));
    assert_eq!(
        problems(&both).len(),
        1,
        "it is one file, and one list of services in the API"
    );
    assert!(problem("listen: {web: []},", "haproxy: {backendName: web},").contains("the one a service gets"));
}

#[test]
fn sections_of_any_kind_but_those_that_must_not_be() {
    let sections = |keys: &str| haproxy(&format!("extraSections: {{{keys}}},")).extra_sections;
    let found = sections(
        "'listen stats :3212': [mode http], userlist u: ['user a insecure-password b'], 'peers  p': null, \
         'frontend f from d': [mode tcp], 'defaults d': [], resolvers r: []",
    );
    let titles: Vec<&str> = found.iter().map(|extra| extra.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "listen stats",
            "userlist u",
            "peers p",
            "frontend f from d",
            "defaults d",
            "resolvers r"
        ]
    );
    assert_eq!(found[0].lines, ["bind :3212", "mode http"]);
    for (title, what) in [
        ("global", "can't be a section here"),
        ("program p", "can't be a section here"),
        ("lisen stats", "can't be a section here"),
        ("userlist", "has no name"),
        ("defaults", "has no name"),
        ("listen a/b", "can't be the name"),
        ("\"userlist u\\nprogram p\"", "control character"),
    ] {
        let found = problems(&haproxy_router(&format!("extraSections: {{{title}: []}},")));
        assert!(found[0].contains(what), "{title}: {found:?}");
    }
    for twice in [
        "extraSections: {listen x: []}, listen: {x: []},",
        "extraSections: {frontend shared-frontend: []}, sharedFrontend: ['bind :1'],",
        "extraSections: {userlist u: [], 'userlist  u': []},",
    ] {
        assert_eq!(problems(&haproxy_router(twice)).len(), 1, "{twice}");
    }
    assert!(
        read(&haproxy_router(
            "extraSections: {userlist x: [], peers x: [], frontend x: [], backend x: []},"
        ))
        .is_ok()
    );
}

#[test]
fn lines_of_the_1_x_days() {
    for keys in [
        "global: [nbproc 2],",
        "defaults: [option forceclose],",
        "listen: {a: [srvtimeout 5]},",
        "extraSections: {backend a: [redispatch]},",
        "sharedFrontend: ['bind :1', 'reqadd X:\\ y'],",
    ] {
        let found = problem(keys, "");
        assert!(found.contains("HAProxy refuses it now"), "{found}");
    }
    // A service that is left out stops no other.
    let old = "routerOptions: {frontend: ['bind :1', clitimeout 5s], backend: [appsession A len 5]},";
    let warned = warnings(&file("", &[old]));
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(
        warned[0].contains("`clitimeout 5s` is of HAProxy's 1.x days"),
        "{warned:?}"
    );

    let modern = config(&file(
        "modernise: true, defaults: [option forceclose, option http-tunnel],",
        &["routerOptions: {frontend: ['bind :1', clitimeout 5s]},"],
    ));
    assert_eq!(modern.routers[0].services[0].frontend, ["bind :1", "timeout client 5s"]);
    let warned = warnings(&file("modernise: true, defaults: [option forceclose],", &[""]));
    assert!(warned[0].contains("was made `option httpclose`"), "{warned:?}");
    assert_eq!(
        haproxy("modernise: true, defaults: [option forceclose, option http-tunnel],").defaults,
        ["option httpclose"]
    );
    let idle = "defaults: [bind-process 1],";
    assert!(warnings(&haproxy_router(idle))[0].contains("does nothing in HAProxy 2.6"));
    assert_eq!(haproxy(idle).defaults.len(), 1);
    assert!(haproxy(&format!("modernise: true, {idle}")).defaults.is_empty());
    // A line that needs a decision stays a problem.
    assert!(problem("modernise: true, global: [tune.chksize 5],", "").contains("HAProxy refuses it now"));
}

#[test]
fn policies_limit_the_effect_of_registrations() {
    let say = |keys: &str| {
        let router = config(&file(keys, &[""])).routers.remove(0);
        let RouterKind::Haproxy(haproxy) = router.kind else {
            panic!("{:?}", router.kind);
        };
        (haproxy.options_policy, router.services[0].selection.weights)
    };
    assert_eq!(say(""), (OptionsPolicy::Strict, Weights::Registered));
    assert_eq!(
        say("haproxyServerOptionsPolicy: legacy, useRegisteredWeights: false,"),
        (OptionsPolicy::Legacy, Weights::Equal)
    );
}

#[test]
fn health_is_handed_over_unless_the_operator_decides() {
    let file = |keys: &str| haproxy(keys).state_file;
    assert_eq!(file("").as_deref(), Some(Path::new("/run/h.cfg.state")));
    assert_eq!(
        file("global: ['server-state-file /var/state'],").as_deref(),
        Some(Path::new("/var/state"))
    );
    assert_eq!(file("global: ['server-state-file state'],"), None);
    assert_eq!(file("defaults: ['load-server-state-from-file none'],"), None);
    let external = "reloadCommand: [/r], global: ['stats socket /s level admin', 'server-state-file /var/state'],";
    assert_eq!(file(external), None);
    assert_eq!(
        file(&format!("{external} defaults: ['load-server-state-from-file global'],")).as_deref(),
        Some(Path::new("/var/state"))
    );
}

#[test]
fn old_workers_of_someone_elses_haproxy_want_a_bound() {
    let warned = |keys: &str| warnings(&haproxy_router(keys));
    let unbounded = "reloadCommand: [/r], global: ['stats socket /s level admin'],";
    assert!(warned(unbounded)[0].contains("nothing ends the workers"));
    assert!(warned(&format!("{unbounded} cleanupCommand: [/c],")).is_empty());
    assert!(warned("reloadCommand: [/r], global: ['stats socket /s level admin', hard-stop-after 1h],").is_empty());
}

#[test]
fn a_panic_threshold_has_a_bound_and_an_action() {
    let rule = |keys: &str| {
        service(&format!("haproxy: {{port: 1}}, {keys}"))
            .haproxy
            .panic_threshold
    };
    assert_eq!(rule(""), None);
    let half = Below::Share(PerMille::from_percent(50));
    for (keys, below, then) in [
        ("then: fail-fast", half, Then::FailFast),
        (
            "then: use-all, below: 0.25",
            Below::Share(PerMille::from_percent(25)),
            Then::UseAll,
        ),
        (
            "then: use-all, below: 30%",
            Below::Share(PerMille::from_percent(30)),
            Then::UseAll,
        ),
        ("then: fail-fast, below: 3", Below::Count(3), Then::FailFast),
    ] {
        assert_eq!(
            rule(&format!("panicThreshold: {{{keys}}},")),
            Some(PanicThreshold { below, then }),
            "{keys}"
        );
    }
    assert!(service("panicThreshold: {then: fail-fast},").goes_by_health());
    assert!(!service("").goes_by_health());
}

#[test]
fn the_earlier_name_of_panic_threshold_works_with_a_warning() {
    let old = "haproxy: {port: 1}, panic: {then: fail-fast},";
    assert_eq!(
        service(old).haproxy.panic_threshold,
        service(&old.replace("panic:", "panicThreshold:"))
            .haproxy
            .panic_threshold
    );
    let warned = warnings(&file("", &[old]));
    assert!(
        warned.iter().any(|line| line.contains("`panicThreshold`")),
        "{warned:?}"
    );
    let both = problem("", "panic: {then: fail-fast}, panicThreshold: {then: fail-fast},");
    assert!(both.contains("earlier name"), "{both}");
}

#[test]
fn an_invalid_panic_threshold_is_a_problem() {
    let backend = |line: &str| format!("haproxy: {{port: 1}}, routerOptions: {{backend: ['{line}']}},");
    let frontend = |line: &str| format!("haproxy: {{port: 1}}, routerOptions: {{frontend: ['{line}']}},");
    for (keys, rule, named) in [
        ("haproxy: {port: 1},".to_owned(), "{}", "then"),
        ("haproxy: {port: 1},".to_owned(), "{then: panic}", "then"),
        ("haproxy: {port: 1},".to_owned(), "{then: use-all, below: 0}", "below"),
        (
            "haproxy: {port: 1},".to_owned(),
            "{then: use-all, below: 101%}",
            "below",
        ),
        (String::new(), "{then: use-all}", "it has none"),
        (
            backend("server a 10.0.0.1:80"),
            "{then: fail-fast}",
            "not the service's",
        ),
        (backend("id 7"), "{then: use-all}", "there once"),
        (frontend("default_backend other"), "{then: use-all}", "has to choose"),
        (frontend("use_backend s_1 if HTTP"), "{then: use-all}", "has to choose"),
    ] {
        let problem = problem("", &format!("{keys} panicThreshold: {rule},"));
        assert!(problem.contains(named), "{problem}");
    }
    // What `use-all` can't have, `fail-fast` can.
    for keys in [
        String::new(),
        backend("id 7"),
        frontend("default_backend other"),
        frontend("use_backend other if HTTP"),
    ] {
        service(&format!("{keys} panicThreshold: {{then: fail-fast}},"));
    }
    service(&format!(
        "{} panicThreshold: {{then: use-all}},",
        frontend("default_backend s_1")
    ));
    let shared = "haproxy: {port: 1, sharedFrontend: [use_backend s_1]}, panicThreshold: {then: use-all},";
    let keys = "sharedFrontend: ['bind 127.0.0.1:2'],";
    assert!(problem(keys, shared).contains("pass that by"));
    service_with(keys, &shared.replace("use-all", "fail-fast"));
}

#[test]
fn the_shadow_backend_of_a_rule_needs_its_name() {
    let twin = "haproxy: {backendName: s_1_all},";
    let mut found = problems(&file("", &["panicThreshold: {then: fail-fast},", twin]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found.remove(0).contains("`s_1_all` is what another service is called"));
    assert!(problem("backend: {s_1_all: []},", "panicThreshold: {then: fail-fast},").contains("s_1_all"));
    let other = "routers: [{type: console, services: [{name: s, panicThreshold: {then: fail-fast}, \
                 watcher: {type: zookeeper, hosts: [zk], path: /s}}]}]";
    assert!(problems(other)[0].contains("drives none"));
}
