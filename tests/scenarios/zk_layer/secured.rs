//! Who may do what, and who is believed to be whom.

use std::path::Path;

use common::config::Secret;
use common::tls::{Identity, TlsOptions};
use common::zk::node::{Access, NodeConfig};
use common::zk::registration::RegistrationState;
use common::zk::security::{Auth, Scheme, Security};
use e2e::authority::{Authority, Signed};
use e2e::eventually::{ensure, eventually};
use e2e::zookeeper::ZooKeeper;

use crate::party::{Party, TIMEOUT, registered, state, want};

const PATH: &str = "/services/web/one";

fn user(scheme: Scheme, password: &str) -> Security {
    Security {
        auth: Some(Auth {
            scheme,
            user: "web".to_owned(),
            password: Secret::parse(password),
        }),
        tls: None,
    }
}

fn guarded(path: &str) -> NodeConfig {
    NodeConfig {
        access: Access::creator_all_world_read(),
        ..NodeConfig::ephemeral(path)
    }
}

#[tokio::test]
async fn the_creators_nodes_are_read_by_all_and_deleted_by_none() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::secured(&server.address(), user(Scheme::Digest, "right"));
    let registration = party.keep(guarded(PATH));
    want(&registration, "a");
    registered(&registration).await;
    assert_eq!(client.node(PATH).await.unwrap().data, "a");
    for path in [PATH, "/services/web"] {
        let refused = client.try_delete(path).await.unwrap_err();
        eprintln!("{path}: {refused}");
    }
    want(&registration, "b");
    eventually("its creator may write it", TIMEOUT, async || {
        let data = client.node(PATH).await.map(|node| node.data);
        ensure(data.as_deref() == Some("b"), || format!("{data:?}"))
    })
    .await;

    // The parents are the creator's as well: another password is another identity.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    let mut stranger = Party::secured(
        &server.address(),
        user(Scheme::Digest, &format!("file:{}", file.display())),
    );
    let other = stranger.keep(guarded("/services/web/two"));
    want(&other, "c");
    let told =
        |state: &RegistrationState| matches!(state, RegistrationState::Pending(why) if why.contains("check `auth`"));
    state(&other, told).await;
    assert!(client.node("/services/web/two").await.is_none());
    stranger.stop().await;
    // The password is read when a session begins.
    std::fs::write(&file, "right\n").unwrap();
    let mut known = Party::secured(
        &server.address(),
        user(Scheme::Digest, &format!("file:{}", file.display())),
    );
    let other = known.keep(guarded("/services/web/two"));
    want(&other, "c");
    registered(&other).await;
    known.stop().await;
    party.stop().await;
}

#[tokio::test]
async fn an_explicit_list_is_what_the_node_has() {
    let server = ZooKeeper::start().await;
    let client = server.client().await;
    let mut party = Party::start(&server.address());
    let access = Access::parse("world:anyone:r,ip:127.0.0.1:cdrw").unwrap();
    let registration = party.keep(NodeConfig {
        access,
        ..NodeConfig::ephemeral(PATH)
    });
    want(&registration, "a");
    registered(&registration).await;
    assert_eq!(
        client.access(PATH).await,
        ["world:anyone:READ", "ip:127.0.0.1:READ|WRITE|CREATE|DELETE"]
    );
    assert_eq!(client.access("/services").await, client.access(PATH).await);
    party.stop().await;
}

#[tokio::test]
async fn a_missing_secret_is_told() {
    let server = ZooKeeper::start().await;
    let mut party = Party::secured(&server.address(), user(Scheme::Digest, "file:/nowhere/password"));
    let registration = party.keep(guarded(PATH));
    want(&registration, "a");
    let told = |state: &RegistrationState| matches!(state, RegistrationState::Pending(why) if why.contains("/nowhere/password"));
    state(&registration, told).await;
    party.stop().await;
}

#[tokio::test]
async fn sasl_knows_its_users_and_refuses_others() {
    let server = ZooKeeper::start_with_user("web", "right").await;
    let mut party = Party::secured(&server.address(), user(Scheme::Sasl, "right"));
    let registration = party.keep(guarded(PATH));
    want(&registration, "a");
    registered(&registration).await;
    let client = server.client().await;
    assert_eq!(client.access(PATH).await, ["sasl:web:ALL", "world:anyone:READ"]);
    let mut stranger = Party::secured(&server.address(), user(Scheme::Sasl, "wrong"));
    let other = stranger.keep(guarded("/services/web/two"));
    want(&other, "b");
    let told = |state: &RegistrationState| matches!(state, RegistrationState::Pending(why) if why.contains("refuses our identity"));
    state(&other, told).await;
    stranger.stop().await;
    party.stop().await;
}

fn over_tls(ca: &Path, identity: Option<&Signed>) -> Security {
    let identity = identity.map(|signed| Identity {
        cert: signed.cert.clone(),
        key: signed.key.clone(),
    });
    Security {
        auth: None,
        tls: Some(TlsOptions {
            ca: Some(ca.to_owned()),
            identity,
            ..TlsOptions::default()
        }),
    }
}

#[tokio::test]
async fn tls_with_a_client_certificate() {
    let (ours, others) = (Authority::new(), Authority::new());
    let us = ours.sign("client");
    let (server, port) = ZooKeeper::start_with_tls(&ours).await;
    let client = server.client().await;
    let address = format!("127.0.0.1:{port}");
    let mut party = Party::secured(&address, over_tls(&ours.ca(), Some(&us)));
    let registration = party.keep(NodeConfig::ephemeral(PATH));
    want(&registration, "a");
    registered(&registration).await;
    assert_eq!(client.node(PATH).await.unwrap().data, "a");

    let told = |state: &RegistrationState| matches!(state, RegistrationState::Pending(why) if why.contains("over TLS"));
    for strangers in [over_tls(&others.ca(), Some(&us)), over_tls(&ours.ca(), None)] {
        let mut stranger = Party::secured(&address, strangers);
        let other = stranger.keep(NodeConfig::ephemeral("/services/web/two"));
        want(&other, "b");
        state(&other, told).await;
        stranger.stop().await;
    }
    assert!(client.node("/services/web/two").await.is_none());
    party.stop().await;
}
