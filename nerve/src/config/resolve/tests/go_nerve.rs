//! Files as people have them for Go-Nerve: its documented keys, with what it makes of them, and the edges of its format.

use std::collections::BTreeMap;
use std::time::Duration;

use common::config::{Loaded, UnknownKeys};

use super::{SECOND, problems, zookeeper};
use crate::config::testing::{read, service};
use crate::config::{CheckConfig, CheckKind, Config, ReporterConfig, Source};

/// A file on disk, as nerve starts with it.
fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded<Config>, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nerve.yaml");
    std::fs::write(&path, text).expect("written");
    let environment = environment
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()));
    let source = Source {
        path,
        environment: environment.collect(),
        strict_template: false,
        unknown: UnknownKeys::Warn,
    };
    source.load().map_err(|problems| problems.to_string())
}

fn good(text: &str, environment: &[(&str, &str)]) -> Loaded<Config> {
    load(text, environment).expect("a good configuration")
}

/// What is warned of, without the places.
fn warned(read: &Loaded<Config>) -> Vec<&str> {
    read.warnings.iter().map(|warning| warning.what.as_str()).collect()
}

const EXAMPLE: &str = r#"
APIPORT: 4454                     # any case
services:
  - name: {{ .POD_NAME }}
    host: {{ or .POD_IP "127.0.0.1" }}
    port: 8080
    haproxyServerOptions: backup
    labels: { az: '{{ .AZ }}' }
    checks:
      - { type: http, path: /ping, rise: 2, fall: 2, checkIntervalInMilli: 500 }
      - { type: exec, command: [/bin/sh, -c, "test -f /run/ok"] }
    reporters:
      - { type: zookeeper, hosts: ['zk-b:2181','zk-a:2181'], path: /services/shop, exposeOnUnavailable: true }
"#;

#[test]
fn a_file_of_today_starts_unchanged() {
    let environment = [("POD_NAME", "shop-0"), ("POD_IP", "10.0.0.4"), ("AZ", "b")];
    let read = good(EXAMPLE, &environment);
    assert_eq!(warned(&read), Vec::<&str>::new());
    let service = &read.value.services[0];
    assert_eq!(
        (service.name.as_str(), service.host.as_str(), service.port),
        ("shop-0", "10.0.0.4", 8080)
    );
    assert_eq!(service.haproxy_server_options, "backup");
    assert_eq!(service.labels, BTreeMap::from([("az".to_owned(), "b".to_owned())]));
    let [http, exec] = service.checks.as_slice() else {
        panic!("two checks")
    };
    assert_eq!(http.target(), "http://10.0.0.4:8080/ping");
    assert_eq!((http.rise, http.fall, http.interval), (2, 2, SECOND / 2));
    assert_eq!(exec.target(), "/bin/sh");
    let reporter = zookeeper(&service.reporters[0]);
    assert_eq!(reporter.ensemble.hosts, ["zk-a:2181", "zk-b:2181"]);
    assert_eq!(reporter.node.path(), "/services/shop/shop-0_10.0.0.4:8080");
    assert!(reporter.expose_on_unavailable);

    // A variable that is not set: `or` uses its default, the text has a marker and is a warning.
    let read = good(EXAMPLE, &[("POD_NAME", "shop-0")]);
    let service = &read.value.services[0];
    assert_eq!(service.host, "127.0.0.1");
    assert_eq!(service.labels.get("az").map(String::as_str), Some("<no value>"));
    assert!(
        warned(&read).iter().any(|what| what.contains("<no value>")),
        "{:?}",
        warned(&read)
    );
}

#[test]
fn a_file_may_be_one_variable() {
    let variables = [("NERVE_CONF", "services: [{port: {{.P}}}]"), ("P", "81")];
    let read = good("{{ .NERVE_CONF }}", &variables);
    assert_eq!(read.value.services[0].port, 81);
    assert_eq!(warned(&read), Vec::<&str>::new());
    let read = good(
        "services: [{ port: 80, labels: { a: '{{ .NERVE_CONF }}' } }]",
        &variables,
    );
    assert!(
        warned(&read)[0].contains("`NERVE_CONF` holds a template"),
        "{:?}",
        warned(&read)
    );
}

#[test]
fn a_value_of_the_environment_that_breaks_the_file_is_not_shown() {
    let secret = "hunter2: [";
    let output = load("services: [{ port: 80, name: {{ .SECRET }} }]", &[("SECRET", secret)]).expect_err("no YAML");
    assert!(!output.contains("hunter2"), "{output}");
}

#[test]
fn a_data_source_of_the_file_is_destroyed_unless_its_braces_are_escaped() {
    let with = |source: &str| {
        let text = format!("services: [{{ port: 80, checks: [{{ type: amqp, datasource: '{source}' }}] }}]");
        let read = good(&text, &[]);
        (read.value.services[0].checks[0].target(), read.warnings.len())
    };
    let escaped = r#"amqp://{{"{{"}}.Username}}:{{"{{"}}.Password}}@{{"{{"}}.Host}}:{{"{{"}}.Port}}/"#;
    assert_eq!(with(escaped), ("127.0.0.1:80".to_owned(), 0));
    let destroyed = "amqp://{{.Username}}:{{.Password}}@mq/";
    assert_eq!(with(destroyed), ("mq:5672".to_owned(), 1), "it is doubted");
}

/// One check with these keys.
fn check(keys: &str) -> CheckConfig {
    let service = service(&format!("{{ host: 10.0.0.1, port: 80, checks: [{{ {keys} }}] }}"));
    CheckConfig::clone(&service.checks[0])
}

#[test]
fn the_defaults_of_the_checks_are_the_originals_and_0_means_them() {
    for zero in [
        "",
        ", rise: 0, fall: 0, timeoutInMilli: 0, checkIntervalInMilli: 0, port: 0, host: ''",
    ] {
        let types = [
            "type: tcp",
            "type: http",
            "type: https",
            "type: proxyhttp, urls: [a]",
            "type: exec, command: [a]",
            "type: amqp",
            "type: sql",
            "type: kubernetes, podName: a",
        ];
        for keys in types {
            let check = check(&format!("{keys}{zero}"));
            assert_eq!((check.rise, check.fall), (3, 2), "{keys}");
            assert_eq!((check.timeout, check.interval), (SECOND, SECOND), "{keys}");
            assert_eq!((check.host.as_str(), check.port), ("10.0.0.1", 80), "{keys}");
        }
    }
    let CheckKind::Amqp(amqp) = check("type: amqp").kind else {
        panic!("amqp")
    };
    assert_eq!(
        (amqp.queue.as_deref(), amqp.datasource.is_some()),
        (Some("nerve"), false)
    );
    let CheckKind::Amqp(amqp) = check("type: amqp, queue: ''").kind else {
        panic!("amqp")
    };
    assert_eq!(amqp.queue, None, "an empty queue is a login alone");
    let CheckKind::Sql(sql) = check("type: sql").kind else {
        panic!("sql")
    };
    assert_eq!(
        (sql.request.as_str(), sql.username.as_str(), sql.port),
        ("SELECT 1", "root", 3306)
    );
    let CheckKind::Kubernetes(pod) = check("type: kubernetes, podName: a").kind else {
        panic!("kubernetes")
    };
    assert_eq!(pod.namespace, "default");
    let CheckKind::ProxyHttp(proxy) = check("type: proxyhttp, urls: [a]").kind else {
        panic!("proxyhttp")
    };
    assert_eq!((proxy.host.as_str(), proxy.port), ("10.0.0.1", 80));
    assert_eq!(check("type: http").target(), "http://10.0.0.1:80/");
}

#[test]
fn json_and_numbers_with_a_fraction_of_zero_are_read() {
    let read = good(
        r#"{ "services": [{ "port": 80.0, "weight": 0, "reportReplayInMilli": 0 }] }"#,
        &[],
    );
    let service = &read.value.services[0];
    assert_eq!((service.port, service.weight, service.report_replay), (80, 255, SECOND));
    assert_eq!(service.reporters, [ReporterConfig::Console]);
}

#[test]
fn what_yaml_or_go_refuse_is_reported_at_its_place() {
    let cases = [
        ("services:\n\t- port: 80", "nerve.yaml:2"),
        ("services: [{ port: '80' }]", "remove the quotes"),
        ("services: [{ port: 80, port: 81 }]", "is here a second time"),
        ("services: [{ port: 80, PORT: 81 }]", "is here a second time"),
        ("services: [{ port: 80.5 }]", "must be a whole number"),
        ("services: [{ port: <no value> }]", "a template printed it"),
    ];
    for (text, output) in cases {
        let problems = load(text, &[]).expect_err(text);
        assert!(problems.contains(output), "{text}: {problems}");
    }
}

#[test]
fn a_weight_is_a_whole_number_from_1_to_255() {
    for (written, weight) in [("3", 3), ("255", 255), ("0", 255), ("~", 255), ("3.0", 3)] {
        assert_eq!(
            service(&format!("{{ port: 80, weight: {written} }}")).weight,
            weight,
            "{written}"
        );
    }
    for written in ["256", "-1", "1.5", "'3'", "'007'", "'-1'", "x", "''", "' 3'", "[3]"] {
        assert!(
            problems(&format!("weight: {written}")).contains("services[0].weight"),
            "{written}"
        );
    }
}

#[test]
fn every_duration_is_in_milliseconds_and_0_is_its_default() {
    let service = service(
        "{ port: 80, preAvailableCommand: [a], preAvailableMaxDurationInMilli: 0, enableCheckStableCommand: [b],
           enableCheckStableMaxDurationInMilli: 0, enableCheckStableIntervalInMilli: 0, enableWarmupIntervalInMilli: 0,
           enableWarmupMaxDurationInMilli: 0, disableShutdownCommand: [c], disableShutdownMaxDurationInMilli: 0,
           disableGracefullyDoneCommand: [d], disableGracefullyDoneIntervalInMilli: 0, disableMaxDurationInMilli: 0,
           disableMinDurationInMilli: 0 }",
    );
    let lifecycle = &service.lifecycle;
    let warm_up = lifecycle.warm_up.as_ref().expect("on");
    assert_eq!((warm_up.interval, warm_up.max), (2 * SECOND, 60 * SECOND));
    let stable = warm_up.stable.as_ref().expect("there");
    assert_eq!((stable.program.timeout, stable.interval), (2 * SECOND, SECOND));
    let disable = &lifecycle.disable;
    assert_eq!((disable.max, disable.min), (60 * SECOND, 3 * SECOND));
    assert_eq!(disable.shutdown.as_ref().expect("there").timeout, 30 * SECOND);
    assert_eq!(disable.gracefully_done.as_ref().expect("there").interval, SECOND);
    assert_eq!(lifecycle.pre_available.as_ref().expect("there").program.timeout, SECOND);
    let session = read(
        "services: [{ port: 80, reporters: [{ type: zookeeper, path: /a, hosts: [zk], connectionTimeoutInMilli: 0 }] }]",
    );
    let session = session.expect("good").value;
    assert_eq!(
        zookeeper(&session.services[0].reporters[0]).ensemble.session_timeout,
        Duration::from_secs(10)
    );
}
