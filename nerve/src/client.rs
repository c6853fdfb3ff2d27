//! The subcommands that query or command a running nerve, for containers without curl.

use std::path::Path;
use std::time::Duration;

use common::config::UnknownKeys;
use common::exit::Fatal;
use common::http::client::{Api, RequestError, Response, problem_detail, request, segment};
use tokio::task::JoinSet;

use crate::cli::{Command, Drain, Enable};
use crate::config::{ApiAddress, Source};

/// Exceeds every disable sequence: two commands of at most 30 days each.
const DISABLE_TIMEOUT: Duration = Duration::from_hours(24 * 90);

/// An enable is answered when it is on disk.
const ENABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a subcommand and returns its output.
pub async fn run(command: &Command) -> Result<String, Fatal> {
    match command {
        Command::Health(args) => {
            let api = args.endpoint.resolve(configured_api)?;
            args.query("nerve", &api).await
        }
        Command::Drain(args) => drain(args).await,
        Command::Enable(args) => enable(args).await,
    }
}

/// Returns the address of the API that a configuration sets.
fn configured_api(path: &Path) -> Result<Api, Fatal> {
    let source = Source {
        path: path.to_owned(),
        environment: Source::environment(),
        strict_template: false,
        unknown: UnknownKeys::Warn,
    };
    Ok(match source.load()?.value.api {
        ApiAddress::Tcp { host, port } => Api::at(&host, port),
        ApiAddress::Unix(path) => Api::Unix(path),
    })
}

async fn drain(args: &Drain) -> Result<String, Fatal> {
    let api = args.endpoint.resolve(configured_api)?;
    let shutdown = if args.shutdown { "yes" } else { "no" };
    let query = query(args.reason.as_deref(), "nerve drain") + "&shutdown=" + shutdown;
    let within = args.deadline.unwrap_or(DISABLE_TIMEOUT);
    let drained = command(&api, &args.services, "disable", &query, within).await;
    drained.map_err(|error| match error {
        CommandError::Request(RequestError::Timeout { within, .. }) => Fatal::runtime(format!(
            "it was not safe to stop within {within:?}; the services stay withdrawn all the same"
        )),
        other => Fatal::runtime(other.to_string()),
    })
}

async fn enable(args: &Enable) -> Result<String, Fatal> {
    let api = args.endpoint.resolve(configured_api)?;
    let query = query(args.reason.as_deref(), "nerve enable");
    let enabled = command(&api, &args.services, "enable", &query, ENABLE_TIMEOUT).await;
    enabled.map_err(|error| Fatal::runtime(error.to_string()))
}

fn query(reason: Option<&str>, author: &str) -> String {
    let (author, reason) = (segment(author), segment(reason.unwrap_or_default()));
    format!("author={author}&reason={reason}")
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0}")]
    Refused(String),
}

/// Sends a command to all of the services at once, and waits for each response.
async fn command(
    api: &Api,
    services: &[String],
    command: &str,
    query: &str,
    within: Duration,
) -> Result<String, CommandError> {
    let mut paths: Vec<String> = services
        .iter()
        .map(|service| format!("/services/{}/{command}?{query}", segment(service)))
        .collect();
    if paths.is_empty() {
        paths.push(format!("/{command}?{query}"));
    }
    let mut requests = JoinSet::new();
    for path in paths {
        let api = api.clone();
        requests.spawn(async move { request(&api, "PUT", &path, None, within).await });
    }
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    while let Some(response) = requests.join_next().await {
        match response {
            Ok(Ok(Response { status: 200, body })) => lines.extend(body.lines().map(str::to_owned)),
            Ok(response) => refused.push(problem_detail(&response?)),
            Err(panicked) => refused.push(panicked.to_string()),
        }
    }
    lines.sort_unstable();
    if refused.is_empty() {
        return Ok(lines.join("\n"));
    }
    refused.sort_unstable();
    refused.append(&mut lines);
    Err(CommandError::Refused(refused.join("\n  ")))
}
