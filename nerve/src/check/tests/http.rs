use super::tls::Authority;
use super::*;

#[tokio::test]
async fn http_passes_on_the_expected_statuses_alone() {
    let mut tasks = JoinSet::new();
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
        // The body is not waited for.
        ("HTTP/1.1 500 Oh\r\ncontent-length: 100000\r\n\r\npart of it", false),
    ];
    for (answer, passes) in cases {
        let port = server(&mut tasks, answer).await;
        let outcome = probe(port, "{ type: http, path: /ping }").await;
        assert_eq!(outcome.is_ok(), passes, "{answer}: {outcome:?}");
    }
    for (code, passes) in [
        (200, true),
        (204, true),
        (301, true),
        (399, true),
        (400, false),
        (500, false),
        (503, false),
    ] {
        let port = serving(&mut tasks, move |mut stream| async move {
            head(&mut stream).await;
            let answer = format!("HTTP/1.1 {code} As It Is\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok();
        })
        .await;
        assert_eq!(probe(port, "{ type: http }").await.is_ok(), passes, "{code}");
    }
    let port = server(&mut tasks, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    probe(port, "{ type: http, status: \"200, 404\" }")
        .await
        .expect("404 is expected");
}

#[tokio::test]
async fn http_fails_when_nothing_answers_in_time_or_at_all() {
    let mut tasks = JoinSet::new();
    let silent = server(&mut tasks, "").await;
    assert_eq!(
        kind(probe(silent, "{ type: http, timeoutInMilli: 100 }").await),
        FailureKind::Timeout
    );
    assert_eq!(
        kind(probe(free_port().await, "{ type: http }").await),
        FailureKind::Connection
    );
    let babble = server(&mut tasks, "SSH-2.0-nothing\r\n").await;
    assert_eq!(kind(probe(babble, "{ type: http }").await), FailureKind::Connection);
}

#[tokio::test]
async fn http_requests_the_path_with_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { probe(port, "{ type: http, path: \"ping?full=1\" }").await.map(drop) });
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut request = vec![0; 1024];
    let length = stream.read(&mut request).await.expect("a request");
    let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
    assert!(request.starts_with("get /ping?full=1 http/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
}

/// Answers with status 200 and `body`, in two pieces.
async fn answer(mut stream: impl Stream, body: &'static str) {
    head(&mut stream).await;
    let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(start.as_bytes()).await.ok();
    let (first, second) = body.split_at(body.len() / 2);
    stream.write_all(first.as_bytes()).await.ok();
    stream.flush().await.ok();
    stream.write_all(second.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

/// Answers HTTP/2 with status 200 and the request's authority.
async fn answer_http2(stream: impl Stream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let mut body = respond.send_response(::http::Response::new(()), false).expect("sent");
        body.send_data(authority.into(), true).expect("sent");
    }
}

#[tokio::test]
async fn the_request_is_what_the_operator_wrote() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut tasks = JoinSet::new();
    let check = "{ type: http, path: /h?x=1, method: head, headers: { Host: svc, X-A: b, User-Agent: me, Connection: keep-alive } }";
    tasks.spawn(async move { probe(port, check).await.map(drop) });
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let head = head(&mut stream).await;
    assert!(head.starts_with("HEAD /h?x=1 HTTP/1.1\r\n"), "{head}");
    for line in [
        "host: svc\r\n",
        "x-a: b\r\n",
        "user-agent: me\r\n",
        "connection: close\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("keep-alive"), "one connection a probe: {head}");
}

#[tokio::test]
async fn a_header_can_be_a_secret_that_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    let mut tasks = JoinSet::new();
    let port = serving(&mut tasks, |mut stream| async move {
        let known = head(&mut stream).await.contains("authorization: Bearer second\r\n");
        let status = if known { "204 No Content" } else { "401 Unauthorized" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok();
    })
    .await;
    let check = format!(
        "{{ type: http, headers: {{ Authorization: 'file:{}' }} }}",
        path.display()
    );
    assert_eq!(kind(probe(port, &check).await), FailureKind::Secret);
    std::fs::write(&path, "Bearer first\n").expect("written");
    assert_eq!(detail(probe(port, &check).await), "status 401 Unauthorized");
    std::fs::write(&path, "Bearer second\n").expect("written");
    probe(port, &check).await.expect("known");
    std::fs::write(&path, "Bearer\nsecond").expect("written");
    assert_eq!(kind(probe(port, &check).await), FailureKind::Secret);
}

#[tokio::test]
async fn a_text_in_the_body_can_be_expected() {
    let mut tasks = JoinSet::new();
    let port = serving(&mut tasks, |stream| answer(stream, "hello")).await;
    probe(port, "{ type: http, expect: ell }").await.expect("it is there");
    let missing = detail(probe(port, "{ type: http, expect: zzz }").await);
    assert!(
        missing.contains("status 200 OK") && missing.contains("`zzz`"),
        "{missing}"
    );
    let endless = serving(&mut tasks, |mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst").await.ok();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    probe(endless, "{ type: http, expect: first }")
        .await
        .expect("no more is read");
    let capped = probe(endless, "{ type: http, expect: last, timeoutInMilli: 20000 }").await;
    assert!(detail(capped).contains("65536 bytes"));
    let stuck = serving(&mut tasks, |mut stream| async move {
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfir")
            .await
            .ok();
        std::future::pending::<()>().await;
    })
    .await;
    let late = probe(stuck, "{ type: http, expect: first, timeoutInMilli: 100 }").await;
    assert_eq!(kind(late), FailureKind::Timeout);
}

#[tokio::test]
async fn anything_but_a_server_error_can_be_healthy() {
    let mut tasks = JoinSet::new();
    for (answer, passes) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false),
    ] {
        let port = server(&mut tasks, answer).await;
        let outcome = probe(port, "{ type: http, status: not-5xx }").await;
        assert_eq!(outcome.is_ok(), passes, "{answer}: {outcome:?}");
    }
}

#[tokio::test]
async fn http2_is_spoken_on_request() {
    let mut tasks = JoinSet::new();
    let port = serving(&mut tasks, answer_http2).await;
    let outcome = probe(port, "{ type: http, http2: true, headers: { Host: svc }, expect: svc }").await;
    assert_eq!(outcome, Ok("status 200 OK".to_owned()));
    probe(port, "{ type: http }").await.expect_err("it speaks HTTP/2 alone");
    let old = serving(&mut tasks, |stream| answer(stream, "hello")).await;
    assert_eq!(
        kind(probe(old, "{ type: http, http2: true }").await),
        FailureKind::Connection
    );
    let silent = server(&mut tasks, "").await;
    let late = probe(silent, "{ type: http, http2: true, timeoutInMilli: 100 }").await;
    assert_eq!(kind(late), FailureKind::Timeout);
}

#[tokio::test]
async fn https_verifies_the_server() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["localhost"], &[], false);
    let port = serving(&mut tasks, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, "hello").await;
            }
        }
    })
    .await;
    let ca = authority.ca();
    let passing = [
        format!("host: localhost, tls: {{ ca: {ca} }}"),
        format!("tls: {{ ca: {ca}, serverName: localhost }}, expect: hello"),
        "tls: { insecureSkipVerify: true }".to_owned(),
    ];
    for keys in passing {
        let outcome = probe(port, &format!("{{ type: https, {keys} }}")).await;
        assert_eq!(outcome, Ok("status 200 OK".to_owned()), "{keys}");
    }
    let stranger = Authority::new();
    let failing = [
        format!("tls: {{ ca: {ca} }}"),
        format!("host: localhost, tls: {{ ca: {} }}", stranger.ca()),
    ];
    let http2 = format!("{{ type: https, host: localhost, http2: true, tls: {{ ca: {ca} }} }}");
    let refused = detail(probe(port, &http2).await);
    assert!(refused.contains("does not offer HTTP/2"), "{refused}");
    for keys in failing {
        let outcome = probe(port, &format!("{{ type: https, {keys} }}")).await;
        assert_eq!(kind(outcome), FailureKind::Connection, "{keys}");
    }
    let check = format!("{{ type: https, timeoutInMilli: 100, tls: {{ ca: {ca} }} }}");
    let silent = server(&mut tasks, "").await;
    assert_eq!(kind(probe(silent, &check).await), FailureKind::Timeout);
    let plain = server(&mut tasks, "HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(kind(probe(plain, &check).await), FailureKind::Connection);
    assert_eq!(kind(probe(free_port().await, &check).await), FailureKind::Connection);
}

#[tokio::test]
async fn https_shows_a_client_certificate_and_speaks_http2() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["localhost"], &[b"h2"], true);
    let port = serving(&mut tasks, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_http2(stream).await;
            }
        }
    })
    .await;
    let (ca, (cert, key)) = (authority.ca(), authority.issue("me"));
    let check = |tls: &str| format!("{{ type: https, http2: true, host: localhost, tls: {{ ca: {ca} {tls} }} }}");
    let known = probe(port, &check(&format!(", cert: {cert}, key: {key}"))).await;
    assert_eq!(known, Ok("status 200 OK".to_owned()));
    assert_eq!(kind(probe(port, &check("")).await), FailureKind::Connection);
}

#[tokio::test]
async fn http2_uses_a_name_that_is_neither_address_nor_certificate() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["node.example"], &[b"h2"], false);
    let port = serving(&mut tasks, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                assert_eq!(stream.get_ref().1.server_name(), Some("node.example"));
                answer_http2(stream).await;
            }
        }
    })
    .await;
    let check = format!(
        "{{ type: https, http2: true, headers: {{ Host: 'shop.example:81' }}, expect: 'shop.example:81', \
         tls: {{ ca: {}, serverName: node.example }} }}",
        authority.ca()
    );
    assert_eq!(probe(port, &check).await, Ok("status 200 OK".to_owned()));
}

#[tokio::test]
async fn https_uses_a_name_that_is_neither_address_nor_certificate() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["node.example"], &[], false);
    let port = serving(&mut tasks, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                assert_eq!(stream.get_ref().1.server_name(), Some("node.example"));
                let known = head(&mut stream).await.contains("host: shop.example:81\r\n");
                let status = if known { "200 OK" } else { "421 Misdirected Request" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            }
        }
    })
    .await;
    let check = format!(
        "{{ type: https, headers: {{ Host: 'shop.example:81' }}, tls: {{ ca: {}, serverName: node.example }} }}",
        authority.ca()
    );
    assert_eq!(probe(port, &check).await, Ok("status 200 OK".to_owned()));
}

#[tokio::test]
async fn a_late_probe_leaves_no_connection() {
    let authority = Authority::new();
    let tls = format!("tls: {{ ca: {}, serverName: localhost }}", authority.ca());
    let hello = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel";
    // What the check is, and what the server answers before it falls silent.
    for (keys, says) in [
        ("http", ""),
        ("http, expect: hello", hello),
        ("http, http2: true", ""),
        (&format!("https, {tls}"), ""),
        (&format!("https, http2: true, {tls}"), ""),
        ("proxyhttp, urls: [shop.example]", ""),
        ("proxyhttp, urls: ['https://shop.example']", ""),
        ("proxyhttp, urls: ['https://shop.example']", "HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            if !says.is_empty() {
                head(&mut stream).await;
                stream.write_all(says.as_bytes()).await.expect("sent");
            }
            // Until the other side closes.
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.map(drop)
        };
        let check = format!("{{ type: {keys}, timeoutInMilli: 200 }}");
        let both = async { tokio::join!(probe(port, &check), server).0 };
        let late = timeout(Duration::from_secs(5), both).await;
        let late = late.unwrap_or_else(|_| panic!("{keys}: the connection is still open"));
        assert_eq!(kind(late), FailureKind::Timeout, "{keys}");
    }
}

#[test]
fn files_that_are_not_there_are_named_at_start() {
    let service = service("{ port: 1, checks: [{ type: https, tls: { ca: /no/such/ca.pem } }] }");
    let error = Check::new(Arc::clone(&service.checks[0])).expect_err("no such file");
    assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
}
