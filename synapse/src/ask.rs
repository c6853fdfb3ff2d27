//! The subcommands that ask the synapse that runs: for containers, where there is neither curl nor a shell.

use std::time::Duration;

use common::config::UnknownKeys;
use common::exit::Fatal;
use common::http::client::{self, Api};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::{Health, Wait, Where};
use crate::config::Source;

/// How often `wait` looks.
const LOOK: Duration = Duration::from_millis(100);

/// How long one look may take.
const ANSWER: Duration = Duration::from_secs(5);

/// `synapse health`: a line, or why it is no.
pub fn health(args: &Health) -> Result<String, Fatal> {
    let api = api(&args.at)?;
    run(async {
        let answer = client::health("synapse", &api, args.question(), args.timeout).await;
        answer.map_err(Fatal::runtime)
    })
}

/// `synapse wait`: returns when nothing is missing, or with what still is.
pub fn wait(args: &Wait) -> Result<String, Fatal> {
    let api = api(&args.at)?;
    run(async {
        let deadline = Instant::now() + args.timeout;
        let mut missing = "its first answer".to_owned();
        let all = async {
            loop {
                match look(&api, &args.services).await? {
                    None => return Ok(()),
                    Some(what) => missing = what,
                }
                sleep(LOOK).await;
            }
        };
        match timeout_at(deadline, all).await {
            Ok(Ok(())) => Ok("synapse is ready".to_owned()),
            Ok(Err(fatal)) => Err(fatal),
            Err(_) => Err(Fatal::runtime(format!(
                "synapse: not within {:?}; it waits for {missing}",
                args.timeout
            ))),
        }
    })
}

fn run(ask: impl Future<Output = Result<String, Fatal>>) -> Result<String, Fatal> {
    let runtime =
        common::runtime::build().map_err(|error| Fatal::runtime(format!("cannot start the runtime: {error}")))?;
    let answer = runtime.block_on(ask);
    // A look-up that hangs must not hold the process.
    runtime.shutdown_background();
    answer
}

/// Where the synapse that runs is, by its address or by its configuration.
fn api(at: &Where) -> Result<Api, Fatal> {
    let Some(path) = &at.config else {
        return Ok(at.api.clone());
    };
    let base = std::env::current_dir()
        .map_err(|error| Fatal::config(format!("the current directory can't be told: {error}")))?;
    let source = Source {
        path: path.clone(),
        base,
        unknown: UnknownKeys::Warn,
        level_is_fixed: false,
    };
    let read = source.load().map_err(|problems| Fatal::config(problems.to_string()))?;
    Ok(Api::from(&read.value.api))
}

/// What is still missing; `None`: nothing. A synapse that does not answer has not started yet.
async fn look(api: &Api, services: &[String]) -> Result<Option<String>, Fatal> {
    let answer = match client::ask(api, "GET", "/status", None, ANSWER).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Some(format!("an answer: {error}"))),
    };
    let status: Status = serde_json::from_str(&answer.body).map_err(|error| {
        Fatal::runtime(format!(
            "synapse: what answers at {api} is no synapse of this version: {error}"
        ))
    })?;
    missing(&status, services)
}

/// What `wait` needs of `/status`.
#[derive(Debug, Deserialize)]
struct Status {
    ready: bool,
    waiting_for: Vec<String>,
    routers: Vec<Router>,
}

#[derive(Debug, Deserialize)]
struct Router {
    #[serde(rename = "type")]
    kind: String,
    services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
struct Service {
    id: String,
    name: String,
    used: usize,
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    haproxy: Option<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    state: String,
    check: Option<String>,
}

/// What is missing until synapse is ready and each of `services` has a server; a service that it does not have is an
/// error.
fn missing(status: &Status, services: &[String]) -> Result<Option<String>, Fatal> {
    let all: Vec<(&str, &Service)> = status
        .routers
        .iter()
        .flat_map(|router| router.services.iter().map(|service| (router.kind.as_str(), service)))
        .collect();
    let mut missing = if status.ready {
        Vec::new()
    } else {
        status.waiting_for.clone()
    };
    for wanted in services {
        let named: Vec<_> = all
            .iter()
            .filter(|(_, service)| service.id == *wanted || service.name == *wanted)
            .collect();
        if named.is_empty() {
            let known: Vec<&str> = all.iter().map(|(_, service)| service.name.as_str()).collect();
            return Err(Fatal::runtime(format!(
                "synapse: no service is named `{wanted}`; there are: {}",
                known.join(", ")
            )));
        }
        if !named.iter().all(|(kind, service)| service.has_server(kind)) {
            missing.push(format!("a server of {wanted}"));
        }
    }
    Ok((!missing.is_empty()).then(|| missing.join(", ")))
}

impl Service {
    /// Whether it has a server that takes requests, as far as its router knows.
    fn has_server(&self, router: &str) -> bool {
        if router != "haproxy" {
            return self.used > 0;
        }
        let places = self.instances.iter().filter_map(|instance| instance.haproxy.as_ref());
        places.into_iter().any(Place::serves)
    }
}

impl Place {
    fn serves(&self) -> bool {
        let down = self
            .check
            .as_ref()
            .is_some_and(|check| check.starts_with("DOWN") || check.starts_with("MAINT"));
        self.state == "active" && !down
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Why it is not done, of one HAProxy with a service `web` (`web_1`) of these places, and a template with `db`.
    fn waits(ready: bool, places: &serde_json::Value, services: &[&str]) -> Result<Option<String>, String> {
        let status = json!({
            "ready": ready, "waiting_for": if ready { vec![] } else { vec!["first apply of router 1"] },
            "routers": [
                { "type": "haproxy", "services": [{ "id": "web_1", "name": "web", "used": 2, "instances": places }] },
                { "type": "template", "services": [{ "id": "db_2", "name": "db", "used": 0, "instances": [] }] },
            ],
        });
        let services: Vec<String> = services.iter().map(ToString::to_string).collect();
        let status: Status = serde_json::from_value(status).expect("a status");
        missing(&status, &services).map_err(|fatal| fatal.message)
    }

    fn place(state: &str, check: Option<&str>) -> serde_json::Value {
        json!({ "node": "a", "haproxy": { "state": state, "check": check, "slot": 1 } })
    }

    #[test]
    fn it_waits_for_readiness_and_for_a_server_of_each_service() {
        let up = json!([place("draining", None), place("active", None)]);
        assert_eq!(waits(true, &up, &[]), Ok(None));
        assert_eq!(waits(true, &up, &["web"]), Ok(None));
        assert_eq!(waits(true, &up, &["web_1"]), Ok(None));
        assert_eq!(waits(true, &up, &["web", "db"]), Ok(Some("a server of db".to_owned())));
        assert_eq!(
            waits(false, &up, &["db"]),
            Ok(Some("first apply of router 1, a server of db".to_owned()))
        );
    }

    #[test]
    fn a_server_that_takes_nothing_does_not_count() {
        let missing = Ok(Some("a server of web".to_owned()));
        for places in [
            json!([]),
            json!([{ "node": "a" }]),
            json!([place("draining", Some("UP"))]),
            json!([place("active", Some("DOWN 1/2"))]),
        ] {
            assert_eq!(waits(true, &places, &["web"]), missing, "{places}");
        }
        assert_eq!(waits(true, &json!([place("active", Some("UP"))]), &["web"]), Ok(None));
    }

    #[test]
    fn a_service_that_is_not_there_is_an_error() {
        let error = waits(true, &json!([]), &["shop"]).expect_err("there is none");
        assert!(error.contains("`shop`") && error.contains("web, db"), "{error}");
    }
}
