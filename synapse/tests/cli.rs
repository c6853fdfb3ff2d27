//! The command line of the real binary: what it prints and how it ends.

#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

/// Runs synapse to its end in `directory`; returns the exit code, standard output and standard error.
fn synapse(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("synapse")
        .expect("the binary")
        .current_dir(directory)
        .args(arguments)
        .timeout(std::time::Duration::from_secs(20))
        .output()
        .expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("it ends by itself");
    (code, text(output.stdout), text(output.stderr))
}

/// Runs synapse on `config`; returns the exit code and standard error.
fn with_config(config: &str) -> (i32, String) {
    let directory = TempDir::new().expect("a directory");
    in_directory(&directory, config)
}

fn in_directory(directory: &TempDir, config: &str) -> (i32, String) {
    fs::write(directory.path().join("synapse.yaml"), config).expect("it is written");
    let (code, out, error) = synapse(directory.path(), &["--config", "synapse.yaml"]);
    assert_eq!(out, "", "nothing was printed");
    (code, error)
}

/// A configuration whose only fault is in what it names on this machine.
fn haproxy(keys: &str) -> String {
    let service = "{watcher: {type: zookeeper, hosts: ['127.0.0.1:1'], path: /s}}";
    format!("apiSocket: api.sock\nrouters: [{{type: haproxy, {keys}, services: [{service}]}}]\n")
}

#[test]
fn help_lists_commands_and_flags() {
    let (code, out, _) = synapse(Path::new("/"), &["--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(out);
}

#[test]
fn version_is_the_packages() {
    for flag in ["-V", "--version"] {
        let (code, out, _) = synapse(Path::new("/"), &[flag]);
        assert_eq!((code, out), (0, format!("synapse {}\n", env!("CARGO_PKG_VERSION"))));
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&[][..], &["--conf", "x"], &["a", "--config", "b"], &["a", "b"]] {
        let (code, out, error) = synapse(Path::new("/"), arguments);
        assert_eq!((code, out.as_str()), (64, ""), "{arguments:?}");
        assert!(error.contains("Usage:"), "{error}");
    }
}

#[test]
fn a_wrong_log_level_is_reported_at_its_place() {
    let directory = TempDir::new().expect("a directory");
    let config = "logLevel: loud\nrouters: [{type: console}]\n";
    let (code, error) = in_directory(&directory, config);
    assert_eq!(code, 78);
    assert!(
        error.contains("synapse.yaml: logLevel: `loud` is no log level"),
        "{error}"
    );
    let (code, _, error) = synapse(directory.path(), &["-L", "louder", "synapse.yaml"]);
    assert_eq!(code, 64);
    assert!(error.contains("`louder` is no log level"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_a_configuration_error() {
    let (code, _, error) = synapse(Path::new("/"), &["/nonexistent/synapse.yaml"]);
    assert_eq!(code, 78);
    insta::assert_snapshot!(error);
}

#[test]
fn every_problem_of_a_file_is_named() {
    let (code, error) = with_config("routers:\n  - type: haproxy\n    services:\n      - watcher: {type: consul}\n");
    assert_eq!(code, 78);
    insta::assert_snapshot!(error);
}

#[test]
fn check_config_refuses_what_a_start_only_warns_of() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("synapse.yaml");
    fs::write(&file, "routers: [{type: console, servces: []}]\n").expect("it is written");
    let (code, _, error) = synapse(directory.path(), &["--check-config", "synapse.yaml"]);
    assert_eq!(code, 78);
    assert!(error.contains("did you mean `services`?"), "{error}");

    fs::write(&file, "routers: [{type: console, services: []}]\n").expect("it is written");
    let (code, _, error) = synapse(directory.path(), &["--check-config", "synapse.yaml"]);
    assert_eq!(
        (code, error.as_str()),
        (0, "synapse.yaml: the configuration is valid.\n")
    );
}

#[test]
fn an_address_in_use_is_a_configuration_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let (code, error) = with_config(&format!("apiPort: {port}\nrouters: [{{type: console}}]\n"));
    assert_eq!(code, 78, "{error}");
    assert!(
        error.contains(&format!("127.0.0.1:{port}")) && error.contains("Choose another"),
        "{error}"
    );
}

#[test]
fn a_missing_haproxy_is_a_configuration_error() {
    let (code, error) = with_config(&haproxy("configPath: h.cfg, haproxyProgram: /nonexistent/haproxy"));
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("/nonexistent/haproxy"), "{error}");
}

#[test]
fn an_unwritable_config_path_is_a_configuration_error() {
    // A missing directory can't be written to by any user.
    let (code, error) = with_config(&haproxy("configPath: missing/h.cfg"));
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("missing/h.cfg"), "{error}");
}

#[test]
fn a_synapse_that_does_not_run_is_not_well() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let api = free.local_addr().expect("its address").to_string();
    drop(free);
    for arguments in [&["health"][..], &["wait", "--timeout", "300ms", "--service", "web"]] {
        let (code, out, error) = synapse(Path::new("/"), &[arguments, &["--api", &api]].concat());
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(error.contains(&api) && error.lines().count() == 1, "{error}");
    }
    assert_eq!(synapse(Path::new("/"), &["wait", "--timeout", "soon"]).0, 64);
    assert_eq!(synapse(Path::new("/"), &["health", "--config", "/no/such.yaml"]).0, 78);
}
