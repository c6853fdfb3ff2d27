use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{ExtraSection, SelectionConfig, ServiceHaproxy, WatcherConfig};
use crate::desired::Server;
use crate::haproxy::cfg::file::ConfigFile;
use crate::haproxy::plan::desired::desired_backend;

use crate::haproxy::plan::options::OperatorOptions;
use crate::haproxy::plan::slots::{assign, layout_for_reload};
use crate::haproxy::process::alerts::attribute_alerts;

fn config() -> HaproxyConfig {
    HaproxyConfig {
        config_path: PathBuf::from("/run/synapse/haproxy.cfg"),
        control: HaproxyControl::Managed {
            run: true,
            program: "haproxy".into(),
            master_socket: PathBuf::from("/run/synapse/master.sock"),
            stop_on_exit: false,
        },
        stats_socket: PathBuf::from("/run/synapse/haproxy.sock"),
        reload_min_interval: Duration::from_millis(500),
        start_wait: Duration::from_secs(10),
        reconcile_interval: Duration::from_secs(10),
        global: vec!["maxconn 1000".into()],
        defaults: Vec::new(),
        extra_sections: vec![extra(
            "listen stats",
            &["mode http", "bind 127.0.0.1:9999", "stats enable"],
        )],
        shared_frontend: None,
        options_policy: crate::config::OptionsPolicy::default(),
        servers: crate::config::ServersMode::default(),
        state_file: Some(PathBuf::from("/run/synapse/haproxy.cfg.state")),
    }
}

fn extra(title: &str, lines: &[&str]) -> ExtraSection {
    ExtraSection {
        title: title.into(),
        lines: lines.iter().map(ToString::to_string).collect(),
    }
}

fn service(id: &str, frontend: &[&str], backend: &[&str]) -> ServiceConfig {
    ServiceConfig {
        guard: crate::config::Guard::default(),
        id: id.into(),
        name: id.into(),
        watcher: WatcherConfig::Static(Vec::new()),
        selection: SelectionConfig::default(),
        server_options: String::new(),
        frontend: frontend.iter().map(ToString::to_string).collect(),
        backend: backend.iter().map(ToString::to_string).collect(),
        haproxy: ServiceHaproxy::default(),
    }
}

fn services() -> Vec<ServiceConfig> {
    vec![
        service(
            "web_1",
            &["mode http", "bind 127.0.0.1:8001"],
            &["mode http", "balance leastconn"],
        ),
        service("tcp_2", &["bind 127.0.0.1:8002"], &[]),
        service("empty_3", &["bind 127.0.0.1:8003"], &[]),
    ]
}

fn server(name: &str, address: &str, weight: u16, options: &str) -> Server {
    Server {
        node: format!("{name}_0001").into(),
        name: name.into(),
        address: address.parse().unwrap(),
        weight: Some(weight),
        options: options.into(),
        labels: BTreeMap::new(),
        created: 1,
        backup: false,
    }
}

fn layout() -> Layout {
    let mut none = OperatorOptions::new("").unwrap();
    let web = [
        server(
            "web\n program evil",
            "10.0.0.1:8080",
            255,
            "check inter 2s\nprogram evil",
        ),
        server("web2", "[2001:db8::1]:8080", 128, "check inter 2s"),
    ];
    let mut checked = OperatorOptions::new("check port 81").unwrap();
    Layout::from([
        (
            "web_1".into(),
            layout_for_reload(None, &desired_backend(&web, &mut none), None),
        ),
        (
            "tcp_2".into(),
            layout_for_reload(
                None,
                &desired_backend(&[server("db", "10.0.0.3:5432", 1, "backup")], &mut checked),
                None,
            ),
        ),
        (
            "empty_3".into(),
            layout_for_reload(None, &desired_backend(&[], &mut none), None),
        ),
    ])
}

#[test]
fn golden() {
    insta::assert_snapshot!(
        ConfigTemplate::new(&config(), &services())
            .render(&layout(), Provisioning::Slots)
            .text
    );
}

/// Everything that a file can contain, from its text to HAProxy's.
fn rich() -> ConfigTemplate {
    let text = "
routers:
  - type: haproxy
    configPath: /run/synapse/haproxy.cfg
    modernise: true
    bindAddress: 127.0.0.3
    global: ['log stdout format raw local0', nbproc 2]
    sharedFrontend: [mode http, 'bind 127.0.0.1:8000']
    extraSections:
      'listen stats :3212': [mode http, option forceclose]
      userlist admins: [user a insecure-password b]
      defaults tcp: [mode tcp, timeout connect 9s, timeout client 9s, timeout server 9s]
      frontend side from tcp: ['bind 127.0.0.1:8009', default_backend web]
    services:
      - name: web
        watcher: {type: zookeeper, hosts: [zk], path: /web}
        haproxy: {mode: http, port: 8001, bindOptions: accept-proxy, backendName: web, cookieValue: name,
                  sharedFrontend: ['acl is_web hdr(host) web', use_backend web if is_web]}
        routerOptions: {backend: [cookie SRV insert]}
      - name: only-a-backend
        watcher: {type: zookeeper, hosts: [zk], path: /b}
        haproxy: {sharedFrontend: [default_backend only-a-backend_2]}
      - name: sock
        watcher: {type: zookeeper, hosts: [zk], path: /c}
        haproxy: {mode: tcp, bindAddress: /run/synapse/sock}
";
    frame(text)
}

/// The frame of the one router in `text`.
fn frame(text: &str) -> ConfigTemplate {
    let document = common::config::Document::parse("synapse.yaml", text.to_owned()).unwrap();
    let base = std::path::Path::new("/");
    let loaded = crate::config::resolve(&document, common::config::UnknownKeys::Refuse, base);
    let mut config = loaded.unwrap_or_else(|problems| panic!("{problems}")).value;
    let router = config.routers.remove(0);
    let crate::config::RouterKind::Haproxy(haproxy) = router.kind else {
        panic!("another router");
    };
    ConfigTemplate::new(&haproxy, &router.services)
}

#[test]
fn golden_of_every_section() {
    let mut named = OperatorOptions::with_cookie("check", Some(crate::config::CookieValue::Name)).unwrap();
    let web = [server("one", "10.0.0.1:80", 1, "")];
    let layout = Layout::from([
        (
            "web".into(),
            layout_for_reload(None, &desired_backend(&web, &mut named), None),
        ),
        ("only-a-backend_2".into(), Backend::default()),
        ("sock_3".into(), Backend::default()),
    ]);
    let file = rich().render(&layout, Provisioning::Slots);
    insta::assert_snapshot!(file.text);
    let disk = ConfigFile::parse(&file.text);
    assert_eq!(
        rich().render(&disk.layout, Provisioning::Slots),
        file,
        "it is read back as it was"
    );
}

#[test]
fn the_shared_frontend_has_lines_of_present_services_only() {
    let layout = Layout::from([("only-a-backend_2".into(), Backend::default())]);
    let file = rich().render(&layout, Provisioning::Slots);
    assert!(!file.text.contains("is_web") && file.text.contains("  default_backend only-a-backend_2\n"));
    let all = Layout::from(["web", "only-a-backend_2"].map(|id| (id.into(), Backend::default())));
    let file = rich().render(&all, Provisioning::Slots);
    let alert = |text: &str| {
        let line = file.text.lines().position(|line| line.trim() == text).unwrap() + 1;
        attribute_alerts(
            &format!("[ALERT]    (1) : config : parsing [/h.cfg:{line}] : no.\n"),
            &file,
        )
    };
    assert!(alert("acl is_web hdr(host) web").services.contains_key("web"));
    assert!(
        alert("default_backend only-a-backend_2")
            .services
            .contains_key("only-a-backend_2")
    );
    assert_eq!(alert("frontend shared-frontend").rest.len(), 1);
    assert_eq!(alert("bind 127.0.0.1:8000").rest.len(), 1);
}

#[test]
fn the_structure_is_independent_of_assignments() {
    let frame = ConfigTemplate::new(&config(), &services());
    let all = layout();
    let file = frame.render(&all, Provisioning::Slots);
    assert_eq!(file, frame.render(&all, Provisioning::Slots));
    let mut none = OperatorOptions::new("").unwrap();
    let fewer = desired_backend(&[server("web3", "10.0.0.9:8080", 7, "")], &mut none);
    let mut moved = all.clone();
    moved.insert("empty_3".into(), assign(&all["empty_3"], &fewer, None).0);
    let other = frame.render(&moved, Provisioning::Slots);
    assert_ne!(other.text, file.text);
    assert_eq!(other.structure, file.structure);
    let mut grown = all.clone();
    grown.insert("empty_3".into(), layout_for_reload(None, &fewer, None));
    assert_ne!(frame.render(&grown, Provisioning::Slots).structure, file.structure);
    let mut without = all;
    without.remove("empty_3");
    assert_ne!(frame.render(&without, Provisioning::Slots).structure, file.structure);
}

#[test]
fn a_file_is_read_back_as_it_was_written() {
    let frame = ConfigTemplate::new(&config(), &services());
    let file = frame.render(&layout(), Provisioning::Slots);
    let disk = ConfigFile::parse(&file.text);
    assert_eq!(disk.layout, layout());
    assert_eq!(disk.structure.as_ref(), Some(&file.structure));
    assert_eq!(frame.render(&disk.layout, Provisioning::Slots), file);
    assert_eq!(disk.binds.len(), 4);
    assert_eq!(
        ConfigFile::parse(&file.text.replacen(HEADER, "# mine", 1)),
        ConfigFile::default()
    );
}

#[test]
fn replacing_servers_changes_assignments_only() {
    let frame = ConfigTemplate::new(&config(), &services());
    let file = frame.render(&layout(), Provisioning::Slots);
    let file_text = ConfigFile::parse(&file.text).text;
    assert_eq!(file_text.with_servers(&layout()), *file.text);
    let mut none = OperatorOptions::new("").unwrap();
    let mut moved = layout();
    let fewer = desired_backend(&[server("web3", "10.0.0.9:8080", 7, "check")], &mut none);
    moved.insert("web_1".into(), assign(&moved["web_1"], &fewer, None).0);
    assert_eq!(
        file_text.with_servers(&moved),
        *frame.render(&moved, Provisioning::Slots).text
    );
}

#[test]
fn dynamic_servers_keep_the_stable_part_of_the_fingerprint() {
    let frame = ConfigTemplate::new(&config(), &services());
    let dynamic_backends = frame.dynamic_backends();
    let dynamic = dynamic_backends["empty_3"];
    let mut none = OperatorOptions::new("").unwrap();
    let mut before = layout();
    let none_desired = desired_backend(&[], &mut none);
    before.insert("empty_3".into(), layout_for_reload(None, &none_desired, Some(dynamic)));
    assert_eq!(before["empty_3"].slots, [], "no spare ones");
    let file = frame.render(&before, Provisioning::Dynamic);
    let one = desired_backend(&[server("web3", "10.0.0.9:8080", 7, "check")], &mut none);
    let room = crate::haproxy::plan::slots::DynamicContext { dynamic, live: None };
    let mut after = before.clone();
    after.insert("empty_3".into(), assign(&before["empty_3"], &one, Some(room)).0);

    let seated = ConfigFile::parse(&file.text).text.with_servers(&after);
    let line = "  server web3_10.0.0.9:8080 10.0.0.9:8080 id 1 weight 7 enabled check\n";
    assert!(seated.contains(line) && !file.text.contains(line), "{seated}");
    assert_eq!(seated.replacen(line, "", 1), *file.text, "nothing else");
    assert_eq!(
        ConfigFile::parse(&seated).text.with_servers(&before),
        *file.text,
        "and back"
    );
    assert_eq!(ConfigFile::parse(&seated).structure, Some(file.structure.clone()));
    let rendered = frame.render(&after, Provisioning::Dynamic);
    let without_print = |text: &str| text.replace(&file.structure, "").replace(&rendered.structure, "");
    assert_eq!(
        without_print(&seated),
        without_print(&rendered.text),
        "as a reload would render it"
    );
    let undeletable = |structure| Provisioning::Dynamic.stable_part(structure).map(str::to_owned);
    assert_eq!(undeletable(&rendered.structure), undeletable(&file.structure));
    assert_ne!(rendered.structure, file.structure);
    let slots = frame.render(&before, Provisioning::Slots).structure;
    assert_ne!(
        undeletable(&slots),
        undeletable(&file.structure),
        "another provisioning is another structure"
    );
}

#[test]
fn alerts_are_attributed_to_services_by_line() {
    let file = ConfigTemplate::new(&config(), &services()).render(&layout(), Provisioning::Slots);
    let line = |text: &str| file.text.lines().position(|line| line.trim() == text).unwrap() + 1;
    let alert = |line| format!("[ALERT]    (1) : config : parsing [/run/haproxy.cfg:{line}] : unknown keyword.\n");
    let text = [
        alert(line("bind 127.0.0.1:8002")),
        alert(line("balance leastconn")),
        alert(line("maxconn 1000")),
        "[ALERT]    (1) : config : proxy 'empty_3': unable to find required default_backend: 'x'.\n".into(),
        "[ALERT]    (1) : config : Error(s) found in configuration file : x\n".into(),
        "[WARNING]  (1) : config : parsing [/run/haproxy.cfg:1] : nothing.\n".into(),
    ]
    .concat();
    let found = attribute_alerts(&text, &file);
    assert_eq!(
        found.services.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(["web_1", "tcp_2", "empty_3"])
    );
    assert_eq!(found.rest.len(), 1);
    assert!(found.services["tcp_2"].contains("unknown keyword"));
}

#[test]
fn lines_of_the_operator_are_not_repeated() {
    let mut config = config();
    config.global = vec![
        "stats  socket /run/synapse/haproxy.sock level admin".into(),
        "hard-stop-after 1h".into(),
    ];
    config.defaults = vec!["mode http".into(), "no option idle-close-on-response".into()];
    let services = [
        service("web_1", &["bind :80", "default_backend other"], &[]),
        service("unix_2", &[], &["mode tcp"]),
    ];
    let layout = Layout::from([
        ("web_1".into(), Backend::default()),
        ("unix_2".into(), Backend::default()),
    ]);
    let text = ConfigTemplate::new(&config, &services)
        .render(&layout, Provisioning::Slots)
        .text;
    for (what, count) in [
        ("stats", 3),
        ("hard-stop-after", 1),
        ("fd-hard-limit", 1),
        ("load-server-state", 1),
        ("idle-close", 1),
        ("default_backend", 1),
        ("disable-l7-retry", 0),
        ("retries", 0),
        ("frontend", 1),
    ] {
        let found = text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(found, count, "{what}\n{text}");
    }
    config.control = HaproxyControl::External {
        reload_command: vec!["true".into()],
        reload_timeout: Duration::from_secs(1),
        cleanup_command: Vec::new(),
        cleanup_timeout: Duration::from_secs(1),
        program: "haproxy".into(),
    };
    config.global.clear();
    let text = ConfigTemplate::new(&config, &services)
        .render(&layout, Provisioning::Slots)
        .text;
    assert!(
        ["mworker-max-reloads", "stats socket", "fd-hard-limit", "server-state"]
            .iter()
            .all(|line| !text.contains(line)),
        "{text}"
    );
}

#[test]
fn the_newer_of_two_registrations_at_one_address_counts() {
    let mut none = OperatorOptions::new("").unwrap();
    let old = server("old", "10.0.0.1:80", 1, "");
    let new = Server {
        created: 2,
        ..server("new", "10.0.0.1:80", 2, "")
    };
    let useless = ["0.0.0.0:80", "10.0.0.2:0", "224.0.0.1:80"].map(|at| server("x", at, 1, ""));
    let found = desired_backend(&[vec![old, new], useless.to_vec()].concat(), &mut none);
    assert_eq!(
        found.servers.iter().map(|server| &*server.instance).collect::<Vec<_>>(),
        ["new"]
    );
    assert_eq!(found.skipped.len(), 4);
    let plain = desired_backend(&[server("a", "10.0.0.1:80", 300, "backup")], &mut none).plain();
    assert_eq!((&*plain.servers[0].options, plain.servers[0].weight), ("", 256));
    assert_eq!(plain.servers[0].ignored, ["backup"]);
    assert_eq!(none.spare(), Some(&Arc::from("")));
}

#[test]
fn weights_stay_as_registered() {
    let servers = [Some(7), Some(0), None].map(|weight| Server {
        weight,
        ..server("a", &format!("10.0.0.1:{}", 80 + weight.unwrap_or(100)), 1, "")
    });
    let wanted = desired_backend(&servers, &mut OperatorOptions::new("").unwrap());
    let weights: Vec<u16> = wanted.servers.iter().map(|server| server.weight).collect();
    assert_eq!(weights, [7, 0, 1]);
}

#[test]
fn a_backup_stays_one_without_its_other_options() {
    let mut checked = OperatorOptions::new("check").unwrap();
    let backup = Server {
        backup: true,
        ..server("a", "10.0.0.1:80", 1, "inter 1s")
    };
    let with_check = desired_backend(std::slice::from_ref(&backup), &mut checked);
    assert_eq!(&*with_check.servers[0].options, "inter 1s check backup");
    assert_eq!(&*with_check.plain().servers[0].options, "check backup");

    let mut backup_already = OperatorOptions::new("backup").unwrap();
    assert_eq!(
        &*desired_backend(&[backup], &mut backup_already).servers[0].options,
        "inter 1s backup"
    );
}

/// Each kind of panic rule, in HTTP and TCP.
fn rules() -> (ConfigTemplate, Layout) {
    let text = "
routers:
  - type: haproxy
    configPath: /run/synapse/haproxy.cfg
    global: ['log stderr format raw local0']
    services:
      - name: all
        watcher: {type: zookeeper, hosts: [zk], path: /a}
        haproxy: {mode: http, port: 8001}
        panicThreshold: {then: use-all}
        routerOptions:
          frontend: ['http-request allow if { src 127.0.0.2 }', 'use_backend fast_2 if { path /fast }']
          backend: [balance leastconn, option httpchk GET /health]
      - name: fast
        watcher: {type: zookeeper, hosts: [zk], path: /b}
        haproxy: {mode: http, backendName: fast_2}
        panicThreshold: {below: 3, then: fail-fast}
        routerOptions: {backend: ['http-request set-header x y']}
      - name: tcp-all
        watcher: {type: zookeeper, hosts: [zk], path: /c}
        haproxy: {mode: tcp, port: 8003}
        panicThreshold: {below: 2, then: use-all}
        routerOptions: {frontend: [tcp-request inspect-delay 1s, 'tcp-request content accept if HTTP']}
      - name: tcp-fast
        watcher: {type: zookeeper, hosts: [zk], path: /d}
        haproxy: {mode: tcp, port: 8004}
        panicThreshold: {below: 33.3%, then: fail-fast}
";
    let frame = frame(text);
    let mut checked = OperatorOptions::new("check inter 1s track a/b init-state down").unwrap();
    let some = |count: u8, weight: u16| -> Vec<Server> {
        (1..=count)
            .map(|last| server("s", &format!("10.0.0.{last}:80"), weight, "maxconn 5"))
            .collect()
    };
    let mut layout = Layout::new();
    for (id, servers) in [
        ("all_1", some(2, 7)),
        ("fast_2", some(1, 0)),
        (
            "tcp-all_3",
            [some(2, 3), vec![server("b", "10.0.0.9:80", 1, "backup")]].concat(),
        ),
        ("tcp-fast_4", some(2, 9)),
    ] {
        layout.insert(
            id.into(),
            layout_for_reload(None, &desired_backend(&servers, &mut checked), None),
        );
    }
    frame.add_shadows(&mut layout);
    (frame, layout)
}

#[test]
fn golden_of_panic_thresholds() {
    let (frame, layout) = rules();
    let file = frame.render(&layout, Provisioning::Slots);
    insta::assert_snapshot!(file.text);
    let disk = ConfigFile::parse(&file.text);
    assert_eq!(
        frame.render(&disk.layout, Provisioning::Slots),
        file,
        "it is read back as it was"
    );
    let mut seated = disk.layout.clone();
    frame.sync_shadows(&mut seated);
    assert_eq!(seated, disk.layout, "and every server is where the rule puts it");
}

#[tokio::test]
async fn haproxy_takes_panic_thresholds_without_a_warning() {
    let (frame, mut layout) = rules();
    for slot in layout.values_mut().flat_map(|backend| &mut backend.slots) {
        // Nothing that HAProxy would look up, and nothing that 2.6 lacks.
        slot.options = slot.options.replace(" track a/b init-state down", "").into();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("haproxy.cfg");
    let text = frame
        .render(&layout, Provisioning::Slots)
        .text
        .replace("/run/synapse", &directory.path().display().to_string());
    std::fs::write(&path, text).unwrap();
    std::fs::write(directory.path().join("haproxy.cfg.state"), "1\n").unwrap();
    let check = common::process::Program {
        argv: ["haproxy", "-dW", "-c", "-f", &path.to_string_lossy()]
            .map(str::to_owned)
            .to_vec(),
        env: Vec::new(),
        timeout: Duration::from_secs(30),
    };
    let outcome = check.run().await.unwrap();
    assert!(
        matches!(outcome, common::process::Outcome::Success { .. }),
        "{outcome:?}"
    );
}

#[test]
fn an_alert_of_a_shadow_backend_is_attributed_to_its_service() {
    let (frame, layout) = rules();
    let file = frame.render(&layout, Provisioning::Slots);
    let shadow = file.text.lines().position(|line| line == "backend all_1_all").unwrap() + 1;
    let found = attribute_alerts(
        &format!("[ALERT]    (1) : config : parsing [/h.cfg:{}] : no.\n", shadow + 1),
        &file,
    );
    assert_eq!(found.services.keys().collect::<Vec<_>>(), ["all_1"]);
    let mut without = layout;
    without.remove("all_1");
    assert!(!frame.render(&without, Provisioning::Slots).text.contains("all_1_all"));
}
