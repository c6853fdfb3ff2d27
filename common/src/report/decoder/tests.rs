use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const GO: &str = r#"{"available":true,"host":"10.0.0.4","port":8080,"name":"n1","haproxy_server_options":"backup","weight":61,"labels":{"az":"b"}}"#;
const AIRBNB: &str = r#"{"host":"10.0.0.4","port":3100,"name":"host7","weight":10,"labels":{"region:eu":""}}"#;
const ENCODED: &str = "base64_116_eyJob3N0IjoiMTI3LjAuMC4xIiwicG9ydCI6MjUwMDIsIm5hbWUiOiJob3N0LWEuZXhhbXBsZSIsImxhYmVscyI6eyJheiI6InVzLWVhc3QtMWEifX0=_0000000000";
const MEMBER: &str = r#"{"serviceEndpoint":{"host":"10.2.0.1","port":31001},"additionalEndpoints":{"admin":{"host":"10.2.0.1","port":31002}},"status":"ALIVE","shard":4,"metadata":{"k":"v"}}"#;
const CURATOR: &str = r#"{"name":"pay","id":"9c41","address":"10.3.0.9","port":8443,"sslPort":null,"payload":null,"registrationTimeUTC":1790000000000,"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true}]}}"#;
const SPRING: &str = r#"{"name":"pay","id":"7d02","address":"pay-1.example","port":8080,"sslPort":null,"payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"pay","name":"pay","metadata":{"instance_status":"UP","weight":"20","zone":"a"}},"registrationTimeUTC":1790000000000,"serviceType":"DYNAMIC","uriSpec":null}"#;
const REGISTRATOR: &str = r#"{"Name":"www","IP":"10.1.1.1","PublicPort":49153,"PrivatePort":80,"ContainerID":"9124853ff0d1","Tags":[],"Attrs":{"zone":"a"}}"#;

fn auto() -> Decoder {
    Decoder::default()
}

fn only(method: Method) -> Decoder {
    Decoder { method, ..auto() }
}

/// `name address weight labels`, or why there is none; `down: why` behind it when it takes no traffic.
fn error_of(decoder: &Decoder, name: &str, data: &str) -> String {
    let report = match decoder.decode(name, data.as_bytes()) {
        Ok(report) => report,
        Err(error) => return error.to_string(),
    };
    let weight = report
        .weight
        .map_or_else(|| "-".to_owned(), |weight| weight.to_string());
    let labels: Vec<String> = report
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let down = if report.available {
        String::new()
    } else {
        format!(" down: {}", report.unavailable_reason)
    };
    let (name, host, port) = (report.name, report.host, report.port);
    format!("{name} {host} {port} {weight} [{}]{down}", labels.join(" "))
}

#[test]
fn every_writer_is_recognised() {
    for (name, data, read) in [
        (
            "web1_10.0.0.4_c_9a670e745a080e62b81cefa82988ac8d0000000001",
            GO,
            "n1 10.0.0.4 8080 61 [az=b]",
        ),
        ("host7_0000000002", AIRBNB, "host7 10.0.0.4 3100 10 [region:eu=]"),
        (ENCODED, "", "host-a.example 127.0.0.1 25002 - [az=us-east-1a]"),
        (
            ENCODED,
            "not looked at",
            "host-a.example 127.0.0.1 25002 - [az=us-east-1a]",
        ),
        ("member_0000000004", MEMBER, "4 10.2.0.1 31001 - [k=v]"),
        ("9c41", CURATOR, "9c41 10.3.0.9 8443 - []"),
        (
            "7d02",
            SPRING,
            "7d02 pay-1.example 8080 20 [instance_status=UP weight=20 zone=a]",
        ),
        (
            "10.1.1.1:49153",
            REGISTRATOR,
            "10.1.1.1:49153 10.1.1.1 49153 - [zone=a]",
        ),
        ("app1", "10.4.0.1:80", "10.4.0.1:80 10.4.0.1 80 - []"),
        ("app2", " db.example:5432\n", "db.example:5432 db.example 5432 - []"),
        ("app3", "[2001:db8::1]:80", "[2001:db8::1]:80 2001:db8::1 80 - []"),
        ("10.4.0.2:20880", "", "10.4.0.2:20880 10.4.0.2 20880 - []"),
        ("10.4.0.2:20880", "10.4.0.2", "10.4.0.2:20880 10.4.0.2 20880 - []"),
        ("[::1]:80", "", "[::1]:80 ::1 80 - []"),
    ] {
        assert_eq!(error_of(&auto(), name, data), read, "{name} {data}");
    }
}

#[test]
fn an_instance_that_reports_down_is_not_available() {
    let member = |status: &str| MEMBER.replace("\"ALIVE\"", status);
    for (data, read) in [
        (
            member("\"STARTING\""),
            "4 10.2.0.1 31001 0 [k=v] down: status is STARTING",
        ),
        (member("7"), "4 10.2.0.1 31001 0 [k=v] down: status is not a text"),
        (member("\"alive\""), "4 10.2.0.1 31001 - [k=v]"),
        (member("null"), "4 10.2.0.1 31001 - [k=v]"),
        (
            CURATOR.replacen('{', r#"{"enabled":false,"#, 1),
            "9c41 10.3.0.9 8443 0 [] down: not enabled",
        ),
        (
            CURATOR.replacen('{', r#"{"enabled":true,"#, 1),
            "9c41 10.3.0.9 8443 - []",
        ),
        (
            SPRING.replace("\"UP\"", "\"OUT_OF_SERVICE\""),
            "7d02 pay-1.example 8080 0 [instance_status=OUT_OF_SERVICE weight=20 zone=a] down: instance_status is OUT_OF_SERVICE",
        ),
    ] {
        assert_eq!(error_of(&auto(), "n", &data), read, "{data}");
    }
}

#[test]
fn the_endpoint_of_a_name() {
    let admin = Decoder {
        endpoint_name: Some("admin".to_owned()),
        ..only(Method::ServerSet)
    };
    assert_eq!(error_of(&admin, "member_1", MEMBER), "4 10.2.0.1 31002 - [k=v]");
    let unsharded = MEMBER.replace("\"shard\":4,", "");
    assert_eq!(
        error_of(&admin, "member_1", &unsharded),
        "member_1 10.2.0.1 31002 - [k=v]"
    );
    let none = MEMBER.replace("admin", "stats");
    assert_eq!(
        error_of(&admin, "member_1", &none),
        "`additionalEndpoints` has no `admin`"
    );
}

#[test]
fn a_port_that_is_only_secure_is_the_port() {
    let secure = CURATOR.replace(r#""port":8443,"sslPort":null"#, r#""port":null,"sslPort":9443"#);
    assert_eq!(error_of(&auto(), "n", &secure), "9c41 10.3.0.9 9443 - []");
    let none = CURATOR.replace(r#""port":8443"#, r#""port":null"#);
    assert_eq!(error_of(&auto(), "n", &none), "`port` is missing");
}

#[test]
fn an_invalid_report_is_described_without_its_content() {
    for (name, data, why) in [
        ("a", "", "neither a JSON object nor `host:port`"),
        ("a", "\u{0}\u{1}thrift", "neither a JSON object nor `host:port`"),
        ("a", "10.0.0.1", "neither a JSON object nor `host:port`"),
        ("a", "::1:80", "neither a JSON object nor `host:port`"),
        ("a", "h:0", "neither a JSON object nor `host:port`"),
        ("a", "h:+80", "neither a JSON object nor `host:port`"),
        ("a", "h\nserver x:80", "neither a JSON object nor `host:port`"),
        (
            "vector_1",
            r#"{"vector":[{"select":"shard=4","weight":0.5,"priority":1}]}"#,
            "`host` is missing",
        ),
        (
            "a",
            r#"{"serviceEndpoint":"x"}"#,
            "`serviceEndpoint` must be an object, not a text",
        ),
        ("a", r#"{"serviceEndpoint":{"host":"h"}}"#, "`port` is missing"),
        ("a", r#"{"address":7,"port":1}"#, "`address` must be text, not a number"),
        (
            "a",
            r#"{"address":"h","port":"x"}"#,
            "`port` must be a whole number from 1 to 65535, not a text",
        ),
        ("a", r#"{"IP":"h"}"#, "`PublicPort` is missing"),
        ("base64_2_%%_0000000001", "", "neither a JSON object nor `host:port`"),
    ] {
        assert_eq!(error_of(&auto(), name, data), why, "{name} {data}");
    }
    let long = " ".repeat(MAX_BYTES + 1);
    assert_eq!(
        error_of(&auto(), "a", &long),
        "65537 bytes, more than the 65536 a report may have"
    );
    let port_less = encoded::encode(br#"{"host":"h","name":"n"}"#).unwrap();
    assert_eq!(
        error_of(&auto(), &port_less, AIRBNB),
        "host7 10.0.0.4 3100 10 [region:eu=]"
    );
    assert!(!auto().name_encodes_data(&port_less));
    assert!(auto().name_encodes_data(ENCODED));
    assert!(!only(Method::ServerSet).name_encodes_data(ENCODED));
}

#[test]
fn a_method_reads_its_own_words_only() {
    for (method, data) in [
        (Method::Nerve, "10.0.0.1:80"),
        (Method::Nerve, MEMBER),
        (Method::ServerSet, GO),
        (Method::Curator, GO),
        (Method::Registrator, GO),
        (Method::Plain, GO),
    ] {
        only(method).decode("n", data.as_bytes()).expect_err(data);
    }
    assert_eq!(
        error_of(&only(Method::Registrator), "x", "10.1.1.1:80"),
        "10.1.1.1:80 10.1.1.1 80 - []"
    );
    assert_eq!(
        error_of(&only(Method::Nerve), "x", AIRBNB),
        "host7 10.0.0.4 3100 10 [region:eu=]"
    );
}

#[test]
fn what_we_write_we_read() {
    let report = Report {
        available: false,
        unavailable_reason: String::new(),
        host: "10.0.0.4".to_owned(),
        port: 3100,
        name: "pay".to_owned(),
        haproxy_server_options: String::new(),
        weight: Some(0),
        labels: BTreeMap::from([("az".to_owned(), "a".to_owned())]),
    };
    let curator = super::super::Dialect::Curator {
        id: "pay_1".to_owned(),
        service_type: "DYNAMIC",
    };
    for dialect in [
        super::super::Dialect::Go,
        super::super::Dialect::ServerSet { shard: None },
        curator,
    ] {
        let read = auto().decode("n", &dialect.encode(&report, 0)).expect("our own words");
        assert_eq!(
            (read.host.as_str(), read.port, read.available),
            ("10.0.0.4", 3100, false)
        );
    }
}

proptest! {
    #[test]
    fn whatever_it_holds_a_node_is_bounded(
        name in "\\PC{0,300}|[0-9.]{1,9}:[0-9]{1,6}",
        data in prop::collection::vec(any::<u8>(), 0..200),
        method in prop::sample::select(vec![
            Method::Auto, Method::Nerve, Method::ServerSet, Method::Curator, Method::Registrator, Method::Plain,
        ]),
    ) {
        bounded(&only(method), &name, &data)?;
    }

    /// Real payloads with one byte changed go deeper than noise.
    #[test]
    fn a_damaged_payload_is_bounded(
        which in 0..6_usize, at in any::<prop::sample::Index>(), byte in any::<u8>(), name in "\\PC{0,20}",
    ) {
        let mut data = [GO, AIRBNB, MEMBER, CURATOR, SPRING, REGISTRATOR][which].as_bytes().to_vec();
        let at = at.index(data.len());
        data[at] = byte;
        bounded(&auto(), &name, &data)?;
    }
}

fn bounded(decoder: &Decoder, name: &str, data: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(report) = decoder.decode(name, data) {
        prop_assert!(!report.host.is_empty() && report.host.len() <= 253 && report.port > 0);
        prop_assert!(!report.host.chars().any(|c| c.is_whitespace() || c.is_control()));
        prop_assert!(report.name.len() <= 260 && !report.name.chars().any(char::is_control));
        prop_assert!(report.weight.is_none_or(|weight| weight <= 256));
        prop_assert!(report.available || report.weight == Some(0));
    }
    Ok(())
}

#[test]
fn a_name_that_is_made_up_is_one_that_a_report_may_have() {
    let long = format!("{}:80", "h".repeat(253));
    let plain = auto().decode(&long, b"").unwrap();
    assert_eq!((plain.host.len(), plain.name.len()), (253, 255));
    let registrator = format!(r#"{{"IP":"{}","PublicPort":65535}}"#, "h".repeat(253));
    let nameless = r#"{"serviceEndpoint":{"host":"h","port":1}}"#;
    for data in [registrator.as_str(), nameless] {
        let report = auto().decode("\u{1}", data.as_bytes()).unwrap();
        assert_eq!(Report::decode(&report.encode()), Ok(report));
    }
}
