use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn report() -> Report {
    Report {
        available: true,
        unavailable_reason: String::new(),
        host: "127.0.0.1".to_owned(),
        port: 30_202,
        name: "127.0.0.1:30202".to_owned(),
        haproxy_server_options: String::new(),
        weight: Some(255),
        labels: BTreeMap::new(),
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()))
        .collect()
}

/// The report is written as `json` and read back from it.
fn assert_written(report: &Report, json: &str) {
    assert_eq!(String::from_utf8(report.encode()).expect("JSON is UTF-8"), json);
    assert_eq!(Report::decode(json.as_bytes()).as_ref(), Ok(report));
}

/// What `json` is read as.
fn decoded(json: &str) -> Report {
    Report::decode(json.as_bytes()).expect(json)
}

/// A report with one more field.
fn with(field: &str) -> Result<Report, DecodeError> {
    Report::decode(format!(r#"{{"host":"127.0.0.1","port":30202,"name":"127.0.0.1:30202",{field}}}"#).as_bytes())
}

fn problem(json: &str) -> String {
    Report::decode(json.as_bytes()).expect_err(json).to_string()
}

#[test]
fn the_bytes_of_go_nerve() {
    assert_written(
        &report(),
        r#"{"available":true,"host":"127.0.0.1","port":30202,"name":"127.0.0.1:30202","weight":255}"#,
    );
    let labelled = Report {
        port: 29_201,
        name: "web1".to_owned(),
        labels: labels(&[("rack", "r1"), ("host", "node1")]),
        ..report()
    };
    assert_written(
        &labelled,
        r#"{"available":true,"host":"127.0.0.1","port":29201,"name":"web1","weight":255,"labels":{"host":"node1","rack":"r1"}}"#,
    );
    let full = Report {
        port: 30_201,
        name: "pretty<&>name".to_owned(),
        haproxy_server_options: "check inter 2s".to_owned(),
        labels: labels(&[("host", "a"), ("zone", "b")]),
        ..report()
    };
    assert_written(
        &full,
        r#"{"available":true,"host":"127.0.0.1","port":30201,"name":"pretty\u003c\u0026\u003ename","haproxy_server_options":"check inter 2s","weight":255,"labels":{"host":"a","zone":"b"}}"#,
    );
    let down = Report {
        available: false,
        unavailable_reason: "Service is disabled\n".to_owned(),
        weight: Some(0),
        ..full
    };
    assert_written(
        &down,
        r#"{"available":false,"unavailable_reason":"Service is disabled\n","host":"127.0.0.1","port":30201,"name":"pretty\u003c\u0026\u003ename","haproxy_server_options":"check inter 2s","weight":0,"labels":{"host":"a","zone":"b"}}"#,
    );
}

#[test]
fn the_escapes_of_go() {
    let reason = "\"\\/\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}é\u{2028}\u{2029}\u{1f600}";
    let json = String::from_utf8(
        Report {
            unavailable_reason: reason.to_owned(),
            ..report()
        }
        .encode(),
    )
    .expect("UTF-8");
    let expected =
        "\"unavailable_reason\":\"\\\"\\\\/\\n\\r\\t\\u0008\\u000c\\u0000\\u001f\u{7f}é\\u2028\\u2029\u{1f600}\",";
    assert!(json.contains(expected), "{json}");
}

#[test]
fn a_report_without_a_weight_is_written_without_the_key() {
    let unweighted = Report {
        weight: None,
        ..report()
    };
    assert_written(
        &unweighted,
        r#"{"available":true,"host":"127.0.0.1","port":30202,"name":"127.0.0.1:30202"}"#,
    );
}

#[test]
fn the_airbnb_dialect() {
    let airbnb = decoded(
        r#"{"host":"127.0.0.1","port":25001,"name":"host-a.example","weight":15,"haproxy_server_options":"check inter 2s","labels":{"az":"us-east-1a","n":3,"on":true,"in":{"x":[1]},"gone":null}}"#,
    );
    assert_eq!(
        airbnb,
        Report {
            port: 25_001,
            name: "host-a.example".to_owned(),
            haproxy_server_options: "check inter 2s".to_owned(),
            weight: Some(15),
            labels: labels(&[("az", "us-east-1a"), ("n", "3"), ("on", "true"), ("in", r#"{"x":[1]}"#)]),
            ..report()
        }
    );
    let minimal = decoded(r#"{"host":"127.0.0.1","port":"30202","name":"127.0.0.1:30202","haproxy_server_id":7}"#);
    assert_eq!(
        minimal,
        Report {
            weight: None,
            ..report()
        }
    );
}

#[test]
fn null_is_absent() {
    let nulls =
        with(r#""available":null,"unavailable_reason":null,"weight":null,"haproxy_server_options":null,"labels":null"#);
    assert_eq!(
        nulls,
        Ok(Report {
            weight: None,
            ..report()
        })
    );
}

#[test]
fn numbers_in_every_form() {
    for (weight, read) in [("0", 0), ("256", 256), ("3.0", 3), ("\"3\"", 3), ("1e2", 100)] {
        assert_eq!(
            with(&format!(r#""weight":{weight}"#)),
            Ok(Report {
                weight: Some(read),
                ..report()
            }),
            "{weight}"
        );
    }
    for (weight, found) in [
        ("257", "257"),
        ("-1", "-1"),
        ("3.5", "3.5"),
        ("1e300", "1e+300"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("\"\"", "a text"),
        ("\"+3\"", "a text"),
        ("\"x\"", "a text"),
        ("true", "a boolean"),
        ("[]", "a list"),
    ] {
        let error = with(&format!(r#""weight":{weight}"#)).expect_err(weight).to_string();
        assert_eq!(
            error,
            format!("`weight` must be a whole number from 0 to 256, not {found}")
        );
    }
    for port in ["0", "65536", "\"0\"", "null", "8080.5"] {
        with(&format!(r#""port":{port}"#)).expect_err(port);
    }
    assert_eq!(
        with(r#""port":"30203""#),
        Ok(Report {
            port: 30_203,
            weight: None,
            ..report()
        })
    );
}

#[test]
fn not_available_has_no_weight() {
    let down = Report {
        available: false,
        weight: Some(0),
        ..report()
    };
    assert_eq!(with(r#""available":false,"weight":255"#), Ok(down.clone()));
    assert_eq!(with(r#""available":false"#), Ok(down));
}

#[test]
fn options_of_another_type_are_passed_over() {
    for options in ["{}", r#"["backup"]"#, "7", "false"] {
        let read = with(&format!(
            r#""haproxy_server_options":{options},"unavailable_reason":{options}"#
        ));
        assert_eq!(
            read,
            Ok(Report {
                weight: None,
                ..report()
            }),
            "{options}"
        );
    }
}

#[test]
fn the_last_of_repeated_keys_counts() {
    assert_eq!(with(r#""name":"first","name":"last""#).expect("a report").name, "last");
}

#[test]
fn problems_name_the_field() {
    for (json, text) in [
        ("", "not a JSON object: EOF while parsing a value at line 1 column 0"),
        ("[1]", "not a JSON object: it is a list"),
        ("{} x", "not a JSON object: trailing characters at line 1 column 4"),
        ("{}", "`host` is missing"),
        (r#"{"host":"h","name":"n"}"#, "`port` is missing"),
        (r#"{"host":"h","port":1}"#, "`name` is missing"),
        (r#"{"host":"h","port":1,"name":""}"#, "`name` is empty"),
        (r#"{"host":"h","port":1,"name":7}"#, "`name` must be text, not a number"),
        (
            r#"{"host":"h","port":1,"name":"a\nb"}"#,
            "`name` has a control character in it",
        ),
        (r#"{"host":"a b","port":1,"name":"n"}"#, "`host` has white space in it"),
        (
            r#"{"host":"a\u0000","port":1,"name":"n"}"#,
            "`host` has a control character in it",
        ),
        (
            r#"{"host":["h"],"port":1,"name":"n"}"#,
            "`host` must be text, not a list",
        ),
        (r#"{"available":"no"}"#, "`available` must be true or false, not a text"),
        (
            r#"{"host":"h","port":1,"name":"n","labels":[]}"#,
            "`labels` must be an object, not a list",
        ),
    ] {
        assert_eq!(problem(json), text, "{json}");
    }
    assert!(problem("\u{fffd}").starts_with("not a JSON object"));
    Report::decode(b"{\"host\":\"\xff\"}").expect_err("not UTF-8");
    let long = |length: usize| format!(r#"{{"host":"{}","port":1,"name":"n"}}"#, "h".repeat(length));
    assert_eq!(problem(&long(254)), "`host` has 254 bytes, more than 253");
    assert_eq!(decoded(&long(253)).host.len(), 253);
    let name = |length: usize| format!(r#"{{"host":"h","port":1,"name":"{}"}}"#, "n".repeat(length));
    assert_eq!(problem(&name(256)), "`name` has 256 bytes, more than 255");
    assert_eq!(decoded(&name(255)).name.len(), 255);
    assert_eq!(
        problem(&" ".repeat(MAX_BYTES + 1)),
        "65537 bytes, more than the 65536 a report may have"
    );
    problem(&"[".repeat(MAX_BYTES));
}

fn any_report() -> impl Strategy<Value = Report> {
    let host = "[!-~&&[^\"]]{1,40}|[a-zé.<&>-]{1,20}";
    let labels = prop::collection::btree_map("\\PC{0,6}", any::<String>(), 0..4);
    let weight = prop::option::of(0..=256_u16);
    (
        any::<bool>(),
        any::<String>(),
        host,
        1..=u16::MAX,
        "\\PC{1,60}",
        any::<String>(),
        weight,
        labels,
    )
        .prop_map(
            |(available, reason, host, port, name, haproxy_server_options, weight, labels)| Report {
                available,
                unavailable_reason: reason,
                host,
                port,
                name,
                haproxy_server_options,
                weight: if available { weight } else { Some(0) },
                labels,
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(report in any_report()) {
        prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
    }

    /// `serde_json` differs from Go only in the escapes that Go adds and in two that Go spells out.
    #[test]
    fn texts_are_escaped_as_in_go(text in any::<String>()) {
        let json = String::from_utf8(Report { unavailable_reason: text.clone(), ..report() }.encode()).expect("UTF-8");
        let mut expected = serde_json::to_string(&text).expect("a text");
        for (plain, escape) in [
            ("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029"),
        ] {
            expected = expected.replace(plain, escape);
        }
        prop_assume!(!text.contains(['\u{8}', '\u{c}']) && !text.is_empty());
        let expected = format!("{{\"available\":true,\"unavailable_reason\":{expected},\"host\"");
        prop_assert!(json.starts_with(&expected), "{json}");
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _outcome = Report::decode(&bytes);
    }

    #[test]
    fn what_passes_is_within_its_bounds(
        host in "\\PC{0,3}|[ -~\n]{0,300}",
        port in "-?[0-9]{1,6}(\\.[05])?|\"[0-9]{0,6}\"|null",
        name in ".{0,300}",
        weight in "-?[0-9]{1,4}(\\.[05])?|\"[0-9]{0,4}\"|null|true",
    ) {
        let (host, name) = (serde_json::json!(host), serde_json::json!(name));
        let json = format!(r#"{{"host":{host},"port":{port},"name":{name},"weight":{weight}}}"#);
        if let Ok(report) = Report::decode(json.as_bytes()) {
            prop_assert!(!report.host.is_empty() && report.host.len() <= 253 && report.port > 0);
            prop_assert!(!report.host.chars().any(|c| c.is_whitespace() || c.is_control()));
            prop_assert!(!report.name.is_empty() && report.name.len() <= 255 && !report.name.chars().any(char::is_control));
            prop_assert!(report.weight.is_none_or(|weight| weight <= 256));
        }
    }
}
