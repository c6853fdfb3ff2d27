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
use crate::health::verdict::Verdict;
use crate::metrics::Metrics;
use crate::reload::Requests;
use crate::reporter::{ReporterHandle, ReporterState};
use crate::running::Running;
use crate::service::{Context, service};
use common::reload::{Reload, reloads};
use common::systemd::Notifier;

/// An API before services whose checks are this test.
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
        let bench = Self::new(false);
        for (verdicts, service) in bench.verdicts.iter().zip(bench.services.iter()) {
            let verdict = Verdict {
                at: 1,
                latency: std::time::Duration::from_millis(2),
                outcome: Ok("fine".to_owned()),
            };
            verdicts.send((0, verdict)).await.expect("the service runs");
            while service.state().stand.phase != "up" {
                tokio::task::yield_now().await;
            }
        }
        bench
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, String) {
        self.ask_as(None, method, path, "").await
    }

    async fn ask_as(&self, refusal: Option<Refusal>, method: Method, path: &str, body: &'static str) -> (u16, String) {
        told(&self.handler, refusal, method, path, body).await
    }

    /// A GET of the hooks' listener, from another machine.
    async fn hook(&self, path: &str) -> (u16, String) {
        told(&self.hooks, Some(Refusal::Remote), Method::Get, path, "").await
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(Method::Get, path).await
    }

    async fn put(&self, path: &str) -> (u16, String) {
        self.ask(Method::Put, path).await
    }

    fn words(&self) -> Vec<&'static str> {
        self.services
            .iter()
            .map(|service| service.state().stand.phase)
            .collect()
    }
}

/// What `handler` answers.
async fn told(
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
    let bench = Fixture::new(false);
    assert_eq!(bench.get("/status").await.0, 503);
    assert_eq!(bench.get("/services/web/status").await.0, 503);
    assert_eq!(bench.get("/ready").await.0, 503);
    let bench = Fixture::up().await;
    assert_eq!(bench.get("/status").await.0, 200);
    assert_eq!(bench.get("/services/web/status").await.0, 200);
    assert_eq!(bench.get("/ready").await.0, 200);
    assert_eq!(bench.get("/services/none/status").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_shown_with_the_originals_fields_first() {
    let bench = Fixture::up().await;
    let (_, body) = bench.get("/services/web/status").await;
    let since = bench.services[0].state().since;
    let expected = concat!(
        r#"{"Name":"web","Host":"127.0.0.1","Port":80,"Status":"enabled","MaxWeight":255,"CurrentWeight":255,"#,
        r#""Available":true,"Reason":"","DegradedReason":"","Lifecycle":"up","Since":SINCE,"Overrides":[],"Checks":[{"Type":"tcp","#,
        r#""Target":"127.0.0.1:80","Required":true,"Ok":true,"Failure":null,"Detail":"fine","LatencyMs":2.0,"At":1}],"Reporters":[]}"#
    );
    assert_eq!(body, expected.replace("SINCE", &since.to_string()));
}

#[tokio::test(start_paused = true)]
async fn one_service_is_disabled_weighed_and_enabled() {
    let bench = Fixture::up().await;
    let (status, said) = bench.put("/services/web/disable").await;
    assert_eq!(
        (status, said.as_str()),
        (200, "web is disabled: the minimum duration is over\n")
    );
    assert_eq!(bench.words(), ["disabled", "up"]);
    assert_eq!(bench.put("/services/web/weight/7").await.0, 200);
    assert_eq!(bench.ask(Method::Post, "/services/web/enable?force=yes").await.0, 200);
    while bench.words() != ["up", "up"] {
        tokio::task::yield_now().await;
    }
    let stand = bench.services[0].state().stand.clone();
    assert_eq!((stand.intent.as_str(), stand.weight), ("forced", 7));
}

#[tokio::test(start_paused = true)]
async fn a_flag_is_true_from_its_first_letter_on() {
    let bench = Fixture::up().await;
    for (flag, word) in [
        ("Yes", "forced"),
        ("no", "enabled"),
        ("TRUE", "forced"),
        ("false", "enabled"),
        ("1", "forced"),
        ("0", "enabled"),
        ("", "enabled"),
    ] {
        assert_eq!(bench.put(&format!("/enable?force={flag}")).await.0, 200);
        assert_eq!(bench.services[0].state().stand.intent.as_str(), word, "{flag}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_routes_of_go_nerve_are_listed_and_answer() {
    let bench = Fixture::up().await;
    let (status, routes) = bench.get("/").await;
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
        assert_eq!(bench.get(path).await.0, 200, "{path}");
    }
    let (_, body) = bench.get("/status").await;
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
async fn the_global_routes_pass_by_what_is_excluded() {
    let bench = Fixture::up().await;
    assert_eq!(bench.put("/disable?shutdown=true").await.0, 200);
    assert_eq!(bench.words(), ["disabled", "up"]);
    assert_eq!(bench.put("/enable").await.0, 200);
    assert_eq!(bench.put("/weight/9").await.0, 200);
    assert_eq!(bench.services[1].state().stand.full_weight, 255);
}

#[tokio::test(start_paused = true)]
async fn a_weight_is_1_to_255() {
    let bench = Fixture::up().await;
    for weight in ["0", "256", "300", "-1", "x"] {
        assert_eq!(
            bench.put(&format!("/services/web/weight/{weight}")).await.0,
            400,
            "{weight}"
        );
        assert_eq!(bench.put(&format!("/weight/{weight}")).await.0, 400, "{weight}");
    }
    assert_eq!(bench.put("/services/none/weight/1").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_get_changes_nothing_unless_asked_to() {
    let bench = Fixture::up().await;
    for path in [
        "/disable",
        "/enable",
        "/weight/1",
        "/services/web/disable",
        "/services/web/weight/1",
    ] {
        assert_eq!(bench.get(path).await.0, 405, "{path}");
    }
    assert_eq!(bench.put("/status").await.0, 405);
    assert_eq!(bench.put("/services/web/status").await.0, 405);
    for path in [
        "/nothing",
        "/services",
        "/services/web",
        "/services/web/nothing",
        "/weight",
    ] {
        assert_eq!(bench.get(path).await.0, 404, "{path}");
        assert_eq!(bench.put(path).await.0, 404, "{path}");
    }
    assert_eq!(bench.words(), ["up", "up"]);
    let legacy = Fixture::new(true);
    assert_eq!(legacy.get("/weight/1").await.0, 200);
    assert_eq!(legacy.get("/services/web/weight/1").await.0, 405, "as in the original");
}

#[tokio::test(start_paused = true)]
async fn a_get_that_changes_things_is_held_to_the_rules_of_a_put() {
    let bench = Fixture::new(true);
    for (refusal, status) in [(Refusal::Remote, 403), (Refusal::Origin, 403), (Refusal::Host, 421)] {
        for path in ["/disable", "/enable", "/weight/1"] {
            assert_eq!(
                bench.ask_as(Some(refusal), Method::Get, path, "").await.0,
                status,
                "{path}"
            );
        }
        assert_eq!(bench.ask_as(Some(refusal), Method::Get, "/live", "").await.0, 200);
        assert_eq!(bench.ask_as(Some(refusal), Method::Get, "/v1/config", "").await.0, 403);
    }
    assert_eq!(bench.words(), ["unknown", "unknown"]);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_nerve_says_so() {
    let mut bench = Fixture::up().await;
    bench.stop.cancel();
    while bench.tasks.join_next().await.is_some() {}
    assert_eq!(bench.put("/services/web/enable").await.0, 503);
    assert_eq!(bench.put("/services/web/disable").await.0, 503);
    assert_eq!(bench.get("/services/web/status").await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn v1_shows_services_and_the_history_of_their_checks() {
    let bench = Fixture::up().await;
    let (status, body) = bench.get("/v1/services").await;
    let services: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &services[0]["name"]), (200, &"web".into()));
    let (status, body) = bench.get("/v1/services/web").await;
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
    let (status, body) = bench.get("/v1/services/web/checks").await;
    let expected = concat!(
        r#"[{"at":1,"detail":"fine","failure":null,"history":[{"at":1,"detail":"fine","failure":null,"latencyMs":2.0,"#,
        r#""ok":true}],"latencyMs":2.0,"ok":true,"required":true,"target":"127.0.0.1:80","type":"tcp"}]"#
    );
    assert_eq!((status, body.as_str()), (200, expected));
    assert_eq!(bench.get("/v1/config").await, (200, r#"{"apiPort":3454}"#.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn v1_takes_commands_with_author_and_reason() {
    let bench = Fixture::up().await;
    let put = async |path, body| bench.ask_as(None, Method::Put, path, body).await;
    let (status, body) = put(
        "/v1/services/web/disable",
        r#"{"reason":"deploy","author":"ann","expires":"30m"}"#,
    )
    .await;
    let expected = r#"{"service":"web","outcome":"web is disabled: the minimum duration is over","waitedMs":3000}"#;
    assert_eq!((status, body.as_str()), (200, expected));
    let service = bench.get("/services/web/status").await.1;
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
    let stand = bench.services[0].state().stand.clone();
    assert_eq!((stand.intent.as_str(), stand.full_weight), ("forced", 7));
    assert_eq!(bench.ask(Method::Delete, "/v1/services/web/weight").await.0, 200);
    assert_eq!(bench.services[0].state().stand.full_weight, 255);

    // The same in a query, on the original's routes.
    assert_eq!(bench.put("/services/web/disable?reason=later&expires=1h").await.0, 200);
    assert_eq!(bench.services[0].state().stand.reason, "Service is disabled: later");
}

#[tokio::test(start_paused = true)]
async fn v1_says_what_it_does_not_understand() {
    let bench = Fixture::up().await;
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
        let (answered, said) = bench.ask_as(None, method, path, body).await;
        assert_eq!(answered, status, "{method:?} {path} {body}: {said}");
        assert!(
            said.starts_with(r#"{"detail":"#) && said.contains(&format!(r#""status":{status}"#)),
            "{said}"
        );
    }
    assert_eq!(bench.words(), ["up", "up"]);
}

#[tokio::test(start_paused = true)]
async fn listeners_are_bounded() {
    let bench = Fixture::up().await;
    let places = Arc::clone(&bench.listeners);
    let taken = places.acquire_many(16).await.expect("there are 16");
    assert_eq!(bench.get("/v1/events").await.0, 503);
    drop(taken);
    assert_eq!(bench.get("/v1/events").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_asked_for_and_its_refusal_is_422() {
    let mut bench = Fixture::new(false);
    assert_eq!(bench.get("/v1/reload").await.0, 404, "there was none");
    assert_eq!(bench.put("/v1/reload").await.0, 405);
    let mut requests = std::mem::replace(&mut bench.requests, reloads(Notifier::default()).1);
    let carry_out = async {
        let request = requests.next().await.expect("a request");
        requests.answer(request, Reload::refused(vec!["nerve.yaml:3:1: no".to_owned()]));
    };
    let ((status, body), ()) = tokio::join!(bench.ask(Method::Post, "/v1/reload"), carry_out);
    assert_eq!(status, 422);
    assert!(body.contains(r#""problems":["nerve.yaml:3:1: no"]"#), "{body}");
    let (status, body) = bench.get("/v1/reload").await;
    assert!(status == 200 && body.contains(r#""result":"refused""#), "{body}");
    drop(requests);
    assert_eq!(
        bench.ask(Method::Post, "/v1/reload").await.0,
        503,
        "nobody carries it out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_disable_waits_for_its_reporters_and_says_which_cannot_be_told() {
    let (reporter, state) = watch::channel(ReporterState::Withdrawing("no session".to_owned()));
    let node = ReporterHandle {
        kind: "zookeeper",
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
        let told = Body::default()
            .order("disable", None, 0)
            .expect("an order")
            .expect("a disable");
        let mut outcomes = told.carry_out(&[&handle], &context.state_store).await;
        outcomes.pop().expect("one service")
    };
    let outcome = disable().await;
    let expected =
        "web is disabled: the minimum duration is over, but zookeeper /services/web can't be told: no session";
    assert_eq!((outcome.said.as_str(), outcome.waited.as_secs()), (expected, 9));
    reporter.send_replace(ReporterState::Withdrawn);
    assert_eq!(disable().await.said, "web is disabled: the minimum duration is over");
}

#[tokio::test(start_paused = true)]
async fn a_hook_takes_every_service_away_and_all_calls_join() {
    let bench = Fixture::up().await;
    let started = tokio::time::Instant::now();
    let (status, said) = bench.hook("/hooks/pre-stop").await;
    assert_eq!((status, said.as_str()), (200, "web is leaving\nkept is leaving\n"));
    assert_eq!(started.elapsed(), std::time::Duration::ZERO, "it is answered at once");
    assert_eq!(bench.words(), ["disabling", "disabling"]);
    // Old orchestrators write two slashes.
    let (one, other) = tokio::join!(bench.hook("//hooks/pre-stop/wait"), bench.hook("/hooks/pre-stop/wait"));
    assert_eq!((one.0, &one), (200, &other));
    assert_eq!(
        started.elapsed(),
        std::time::Duration::from_secs(3),
        "the minimum, once"
    );
    assert_eq!(bench.words(), ["disabled", "disabled"]);
    let since = bench.services[0].state().overrides[0].note.since;
    assert_eq!(bench.hook("/hooks/pre-stop/wait").await.0, 200);
    assert_eq!(started.elapsed(), std::time::Duration::from_secs(3), "it is over");
    assert_eq!(bench.services[0].state().overrides[0].note.since, since);
    // Whoever called by mistake, or from elsewhere, is overruled.
    assert_eq!(bench.put("/services/web/enable").await.0, 200);
    while bench.words() != ["up", "disabled"] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_hooks_listener_offers_nothing_else() {
    let bench = Fixture::up().await;
    for path in [
        "/",
        "/status",
        "/disable",
        "/services/web/disable",
        "/hooks",
        "/metrics",
    ] {
        assert_eq!(bench.hook(path).await.0, 404, "{path}");
    }
    assert_eq!(
        told(&bench.hooks, None, Method::Put, "/hooks/pre-stop", "").await.0,
        405
    );
    assert_eq!(bench.words(), ["up", "up"]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_comes_after_the_stop_does_not_fail() {
    let mut bench = Fixture::up().await;
    bench.stop.cancel();
    while bench.tasks.join_next().await.is_some() {}
    assert_eq!(bench.hook("/hooks/pre-stop").await.0, 200);
    assert_eq!(bench.hook("/hooks/pre-stop/wait").await.0, 200);
}
