use super::tls::Authority;
use super::*;

/// `bob:hunter2`.
const CREDENTIALS: &str = "proxy-authorization: Basic Ym9iOmh1bnRlcjI=\r\n";

/// A proxy for bob: it answers for `http` URLs itself (503 when the path is `/down`, never when it is `/hang`) and makes
/// tunnels to `behind`.
async fn proxy(mut stream: TcpStream, behind: u16) {
    let head = head(&mut stream).await;
    let line = head.lines().next().unwrap_or_default().to_owned();
    if line.starts_with("CONNECT shop.example:8443 ") && head.contains(CREDENTIALS) {
        let mut far = TcpStream::connect(("127.0.0.1", behind)).await.expect("connected");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
        tokio::io::copy_bidirectional(&mut stream, &mut far).await.ok();
        return;
    }
    let status = if !head.contains(CREDENTIALS) {
        "407 Proxy Authentication Required"
    } else if line == "GET http://shop.example/down HTTP/1.1" {
        "503 Service Unavailable"
    } else if line == "GET http://shop.example/hang HTTP/1.1" {
        return std::future::pending().await;
    } else if line == "GET http://shop.example/ HTTP/1.1" {
        "404 Not Found"
    } else {
        "502 Bad Gateway"
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok();
}

const BOB: &str = "type: proxyhttp, proxyUsername: bob, proxyPassword: hunter2";

#[tokio::test]
async fn one_url_is_enough_unless_each_must_be_reached() {
    let mut tasks = JoinSet::new();
    let port = serving(&mut tasks, |stream| proxy(stream, 0)).await;
    let fetch = async |keys: &str| probe(port, &format!("{{ {BOB}, timeoutInMilli: 300, {keys} }}")).await;
    let passing = [
        "urls: [shop.example]",
        "urls: ['http://shop.example/down', shop.example]",
        "urls: [shop.example/hang, shop.example/]",
        "urls: [shop.example/], failOnAnyUnreachable: true",
    ];
    for keys in passing {
        let seen = fetch(keys).await;
        assert_eq!(
            seen,
            Ok("http://shop.example/: status 404 Not Found".to_owned()),
            "{keys}"
        );
    }
    let failing = [
        "urls: [shop.example/down]",
        "urls: [shop.example, shop.example/down], failOnAnyUnreachable: true",
        "urls: [shop.example], status: 200",
    ];
    for keys in failing {
        assert_eq!(kind(fetch(keys).await), FailureKind::Answer, "{keys}");
    }
    assert_eq!(kind(fetch("urls: [shop.example/hang]").await), FailureKind::Timeout);
    let no_tunnel = fetch("urls: ['https://shop.example/']").await;
    assert_eq!(kind(no_tunnel.clone()), FailureKind::Answer);
    let what = "https://shop.example/: the proxy refuses to make a tunnel";
    assert_eq!(detail(no_tunnel), what);
}

#[tokio::test]
async fn a_proxy_that_refuses_us_or_is_not_there_fails() {
    let mut tasks = JoinSet::new();
    let port = serving(&mut tasks, |stream| proxy(stream, 0)).await;
    let stranger = detail(probe(port, "{ type: proxyhttp, urls: [shop.example] }").await);
    assert!(stranger.contains("the proxy wants other credentials"), "{stranger}");
    let tunnel = detail(probe(port, "{ type: proxyhttp, urls: ['https://shop.example'] }").await);
    assert!(tunnel.contains("the proxy wants other credentials"), "{tunnel}");
    let wrong = "{ type: proxyhttp, urls: [shop.example], proxyUsername: bob, proxyPassword: hunter3 }";
    let wrong = detail(probe(port, wrong).await);
    assert!(wrong.contains("407") && !wrong.contains("hunter3"), "{wrong}");
    let elsewhere = format!("{{ {BOB}, proxyHost: localhost, proxyPort: {port}, urls: [shop.example] }}");
    probe(1, &elsewhere).await.expect("the proxy's own address");
    let absent = probe(free_port().await, "{ type: proxyhttp, urls: [shop.example] }").await;
    assert_eq!(kind(absent), FailureKind::Connection);
}

#[tokio::test]
async fn an_https_url_goes_through_a_tunnel() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["shop.example"], &[], false);
    let behind = serving(&mut tasks, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let head = head(&mut stream).await;
                let good = head.starts_with("GET /ping HTTP/1.1\r\n") && !head.contains("proxy-authorization");
                let status = if good { "200 OK" } else { "500 Oh" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            }
        }
    })
    .await;
    let port = serving(&mut tasks, move |stream| proxy(stream, behind)).await;
    let check = |tls: &str| format!("{{ {BOB}, urls: ['https://shop.example:8443/ping'], tls: {{ {tls} }} }}");
    let seen = probe(port, &check(&format!("ca: {}", authority.ca()))).await;
    assert_eq!(seen, Ok("https://shop.example:8443/ping: status 200 OK".to_owned()));
    let stranger = Authority::new();
    let refused = probe(port, &check(&format!("ca: {}", stranger.ca()))).await;
    assert_eq!(kind(refused), FailureKind::Connection);
}
