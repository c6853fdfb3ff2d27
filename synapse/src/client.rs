//! The subcommands that query a running synapse, for containers without curl.

use std::path::Path;
use std::time::Duration;

use common::exit::Fatal;
use common::http::client::{self, Api};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::{Health, Wait};
use crate::config::Source;

/// Between two queries of `wait`.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The deadline of a query of `wait`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// `synapse health`: a line, or the reason why it is not well.
pub async fn health(args: &Health) -> Result<String, Fatal> {
    let api = args.endpoint.resolve(configured_api)?;
    args.query("synapse", &api).await
}

/// `synapse wait`: returns when nothing is missing; the error names what still is.
pub async fn wait(args: &Wait) -> Result<String, Fatal> {
    let api = args.endpoint.resolve(configured_api)?;
    let deadline = Instant::now() + args.timeout;
    let mut missing = "its first response".to_owned();
    let ready = async {
        while let Some(found) = poll(&api, &args.services).await? {
            missing = found;
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    };
    match timeout_at(deadline, ready).await {
        Ok(ended) => ended.map(|()| "synapse is ready".to_owned()),
        Err(_) => Err(Fatal::runtime(format!(
            "not ready within {:?}: waiting for {missing}",
            args.timeout
        ))),
    }
}

/// Returns the address of the API that a configuration sets.
fn configured_api(path: &Path) -> Result<Api, Fatal> {
    let loaded = Source::new(path.to_owned())?.load()?;
    Ok(Api::from(&loaded.value.api))
}

/// Returns what is still missing; `None`: nothing. A synapse that does not respond has not started yet.
async fn poll(api: &Api, services: &[String]) -> Result<Option<String>, Fatal> {
    let response = match client::request(api, "GET", "/status", None, REQUEST_TIMEOUT).await {
        Ok(response) => response,
        Err(error) => return Ok(Some(format!("a response: {error}"))),
    };
    let status: Status = serde_json::from_str(&response.body)
        .map_err(|error| Fatal::runtime(format!("{api} is not the API of a synapse of this version: {error}")))?;
    missing(&status, services)
}

/// The part of `/status` that `wait` depends on.
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

/// Returns what is missing until synapse is ready and each of `services` has a server; an unknown service is an error.
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
    for name in services {
        let named: Vec<_> = all
            .iter()
            .filter(|(_, service)| service.id == *name || service.name == *name)
            .collect();
        if named.is_empty() {
            let known: Vec<&str> = all.iter().map(|(_, service)| service.name.as_str()).collect();
            return Err(Fatal::runtime(format!(
                "no service is named `{name}`; the services are: {}",
                known.join(", ")
            )));
        }
        if !named.iter().all(|(kind, service)| service.has_server(kind)) {
            missing.push(format!("a server of {name}"));
        }
    }
    Ok((!missing.is_empty()).then(|| missing.join(", ")))
}

impl Service {
    /// Whether it has a server that accepts requests, as far as its router observes.
    fn has_server(&self, router: &str) -> bool {
        if router != "haproxy" {
            return self.used > 0;
        }
        let places = self.instances.iter().filter_map(|instance| instance.haproxy.as_ref());
        places.into_iter().any(Place::is_up)
    }
}

impl Place {
    fn is_up(&self) -> bool {
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

    /// What is missing, of one HAProxy with a service `web` (`web_1`) of these places, and a template with `db`.
    fn missing_of(ready: bool, places: &serde_json::Value, services: &[&str]) -> Result<Option<String>, String> {
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
        assert_eq!(missing_of(true, &up, &[]), Ok(None));
        assert_eq!(missing_of(true, &up, &["web"]), Ok(None));
        assert_eq!(missing_of(true, &up, &["web_1"]), Ok(None));
        assert_eq!(
            missing_of(true, &up, &["web", "db"]),
            Ok(Some("a server of db".to_owned()))
        );
        assert_eq!(
            missing_of(false, &up, &["db"]),
            Ok(Some("first apply of router 1, a server of db".to_owned()))
        );
    }

    #[test]
    fn a_server_that_accepts_nothing_does_not_count() {
        let missing = Ok(Some("a server of web".to_owned()));
        for places in [
            json!([]),
            json!([{ "node": "a" }]),
            json!([place("draining", Some("UP"))]),
            json!([place("active", Some("DOWN 1/2"))]),
        ] {
            assert_eq!(missing_of(true, &places, &["web"]), missing, "{places}");
        }
        assert_eq!(
            missing_of(true, &json!([place("active", Some("UP"))]), &["web"]),
            Ok(None)
        );
    }

    #[test]
    fn an_unknown_service_is_an_error() {
        let error = missing_of(true, &json!([]), &["shop"]).expect_err("there is none");
        assert!(error.contains("`shop`") && error.contains("web, db"), "{error}");
    }
}
