//! Zones, without a reload.

use std::sync::Arc;

use common::zk::reflector::Freshness;
use synapse::config::{LocalZone, ZoneConfig, ZonePolicy};
use synapse::health::{Check, Health};
use synapse::pipeline::catalog::{Outcome, Seed, outcome};
use synapse::watcher::{Candidate, WatcherState};

use crate::bench::{Backend, Fixture, eventually, server};

/// Registered in this zone.
fn in_zone(backend: &Backend, zone: &str) -> Candidate {
    let mut server = server(backend);
    server.labels.insert("zone".to_owned(), zone.to_owned());
    Candidate {
        server,
        czxid: 1,
        unavailable: None,
    }
}

/// A bench whose service prefers zone `a`, and checks its servers every 100 ms.
async fn bench_in_zone_a(policy: ZonePolicy) -> Fixture {
    let mut bench = Fixture::new(&["web_1"]).await;
    let service = bench.services.first_mut().unwrap();
    service.selection.zone = Some(ZoneConfig {
        local: LocalZone::Known("a".to_owned()),
        label: "zone".to_owned(),
        policy,
    });
    "check inter 100ms rise 1 fall 1".clone_into(&mut service.server_options);
    service.backend.push("option allbackups".to_owned());
    bench
}

/// What the catalog makes of them.
fn want(bench: &Fixture, candidates: &[&Candidate], health: &Health) {
    let state = WatcherState {
        freshness: Freshness::Live,
        candidates: candidates.iter().copied().cloned().collect(),
        ..WatcherState::default()
    };
    let decided = outcome(
        &bench.services,
        &[Arc::new(state)],
        health,
        &Outcome::default(),
        Seed::of("host"),
    );
    let service = decided.desired.services.first().unwrap();
    bench.want(&[("web_1", service.servers.as_deref().unwrap().to_vec())]);
}

#[tokio::test]
async fn a_zone_that_goes_leaves_all_to_its_backups_without_a_reload() {
    let near = Backend::start("near").await;
    let (far, farther) = (Backend::start("far").await, Backend::start("farther").await);
    let mut bench = bench_in_zone_a(ZonePolicy::Prefer).await;
    bench.start().await;
    let all = [in_zone(&near, "a"), in_zone(&far, "b"), in_zone(&farther, "c")];
    let [local, far, farther] = &all;
    want(&bench, &[local, far, farther], &Health::default());
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["near"]);

    want(&bench, &[far, farther], &Health::default());
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["far", "farther"]);

    want(&bench, &[local, far, farther], &Health::default());
    bench.in_sync().await;
    assert_eq!(bench.names("web_1", 6).await, ["near"]);

    drop(near);
    eventually("HAProxy's check has found the local server dead", async || {
        bench.names("web_1", 6).await == ["far", "farther"]
    })
    .await;
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}

#[tokio::test]
async fn a_zone_that_is_short_spills_over_by_weight_without_a_reload() {
    let (one, two, far) = (
        Backend::start("one").await,
        Backend::start("two").await,
        Backend::start("far").await,
    );
    let policy = ZonePolicy::SpillOver { local_share: Some(80) };
    let mut bench = bench_in_zone_a(policy).await;
    bench.start().await;
    let all = [in_zone(&one, "a"), in_zone(&two, "a"), in_zone(&far, "b")];
    let all: Vec<&Candidate> = all.iter().collect();
    let weights = |bench: &Fixture| [&one, &two, &far].map(|backend| bench.slot_of("web_1", backend).unwrap().weight);
    // Two of three parts cover 83 % of the 80 % that are needed.
    want(&bench, &all, &Health::default());
    bench.in_sync().await;
    assert_eq!(weights(&bench), [256, 256, 105]);
    assert_eq!(bench.names("web_1", 30).await, ["far", "one", "two"]);

    let mut health = Health::default();
    health.insert("web_1", two.address, Check::Failing);
    want(&bench, &all, &health);
    bench.in_sync().await;
    assert_eq!(weights(&bench), [256, 256, 157], "one of two parts covers 62 %");

    bench.services[0].selection.zone.as_mut().unwrap().policy = ZonePolicy::SpillOver { local_share: Some(50) };
    want(&bench, &all, &Health::default());
    bench.in_sync().await;
    assert_eq!(weights(&bench), [256, 256, 1], "what they have is enough: a trace");

    // No update arrives here, and HAProxy turns to the trace by itself.
    drop((one, two));
    eventually("the other zone answers alone", async || {
        bench.names("web_1", 6).await == ["far"]
    })
    .await;
    assert_eq!(bench.reloads(), [("first_start", "ok", 1)]);
}
