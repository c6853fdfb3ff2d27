use super::tls::Authority;
use super::*;

/// A pod with a ready container `shop`, an unready sidecar `nerve`, and more as given.
fn pod(ready: &str, more: &str) -> String {
    format!(
        r#"{{ "kind": "Pod", "metadata": {{ "name": "shop-0" {more} }}, "status": {{
             "conditions": [ {{ "type": "Initialized", "status": "True" }},
               {{ "type": "Ready", "status": "{ready}", "reason": "ContainersNotReady", "message": "nerve" }} ],
             "containerStatuses": [ {{ "name": "shop", "ready": true }} ],
             "initContainerStatuses": [ {{ "name": "nerve", "ready": false }} ] }} }}"#
    )
}

/// An API server that accepts the token `second` and has some pods.
async fn api_server(mut stream: impl Stream) {
    let head = head(&mut stream).await;
    let line = head.lines().next().unwrap_or_default();
    let path = line
        .strip_prefix("GET /api/v1/namespaces/prod/pods/")
        .unwrap_or_default();
    let name = path.strip_suffix("?resourceVersion=0 HTTP/1.1").unwrap_or_default();
    let known = head.contains("authorization: Bearer second\r\n");
    let (status, body) = match name {
        _ if !known => ("401 Unauthorized", String::new()),
        "ready" => ("200 OK", pod("True", "")),
        "unready" => ("200 OK", pod("False", "")),
        "leaving" => (
            "200 OK",
            pod("True", r#", "deletionTimestamp": "2026-11-20T12:00:00Z""#),
        ),
        "new" => ("200 OK", "{}".to_owned()),
        "odd" => ("200 OK", "<html>".to_owned()),
        "secret" => ("403 Forbidden", String::new()),
        "hang" => return std::future::pending().await,
        _ => ("404 Not Found", String::new()),
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

#[tokio::test]
async fn the_pod_or_one_container_must_be_ready() {
    let mut tasks = JoinSet::new();
    let port = serving(&mut tasks, api_server).await;
    let probe_pod = async |keys: &str| {
        let check = format!(
            "{{ type: kubernetes, apiServer: 'http://127.0.0.1:{port}', namespace: prod, token: second, timeoutInMilli: 300, {keys} }}"
        );
        probe(1, &check).await
    };
    assert_eq!(probe_pod("podName: ready").await, Ok("the pod is ready".to_owned()));
    let sidecars_friend = probe_pod("podName: unready, container: shop").await;
    assert_eq!(sidecars_friend, Ok("container shop is ready".to_owned()));
    for (keys, why) in [
        ("podName: unready", "the pod is not ready: ContainersNotReady: nerve"),
        ("podName: ready, container: nerve", "container nerve is not ready"),
        ("podName: ready, container: web", "the pod has no container web (yet)"),
        ("podName: leaving", "the pod is being deleted"),
        ("podName: new", "the pod has no condition `Ready` (yet)"),
        ("podName: absent", "there is no such pod (404)"),
        (
            "podName: secret",
            "the service account may not `get` pods (403): give it a role that allows it",
        ),
    ] {
        assert_eq!(probe_pod(keys).await, Err(Failure::new(FailureKind::Answer, why)));
    }
    assert!(detail(probe_pod("podName: odd").await).contains("no pod"));
    assert_eq!(kind(probe_pod("podName: hang").await), FailureKind::Timeout);
}

#[tokio::test]
async fn the_token_is_read_again_and_the_api_server_verified() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["localhost"], &[], false);
    let port = serving(&mut tasks, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                api_server(stream).await;
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    let probe_pod = async |ca: &str| {
        let check = format!(
            "{{ type: kubernetes, apiServer: 'https://localhost:{port}', namespace: prod, podName: ready, token: 'file:{}', tls: {{ ca: {ca} }} }}",
            token.display()
        );
        probe(1, &check).await
    };
    let ca = authority.ca();
    assert_eq!(kind(probe_pod(&ca).await), FailureKind::Secret);
    std::fs::write(&token, "first").expect("written");
    assert_eq!(
        detail(probe_pod(&ca).await),
        "the API server does not take the token (401)"
    );
    std::fs::write(&token, "second\n").expect("written");
    probe_pod(&ca).await.expect("a new token");
    let stranger = Authority::new();
    assert_eq!(kind(probe_pod(&stranger.ca()).await), FailureKind::Connection);
    let absent = format!(
        "{{ type: kubernetes, apiServer: 'http://127.0.0.1:{}', podName: ready, token: x }}",
        free_port().await
    );
    assert_eq!(kind(probe(1, &absent).await), FailureKind::Connection);
}

#[test]
fn outside_of_a_pod_the_api_server_must_be_named() {
    let service = service("{ port: 1, checks: [{ type: kubernetes, podName: ready }] }");
    let error = Check::new(Arc::clone(&service.checks[0])).expect_err("no pod");
    assert!(error.to_string().contains("apiServer"), "{error}");
}
