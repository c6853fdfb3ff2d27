//! nerve's ZooKeeper reporters as configured.

use e2e::eventually::{ensure, eventually, throughout};
use e2e::fault_proxy::FaultProxy;
use e2e::site::{Member, PATH, SESSION_TIMEOUT, Site, TIMEOUT, zookeeper_reporter};
use e2e::zookeeper::{Client, Node, ZooKeeper};

async fn only_node(client: &Client) -> Result<Node, String> {
    match client.nodes(PATH).await.as_slice() {
        [node] => Ok(node.clone()),
        other => Err(format!("{other:?}")),
    }
}

/// Waits until the reporters of nerve's only service are in these states; their details.
async fn reporters(member: &Member, states: &[&str]) -> Vec<String> {
    eventually("nerve's reporters stand as expected", TIMEOUT, async || {
        let answer = member.nerve.status().await?;
        let shown = answer
            .pointer("/0/Reporters")
            .and_then(|all| all.as_array())
            .cloned()
            .unwrap_or_default();
        let texts = |name: &str| -> Vec<String> {
            let text = |reporter: &serde_json::Value| reporter[name].as_str().unwrap_or_default().to_owned();
            shown.iter().map(text).collect()
        };
        ensure(texts("State") == states, || answer.to_string())?;
        Ok(texts("Detail"))
    })
    .await
}

#[tokio::test]
async fn numbered_nodes_survive_a_cut_and_a_restart_as_one() {
    let site = Site::new(ZooKeeper::start().await);
    let client = site.zookeeper.client().await;
    let proxy = FaultProxy::start(site.zookeeper.address()).await;
    proxy.cut_after_create("one_127.0.0.1_c_");
    let keys = ", nodeType: ephemeral_sequential";
    let mut member = site
        .prepare_with("one", &zookeeper_reporter(&proxy.address(), keys))
        .await;
    member.nerve.start_and_wait().await.unwrap();
    tokio::time::timeout(TIMEOUT, proxy.tripped(1)).await.unwrap();
    reporters(&member, &["reported"]).await;
    let first = only_node(&client).await.unwrap();
    assert!(first.name.starts_with("one_127.0.0.1_c_"), "{first:?}");

    member.nerve.kill();
    member.nerve.start();
    let second = eventually("the new nerve has replaced the node", TIMEOUT, async || {
        let node = only_node(&client).await?;
        ensure(node.owner != first.owner, || format!("{node:?}"))?;
        Ok(node)
    })
    .await;
    throughout("it stays the one node", SESSION_TIMEOUT * 2, async || {
        let node = only_node(&client).await?;
        ensure(node == second, || format!("{node:?}"))
    })
    .await;
    member.nerve.terminate().await;
    assert!(client.nodes(PATH).await.is_empty());
}

#[tokio::test]
async fn an_ensemble_out_of_reach_delays_no_other_reporter() {
    let mut away = ZooKeeper::start().await;
    away.kill();
    let site = Site::new(ZooKeeper::start().await);
    let client = site.zookeeper.client().await;
    let both = format!(
        "{}, {}",
        zookeeper_reporter(&away.address(), ""),
        zookeeper_reporter(
            &site.zookeeper.address(),
            ", nodeType: persistent, ttl: 1s, payload: curator"
        )
    );
    let mut member = site.prepare_with("one", &both).await;
    member.nerve.start_and_wait().await.unwrap();
    let details = reporters(&member, &["pending", "reported"]).await;
    assert!(
        details.first().is_some_and(|detail| detail.contains("no host")),
        "{details:?}"
    );
    let node = only_node(&client).await.unwrap();
    assert!(
        node.data.contains("\"serviceType\":\"PERMANENT\"") && node.owner == 0,
        "{node:?}"
    );
    away.restart().await;
    reporters(&member, &["reported", "reported"]).await;
    member.nerve.terminate().await;
    assert!(
        client.nodes(PATH).await.is_empty(),
        "a clean stop takes a persistent node away"
    );
}

#[tokio::test]
async fn a_wrong_password_is_shown_and_no_secret_is() {
    let site = Site::new(ZooKeeper::start().await);
    let auth = |password: &str| format!(", acl: creatorAllWorldRead, auth: {{ user: web, password: '{password}' }}");
    let address = site.zookeeper.address();
    let mut first = site
        .prepare_with("one", &zookeeper_reporter(&address, &auth("hunter2")))
        .await;
    first.nerve.start_and_wait().await.unwrap();
    reporters(&first, &["reported"]).await;
    let mut second = site
        .prepare_with("two", &zookeeper_reporter(&address, &auth("sesame7")))
        .await;
    second.nerve.start_and_wait().await.unwrap();
    // Pending at first because it connects.
    eventually("nerve says what to check", TIMEOUT, async || {
        let details = reporters(&second, &["pending"]).await;
        ensure(details.iter().any(|detail| detail.contains("check `auth`")), || {
            format!("{details:?}")
        })
    })
    .await;
    second.nerve.terminate().await;
    first.nerve.terminate().await;
    for (member, secret) in [(&first, "hunter2"), (&second, "sesame7")] {
        assert!(!member.nerve.log().contains(secret), "a secret is logged");
    }
}
