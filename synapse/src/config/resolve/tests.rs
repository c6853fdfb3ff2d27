use std::path::Path;

use common::config::{Document, Problem, Problems, Understood, UnknownKeys};

use super::*;
use crate::config::{
    ApplyBudget, FileOutputConfig, Guard, GuardPolicy, HaproxyConfig, HaproxyControl, PaceConfig, ServerSort, Share,
    TemplateConfig, TemplateSource, WatcherConfig, understand,
};

pub(super) fn read(text: &str) -> Result<Understood<Config>, Problems> {
    let document = Document::parse("synapse.yaml", text.to_owned())?;
    understand(&document, UnknownKeys::Refuse, Path::new("/base"))
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
    assert!(!config.log_json);
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
        .flat_map(|router| &router.services)
        .map(|service| service.id.as_str())
        .collect();
    assert_eq!(
        ids,
        ["orders_1", "orders-primary_2", "x_3"],
        "counted through the whole file"
    );
}

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
    assert!(held[0].contains("is always believed"), "{held:?}");
}

#[test]
fn a_guard_has_a_policy_and_its_measures() {
    let guard = |keys: &str| {
        let text = with_services(&[&format!("guard: {{{keys}}}, ")]);
        config(&text).routers.remove(0).services.remove(0).guard
    };
    assert_eq!(
        config(&with_services(&[""])).routers[0].services[0].guard,
        Guard::default()
    );
    assert_eq!(guard(""), Guard::default());
    let written = guard("policy: trust, share: 25%, least: 2, window: 1m, settle: 10s, holdTime: 1h");
    let expected = Guard {
        policy: GuardPolicy::Trust,
        share: Share::of_percent(25),
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
    assert_eq!(guard("share: 0.333").share, Share::parse("33.3 %").expect("a share"));
    for share in ["0", "1.1", "-1", "101%", "half", "NaN", "inf"] {
        let text = with_services(&[&format!("guard: {{share: '{share}'}}, ")]);
        assert!(problems(&text)[0].contains("is not a share"), "{share}");
    }
}

/// A router that writes a file from a template, with these keys (comma-terminated) beside a template and a destination.
fn template_router(keys: &str) -> String {
    format!("routers: [{{type: template, template: '{{{{len .}}}}', {keys} destinationFile: out/f}}]")
}

fn template(text: &str) -> (TemplateConfig, PaceConfig) {
    let router = config(text).routers.remove(0);
    match router.kind {
        RouterKind::Template(template) => (template, router.pace),
        other => panic!("{other:?}"),
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

#[test]
fn a_template_router_has_go_synapses_defaults() {
    let (template, pace) = template(&template_router(""));
    assert_eq!(
        template,
        TemplateConfig {
            source: TemplateSource::Text("{{len .}}".to_owned()),
            destination: "/base/out/f".into(),
            mode: 0o644,
            command: Vec::new(),
            command_timeout: Duration::from_secs(2),
            reconcile_interval: Duration::from_secs(10),
        }
    );
    assert_eq!((pace.budget, pace.jitter), (None, Duration::ZERO));
}

/// Go-Synapse's `examples/template.yml`, and every other key.
#[test]
fn a_template_router_of_go_synapse_is_read_whole() {
    let (template, pace) = template(
        "
routers:
  - type: template
    destinationFile: /tmp/notexists/templated
    destinationFileMode: 0600
    templateFile: ./examples/template.tmpl
    postTemplateCommand: [/bin/bash, -c, \"echo 'ZZ' > /tmp/DDDD\"]
    postTemplateCommandTimeoutInMilli: 50
    eventsBufferDurationInMilli: 100
    eventsBufferMaxDuration: 3s
    applyBudget: {applies: 3, per: 10s}
    reloadJitter: 1m
    services: [{watcher: {type: zookeeper, hosts: [zk], path: /services/es/es_site_search}}]
",
    );
    assert_eq!(
        template.source,
        TemplateSource::File("/base/./examples/template.tmpl".into())
    );
    assert_eq!(template.mode, 0o600);
    assert_eq!(template.command.len(), 3);
    assert_eq!(template.command_timeout, Duration::from_millis(50));
    let budget = ApplyBudget {
        applies: 3,
        per: Duration::from_secs(10),
    };
    assert_eq!(
        pace,
        PaceConfig {
            buffer: Duration::from_millis(100),
            max_buffer: Duration::from_secs(3),
            budget: Some(budget),
            jitter: Duration::from_mins(1),
        }
    );
}

/// As YAML reads them: a leading zero makes it a text, `0o` a number in octal.
#[test]
fn the_mode_of_a_destination_is_read_however_it_is_written() {
    for written in ["0644", "'0644'", "420", "0o644", "'420'", "0", "''"] {
        let text = template_router(&format!("destinationFileMode: {written},"));
        assert_eq!(template(&text).0.mode, 0o644, "{written}");
    }
    for written in ["644", "'644'", "rw", "0o1777", "1.5", "-1"] {
        let found = problems(&template_router(&format!("destinationFileMode: {written},")));
        assert!(
            found[0].starts_with("routers[0].destinationFileMode: "),
            "{written}: {found:?}"
        );
    }
}

#[test]
fn what_a_template_router_can_not_do_is_a_problem() {
    let problem = |keys: &str| problems(&format!("routers: [{{type: template, {keys}}}]"));
    assert_eq!(
        problem("destinationFile: /f"),
        ["routers[0].template: there is no template"]
    );
    assert_eq!(
        problem("destinationFile: /f, template: a, templateFile: /t"),
        ["routers[0].template: the template is either here or in `templateFile`"]
    );
    assert_eq!(
        problem("destinationFile: /f/, template: a"),
        ["routers[0].destinationFile: \"/f/\" is a directory"]
    );
    assert_eq!(
        problem("destinationFile: /f, template: '{{range .}}{{.Hots}}{{end}}'"),
        [
            "routers[0].template: template:1: there is no field `Hots` in an item of the list, which has `Service` and `Reports`"
        ]
    );
    assert_eq!(
        problem("destinationFile: /f, template: a, reloadJitter: 1s"),
        ["routers[0].reloadJitter: this belongs to `postTemplateCommand`, and there is none"]
    );
    assert_eq!(
        problem("destinationFile: /f, template: a, eventsBufferMaxDuration: 499ms"),
        ["routers[0].eventsBufferMaxDuration: changes are gathered for 500ms at least, which is longer"]
    );
}

#[test]
fn a_router_writes_a_file_for_each_service_but_those_that_want_none() {
    let text = "
routers:
  - type: file_output
    outputDirectory: run/services
    purgeUnknown: true
    services:
      - {name: web, watcher: {type: zookeeper, hosts: [zk], path: /web}}
      - {name: db, fileOutput: {disabled: true}, watcher: {type: zookeeper, hosts: [zk], path: /db}}
      - {name: db, fileOutput: {}, watcher: {type: zookeeper, hosts: [zk], path: /db2}}
";
    let RouterKind::FileOutput(output) = config(text).routers.remove(0).kind else {
        panic!("file_output");
    };
    let files = [("web_1", "web"), ("db_3", "db")];
    assert_eq!(
        output,
        FileOutputConfig {
            directory: "/base/run/services".into(),
            files: files.map(|(id, name)| (id.to_owned(), name.to_owned())).into(),
            purge_unknown: true,
            reconcile_interval: Duration::from_secs(10),
        }
    );
    assert_eq!(
        problems(&text.replace("disabled: true", "disabled: false")),
        ["routers[0].services: two services are named `db`, and one file can't hold both"]
    );
    assert_eq!(
        problems(&text.replace("    outputDirectory: run/services\n", "")),
        ["routers[0].outputDirectory: is required"]
    );
    let elsewhere = with_services(&["fileOutput: {disabled: true}, "]);
    assert_eq!(
        problems(&elsewhere),
        ["routers[0].services[0].fileOutput: the router of this service writes no file for each service"]
    );
}

#[test]
fn no_two_routers_write_the_same() {
    let template = "{type: template, template: a, destinationFile: /f}";
    assert_eq!(
        problems(&format!("routers: [{template}, {template}]")),
        ["routers[1].destinationFile: another router writes /f already"]
    );
    let files = "{type: file_output, outputDirectory: /d}";
    assert_eq!(
        problems(&format!("routers: [{files}, {files}]")),
        ["routers[1].outputDirectory: another router writes /d already"]
    );
}
