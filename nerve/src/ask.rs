//! The subcommands that ask the nerve that runs: for containers, where there is neither curl nor a shell.

use std::time::Duration;

use common::config::UnknownKeys;
use common::exit::Fatal;
use common::http::client::{Answer, Api, ClientError, ask as send, health, said, segment};
use tokio::task::JoinSet;

use crate::cli::{Command, Drain, Enable, Where};
use crate::config::{ApiAddress, Source};

/// No disable sequence takes longer: two commands of 30 days each, and then some.
const FOR_EVER: Duration = Duration::from_hours(24 * 90);

/// An enable is answered when it is on disk.
const SOON: Duration = Duration::from_secs(10);

/// Asks; the answer in a line or several, or why it is no.
pub fn ask(command: &Command) -> Result<String, Fatal> {
    let runtime =
        common::runtime::build().map_err(|error| Fatal::runtime(format!("cannot start the runtime: {error}")))?;
    let answer = runtime.block_on(async {
        match command {
            Command::Health(args) => {
                let api = api(&args.at)?;
                let answer = health("nerve", &api, args.question(), args.timeout).await;
                answer.map_err(Fatal::runtime)
            }
            Command::Drain(args) => drain(args).await,
            Command::Enable(args) => enable(args).await,
        }
    });
    // A look-up that hangs must not hold the process.
    runtime.shutdown_background();
    answer
}

/// Where the nerve that runs is, by its address or by its configuration.
fn api(at: &Where) -> Result<Api, Fatal> {
    let Some(path) = &at.config else {
        return Ok(at.api.clone());
    };
    let source = Source {
        path: path.clone(),
        environment: Source::environment(),
        strict_template: false,
        unknown: UnknownKeys::Warn,
        level_is_fixed: false,
    };
    let read = source.load().map_err(|problems| Fatal::config(problems.to_string()))?;
    Ok(match read.value.api {
        ApiAddress::Tcp { host, port } => Api::at(&host, port),
        ApiAddress::Unix(path) => Api::Unix(path),
    })
}

async fn drain(args: &Drain) -> Result<String, Fatal> {
    let api = api(&args.at)?;
    let shutdown = if args.shutdown { "yes" } else { "no" };
    let query = query(args.reason.as_deref(), "nerve drain") + "&shutdown=" + shutdown;
    let within = args.deadline.unwrap_or(FOR_EVER);
    order(&api, &args.services, "disable", &query, within)
        .await
        .map_err(|error| match error {
            Failed::Unasked(ClientError::Late { within, .. }) => Fatal::runtime(format!(
                "nerve: it was not safe to stop within {within:?}; clients are told to stay away all the same"
            )),
            other => other.fatal(),
        })
}

async fn enable(args: &Enable) -> Result<String, Fatal> {
    let api = api(&args.at)?;
    let query = query(args.reason.as_deref(), "nerve enable");
    let done = order(&api, &args.services, "enable", &query, SOON).await;
    done.map_err(Failed::fatal)
}

fn query(reason: Option<&str>, author: &str) -> String {
    format!(
        "author={}&reason={}",
        segment(author),
        segment(reason.unwrap_or_default())
    )
}

/// Why an order was not carried out.
enum Failed {
    Unasked(ClientError),
    Refused(String),
}

impl Failed {
    fn fatal(self) -> Fatal {
        match self {
            Self::Unasked(error) => Fatal::runtime(format!("nerve: {error}")),
            Self::Refused(said) => Fatal::runtime(format!("nerve: {said}")),
        }
    }
}

/// Gives `act` to all of the services at once, and waits for each.
async fn order(api: &Api, services: &[String], act: &str, query: &str, within: Duration) -> Result<String, Failed> {
    let mut paths: Vec<String> = services
        .iter()
        .map(|service| format!("/services/{}/{act}?{query}", segment(service)))
        .collect();
    if paths.is_empty() {
        paths.push(format!("/{act}?{query}"));
    }
    let mut asked = JoinSet::new();
    for path in paths {
        let api = api.clone();
        asked.spawn(async move { send(&api, "PUT", &path, None, within).await });
    }
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(Answer { status: 200, body })) => lines.extend(body.lines().map(str::to_owned)),
            Ok(Ok(answer)) => refused.push(said(&answer)),
            Ok(Err(error)) => return Err(Failed::Unasked(error)),
            Err(broken) => refused.push(broken.to_string()),
        }
    }
    lines.sort_unstable();
    if refused.is_empty() {
        return Ok(lines.join("\n"));
    }
    refused.sort_unstable();
    Err(Failed::Refused(
        refused.into_iter().chain(lines).collect::<Vec<_>>().join("\n  "),
    ))
}
