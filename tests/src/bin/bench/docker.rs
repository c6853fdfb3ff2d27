//! Docker, by its command line.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// No single command takes longer.
const TIMEOUT: Duration = Duration::from_mins(3);

/// The name of the project, of its images and, in short, of its containers.
pub(crate) const PROJECT: &str = "nerve-synapse-bench";

/// The container of a part of the site.
pub(crate) fn container(part: &str) -> String {
    format!("nsb-{part}")
}

/// Runs `docker`; its output, or what it complained about.
pub(crate) async fn docker(arguments: &[&str]) -> Result<String, String> {
    run("docker", arguments).await
}

/// Runs Compose, as a plugin of Docker or as the program it was before.
pub(crate) async fn compose(arguments: &[&str]) -> Result<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose.yaml");
    let file = file.display().to_string();
    let project = ["-p", PROJECT, "-f", &file];
    if run("docker", &["compose", "version"]).await.is_ok() {
        let words = [&["compose"], project.as_slice(), arguments].concat();
        return run("docker", &words).await;
    }
    run("docker-compose", &[project.as_slice(), arguments].concat()).await
}

/// Runs a program of the tools' image that sees every process of the host.
pub(crate) async fn on_host(script: &str) -> Result<String, String> {
    let image = format!("{PROJECT}/tools");
    docker(&[
        "run",
        "--rm",
        "--pid",
        "host",
        "--network",
        "none",
        "--entrypoint",
        "sh",
        &image,
        "-c",
        script,
    ])
    .await
}

/// Runs a program of the tools' image in the network of a container, allowed to change it.
pub(crate) async fn in_network(part: &str, script: &str) -> Result<String, String> {
    let image = format!("{PROJECT}/tools");
    let network = format!("container:{}", container(part));
    let words = [
        "run",
        "--rm",
        "--network",
        &network,
        "--cap-add",
        "NET_ADMIN",
        "--entrypoint",
        "sh",
    ];
    docker(&[words.as_slice(), &[&image, "-c", script]].concat()).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "its output is read: what it complains of must not stand in it"
)]
async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let told = || format!("`{program} {}`", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(TIMEOUT, command.output())
        .await
        .map_err(|_| format!("{} did not end within {TIMEOUT:?}", told()))?
        .map_err(|error| format!("{} can't be run: {error}", told()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{} failed: {complaint}", told()))
}
