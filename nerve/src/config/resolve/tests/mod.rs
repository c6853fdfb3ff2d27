mod go_nerve;
mod reporters;

use std::path::PathBuf;
use std::time::Duration;

use common::telemetry::log::Format;

use crate::config::testing::{read, service};
use crate::config::{ApiAddress, CheckKind, Config, ReporterConfig, StatusSet, TcpConfig, TcpMode, ZookeeperConfig};

const SECOND: Duration = Duration::from_secs(1);

fn config(text: &str) -> Config {
    read(text).expect("a good configuration").value
}

/// The problems of a service with `keys` beside its port.
fn problems(keys: &str) -> String {
    read(&format!("services: [{{ port: 80, {keys} }}]")).expect_err("a problem")
}

fn zookeeper(reporter: &ReporterConfig) -> &ZookeeperConfig {
    match reporter {
        ReporterConfig::Zookeeper(config) => config,
        other => panic!("{other:?}"),
    }
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = read(text).expect("a good configuration").warnings;
    warnings.into_iter().map(|warning| warning.key).collect()
}

#[test]
fn the_root_has_its_defaults() {
    let config = config("services: [{ port: 80 }]");
    assert_eq!(config.log_level, "info");
    assert_eq!(config.log_format, Format::Text);
    let api = ApiAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 3454,
    };
    assert_eq!(config.api, api);
    assert_eq!(config.shutdown_timeout, 90 * SECOND);
    assert!(!config.legacy_get_mutations);
}

#[test]
fn the_root_takes_every_key_in_any_case() {
    let config = config(
        "{ LOGLEVEL: debug, logformat: json, APIHOST: 0.0.0.0, apiPort: 1, shutdownTimeout: 5m, legacyGetMutations: true }",
    );
    assert_eq!((config.log_level.as_str(), config.log_format), ("debug", Format::Json));
    let api = ApiAddress::Tcp {
        host: "0.0.0.0".to_owned(),
        port: 1,
    };
    assert_eq!(config.api, api);
    assert_eq!(config.shutdown_timeout, 300 * SECOND);
    assert!(config.legacy_get_mutations);
    let socket = read("apiSocket: /run/nerve.sock").expect("good").value.api;
    assert_eq!(socket, ApiAddress::Unix(PathBuf::from("/run/nerve.sock")));
}

#[test]
fn a_service_has_its_defaults() {
    let service = service("{ port: 80 }");
    assert_eq!(service.name, "127.0.0.1:80");
    assert_eq!(service.report_name, service.name);
    assert_eq!(
        (service.host.as_str(), service.port, service.weight),
        ("127.0.0.1", 80, 255)
    );
    assert_eq!(service.report_replay, SECOND);
    assert!(service.down_on_shutdown && !service.exclude_from_global && !service.no_metrics);
    let lifecycle = &service.lifecycle;
    assert_eq!(lifecycle.pre_available, None);
    let warm_up = lifecycle.warm_up.as_ref().expect("on");
    assert_eq!(
        (warm_up.interval, warm_up.max, &warm_up.stable),
        (2 * SECOND, 60 * SECOND, &None)
    );
    let disable = &lifecycle.disable;
    assert_eq!((disable.max, disable.min), (60 * SECOND, 3 * SECOND));
    assert_eq!((&disable.shutdown, &disable.gracefully_done), (&None, &None));
    assert_eq!(service.reporters, [ReporterConfig::Console]);
    let [check] = service.checks.as_slice() else {
        panic!("one check")
    };
    assert!(matches!(check.kind, CheckKind::Tcp(_)));
    assert_eq!(
        (check.host.as_str(), check.port, check.rise, check.fall),
        ("127.0.0.1", 80, 3, 2)
    );
    assert_eq!((check.timeout, check.interval), (SECOND, SECOND));
}

#[test]
fn commands_have_their_default_deadlines() {
    let service = service(
        "{ port: 80, preAvailableCommand: [a], enableCheckStableCommand: [b], disableShutdownCommand: [c],
           disableGracefullyDoneCommand: [d, e] }",
    );
    let lifecycle = &service.lifecycle;
    assert_eq!(lifecycle.pre_available.as_ref().expect("there").program.timeout, SECOND);
    let stable = lifecycle
        .warm_up
        .as_ref()
        .and_then(|warm_up| warm_up.stable.as_ref())
        .expect("there");
    assert_eq!((stable.program.timeout, stable.interval), (2 * SECOND, SECOND));
    assert_eq!(lifecycle.disable.shutdown.as_ref().expect("there").timeout, 30 * SECOND);
    let done = lifecycle.disable.gracefully_done.as_ref().expect("there");
    assert_eq!((done.program.timeout, done.interval), (SECOND, SECOND));
    assert_eq!(done.program.argv, ["d", "e"]);
}

#[test]
fn a_service_takes_every_key() {
    let service = service(
        "{ name: web, host: 10.0.0.1, port: 80, preferIpv4: true, weight: 0, reporterServiceName: w,
           reportReplayInMilli: 5, haproxyServerOptions: backup, setServiceAsDownOnShutdown: false, labels: { Az: b },
           excludeFromGlobalDisable: true, noMetrics: true, preAvailableCommand: [a], preAvailableMaxDurationInMilli: 6,
           enableCheckStableCommand: [b], enableCheckStableMaxDurationInMilli: 7, enableCheckStableIntervalInMilli: 8,
           enableWarmupIntervalInMilli: 10, enableWarmupMaxDurationInMilli: 230, disableShutdownCommand: [c],
           disableShutdownMaxDurationInMilli: 9, disableGracefullyDoneCommand: [d],
           disableGracefullyDoneIntervalInMilli: 11, disableMaxDurationInMilli: 12, disableMinDurationInMilli: 13 }",
    );
    let millis = Duration::from_millis;
    assert_eq!(
        (service.name.as_str(), service.report_name.as_str(), service.weight),
        ("web", "w", 255)
    );
    assert_eq!(service.haproxy_server_options, "backup");
    assert_eq!(service.labels.get("Az").map(String::as_str), Some("b"));
    assert_eq!(service.report_replay, millis(5));
    assert!(!service.down_on_shutdown && service.exclude_from_global && service.no_metrics);
    let lifecycle = &service.lifecycle;
    assert_eq!(
        lifecycle.pre_available.as_ref().expect("there").program.timeout,
        millis(6)
    );
    let warm_up = lifecycle.warm_up.as_ref().expect("on");
    assert_eq!((warm_up.interval, warm_up.max), (millis(10), millis(230)));
    let stable = warm_up.stable.as_ref().expect("there");
    assert_eq!((stable.program.timeout, stable.interval), (millis(7), millis(8)));
    let disable = &lifecycle.disable;
    assert_eq!(disable.shutdown.as_ref().expect("there").timeout, millis(9));
    assert_eq!(disable.gracefully_done.as_ref().expect("there").interval, millis(11));
    assert_eq!((disable.max, disable.min), (millis(12), millis(13)));
    assert!(service.checks[0].prefer_ipv4);
}

#[test]
fn the_warm_up_can_be_switched_off_and_must_fit_its_maximum() {
    assert_eq!(service("{ port: 80, enableWarmup: false }").lifecycle.warm_up, None);
    let defaulted = service("{ port: 80, enableWarmupIntervalInMilli: 100 }");
    assert_eq!(defaulted.lifecycle.warm_up.as_ref().expect("on").max, 3 * SECOND);
    assert!(problems("enableWarmupMaxDurationInMilli: 45999").contains("46000"));
}

#[test]
fn checks_inherit_their_target_and_take_every_key() {
    let service = service(
        "{ host: '::1', port: 80, checks: [
            { type: HTTP, path: ping, status: '204', rise: 4, fall: 5, checkIntervalInMilli: 6, timeoutInMilli: 7 },
            { type: http, host: example.org, port: 81 },
            { type: exec, command: [a, b] },
            { type: tcp, port: 82 } ] }",
    );
    let targets: Vec<_> = service.checks.iter().map(|check| check.target()).collect();
    assert_eq!(
        targets,
        ["http://[::1]:80/ping", "http://example.org:81/", "a", "[::1]:82"]
    );
    let first = &service.checks[0];
    assert_eq!((first.rise, first.fall), (4, 5));
    assert_eq!(
        (first.interval, first.timeout),
        (Duration::from_millis(6), Duration::from_millis(7))
    );
    let CheckKind::Http(http) = &first.kind else {
        panic!("http")
    };
    assert!(http.expected.contains(204) && !http.expected.contains(200));
}

#[test]
fn each_type_of_check_is_understood() {
    let service = service(
        "{ host: '::1', port: 80, checks: [
            { type: https, path: /a, http2: true, tls: { serverName: shop } },
            { type: grpc, service: shop, port: 81 },
            { type: kubernetes, podName: shop-0, container: shop },
            { type: proxyhttp, proxyPort: 3128, urls: [example.org, 'https://example.org/a'] },
            { type: tcp, expect: a } ] }",
    );
    let targets: Vec<_> = service
        .checks
        .iter()
        .map(|check| (check.kind.as_str(), check.target()))
        .collect();
    let expected = [
        ("https", "https://[::1]:80/a"),
        ("grpc", "[::1]:81/shop"),
        ("kubernetes", "default/shop-0/shop"),
        ("proxyhttp", "[::1]:3128"),
        ("tcp", "[::1]:80"),
    ];
    assert_eq!(targets, expected.map(|(word, target)| (word, target.to_owned())));
    let CheckKind::Kubernetes(pod) = &service.checks[2].kind else {
        panic!("kubernetes")
    };
    let ca = PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
    assert_eq!(pod.tls.ca, Some(ca));
    let CheckKind::ProxyHttp(proxy) = &service.checks[3].kind else {
        panic!("proxyhttp")
    };
    let urls: Vec<_> = proxy.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://example.org/", "https://example.org/a"]);
    let CheckKind::Tcp(TcpConfig { mode }) = &service.checks[4].kind else {
        panic!("tcp")
    };
    let expect = Some("a".to_owned());
    assert_eq!(*mode, TcpMode::Connect { send: None, expect });
}

#[test]
fn passwords_are_not_shown() {
    let service = service(
        "{ port: 80, checks: [
            { type: http, headers: { Authorization: hunter2 } },
            { type: kubernetes, podName: a, token: hunter2 },
            { type: proxyhttp, proxyUsername: bob, proxyPassword: hunter2, urls: [a] } ] }",
    );
    assert!(!format!("{service:?}").contains("hunter2"));
}

#[test]
fn namespace_is_the_path_unless_there_is_one() {
    let with = |keys: &str| service(&format!("{{ port: 81, checks: [{{ type: http, {keys} }}] }}")).checks[0].target();
    assert_eq!(with("namespace: /a"), "http://127.0.0.1:81/a");
    assert_eq!(with("namespace: /a, path: /b"), "http://127.0.0.1:81/b");
    let file = "services: [{ port: 81, checks: [{ type: http, namespace: /a }] }]";
    assert_eq!(warnings(file), ["services[0].checks[0].namespace"]);
}

#[test]
fn what_a_check_cannot_be_is_a_problem_at_its_key() {
    let cases = [
        (
            "checks: [{ type: grpc, authority: a/b }]",
            "services[0].checks[0].authority",
        ),
        (
            "checks: [{ type: https, tls: { serverName: 10.0.0.1 } }]",
            "services[0].checks[0].tls",
        ),
        (
            "checks: [{ type: kubernetes, podName: a, apiServer: 'https://a', tls: { serverName: 10.0.0.1 } }]",
            "services[0].checks[0].tls",
        ),
        (
            "checks: [{ type: proxyhttp, urls: [a], tls: { serverName: a } }]",
            "services[0].checks[0].tls",
        ),
        (
            "checks: [{ type: http, method: 'A B' }]",
            "services[0].checks[0].method",
        ),
        (
            "checks: [{ type: http, method: connect }]",
            "services[0].checks[0].method",
        ),
        (
            "checks: [{ type: http, headers: { 'A B': c } }]",
            "services[0].checks[0].headers",
        ),
        (
            "checks: [{ type: http, headers: { A: \"b\\nc\" } }]",
            "services[0].checks[0].headers",
        ),
        (
            "checks: [{ type: http, headers: { Host: 'a b' } }]",
            "services[0].checks[0].headers",
        ),
        (
            "checks: [{ type: http, headers: { Host: 'env:HOST' } }]",
            "services[0].checks[0].headers",
        ),
        (
            "checks: [{ type: http, method: HEAD, expect: a }]",
            "services[0].checks[0].expect",
        ),
        ("checks: [{ type: http, tls: {} }]", "services[0].checks[0].tls"),
        (
            "checks: [{ type: https, tls: { cert: /a } }]",
            "services[0].checks[0].tls.key",
        ),
        ("checks: [{ type: kubernetes }]", "services[0].checks[0].podName"),
        (
            "checks: [{ type: kubernetes, podName: a/b }]",
            "services[0].checks[0].podName",
        ),
        (
            "checks: [{ type: kubernetes, podName: a, namespace: '?' }]",
            "services[0].checks[0].namespace",
        ),
        (
            "checks: [{ type: kubernetes, podName: a, apiServer: 10.0.0.1 }]",
            "services[0].checks[0].apiServer",
        ),
        (
            "checks: [{ type: kubernetes, podName: a, apiServer: 'https://h/p' }]",
            "services[0].checks[0].apiServer",
        ),
        ("checks: [{ type: proxyhttp }]", "services[0].checks[0].urls"),
        (
            "checks: [{ type: proxyhttp, urls: ['a b'] }]",
            "services[0].checks[0].urls",
        ),
        (
            "checks: [{ type: proxyhttp, urls: ['http://a:b@c/'] }]",
            "services[0].checks[0].urls",
        ),
        (
            "checks: [{ type: proxyhttp, urls: [a], proxyHost: 'a b' }]",
            "services[0].checks[0].proxyHost",
        ),
        (
            "checks: [{ type: proxyhttp, urls: [a], proxyPassword: b }]",
            "services[0].checks[0].proxyUsername",
        ),
        (
            "checks: [{ type: tcp, mode: half_open, expect: a }]",
            "services[0].checks[0].mode",
        ),
    ];
    for (keys, key) in cases {
        let problems = problems(keys);
        assert!(problems.contains(key), "{keys}: {problems}");
    }
}

#[test]
fn what_cannot_be_is_a_problem_at_its_key() {
    let cases = [
        ("name: a/b", "services[0].name"),
        ("name: \"a\\nb\"", "services[0].name"),
        ("host: 'a b'", "services[0].host"),
        ("host: '[::1]'", "services[0].host"),
        ("weight: 256", "services[0].weight"),
        ("preAvailableCommand: ['']", "services[0].preAvailableCommand"),
        ("checks: [{ type: carrier-pigeon }]", "services[0].checks[0].type"),
        (
            "checks: [{ type: amqp, datasource: x }]",
            "services[0].checks[0].datasource",
        ),
        ("checks: [{ type: file }]", "services[0].checks[0].path"),
        (
            "checks: [{ type: memcached, expect: { x: < few } }]",
            "services[0].checks[0].expect",
        ),
        ("checks: [{ type: push, name: a/b }]", "services[0].checks[0].name"),
        (
            "checks: [{ type: redis, username: x }]",
            "services[0].checks[0].password",
        ),
        (
            "checks: [{ type: sql, driver: oracle }]",
            "services[0].checks[0].driver",
        ),
        (
            "checks: [{ type: sql, datasource: x }]",
            "services[0].checks[0].datasource",
        ),
        ("checks: [{ port: 1 }]", "type"),
        ("checks: [{ type: exec }]", "services[0].checks[0].command"),
        ("checks: [{ type: http, status: 600 }]", "services[0].checks[0].status"),
        ("reporters: [{ type: etcd }]", "services[0].reporters[0].type"),
        (
            "reporters: [{ type: zookeeper, path: a, hosts: [zk] }]",
            "services[0].reporters[0].path",
        ),
        (
            "reporters: [{ type: zookeeper, path: /a//b, hosts: [zk] }]",
            "services[0].reporters[0].path",
        ),
        (
            "reporters: [{ type: zookeeper, path: /a }]",
            "services[0].reporters[0].hosts",
        ),
        (
            "reporters: [{ type: zookeeper, path: /a, hosts: ['zk, zk2'] }]",
            "services[0].reporters[0].hosts",
        ),
        (
            "reporters: [{ type: zookeeper, path: /a, hosts: [zk/a, zk/b] }]",
            "services[0].reporters[0].hosts",
        ),
    ];
    for (keys, key) in cases {
        let problems = problems(keys);
        assert!(problems.contains(key), "{keys}: {problems}");
    }
    for file in [
        "services: [{ name: a }]",
        "services: [{ port: 0 }]",
        "services: [{ port: 70000 }]",
    ] {
        let problems = read(file).expect_err("no port");
        assert!(
            problems.contains("services[0].port") && !problems.contains("2 problems"),
            "{problems}"
        );
    }
    let twice = read("services: [{ name: a, port: 1 }, { name: a, port: 2 }]").expect_err("twice");
    assert!(twice.contains("two services are named `a`"), "{twice}");
}

#[test]
fn an_unknown_type_names_the_valid_ones() {
    let checks = problems("checks: [{ type: carrier-pigeon }]");
    assert!(
        ["tcp", "http", "exec"].iter().all(|word| checks.contains(word)),
        "{checks}"
    );
    let reporters = problems("reporters: [{ type: etcd }]");
    assert!(
        ["zookeeper", "file", "console"]
            .iter()
            .all(|word| reporters.contains(word)),
        "{reporters}"
    );
}

#[test]
fn what_go_nerve_takes_and_does_not_use_is_a_warning() {
    let file = "
templatedConfigPath: /tmp/x
services:
  - port: 80
    host: 10.0.0.1
    rise: 1
    fall: 1
    checkIntervalInMilli: 1
    reporters: [{ type: zookeeper, path: /a, hosts: [zk], refreshIntervalInMilli: 1, connectionTimeoutInMilli: 2000 }]
";
    let expected = [
        "templatedConfigPath",
        "services[0].rise",
        "services[0].fall",
        "services[0].checkIntervalInMilli",
        "services[0].reporters[0].refreshIntervalInMilli",
        "services[0].reporters[0].connectionTimeoutInMilli",
    ];
    let mut warnings = warnings(file);
    warnings.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(warnings, expected);
}

#[test]
fn the_stop_has_time_for_the_longest_disable_sequence() {
    let file = "services: [{ port: 80, disableGracefullyDoneCommand: [a], disableMaxDurationInMilli: 120000 }]";
    assert_eq!(config(file).shutdown_timeout, 130 * SECOND);
    let problems = read(&format!("{{ shutdownTimeout: 2m, {file} }}")).expect_err("too short");
    assert!(problems.contains("shutdownTimeout"), "{problems}");
}

#[test]
fn status_sets_are_codes_and_ranges() {
    let set = StatusSet::parse("200, 301-303").expect("a set");
    assert!([200, 301, 302, 303].iter().all(|code| set.contains(*code)));
    assert!([199, 201, 300, 304].iter().all(|code| !set.contains(*code)));
    let lenient = StatusSet::parse("not-5xx").expect("a set");
    assert!([100, 404, 499, 600].iter().all(|code| lenient.contains(*code)));
    assert!([500, 503, 599].iter().all(|code| !lenient.contains(*code)));
    for bad in ["", "x", "200-", "300-200", "99", "600", "200,,201"] {
        assert_eq!(StatusSet::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_check_is_required_or_advisory() {
    use crate::health::verdict::Importance;
    use common::ratio::PerMille;

    let importance = |keys: &str| {
        let text = format!("services: [{{ port: 80, checks: [{{ type: tcp, {keys} }}] }}]");
        read(&text).map(|read| read.value.services[0].checks[0].importance)
    };
    let advisory = |factor| Ok(Importance::Advisory(PerMille::parse_factor(factor).expect("a factor")));
    assert_eq!(importance(""), Ok(Importance::Required));
    assert_eq!(importance("required: true"), Ok(Importance::Required));
    assert_eq!(importance("required: false"), advisory("0.5"));
    assert_eq!(
        importance("required: false, advisoryWeightFactor: 0.1"),
        advisory("0.1")
    );
    let output = importance("required: false, advisoryWeightFactor: 2").expect_err("no factor");
    assert!(output.contains("greater than 0"), "{output}");
}

#[test]
fn a_command_that_blocks_has_to_be_there() {
    let output = read("services: [{ port: 80, preAvailableBlocking: true }]").expect_err("it blocks for nothing");
    assert!(output.contains("preAvailableCommand"), "{output}");
}

#[test]
fn a_data_source_keeps_its_templates_and_its_secret() {
    let text = r#"{ port: 80, checks: [
        { type: sql, host: db, username: me, password: hunter2, datasource: "{{.Username}}:{{.Password}}@tcp([{{.Host}}]:{{.Port}})/?timeout={{.TimeoutInMilli}}ms" },
        { type: sql, driver: postgres, datasource: "postgres://me:hunter2@pg/x" },
        { type: sql, driver: postgres, port: 99 },
        { type: amqp, datasource: "amqp://me:hunter2@mq:1/{{.Vhost}}", vhost: shop },
        { type: amqp, queue: "" }] }"#;
    let checks = &service(text).checks;
    let targets: Vec<_> = checks.iter().map(|check| check.target()).collect();
    let expected = [
        "mysql db:3306",
        "postgres pg:5432",
        "postgres 127.0.0.1:99",
        "mq:1 shop",
        "127.0.0.1:80",
    ];
    assert_eq!(targets, expected);
    assert!(!format!("{checks:?}").contains("hunter2"));
}
