use std::collections::BTreeMap;

use common::ready::Readiness;
use common::telemetry::log::{self, Format};
use common::telemetry::metrics::Build;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::testing;
use crate::health::verdict::Verdict;
use crate::metrics::Metrics;
use crate::reload::{Reload, Requests, reloads};
use crate::service::service;

/// An API before services whose checks are this test.
struct Bench {
    handler: Handler,
    verdicts: Vec<mpsc::Sender<(usize, Verdict)>>,
    services: Arc<[ServiceHandle]>,
    requests: Requests,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Bench {
    fn new(legacy_get_mutations: bool) -> Self {
        let metrics = Metrics::register(&mut Registry::default());
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let mut verdicts = Vec::new();
        let readiness = Readiness::default();
        let services: Arc<[_]> = ["name: web", "name: kept, excludeFromGlobalDisable: true"]
            .map(|keys| {
                let config = testing::service(&format!("{{ port: 80, enableWarmup: false, {keys} }}"));
                let latch = readiness.latch(config.name.clone());
                let (handle, _, verdict, task) = service(config, Vec::new(), &metrics, latch);
                tasks.spawn(task.run(stop.clone()));
                verdicts.push(verdict);
                handle
            })
            .into();
        let roster = Roster::default();
        roster.publish(Running {
            services: services.to_vec(),
            ensembles: Vec::new(),
        });
        let (reloads, requests) = reloads();
        let handler = handler(App {
            roster,
            reloads,
            common: CommonRoutes {
                build: Build {
                    name: "nerve",
                    version: "1",
                },
                readiness,
                registry: Arc::new(Registry::default()),
                level: log::init("off", Format::Text).expect("a level"),
            },
            legacy_get_mutations,
        });
        Self {
            handler,
            verdicts,
            services,
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
            body: bytes::Bytes::new(),
            local: true,
        };
        let reply = (self.handler)(request).await;
        (reply.status, String::from_utf8(reply.body).expect("text"))
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

#[tokio::test(start_paused = true)]
async fn status_is_503_while_anything_is_unavailable() {
    let bench = Bench::new(false);
    assert_eq!(bench.get("/status").await.0, 503);
    assert_eq!(bench.get("/services/web/status").await.0, 503);
    assert_eq!(bench.get("/ready").await.0, 503);
    let bench = Bench::up().await;
    assert_eq!(bench.get("/status").await.0, 200);
    assert_eq!(bench.get("/services/web/status").await.0, 200);
    assert_eq!(bench.get("/ready").await.0, 200);
    assert_eq!(bench.get("/services/none/status").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_service_is_shown_with_the_originals_fields_first() {
    let bench = Bench::up().await;
    let (_, body) = bench.get("/services/web/status").await;
    let since = bench.services[0].state().since;
    let expected = concat!(
        r#"{"Name":"web","Host":"127.0.0.1","Port":80,"Status":"enabled","MaxWeight":255,"CurrentWeight":255,"#,
        r#""Available":true,"Reason":"","Lifecycle":"up","Since":SINCE,"Checks":[{"Type":"tcp","#,
        r#""Target":"127.0.0.1:80","Ok":true,"Failure":null,"Detail":"fine","LatencyMs":2.0,"At":1}],"Reporters":[]}"#
    );
    assert_eq!(body, expected.replace("SINCE", &since.to_string()));
}

#[tokio::test(start_paused = true)]
async fn one_service_is_disabled_weighed_and_enabled() {
    let bench = Bench::up().await;
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
    assert_eq!((stand.intent.word(), stand.weight), ("forced", 7));
}

#[tokio::test(start_paused = true)]
async fn the_global_routes_pass_by_what_is_excluded() {
    let bench = Bench::up().await;
    assert_eq!(bench.put("/disable?shutdown=true").await.0, 200);
    assert_eq!(bench.words(), ["disabled", "up"]);
    assert_eq!(bench.put("/enable").await.0, 200);
    assert_eq!(bench.put("/weight/9").await.0, 200);
    assert_eq!(bench.services[1].state().stand.full_weight, 255);
}

#[tokio::test(start_paused = true)]
async fn a_weight_is_1_to_255() {
    let bench = Bench::up().await;
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
    let bench = Bench::up().await;
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
    let legacy = Bench::new(true);
    assert_eq!(legacy.get("/weight/1").await.0, 200);
    assert_eq!(legacy.get("/services/web/weight/1").await.0, 405, "as in the original");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_nerve_says_so() {
    let mut bench = Bench::up().await;
    bench.stop.cancel();
    while bench.tasks.join_next().await.is_some() {}
    assert_eq!(bench.put("/services/web/enable").await.0, 503);
    assert_eq!(bench.put("/services/web/disable").await.0, 503);
    assert_eq!(bench.get("/services/web/status").await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_asked_for_and_its_refusal_is_422() {
    let mut bench = Bench::new(false);
    assert_eq!(bench.get("/v1/reload").await.0, 404, "there was none");
    assert_eq!(bench.put("/v1/reload").await.0, 405);
    let mut requests = std::mem::replace(&mut bench.requests, reloads().1);
    let carry_out = async {
        let request = requests.requests.recv().await.expect("a request");
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
