mod files;
mod haproxy;
mod services;

use std::path::Path;

use common::config::{Document, Loaded, Problem, Problems, UnknownKeys};

use super::*;
use crate::config::{HaproxyConfig, HaproxyControl, PaceConfig, ServerSort, WatcherConfig, resolve};

pub(super) fn read(text: &str) -> Result<Loaded<Config>, Problems> {
    let document = Document::parse("synapse.yaml", text.to_owned())?;
    resolve(&document, UnknownKeys::Refuse, Path::new("/base"))
}

pub(super) fn config(text: &str) -> Config {
    read(text).unwrap_or_else(|problems| panic!("{problems}")).value
}

/// The problems as `key: what`.
pub(super) fn problems(text: &str) -> Vec<String> {
    let problems = read(text).expect_err("a problem");
    lines(&problems.0)
}

pub(super) fn warnings(text: &str) -> Vec<String> {
    lines(&read(text).unwrap_or_else(|problems| panic!("{problems}")).warnings)
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| format!("{}: {}", problem.key, problem.what))
        .collect()
}

/// An HAProxy router with these lines (JSON flow style, comma-terminated) beside what it must have.
pub(super) fn haproxy_router(keys: &str) -> String {
    format!("routers: [{{type: haproxy, configPath: /run/h.cfg, {keys} services: []}}]")
}

pub(super) fn haproxy(keys: &str) -> HaproxyConfig {
    match config(&haproxy_router(keys)).routers.remove(0).kind {
        RouterKind::Haproxy(haproxy) => *haproxy,
        other => panic!("{other:?}"),
    }
}

/// A console router with these services, each with a watcher beside its keys.
pub(super) fn with_services(services: &[&str]) -> String {
    let watcher = "watcher: {type: zookeeper, hosts: ['zk:2181'], path: /services/a/b}";
    let services: Vec<String> = services.iter().map(|keys| format!("{{{keys}{watcher}}}")).collect();
    format!("routers: [{{type: console, services: [{}]}}]", services.join(", "))
}

fn watcher(keys: &str) -> String {
    format!("routers: [{{type: console, services: [{{watcher: {{type: zookeeper, {keys}}}}}]}}]")
}

#[test]
fn what_is_not_written_has_go_synapses_defaults() {
    let config = config(&with_services(&[""]));
    assert_eq!(config.log_level, "info");
    assert_eq!(config.log_format, Format::Text);
    assert_eq!(config.api, Listen::Tcp(DEFAULT_API));
    assert_eq!(
        config.stop,
        StopConfig {
            delay: Duration::ZERO,
            timeout: Duration::from_secs(10)
        }
    );
    assert_eq!(config.probes, None);
    let router = &config.routers[0];
    assert_eq!(
        router.pace,
        PaceConfig {
            buffer: Duration::from_millis(500),
            max_buffer: Duration::from_secs(2),
            budget: None,
            jitter: Duration::ZERO,
        }
    );
    let service = &router.services[0];
    assert_eq!(
        (service.name.as_str(), service.id.as_str()),
        ("services_a_b", "services_a_b_1")
    );
    assert_eq!(service.selection.sort, ServerSort::Random);
    assert_eq!(service.selection.correlation, None);
    let WatcherConfig::Zookeeper(zookeeper) = &service.watcher else {
        panic!("{:?}", service.watcher);
    };
    assert_eq!(zookeeper.ensemble.hosts, ["zk:2181"]);
    assert_eq!(zookeeper.ensemble.session_timeout, Duration::from_secs(10));
    assert_eq!(zookeeper.path, "/services/a/b");
}

#[test]
fn haproxy_without_reload_command_is_managed() {
    let haproxy = haproxy("");
    assert_eq!(haproxy.config_path, Path::new("/run/h.cfg"));
    assert_eq!(haproxy.stats_socket, Path::new("/run/h.cfg.sock"));
    assert_eq!(haproxy.reload_min_interval, Duration::from_millis(500));
    assert_eq!(haproxy.start_wait, Duration::from_secs(10));
    assert_eq!(haproxy.reconcile_interval, Duration::from_secs(10));
    assert_eq!(
        haproxy.control,
        HaproxyControl::Managed {
            run: true,
            program: "haproxy".to_owned(),
            master_socket: "/run/h.cfg.master.sock".into(),
            stop_on_exit: false,
        }
    );
}

#[test]
fn haproxy_with_reload_command_is_external() {
    let haproxy = haproxy("reloadCommand: [/r, x], global: ['stats socket /run/s level admin'],");
    assert_eq!(
        haproxy.control,
        HaproxyControl::External {
            reload_command: vec!["/r".to_owned(), "x".to_owned()],
            reload_timeout: Duration::from_secs(1),
            cleanup_command: Vec::new(),
            cleanup_timeout: Duration::from_secs(35),
            program: "haproxy".to_owned(),
        }
    );
    assert_eq!(haproxy.stats_socket, Path::new("/run/s"));
}

/// Every key of an original's file, in another case here and there.
#[test]
fn a_file_of_go_synapse_is_read_whole() {
    let config = config(
        r"
logLevel: debug
APIHOST: 0.0.0.0
apiPort: 4455
routers:
  - type: HAProxy
    eventsBufferDurationInMilli: 100
    configPath: hap.cfg
    reloadCommand: [/hap-reload.sh]
    reloadMinIntervalInMilli: 1
    reloadTimeoutInMilli: 2
    cleanupCommand: [/clean]
    cleanupTimeoutInMilli: 3
    global: ['daemon', 'stats socket ipv4@127.0.0.1:1', 'stats  socket unix@/a', 'stats socket /run/hap.sock mode 600 level admin expose-fd listeners']
    defaults: ['timeout connect 1s']
    listen: {stats: ['bind 127.0.0.1:3212']}
    frontend: {Front: ['bind 127.0.0.1:1', 'default_backend Front']}
    backend: {Front: ['server a 127.0.0.1:2']}
    services:
      - name: orders
        serverSort: Name
        watcher: {type: zookeeper, hosts: ['zk-b:2181', 'zk-a/app'], path: /services/orders/, timeoutInMilli: 5000}
        serverOptions: cookie {{sha1String .Name}} check inter 1s
        routerOptions: {frontend: ['mode http', 'bind 127.0.0.1:9001'], backend: ['mode http']}
        serverCorrelation: {type: excludeServer, otherServiceName: orders-primary, scope: first}
      - name: orders-primary
        watcher: {type: zookeeper, hosts: [zk-a], path: /services/primary}
        serverSort: date
  - type: console
    services: [{watcher: {type: zookeeper, hosts: [zk], path: /x}}]
",
    );
    assert_eq!(config.log_level, "debug");
    assert_eq!(config.api, Listen::Tcp("0.0.0.0:4455".parse().expect("an address")));
    let [first, second] = config.routers.as_slice() else {
        panic!("two routers");
    };
    assert_eq!(first.pace.buffer, Duration::from_millis(100));
    let RouterKind::Haproxy(haproxy) = &first.kind else {
        panic!("haproxy");
    };
    assert_eq!(haproxy.config_path, Path::new("/base/hap.cfg"));
    assert_eq!(haproxy.stats_socket, Path::new("/run/hap.sock"));
    let sections: Vec<&str> = haproxy
        .extra_sections
        .iter()
        .map(|extra| extra.title.as_str())
        .collect();
    assert_eq!(sections, ["listen stats", "frontend Front", "backend Front"]);
    assert_eq!(haproxy.extra_sections[0].lines, ["bind 127.0.0.1:3212"]);
    let orders = &first.services[0];
    assert_eq!(orders.server_options, "cookie {{sha1String .Name}} check inter 1s");
    assert_eq!(orders.frontend, ["mode http", "bind 127.0.0.1:9001"]);
    assert_eq!(orders.backend, ["mode http"]);
    assert_eq!(orders.selection.sort, ServerSort::Name);
    assert_eq!(
        orders.selection.correlation.as_ref().expect("one").other_service,
        "orders-primary"
    );
    let WatcherConfig::Zookeeper(zookeeper) = &orders.watcher else {
        panic!("{:?}", orders.watcher);
    };
    assert_eq!(zookeeper.ensemble.hosts, ["zk-b:2181", "zk-a/app"]);
    assert_eq!(zookeeper.ensemble.session_timeout, Duration::from_secs(5));
    assert_eq!(zookeeper.path, "/services/orders");
    let ids: Vec<&str> = [first, second]
        .iter()
        .flat_map(|router| router.services.iter())
        .map(|service| service.id.as_str())
        .collect();
    assert_eq!(
        ids,
        ["orders_1", "orders-primary_2", "x_3"],
        "counted through the whole file"
    );
}

#[test]
fn all_problems_are_named_at_once() {
    insta::assert_snapshot!(
        read(
            "\
apiHost: everywhere
routers:
  - type: haproxi
    services: [{}]
  - type: template
  - type: haproxy
    reloadCommand: [/r]
    confgPath: /x
    services:
      - name: a b
        watcher: {type: consul}
      - watcher: {type: zookeeper, hosts: [], path: services}
        serverSort: weight
        serverOptions: '{{.Nme}'
        serverCorrelation: {otherServiceName: c, type: include}
"
        )
        .expect_err("problems")
    );
}

#[test]
fn the_api_listens_on_one_thing() {
    let with = |keys: &str| format!("{keys}\n{}", with_services(&[""]));
    let api = |keys: &str| config(&with(keys)).api;
    assert_eq!(api("apiSocket: run/s.sock"), Listen::Unix("/base/run/s.sock".into()));
    assert_eq!(
        api("apiHost: '[::1]'"),
        Listen::Tcp("[::1]:3455".parse().expect("an address"))
    );
    assert_eq!(api("apiHost: localhost\napiPort: 0"), Listen::Tcp(DEFAULT_API));
    assert_eq!(
        problems(&with("apiSocket: /s\napiPort: 1")),
        ["apiSocket: the API listens either on a Unix socket or on an address"]
    );
    assert!(problems(&with("apiPort: 65536"))[0].starts_with("apiPort: "));
    let long = format!("/{}", "x".repeat(lines::UNIX_PATH_MAX));
    assert!(problems(&with(&format!("apiSocket: {long}")))[0].contains("108 bytes, and 107 is the limit"));
}

#[test]
fn a_file_without_routers_has_nothing_to_do() {
    assert_eq!(
        problems("routers: []"),
        ["routers: there is no router, so there is nothing to do"]
    );
}

#[test]
fn the_stats_socket_that_synapse_can_use_is_found() {
    let managed = |lines: &str| haproxy(&format!("global: [{lines}],")).stats_socket;
    assert_eq!(
        managed("'stats socket /a level user', 'stats socket /b level admin'"),
        Path::new("/b")
    );
    assert_eq!(managed("'stats socket s level admin # mine'"), Path::new("/base/s"));
    assert_eq!(
        managed("'# stats socket /old level admin'"),
        Path::new("/run/h.cfg.sock")
    );
    assert_eq!(managed("'stats timeout 1m'"), Path::new("/run/h.cfg.sock"));

    let problem = |keys: &str| problems(&haproxy_router(keys)).remove(0);
    assert!(problem("global: ['stats socket ipv4@127.0.0.1:9'],").contains("is a Unix socket"));
    assert!(problem("global: ['stats socket 127.0.0.1:9 level admin'],").contains("is a Unix socket"));
    assert!(problem("global: ['stats socket /a mode 600'],").contains("is not of `level admin`"));
    assert!(problem("reloadCommand: [/r],").contains("no `stats socket` is configured"));
    let long = "x".repeat(lines::HAPROXY_SOCKET_MAX);
    assert!(
        problem(&format!("global: ['stats socket /{long} level admin'],")).contains("98 bytes, and 97 is the limit")
    );
}

#[test]
fn what_contradicts_managed_or_external_is_a_problem() {
    let problem = |keys: &str| problems(&haproxy_router(keys)).remove(0);
    assert!(problem("global: ['daemon'],").contains("`daemon` sends HAProxy into the background"));
    assert!(problem("cleanupCommand: [/c],").contains("belongs to `reloadCommand`"));
    let external = "reloadCommand: [/r], global: ['stats socket /s level admin', 'daemon'],";
    assert!(problem(&format!("{external} stopOnExit: true,")).contains("synapse can't stop it"));
    for key in ["stopOnExit: true,", external] {
        let problem = problem(&format!("runHaproxy: false, {key}"));
        assert!(problem.contains("HAProxy is run by `synapse haproxy`"), "{problem}");
    }
    assert!(read(&haproxy_router(external)).is_ok());
}

#[test]
fn no_text_can_break_out_of_its_line_or_section() {
    for keys in [
        "global: [\"a\\nb\"],",
        "defaults: [\"a\\rb\"],",
        "listen: {a: [\"a\\0b\"]},",
        "frontend: {\"a\\nb\": []},",
        "backend: {a b: []},",
    ] {
        assert_eq!(problems(&haproxy_router(keys)).len(), 1, "{keys}");
    }
    for keys in [
        "serverOptions: \"a\\nb\", ",
        "routerOptions: {backend: [\"a\\nb\"]}, ",
        "routerOptions: {frontend: [\"a\\nb\"]}, ",
        "name: a/b, ",
    ] {
        assert_eq!(problems(&with_services(&[keys])).len(), 1, "{keys}");
    }
    assert!(
        read(&haproxy_router("global: [\"a\\tb\"],")).is_ok(),
        "a tab is a blank"
    );
}

#[test]
fn one_file_and_one_name_have_one_owner() {
    let twice = "routers: [{type: haproxy, configPath: /a}, {type: haproxy, configPath: /a}]";
    assert_eq!(
        problems(twice),
        ["routers[1].configPath: another router writes /a already"]
    );
    let taken = haproxy_router("listen: {x: []}, backend: {x: []},");
    assert_eq!(
        problems(&taken),
        ["routers[0].backend: `x` is the name of another section, or the one a service gets"]
    );
    let service = "routers: [{type: haproxy, configPath: /a, frontend: {s_1: []}, \
                   services: [{name: s, watcher: {type: zookeeper, hosts: [z], path: /s}}]}]";
    assert_eq!(problems(service).len(), 1);
}

#[test]
fn paths_that_haproxy_would_misread_are_refused() {
    for path in ["/run/a b.cfg", "/run/", "'/run/a,b.cfg'"] {
        let text = format!("routers: [{{type: haproxy, configPath: {path}}}]");
        assert!(problems(&text)[0].starts_with("routers[0].configPath: "), "{path}");
    }
}

#[test]
fn the_snapshot_lies_beside_the_first_haproxys_file() {
    let path = |text: &str| config(text).snapshot_path;
    assert_eq!(path(&haproxy_router("")), Some("/run/h.cfg.snapshot".into()));
    assert_eq!(path(&with_services(&[""])), None);
    let written = format!("snapshotPath: state/s\n{}", with_services(&[""]));
    assert_eq!(path(&written), Some("/base/state/s".into()));
}
