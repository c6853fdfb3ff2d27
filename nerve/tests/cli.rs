//! The real binary: what it prints and how it leaves.

#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::net::TcpListener;
use std::path::PathBuf;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use tempfile::TempDir;

/// Runs nerve and waits for its end.
fn nerve(arguments: &[&str]) -> Assert {
    let mut command = Command::cargo_bin("nerve").expect("the binary is built");
    command
        .args(arguments)
        .timeout(std::time::Duration::from_mins(1))
        .assert()
}

/// Runs nerve on a configuration.
fn nerve_on(arguments: &[&str], configuration: &str) -> (Assert, String) {
    let directory = TempDir::new().expect("a directory");
    let file: PathBuf = directory.path().join("nerve.yaml");
    std::fs::write(&file, configuration).expect("it is written");
    let file = file.to_str().expect("a path in UTF-8").to_owned();
    let assert = nerve(&[arguments, &[&file]].concat());
    let output = String::from_utf8(assert.get_output().stderr.clone()).expect("text");
    (
        assert,
        output.replace(directory.path().to_str().expect("a path in UTF-8"), "DIRECTORY"),
    )
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).expect("text")
}

#[test]
fn help_is_as_agreed() {
    insta::assert_snapshot!(stdout(&nerve(&["--help"]).code(0)));
}

#[test]
fn the_version_is_the_packages() {
    let version = format!("nerve {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&nerve(&["-V"]).code(0)), version);
    assert_eq!(stdout(&nerve(&["--version"]).code(0)), version);
}

#[test]
fn a_wrong_command_line_is_64() {
    nerve(&[]).code(64);
    nerve(&["--nonsense", "a.yaml"]).code(64);
    nerve_on(&["-L", "loud"], "services: [{ port: 80 }]").0.code(64);
}

#[test]
fn a_file_that_is_not_there_is_78() {
    let assert = nerve(&["/no/such/nerve.yaml"]).code(78);
    let output = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(output.contains("/no/such/nerve.yaml"), "{output}");
}

#[test]
fn every_problem_of_a_file_is_named_at_once() {
    let configuration = "
services:
  - name: shop/a
    port: 70000
    checks:
      - { type: htpp, path: /ping }
      - { type: http, timoutInMilli: 5 }
    reporters:
      - { type: zookeeper, path: services }
";
    let (assert, output) = nerve_on(&["--check-config"], configuration);
    assert.code(78);
    insta::assert_snapshot!(output);
    let (assert, _) = nerve_on(&[], configuration);
    assert.code(78);
}

#[test]
fn an_unknown_key_only_warns_without_check_config() {
    // It gets as far as the port that is in use.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let configuration = format!("apiPort: {port}\nservises: []\nservices: [{{ port: 80 }}]\n");
    let (assert, output) = nerve_on(&[], &configuration);
    assert.code(78);
    assert!(
        output.contains("servises") && output.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{output}"
    );
    let (assert, output) = nerve_on(&["--check-config"], &configuration);
    assert.code(78);
    assert!(output.contains("did you mean `services`?"), "{output}");
}

#[test]
fn a_report_file_that_cannot_be_written_is_78() {
    let configuration = "
apiSocket: /dev/null/nerve.sock
services: [{ port: 80, reporters: [{ type: file, path: /dev/null/report }] }]
";
    nerve_on(&[], configuration).0.code(78);
    let directory = TempDir::new().expect("a directory");
    let socket = directory.path().join("nerve.sock");
    let configuration = configuration.replace("/dev/null/nerve.sock", socket.to_str().expect("UTF-8"));
    let (assert, output) = nerve_on(&[], &configuration);
    assert.code(78);
    assert!(
        output.contains("/dev/null/report") && output.contains("`path`"),
        "{output}"
    );
}

#[test]
fn a_valid_file_is_reported_as_valid() {
    let (assert, output) = nerve_on(&["--check-config"], "services: [{ port: 80 }]");
    assert.code(0);
    assert_eq!(output, "DIRECTORY/nerve.yaml: the configuration is valid.\n");
    let json = r#"{ "services": [{ "port": 80, "rise": 3 }] }"#;
    let (assert, output) = nerve_on(&["--check-config"], json);
    assert.code(0);
    assert!(output.contains("services[0].rise"), "a warning: {output}");
}

#[test]
fn the_environment_fills_the_file_in() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("nerve.yaml");
    std::fs::write(&file, "{{ .NERVE_CONF }}").expect("it is written");
    let mut command = Command::cargo_bin("nerve").expect("the binary is built");
    command.arg("--check-config").arg(&file);
    command
        .env("NERVE_CONF", "services: [{ port: {{ .PORT }} }]")
        .env("PORT", "8080");
    command.assert().code(0);
    command.env("PORT", "none").assert().code(78);
}

#[test]
fn values_from_the_environment_are_not_shown_and_absent_ones_are_named() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("nerve.yaml");
    std::fs::write(
        &file,
        "services:\n- { host: '{{ .HIDDEN_HOST }}', port: '{{ .GONE }}' }\n",
    )
    .expect("written");
    let check = |flags: &[&str]| {
        let mut command = Command::cargo_bin("nerve").expect("the binary is built");
        let command = command.args(flags).arg("--check-config").arg(&file).env_remove("GONE");
        let assert = command.env("HIDDEN_HOST", "hunter two").assert().code(78);
        String::from_utf8(assert.get_output().stderr.clone()).expect("text")
    };
    let output = check(&[]);
    assert!(!output.contains("hunter"), "{output}");
    assert!(output.contains("`{{ .HIDDEN_HOST }}` is neither"), "{output}");
    assert!(output.contains("- { host: '{{ .HIDDEN_HOST }}', port"), "{output}");
    let output = check(&["--strict-template"]);
    assert!(output.contains("GONE") && !output.contains("hunter"), "{output}");
}

#[test]
fn a_nerve_that_does_not_run_is_not_well() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let api = free.local_addr().expect("an address").to_string();
    drop(free);
    for arguments in [&["health"][..], &["drain"], &["drain", "web"], &["enable"]] {
        let assert = nerve(&[arguments, &["--api", &api]].concat()).code(1);
        let output = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(output.contains(&api) && output.lines().count() == 1, "{output}");
    }
    nerve(&["health", "--api", "nowhere"]).code(64);
    nerve(&["health", "--config", "/no/such/nerve.yaml"]).code(78);
}
