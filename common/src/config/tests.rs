use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::*;

/// What the tests' file means: a piece of each kind of key.
fn read_root(root: &mut Section<'_>) -> Option<Vec<String>> {
    root.text_or("logLevel", "info");
    root.integer_or("apiPort", 3454, 1..=65_535);
    root.duration_or("shutdownTimeout", Duration::from_secs(90));
    root.ignored("templatedConfigPath", "expanded values are never written to disk");
    let mut services = root.sections("services", "service");
    // All are read before one that failed ends the reading.
    let services: Vec<_> = services.iter_mut().map(read_service).collect();
    services.into_iter().collect()
}

fn read_service(service: &mut Section<'_>) -> Option<String> {
    let name = service.required_text("name");
    service.integer("port", 1..=65_535);
    service.integer_or("weight", 255, 0..=256);
    service.flag_or("preferIpv4", false);
    service.milliseconds_or("disableMinDurationInMilli", Duration::from_secs(3));
    service.texts("preAvailableCommand");
    service.text_map("labels");
    service.text_lists("listen");
    if let Some(mut watcher) = service.section("watcher", "watcher") {
        watcher.required_text("path");
        watcher.text("proxyPassword");
    }
    for mut check in service.sections("checks", "check") {
        match check.choice_or("type", "tcp", &[("tcp", "check tcp"), ("http", "check http")]) {
            Some(name) => check.is_a(name),
            None => continue,
        }
        check.milliseconds_or("timeoutInMilli", Duration::from_secs(1));
        check.text_or("host", "127.0.0.1");
    }
    name
}

fn resolve(text: &str, unknown: UnknownKeys) -> Result<Loaded<Vec<String>>, Problems> {
    Document::parse("nerve.yaml", text.to_owned())?.resolve(unknown, read_root)
}

/// Reads one map with `read`, which must find no problem.
fn value<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
    let document = Document::parse("test.yaml", text.to_owned()).expect("the text is YAML");
    match document.resolve(UnknownKeys::Warn, |root| Some(read(root))) {
        Ok(loaded) => loaded.value,
        Err(problems) => panic!("{text}: {problems}"),
    }
}

/// Reads one map with `read`, which must find one problem: what and help.
fn problem<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> (String, String) {
    let document = Document::parse("test.yaml", text.to_owned()).expect("the text is YAML");
    let Err(Problems(problems)) = document.resolve(UnknownKeys::Warn, |root| Some(read(root))) else {
        panic!("{text}: no problem");
    };
    let [problem] = problems.as_slice() else {
        panic!("{text}: {problems:?}")
    };
    (problem.what.clone(), problem.help.clone())
}

/// Line and column.
fn place(problem: &Problem) -> Option<(usize, usize)> {
    problem.at.as_ref().map(|location| (location.line, location.column))
}

const GOOD: &str = "
APIPORT: 4454
services:
  - name: a
    port: 80.0
    labels: {rack: 7, Rack: x, empty: null}
    checks: [{type: HTTP, timeoutInMilli: 0}, {}]
    watcher: {path: /services/a}
";

#[test]
fn a_good_file_is_understood() {
    let loaded = resolve(GOOD, UnknownKeys::Refuse).expect("a good file");
    assert_eq!(loaded.value, ["a"]);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_known_keys_come_with_their_defaults() {
    let known_keys = resolve(GOOD, UnknownKeys::Warn).expect("a good file").known_keys;
    let mut table = String::new();
    for (section, keys) in &known_keys {
        for (key, default) in keys {
            writeln!(table, "{section} | {key} | {default}").expect("a text can be written to");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn every_problem_is_named_at_once() {
    let text = r#"
apiPort: 70000
shutdownTimeout: 30
logLevel: [info]
Services:
  - port: "80"
    nane: web
    weight: -1
    preferIpv4: perhaps
    disableMinDurationInMilli: 1.5
    labels:
      a: [1]
      b: 2
      b: 3
      <<: {c: 4}
    preAvailableCommand: /bin/true
    watcher:
      proxyPassword: {hunter2: hunter2}
  - {name: "", port: 0080, PORT: 80, checks: {type: tcp}}
  - name: c
    checks:
      - type: htpp
        paht: /
      - type: mysql
      - timeout: 5
      - 7
"#;
    let problems = resolve(text, UnknownKeys::Refuse).expect_err("a bad file");
    insta::assert_snapshot!(problems);
}

#[test]
fn unknown_keys_warn_or_are_refused() {
    let text = "logLevl: info\nservices: []\nanything: 1\ntemplatedConfigPath: /tmp/x\n";
    let loaded = resolve(text, UnknownKeys::Warn).expect("unknown keys stop nothing");
    insta::assert_snapshot!(Problems(loaded.warnings));
    let refused = |text: &str, unknown| resolve(text, unknown).expect_err("unknown keys are refused").0.len();
    assert_eq!(refused(text, UnknownKeys::Refuse), 2);
    assert_eq!(refused(&format!("Strict: true\n{text}"), UnknownKeys::Warn), 2);
}

#[test]
fn a_reader_that_gives_up_makes_no_noise_about_keys() {
    let given_up = |root: &mut Section<'_>| {
        root.problem("type", "is out of fashion", "");
    };
    assert_eq!(
        problem("type: x\nother: y\n", given_up),
        ("is out of fashion".to_owned(), String::new())
    );
    assert_eq!(
        problem("other: y\n", |root| root.required_text("name")).0,
        "is required"
    );
    assert_eq!(
        problem("type: z\nother: y", |root| root.choice_or("type", "x", &[("x", ())])).0,
        "must be one of `x`, not the text \"z\""
    );
}

#[test]
fn a_reader_s_own_findings_are_located() {
    let document = Document::parse("f", "a: 1\nb:\n  c: 2\n".to_owned()).expect("YAML");
    let read = |root: &mut Section<'_>| {
        let mut b = root.section("B", "b")?;
        b.warning("c", "at the value", "");
        b.warning("", "at the section", "");
        root.warning("", "at the root", "");
        root.warning("absent", "at the section of an absent key", "");
        b.integer("c", 0..=9);
        b.has("C").then_some(())
    };
    let warnings = document
        .resolve(UnknownKeys::Warn, read)
        .expect("warnings stop nothing")
        .warnings;
    let seen: Vec<_> = warnings
        .iter()
        .map(|w| (place(w), w.key.as_str(), w.what.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (None, "", "at the root"),
            (None, "absent", "at the section of an absent key"),
            (Some((1, 1)), "a", "is not a known key"),
            (Some((3, 3)), "b", "at the section"),
            (Some((3, 6)), "b.c", "at the value"),
        ]
    );
}

#[test]
fn text() {
    assert_eq!(value("a: x", |root| root.text("A")), Some("x".to_owned()));
    assert_eq!(value("a: ~", |root| root.text("a")), None);
    assert_eq!(
        value("a: ''", |root| (root.text("a"), root.text_or("a", "d"))),
        (Some(String::new()), "d".to_owned())
    );
    for (written, taken) in [
        ("123", "123"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("0123", "0123"),
        ("on", "on"),
    ] {
        assert_eq!(
            value(&format!("a: {written}"), |root| root.required_text("a")).as_deref(),
            Some(taken)
        );
    }
    assert_eq!(problem("a: ''", |root| root.required_text("a")).0, "must not be empty");
    assert_eq!(problem("a: {}", |root| root.text("a")).0, "must be text, not a map");
}

#[test]
fn an_unset_variable_is_doubted() {
    let text = "services: [{name: <no value>-web}]";
    let warnings = resolve(text, UnknownKeys::Warn).expect("it is text").warnings;
    insta::assert_snapshot!(Problems(warnings), @r#"
    nerve.yaml:1:19: services[0].name: has <no value> in it, which a template prints for a variable that is not set
        services: [{name: <no value>-web}]
                          ^
      help: set the variable, or give it a default: `{{ or .VARIABLE "default" }}`
    "#);
    resolve(text, UnknownKeys::Refuse).expect_err("and refused where doubts are");
}

#[test]
fn integers() {
    assert_eq!(
        value("a: 0", |root| (root.integer("a", 1..=9), root.integer("a", 0..=9))),
        (None, Some(0))
    );
    assert_eq!(value("a: 0", |root| root.integer_or("a", 7, 0..=9)), 7);
    assert_eq!(value("b: 0", |root| root.integer_or("a", 7, 1..=9)), 7);
    assert_eq!(value("a: 8.0", |root| root.integer("a", 1..=9)), Some(8));
    assert_eq!(value("a: 0x1F", |root| root.integer("a", 1..=99)), Some(31));
    for (written, what, help) in [
        ("10", "10", ""),
        ("-1", "-1", ""),
        ("1.5", "1.5", ""),
        ("1e30", "1000000000000000000000000000000", ""),
        (".inf", "inf", ""),
        ("'8'", "the text \"8\"", "remove the quotes"),
        (
            "010",
            "the text \"010\"",
            "write it without quotes and without leading zeros",
        ),
        (
            "<no value>",
            "the text \"<no value>\"",
            "a template printed it: set the variable that it names",
        ),
        ("true", "true", ""),
        ("[1]", "a list", ""),
    ] {
        let (found, helped) = problem(&format!("a: {written}"), |root| root.integer("a", 1..=9));
        assert_eq!(
            (found.as_str(), helped.as_str()),
            (format!("must be a whole number from 1 to 9, not {what}").as_str(), help)
        );
    }
}

#[test]
fn flags() {
    for (written, flag) in [
        ("true", true),
        ("yes", true),
        ("On", true),
        ("False", false),
        ("no", false),
        ("~", true),
    ] {
        assert_eq!(
            value(&format!("a: {written}"), |root| root.flag_or("a", true)),
            flag,
            "{written}"
        );
    }
    let (what, help) = problem("a: 'true'", |root| root.flag_or("a", false));
    assert_eq!(
        (what.as_str(), help.as_str()),
        ("must be true or false, not the text \"true\"", "remove the quotes")
    );
    assert_eq!(
        problem("a: 1", |root| root.flag_or("a", false)).0,
        "must be true or false, not 1"
    );
}

#[test]
fn durations() {
    let second = Duration::from_secs(1);
    assert_eq!(value("a: 0", |root| root.milliseconds_or("a", second)), second);
    assert_eq!(
        value("a: 250", |root| root.milliseconds_or("a", second)),
        Duration::from_millis(250)
    );
    assert_eq!(
        problem("a: -5", |root| root.milliseconds_or("a", second)).0,
        "must be a whole number from 1 to 2592000000, not -5"
    );
    assert_eq!(
        value("a: 1m 30s", |root| root.duration_or("a", second)),
        Duration::from_secs(90)
    );
    assert_eq!(value("a: ''", |root| root.duration_or("a", second)), second);
    let (what, help) = problem("a: 5", |root| root.duration_or("a", second));
    assert_eq!(
        (what.as_str(), help.as_str()),
        (
            "must be a duration with its unit, not 5",
            "write for example `5s` or `5ms`"
        )
    );
    assert_eq!(
        problem("a: soon", |root| root.duration_or("a", second)).1,
        "write for example `1m 30s` or `500ms`"
    );
}

#[test]
fn lists_and_free_maps() {
    assert!(value("A: [x, 1, ~]", |root| root.has("a")));
    assert!(!value("a: ~", |root| root.has("a")));
    assert_eq!(value("a: [x, 1, true]", |root| root.texts("a")), ["x", "1", "true"]);
    assert_eq!(problem("a: [x, ~]", |root| root.texts("a")).0, "must be text, not null");
    assert_eq!(problem("a: x", |root| root.texts("a")).1, "put it in brackets: `[…]`");
    let labels = value("A: {x: 1, X: y, z: ~}", |root| root.text_map("a"));
    assert_eq!(
        labels,
        BTreeMap::from([("X", "y"), ("x", "1"), ("z", "")].map(|(k, v)| (k.to_owned(), v.to_owned())))
    );
    let listen = value("a: {s: [p, q], b: []}", |root| root.text_lists("a"));
    assert_eq!(
        listen,
        [
            ("s".to_owned(), vec!["p".to_owned(), "q".to_owned()]),
            ("b".to_owned(), vec![])
        ]
    );
    assert_eq!(
        problem("a: []", |root| root.text_map("a")).0,
        "must be a map of text to text, not a list"
    );
}

#[test]
fn choices() {
    let choices = [("random", 1), ("name", 2)];
    assert_eq!(
        value("a: NAME", |root| root.choice_or("a", "random", &choices)),
        Some(2)
    );
    assert_eq!(value("a: ''", |root| root.choice_or("a", "random", &choices)), Some(1));
    assert_eq!(value("a: NAME", |root| root.choice("a", &choices)), Some(2));
    assert_eq!(value("a: ''", |root| root.choice("a", &choices)), None);
    assert_eq!(value("{}", |root| root.choice("a", &choices)), None);
    assert_eq!(
        problem("a: nome", |root| root.choice_or("a", "random", &choices)).1,
        "did you mean `name`?"
    );
    assert_eq!(
        problem("{}", |root| root.choice_or("a", "", &choices)),
        ("is required".to_owned(), "one of `random`, `name`".to_owned())
    );
    assert_eq!(
        problem("a: []", |root| root.choice_or("a", "", &choices)).0,
        "must be text, not a list"
    );
}

#[test]
fn an_empty_file_is_an_empty_map() {
    assert_eq!(value("", |root| root.text_or("a", "d")), "d");
    assert_eq!(
        problem("[]", |root| root.text("a")).0,
        "must be a map of keys, not a list"
    );
}

#[test]
fn a_syntax_error_shows_its_line() {
    let error = |text: &str| {
        Document::parse("f.yaml", text.to_owned())
            .expect_err("a syntax error")
            .to_string()
    };
    insta::assert_snapshot!(error("a: 1\nb: \"x\" y\n"), @r#"
    f.yaml:2:8: did not find expected key, while parsing a block mapping
        b: "x" y
               ^
      help: look at the indentation, the quotes and the brackets before this place
    "#);
    assert!(!error("password: \"hunter2\" hunter2\n").contains("hunter2"));
}

#[test]
fn many_warnings_are_cheap() {
    let services = "  - {name: s0, stale: 1}\n".repeat(2_000);
    let warnings = resolve(&format!("services:\n{services}"), UnknownKeys::Warn)
        .expect("a good file")
        .warnings;
    assert_eq!(warnings.len(), 2_000);
    assert_eq!(place(&warnings[0]), Some((2, 16)));
    assert_eq!(
        (place(&warnings[1_999]), warnings[1_999].key.as_str()),
        (None, "services[1999].stale")
    );
}

#[test]
fn files_are_read_and_transformed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nerve.yaml");
    std::fs::write(&path, "services: [{name: NAME}]").expect("a file");
    let document = load(&path, |text| Ok(text.replace("NAME", "web"))).expect("a good file");
    assert_eq!(
        document
            .resolve(UnknownKeys::Refuse, read_root)
            .expect("a good file")
            .value,
        ["web"]
    );
    let refused = load(&path, |_| Err(Problem::of_file("x", "bad template", "")));
    assert_eq!(refused.expect_err("refused").to_string(), "x: bad template");
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = |path: &Path| {
        let problems = load(path, Ok).expect_err("not readable").to_string();
        problems.replace(&directory.path().display().to_string(), "DIR")
    };
    insta::assert_snapshot!(error(&directory.path().join("absent.yaml")), @r"
    DIR/absent.yaml: cannot be read: No such file or directory (os error 2)
      help: check the path
    ");
    insta::assert_snapshot!(error(directory.path()), @r"
    DIR: cannot be read: Is a directory (os error 21)
      help: name the file itself
    ");
    let binary = directory.path().join("binary");
    std::fs::write(&binary, b"a: \xff").expect("a file");
    insta::assert_snapshot!(error(&binary), @r"
    DIR/binary: is not UTF-8 text: byte 4 is wrong
      help: save it as UTF-8
    ");
}
