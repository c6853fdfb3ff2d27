use std::collections::BTreeMap;

use common::http::Refusal;
use common::ready::Readiness;
use common::telemetry::log::{self, Format};
use common::telemetry::metrics::Build;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::testing;
use crate::delivery::{ReporterHandle, ReporterKind, ReporterState};
use crate::health::verdict::Verdict;
use crate::metrics::Metrics;
use crate::reload::Requests;
use crate::running::Running;
use crate::service::{Context, service};
use common::reload::{Reload, reloads};
use common::systemd::Notifier;

/// An API with services whose checks are simulated by the test.
struct Fixture {
    handler: Handler,
    hooks: Handler,
    verdicts: Vec<mpsc::Sender<(usize, Verdict)>>,
    services: Arc<[ServiceHandle]>,
    listeners: Arc<Semaphore>,
    requests: Requests,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Fixture {
    fn new(legacy_get_mutations: bool) -> Self {
        let context = Context::new(Metrics::register(&mut Registry::default()));
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let mut verdicts = Vec::new();
        let readiness = Readiness::default();
        let services: Arc<[_]> = ["name: web", "name: kept, excludeFromGlobalDisable: true"]
            .map(|keys| {
                let config = testing::service(&format!("{{ port: 80, enableWarmup: false, {keys} }}"));
                let latch = readiness.latch(config.name.clone());
                let (handle, _, verdict, task) = service(config, Vec::new(), &context, latch);
                tasks.spawn(task.run(stop.clone()));
                verdicts.push(verdict);
                handle
            })
            .into();
        let listeners = listeners();
        let running = RunningState::default();
        running.publish(Running {
            services: services.to_vec(),
            ensembles: Vec::new(),
            effective: r#"{"apiPort":3454}"#.into(),
        });
        let (reloads, requests) = reloads(Notifier::default());
        let hooks = hooks(running.clone(), context.state_store.clone());
        let handler = handler(App {
            running,
            reloads,
            common: CommonRoutes {
                build: Build {
                    name: "nerve",
                    version: "1",
                },
                started: Readiness::default(),
                readiness,
                registry: Arc::new(Registry::default()),
                level: log::init("off", Format::Text).expect("a level"),
            },
            legacy_get_mutations,
            state_store: context.state_store,
            changes: context.changes,
            listeners: Arc::clone(&listeners),
        });
        Self {
            handler,
            hooks,
            verdicts,
            services,
            listeners,
            requests,
            stop,
            tasks,
        }
    }

    /// Both services pass their checks.
    async fn up() -> Self {
        let fixture = Self::new(false);
        for (verdicts, service) in fixture.verdicts.iter().zip(fixture.services.iter()) {
            let verdict = Verdict {
                at: 1,
                latency: std::time::Duration::from_millis(2),
                outcome: Ok("fine".to_owned()),
            };
            verdicts.send((0, verdict)).await.expect("the service runs");
            while service.state().status.phase.as_str() != "up" {
                tokio::task::yield_now().await;
            }
        }
        fixture
    }

    async fn request(&self, method: Method, path: &str) -> (u16, String) {
        self.request_as(None, method, path, "").await
    }

    async fn request_as(
        &self,
        refusal: Option<Refusal>,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> (u16, String) {
        respond(&self.handler, refusal, method, path, body).await
    }

    /// A GET of the hooks' listener, from another machine.
    async fn hook(&self, path: &str) -> (u16, String) {
        respond(&self.hooks, Some(Refusal::Remote), Method::Get, path, "").await
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.request(Method::Get, path).await
    }

    async fn put(&self, path: &str) -> (u16, String) {
        self.request(Method::Put, path).await
    }

    fn phases(&self) -> Vec<&'static str> {
        self.services
            .iter()
            .map(|service| service.state().status.phase.as_str())
            .collect()
    }
}

/// Returns the reply of `handler`.
async fn respond(
    handler: &Handler,
    refusal: Option<Refusal>,
    method: Method,
    path: &str,
    body: &'static str,
) -> (u16, String) {
    let body = bytes::Bytes::from_static(body.as_bytes());
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let request = Request {
        method,
        path: path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        query: pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<BTreeMap<_, _>>(),
        body,
        refusal,
    };
    let reply = handler(request).await;
    (reply.status, String::from_utf8(reply.body).expect("text"))
}

#[tokio::test(start_paused = true)]
async fn status_is_503_while_anything_is_unavailable() {
    let fixture = Fixture::new(false);
    assert_eq!(fixture.get("/status").await.0, 503);
    assert_eq!(fixture.get("/services/web/status").await.0, 503);
    assert_eq!(fixture.get("/ready").await.0, 503);
    let fixture = Fixture::up().await;
    assert_eq!(fixture.get("/status").await.0, 200);
    assert_eq!(fixture.get("/services/web/status").await.0, 200);
    assert_eq!(fixture.get("/ready").await.0, 200);
    assert_eq!(fixture.get("/services/none/status").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_service_has_the_fields_of_go_nerve_first() {
    let fixture = Fixture::up().await;
    let (_, body) = fixture.get("/services/web/status").await;
    let since = fixture.services[0].state().since;
    let expected = concat!(
        r#"{"Name":"web","Host":"127.0.0.1","Port":80,"Status":"enabled","MaxWeight":255,"CurrentWeight":255,"#,
        r#""Available":true,"Reason":"","DegradedReason":"","Lifecycle":"up","Since":SINCE,"Overrides":[],"Checks":[{"Type":"tcp","#,
        r#""Target":"127.0.0.1:80","Required":true,"Ok":true,"Failure":null,"Detail":"fine","LatencyMs":2.0,"At":1}],"Reporters":[]}"#
    );
    assert_eq!(body, expected.replace("SINCE", &since.to_string()));
}

#[tokio::test(start_paused = true)]
async fn one_service_is_disabled_weighted_and_enabled() {
    let fixture = Fixture::up().await;
    let (status, text) = fixture.put("/services/web/disable").await;
    assert_eq!(
        (status, text.as_str()),
        (200, "web is disabled: the minimum duration is over\n")
    );
    assert_eq!(fixture.phases(), ["disabled", "up"]);
    assert_eq!(fixture.put("/services/web/weight/7").await.0, 200);
    assert_eq!(
        fixture.request(Method::Post, "/services/web/enable?force=yes").await.0,
        200
    );
    while fixture.phases() != ["up", "up"] {
        tokio::task::yield_now().await;
    }
    let status = fixture.services[0].state().status.clone();
    assert_eq!((status.intent.as_str(), status.weight), ("forced", 7));
}

#[tokio::test(start_paused = true)]
async fn a_flag_is_parsed_by_its_first_letter() {
    let fixture = Fixture::up().await;
    for (flag, intent) in [
        ("Yes", "forced"),
        ("no", "enabled"),
        ("TRUE", "forced"),
        ("false", "enabled"),
        ("1", "forced"),
        ("0", "enabled"),
        ("", "enabled"),
    ] {
        assert_eq!(fixture.put(&format!("/enable?force={flag}")).await.0, 200);
        assert_eq!(fixture.services[0].state().status.intent.as_str(), intent, "{flag}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_routes_of_go_nerve_are_listed_and_answer() {
    let fixture = Fixture::up().await;
    let (status, routes) = fixture.get("/").await;
    assert_eq!(status, 200);
    for route in [
        "/status",
        "/services/",
        "/disable",
        "/enable",
        "/weight/",
        "/metrics",
        "/version",
    ] {
        assert!(routes.contains(route), "{route}: {routes}");
    }
    for path in ["/version", "/metrics"] {
        assert_eq!(fixture.get(path).await.0, 200, "{path}");
    }
    let (_, body) = fixture.get("/status").await;
    let services: Vec<BTreeMap<String, Value>> = serde_json::from_str(&body).expect("an array of objects");
    for field in [
        "Name",
        "Host",
        "Port",
        "Status",
        "MaxWeight",
        "CurrentWeight",
        "Available",
    ] {
        assert!(
            services.iter().all(|service| service.contains_key(field)),
            "{field}: {body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_global_routes_skip_excluded_services() {
    let fixture = Fixture::up().await;
    assert_eq!(fixture.put("/disable?shutdown=true").await.0, 200);
    assert_eq!(fixture.phases(), ["disabled", "up"]);
    assert_eq!(fixture.put("/enable").await.0, 200);
    assert_eq!(fixture.put("/weight/9").await.0, 200);
    assert_eq!(fixture.services[1].state().status.full_weight, 255);
}

#[tokio::test(start_paused = true)]
async fn a_weight_is_1_to_255() {
    let fixture = Fixture::up().await;
    for weight in ["0", "256", "300", "-1", "x"] {
        assert_eq!(
            fixture.put(&format!("/services/web/weight/{weight}")).await.0,
            400,
            "{weight}"
        );
        assert_eq!(fixture.put(&format!("/weight/{weight}")).await.0, 400, "{weight}");
    }
    assert_eq!(fixture.put("/services/none/weight/1").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_get_changes_nothing_unless_configured() {
    let fixture = Fixture::up().await;
    for path in [
        "/disable",
        "/enable",
        "/weight/1",
        "/services/web/disable",
        "/services/web/weight/1",
    ] {
        assert_eq!(fixture.get(path).await.0, 405, "{path}");
    }
    assert_eq!(fixture.put("/status").await.0, 405);
    assert_eq!(fixture.put("/services/web/status").await.0, 405);
    for path in [
        "/nothing",
        "/services",
        "/services/web",
        "/services/web/nothing",
        "/weight",
    ] {
        assert_eq!(fixture.get(path).await.0, 404, "{path}");
        assert_eq!(fixture.put(path).await.0, 404, "{path}");
    }
    assert_eq!(fixture.phases(), ["up", "up"]);
    let legacy = Fixture::new(true);
    assert_eq!(legacy.get("/weight/1").await.0, 200);
    assert_eq!(legacy.get("/services/web/weight/1").await.0, 405, "as in the original");
}

#[tokio::test(start_paused = true)]
async fn a_get_that_changes_state_needs_the_permission_of_a_put() {
    let fixture = Fixture::new(true);
    for (refusal, status) in [(Refusal::Remote, 403), (Refusal::Origin, 403), (Refusal::Host, 421)] {
        for path in ["/disable", "/enable", "/weight/1"] {
            assert_eq!(
                fixture.request_as(Some(refusal), Method::Get, path, "").await.0,
                status,
                "{path}"
            );
        }
        assert_eq!(fixture.request_as(Some(refusal), Method::Get, "/live", "").await.0, 200);
        assert_eq!(
            fixture.request_as(Some(refusal), Method::Get, "/v1/config", "").await.0,
            403
        );
    }
    assert_eq!(fixture.phases(), ["unknown", "unknown"]);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_nerve_answers_503() {
    let mut fixture = Fixture::up().await;
    fixture.stop.cancel();
    while fixture.tasks.join_next().await.is_some() {}
    assert_eq!(fixture.put("/services/web/enable").await.0, 503);
    assert_eq!(fixture.put("/services/web/disable").await.0, 503);
    assert_eq!(fixture.get("/services/web/status").await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn v1_returns_services_and_the_history_of_their_checks() {
    let fixture = Fixture::up().await;
    let (status, body) = fixture.get("/v1/services").await;
    let services: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &services[0]["name"]), (200, &"web".into()));
    let (status, body) = fixture.get("/v1/services/web").await;
    let service: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &service), (200, &services[0]));
    assert_eq!(
        (
            &service["currentWeight"],
            &service["checks"][0]["type"],
            &service["overrides"]
        ),
        (&255.into(), &"tcp".into(), &serde_json::json!([]))
    );
    let (status, body) = fixture.get("/v1/services/web/checks").await;
    let expected = concat!(
        r#"[{"at":1,"detail":"fine","failure":null,"history":[{"at":1,"detail":"fine","failure":null,"latencyMs":2.0,"#,
        r#""ok":true}],"latencyMs":2.0,"ok":true,"required":true,"target":"127.0.0.1:80","type":"tcp"}]"#
    );
    assert_eq!((status, body.as_str()), (200, expected));
    assert_eq!(fixture.get("/v1/config").await, (200, r#"{"apiPort":3454}"#.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn v1_takes_commands_with_author_and_reason() {
    let fixture = Fixture::up().await;
    let put = async |path, body| fixture.request_as(None, Method::Put, path, body).await;
    let (status, body) = put(
        "/v1/services/web/disable",
        r#"{"reason":"deploy","author":"ann","expires":"30m"}"#,
    )
    .await;
    let expected = r#"{"service":"web","outcome":"web is disabled: the minimum duration is over","waitedMs":3000}"#;
    assert_eq!((status, body.as_str()), (200, expected));
    let service = fixture.get("/services/web/status").await.1;
    let service: Value = serde_json::from_str(&service).expect("JSON");
    let entry = &service["Overrides"][0];
    assert_eq!(
        (&service["Reason"], &service["Status"]),
        (&"Service is disabled: deploy".into(), &"disabled".into())
    );
    assert_eq!(
        (&entry["Source"], &entry["Kind"], &entry["Author"]),
        (&"operator".into(), &"down".into(), &"ann".into())
    );
    let span = entry["Expires"]
        .as_u64()
        .zip(entry["Since"].as_u64())
        .map(|(expires, since)| expires - since);
    assert_eq!(span, Some(30 * 60 * 1000));

    assert_eq!(put("/v1/services/web/enable", r#"{"force":true}"#).await.0, 200);
    assert_eq!(put("/v1/services/web/weight", r#"{"weight":7}"#).await.0, 200);
    let status = fixture.services[0].state().status.clone();
    assert_eq!((status.intent.as_str(), status.full_weight), ("forced", 7));
    assert_eq!(fixture.request(Method::Delete, "/v1/services/web/weight").await.0, 200);
    assert_eq!(fixture.services[0].state().status.full_weight, 255);

    // The same in a query, on Go-Nerve's routes.
    assert_eq!(
        fixture.put("/services/web/disable?reason=later&expires=1h").await.0,
        200
    );
    assert_eq!(fixture.services[0].state().status.reason, "Service is disabled: later");
}

#[tokio::test(start_paused = true)]
async fn v1_refuses_invalid_requests_with_a_problem() {
    let fixture = Fixture::up().await;
    let cases = [
        (Method::Put, "/v1/services/web/disable", "{", 400),
        (Method::Put, "/v1/services/web/disable", r#"{"raison":"x"}"#, 400),
        (Method::Put, "/v1/services/web/disable", r#"{"expires":"soon"}"#, 400),
        (Method::Put, "/v1/services/web/enable", r#"{"expires":"1h"}"#, 400),
        (Method::Put, "/v1/services/web/weight", "", 400),
        (Method::Put, "/v1/services/web/weight", r#"{"weight":0}"#, 400),
        (Method::Put, "/v1/services/web/weight", r#"{"weight":300}"#, 400),
        (Method::Put, "/v1/services/none/disable", "", 404),
        (Method::Get, "/v1/services/none", "", 404),
        (Method::Get, "/v1/services/none/checks", "", 404),
        (Method::Get, "/v1/services/web/nothing", "", 404),
        (Method::Get, "/v1/nothing", "", 404),
        (Method::Get, "/v1", "", 404),
        (Method::Get, "/v1/services/web/disable", "", 405),
        (Method::Get, "/v1/services/web/weight", "", 405),
        (Method::Delete, "/v1/services/web/disable", "", 405),
        (Method::Put, "/v1/services", "", 405),
        (Method::Put, "/v1/config", "", 405),
        (Method::Put, "/v1/events", "", 405),
    ];
    for (method, path, body, status) in cases {
        let (answered, text) = fixture.request_as(None, method, path, body).await;
        assert_eq!(answered, status, "{method:?} {path} {body}: {text}");
        assert!(
            text.starts_with(r#"{"detail":"#) && text.contains(&format!(r#""status":{status}"#)),
            "{text}"
        );
    }
    assert_eq!(fixture.phases(), ["up", "up"]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_event_clients_is_limited() {
    let fixture = Fixture::up().await;
    let places = Arc::clone(&fixture.listeners);
    let taken = places.acquire_many(16).await.expect("there are 16");
    assert_eq!(fixture.get("/v1/events").await.0, 503);
    drop(taken);
    assert_eq!(fixture.get("/v1/events").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_refused_reload_answers_422() {
    let mut fixture = Fixture::new(false);
    assert_eq!(fixture.get("/v1/reload").await.0, 404, "there was none");
    assert_eq!(fixture.put("/v1/reload").await.0, 405);
    let mut requests = std::mem::replace(&mut fixture.requests, reloads(Notifier::default()).1);
    let carry_out = async {
        let request = requests.next().await.expect("a request");
        requests.answer(request, Reload::refused(vec!["nerve.yaml:3:1: no".to_owned()]));
    };
    let ((status, body), ()) = tokio::join!(fixture.request(Method::Post, "/v1/reload"), carry_out);
    assert_eq!(status, 422);
    assert!(body.contains(r#""problems":["nerve.yaml:3:1: no"]"#), "{body}");
    let (status, body) = fixture.get("/v1/reload").await;
    assert!(status == 200 && body.contains(r#""result":"refused""#), "{body}");
    drop(requests);
    assert_eq!(
        fixture.request(Method::Post, "/v1/reload").await.0,
        503,
        "no task carries it out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_disable_waits_for_its_reporters() {
    let (reporter, state) = watch::channel(ReporterState::Withdrawing("no session".to_owned()));
    let node = ReporterHandle {
        kind: ReporterKind::Zookeeper,
        target: "/services/web".to_owned(),
        state,
    };
    let config = testing::service("{ name: web, port: 80, disableMaxDurationInMilli: 9000 }");
    let context = Context::new(Metrics::register(&mut Registry::default()));
    let latch = Readiness::default().latch("web");
    let (handle, _, _verdicts, task) = service(config, vec![node], &context, latch);
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run(CancellationToken::new()));
    let disable = async || {
        let command = Body::default()
            .command("disable", None, 0)
            .expect("a command")
            .expect("a disable");
        let mut outcomes = command.carry_out(&[&handle], &context.state_store).await;
        outcomes.pop().expect("one service")
    };
    let outcome = disable().await;
    let expected =
        "web is disabled: the minimum duration is over, but zookeeper /services/web is not up to date: no session";
    assert_eq!((outcome.text.as_str(), outcome.waited.as_secs()), (expected, 9));
    reporter.send_replace(ReporterState::Withdrawn);
    assert_eq!(disable().await.text, "web is disabled: the minimum duration is over");
}

#[tokio::test(start_paused = true)]
async fn a_hook_withdraws_every_service_and_calls_join() {
    let fixture = Fixture::up().await;
    let started = tokio::time::Instant::now();
    let (status, text) = fixture.hook("/hooks/pre-stop").await;
    assert_eq!((status, text.as_str()), (200, "web is leaving\nkept is leaving\n"));
    assert_eq!(started.elapsed(), std::time::Duration::ZERO, "it is answered at once");
    assert_eq!(fixture.phases(), ["disabling", "disabling"]);
    // Old orchestrators write two slashes.
    let (one, other) = tokio::join!(
        fixture.hook("//hooks/pre-stop/wait"),
        fixture.hook("/hooks/pre-stop/wait")
    );
    assert_eq!((one.0, &one), (200, &other));
    assert_eq!(
        started.elapsed(),
        std::time::Duration::from_secs(3),
        "the minimum, once"
    );
    assert_eq!(fixture.phases(), ["disabled", "disabled"]);
    let since = fixture.services[0].state().overrides[0].metadata.since;
    assert_eq!(fixture.hook("/hooks/pre-stop/wait").await.0, 200);
    assert_eq!(started.elapsed(), std::time::Duration::from_secs(3), "it is over");
    assert_eq!(fixture.services[0].state().overrides[0].metadata.since, since);
    // An operator can overrule a hook that was called by mistake.
    assert_eq!(fixture.put("/services/web/enable").await.0, 200);
    while fixture.phases() != ["up", "disabled"] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_hooks_listener_offers_nothing_else() {
    let fixture = Fixture::up().await;
    for path in [
        "/",
        "/status",
        "/disable",
        "/services/web/disable",
        "/hooks",
        "/metrics",
    ] {
        assert_eq!(fixture.hook(path).await.0, 404, "{path}");
    }
    assert_eq!(
        respond(&fixture.hooks, None, Method::Put, "/hooks/pre-stop", "")
            .await
            .0,
        405
    );
    assert_eq!(fixture.phases(), ["up", "up"]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_after_the_stop_does_not_fail() {
    let mut fixture = Fixture::up().await;
    fixture.stop.cancel();
    while fixture.tasks.join_next().await.is_some() {}
    assert_eq!(fixture.hook("/hooks/pre-stop").await.0, 200);
    assert_eq!(fixture.hook("/hooks/pre-stop/wait").await.0, 200);
}
