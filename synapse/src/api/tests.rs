use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use common::http::Refusal;
use common::ready::Readiness;
use common::reload::reloads;
use common::telemetry::log::{self, Format};
use common::zk::reflector::Freshness;
use tokio::sync::watch;

use super::*;
use crate::catalog::{Outcome, ServiceOutcome, Verdict};
use crate::desired::Server;
use crate::router::{Router, Service};
use crate::watcher::{Candidate, Reason, Skipped, WatcherState};

fn candidate(node: &str) -> Candidate {
    Candidate {
        server: Server {
            node: Arc::from(node),
            name: format!("name-{node}"),
            address: "10.0.0.1:80".parse().expect("an address"),
            weight: Some(5),
            options: String::new(),
            labels: BTreeMap::from([("az".to_owned(), "b".to_owned())]),
            created: 1000,
            backup: false,
        },
        czxid: 1,
        unavailable: None,
    }
}

/// One console router with one service of two instances and one that makes no sense.
fn api() -> Api {
    let state = WatcherState {
        freshness: Freshness::Live,
        candidates: vec![candidate("a"), candidate("b")],
        skipped: vec![Skipped {
            node: Arc::from("c"),
            reason: Reason::Bad("`port` is missing".to_owned()),
        }],
        ..WatcherState::default()
    };
    let outcome = Outcome {
        services: vec![ServiceOutcome {
            state: Arc::new(state),
            left_out: BTreeMap::from([(Arc::from("a"), Verdict::DuplicateOf(Arc::from("b")))]),
        }],
        ..Outcome::default()
    };
    let router = Router {
        services: vec![Service {
            id: "web_1".to_owned(),
            name: "web".to_owned(),
            ensemble: "zk:2181".to_owned(),
            path: "/services/web".to_owned(),
        }],
        outcome: watch::Sender::new(Arc::new(outcome)).subscribe(),
        kind: Kind::Console(Arc::new(AtomicU64::new(0))),
    };
    let roster = Roster::default();
    roster.publish(Running {
        routers: vec![router],
        ..Running::default()
    });
    Api {
        common: CommonRoutes {
            build: crate::run::BUILD,
            readiness: Readiness::default(),
            registry: Arc::default(),
            level: log::init("info", Format::Text).expect("a level"),
        },
        roster,
        reloads: reloads().0,
        started: Instant::now(),
        listeners: listeners(),
    }
}

async fn ask(api: &Api, method: Method, path: &str, local: bool) -> (u16, String) {
    let request = Request {
        method,
        path: path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        query: BTreeMap::new(),
        body: Bytes::new(),
        refusal: (!local).then_some(Refusal::Remote),
    };
    let reply = api.answer(&request).await;
    (reply.status, String::from_utf8(reply.body).expect("UTF-8"))
}

#[tokio::test]
async fn the_status_shows_every_instance_with_its_verdict() {
    let (status, body) = ask(&api(), Method::Get, "/status", true).await;
    assert_eq!(status, 200);
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let service = &value["routers"][0]["services"][0];
    insta::assert_snapshot!(serde_json::to_string_pretty(service).expect("JSON"));
    assert_eq!(value["ready"], true);
}

#[tokio::test]
async fn one_service_is_found_by_its_id() {
    let api = api();
    let (status, body) = ask(&api, Method::Get, "/v1/services/web_1", true).await;
    assert!(status == 200 && body.starts_with(r#"{"id":"web_1""#), "{body}");
    let (status, body) = ask(&api, Method::Get, "/v1/services/web", true).await;
    assert!(status == 404 && body.contains("the services are web_1"), "{body}");
}

#[tokio::test]
async fn ready_is_false_with_a_reason_while_something_is_waited_for() {
    let api = api();
    let latch = api.common.readiness.latch("first apply of router 1");
    let (status, body) = ask(&api, Method::Get, "/ready", true).await;
    assert_eq!((status, body.as_str()), (503, "false\nfirst apply of router 1\n"));
    drop(latch);
    assert_eq!(ask(&api, Method::Get, "/ready", true).await, (200, "true".to_owned()));
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let api = api();
    assert_eq!(ask(&api, Method::Get, "/", true).await.0, 200);
    assert_eq!(ask(&api, Method::Get, "/nothing", true).await.0, 404);
    assert_eq!(ask(&api, Method::Post, "/status", true).await.0, 405);
    assert_eq!(ask(&api, Method::Get, "/v1/haproxy/reload", true).await.0, 405);
    assert_eq!(ask(&api, Method::Post, "/v1/haproxy/reload", false).await.0, 403);
    assert_eq!(ask(&api, Method::Post, "/v1/haproxy/reload", true).await.0, 404);
    assert_eq!(ask(&api, Method::Get, "/v1/haproxy/config", true).await.0, 404);
}
