use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::http::Refusal;
use common::ready::Readiness;
use common::reload::reloads;
use common::systemd::Notifier;
use common::telemetry::log::{self, Format};
use common::zk::reflector::Freshness;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::desired::Server;
use crate::haproxy::{Haproxy, HaproxyStatus, ServerPhase, ServerStatistics, ServerStatus, ServiceStatus};
use crate::pipeline::catalog::{Note, Outcome, ServiceOutcome, Verdict, ZoneOutcome};
use crate::pipeline::guard::{GuardCommand, Guarded, HeldInstance, HoldReason};
use crate::pipeline::{GuardRequest, PipelineHandle};
use crate::router::{Applier, RouterStatus};
use crate::running::{RunningRouter, RunningService};
use crate::watcher::{Candidate, Description, Reason, Skipped, WatcherState};

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

/// One router with one service of two instances, one of them held, an invalid one, and a default
/// server.
fn api() -> Api {
    api_with(mpsc::channel(1).0, console())
}

fn console() -> RouterHandle {
    let status = RouterStatus {
        in_sync: true,
        last_apply: Some(1_700_000_000_000),
        applies: 3,
        ..RouterStatus::default()
    };
    RouterHandle::Plain("console", Applier::showing(status))
}

/// The held instance is in HAProxy; the rest of HAProxy's servers belong to no instance any more.
fn haproxy() -> RouterHandle {
    let server = |node: &str, state| ServerStatus {
        slot: 7,
        name: "name-b_10.0.0.1:80".into(),
        instance: "name-b".into(),
        node: node.into(),
        address: "10.0.0.1:80".parse().expect("an address"),
        weight: 11,
        state,
        options: "check inter 2s".into(),
        ignored_options: vec!["source: not on the allow-list".to_owned()],
        statistics: None,
    };
    let counted = ServerStatistics {
        status: "UP 1/2".into(),
        check: "L4TOUT".into(),
        last_change_secs: 1,
        sessions: 2,
        queued: 3,
        total_sessions: 4,
        connection_errors: 5,
        response_errors: 6,
    };
    let status = HaproxyStatus {
        runtime_commands_ok: 3,
        services: vec![Arc::new(ServiceStatus {
            id: "web_1".to_owned(),
            quarantined: Some("unknown keyword".to_owned()),
            servers: vec![
                server("", ServerPhase::Draining),
                ServerStatus {
                    statistics: Some(Arc::new(counted)),
                    ..server("b", ServerPhase::Active)
                },
            ],
            free_slots: 8,
            waiting: 1,
            skipped: Vec::new(),
            panic_threshold: None,
        })],
        ..HaproxyStatus::default()
    };
    RouterHandle::Haproxy(Haproxy::showing(status))
}

fn api_with(commands: mpsc::Sender<GuardRequest>, handle: RouterHandle) -> Api {
    let state = WatcherState {
        freshness: Freshness::Live,
        candidates: vec![candidate("a"), candidate("b")],
        skipped: vec![Skipped {
            node: Arc::from("c"),
            reason: Reason::Bad("`port` is missing".to_owned()),
        }],
        ..WatcherState::default()
    };
    let weight = Note::Weight {
        used: 11,
        registered: 5,
        zone: Some("b".to_owned()),
    };
    let state = Arc::new(state);
    let now = Instant::now();
    let held = HeldInstance {
        candidate: candidate("b"),
        since: now,
        until: now + Duration::from_mins(5),
        why: HoldReason::Share { gone: 3, of: 4 },
        kept: false,
    };
    let guarded = Guarded {
        state: Arc::clone(&state),
        held: BTreeMap::from([(held.candidate.server.address, held)]),
        holds: true,
        remembered: false,
    };
    let outcome = Outcome {
        services: vec![ServiceOutcome {
            state,
            left_out: BTreeMap::from([(Arc::from("a"), Verdict::DuplicateOf(Arc::from("b")))]),
            notes: BTreeMap::from([(Arc::from("b"), vec![weight]), (Arc::from("d"), vec![Note::Default])]),
            added: vec![candidate("d").server],
            zone: Some(ZoneOutcome {
                local: "a".to_owned(),
                covered: Some(85),
            }),
            ..ServiceOutcome::default()
        }],
        ..Outcome::default()
    };
    let one = RunningRouter {
        services: vec![RunningService {
            id: "web_1".to_owned(),
            name: "web".to_owned(),
            source: Description {
                kind: "zookeeper",
                place: "zk:2181/services/web".to_owned(),
                reading: String::new(),
            },
        }],
        pipeline: PipelineHandle {
            desired: watch::Sender::new(Arc::default()).subscribe(),
            outcome: watch::Sender::new(Arc::new(outcome)).subscribe(),
            guarded: watch::Sender::new(Arc::new(vec![guarded])).subscribe(),
            attention: watch::Sender::new(false).subscribe(),
            commands,
        },
        handle,
    };
    let running = RunningState::default();
    running.publish(Running {
        routers: vec![one],
        ..Running::default()
    });
    Api {
        common: CommonRoutes {
            build: crate::run::BUILD,
            started: Readiness::default(),
            readiness: Readiness::default(),
            registry: Arc::default(),
            level: log::init("info", Format::Text).expect("a level"),
        },
        running,
        reloads: reloads(Notifier::default()).0,
        started: Instant::now(),
        listeners: listeners(),
    }
}

async fn send(api: &Api, method: Method, target: &str, local: bool) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let request = Request {
        method,
        path: path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        query: query.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        body: Bytes::new(),
        refusal: (!local).then_some(Refusal::Remote),
    };
    let reply = api.answer(&request).await;
    (reply.status, String::from_utf8(reply.body).expect("UTF-8"))
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_every_instance_with_its_verdict() {
    let api = api_with(mpsc::channel(1).0, haproxy());
    let (status, body) = send(&api, Method::Get, "/status", true).await;
    assert_eq!(status, 200);
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let service = &value["routers"][0]["services"][0];
    insta::assert_snapshot!(serde_json::to_string_pretty(service).expect("JSON"));
    let router = &value["routers"][0];
    assert_eq!(
        (&router["type"], &router["status"]["applies"]),
        (&"haproxy".into(), &3.into())
    );
    assert_eq!(value["ready"], true);
}

#[tokio::test]
async fn a_router_without_a_proxy_shows_no_place() {
    let (status, body) = send(&api(), Method::Get, "/v1/services", true).await;
    assert!(status == 200 && !body.contains("haproxy"), "{body}");
}

#[tokio::test]
async fn one_service_is_found_by_its_id() {
    let api = api();
    let (status, body) = send(&api, Method::Get, "/v1/services/web_1", true).await;
    assert!(status == 200 && body.starts_with(r#"{"id":"web_1""#), "{body}");
    let (status, body) = send(&api, Method::Get, "/v1/services/web", true).await;
    assert!(status == 404 && body.contains("the services are web_1"), "{body}");
}

#[tokio::test]
async fn ready_is_false_with_a_reason_while_something_is_waited_for() {
    let api = api();
    let latch = api.common.readiness.latch("first apply of router 1");
    let (status, body) = send(&api, Method::Get, "/ready", true).await;
    assert_eq!((status, body.as_str()), (503, "false\nfirst apply of router 1\n"));
    drop(latch);
    assert_eq!(send(&api, Method::Get, "/ready", true).await, (200, "true".to_owned()));
}

#[tokio::test]
async fn a_missing_route_or_service_is_an_error() {
    let api = api();
    assert_eq!(send(&api, Method::Get, "/", true).await.0, 200);
    assert_eq!(send(&api, Method::Get, "/nothing", true).await.0, 404);
    assert_eq!(send(&api, Method::Post, "/status", true).await.0, 405);
    assert_eq!(send(&api, Method::Get, "/v1/haproxy/reload", true).await.0, 405);
    assert_eq!(send(&api, Method::Post, "/v1/haproxy/reload", false).await.0, 403);
    assert_eq!(send(&api, Method::Post, "/v1/haproxy/reload", true).await.0, 404);
    assert_eq!(send(&api, Method::Get, "/v1/haproxy/config", true).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn the_holds_are_listed_with_their_reasons() {
    let (status, body) = send(&api(), Method::Get, "/v1/holds", true).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        r#"[{"service":"web_1","held":[{"node":"b","name":"name-b","address":"10.0.0.1:80","guard":"share","why":"3 of 4 vanished within the window","since_seconds":0,"left_seconds":300}]}]"#
    );
}

#[tokio::test]
async fn an_operators_word_on_a_hold_is_handed_on() {
    let (commands, mut taken) = mpsc::channel::<GuardRequest>(1);
    let api = api_with(commands, console());
    let mut told = async |target: &str, held: usize| {
        let take = async {
            let order = taken.recv().await.expect("a command");
            order.reply.send(held).expect("it waits");
            (order.service, order.command)
        };
        tokio::join!(send(&api, Method::Post, target, true), take)
    };
    let (reply, order) = told("/v1/holds/web_1/release?by=me&why=true", 2).await;
    assert_eq!(reply, (200, "2 instances\n".to_owned()));
    assert_eq!(order, ("web_1".to_owned(), GuardCommand::Release));
    let (reply, order) = told("/v1/holds/web_1/keep?for=90m", 2).await;
    assert_eq!((reply.0, order.1), (200, GuardCommand::Keep(Duration::from_mins(90))));
    let (reply, order) = told("/v1/holds/web_1/keep", 0).await;
    assert_eq!((reply.0, order.1), (409, GuardCommand::Keep(Duration::from_hours(1))));
    drop(taken);
    assert_eq!(send(&api, Method::Post, "/v1/holds/web_1/release", true).await.0, 503);
}

#[tokio::test]
async fn a_word_on_a_hold_that_can_not_be_followed_is_refused() {
    let api = api();
    for (target, expected) in [
        ("/v1/holds/other/release", 404),
        ("/v1/holds/web_1/forget", 404),
        ("/v1/holds/web_1/release?for=1h", 400),
        ("/v1/holds/web_1/keep?for=25h", 400),
        ("/v1/holds/web_1/keep?for=long", 400),
    ] {
        assert_eq!(send(&api, Method::Post, target, true).await.0, expected, "{target}");
    }
    assert_eq!(send(&api, Method::Post, "/v1/holds/web_1/release", false).await.0, 403);
    assert_eq!(send(&api, Method::Get, "/v1/holds/web_1/release", true).await.0, 405);
    assert_eq!(send(&api, Method::Post, "/v1/holds", true).await.0, 405);
}
