use ::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;

use super::tls::Authority;
use super::*;

/// A health server: `shop` serves, `bar` does not, `lost` is unknown, `old` has no health protocol, `odd` talks nonsense.
async fn health(stream: impl Stream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, mut incoming) = request.into_parts();
        assert_eq!(head.uri.path(), "/grpc.health.v1.Health/Check");
        assert_eq!(head.headers.get("te"), Some(&HeaderValue::from_static("trailers")));
        assert_eq!(
            head.headers.get("grpc-timeout"),
            Some(&HeaderValue::from_static("1000m"))
        );
        let frame = incoming.data().await.expect("a message").expect("whole");
        let service = String::from_utf8_lossy(frame.get(7..).unwrap_or_default()).into_owned();
        let trailers = |status: &'static str, message: &'static str| {
            HeaderMap::from_iter([
                (
                    ::http::HeaderName::from_static("grpc-status"),
                    HeaderValue::from_static(status),
                ),
                (
                    ::http::HeaderName::from_static("grpc-message"),
                    HeaderValue::from_static(message),
                ),
            ])
        };
        let mut headers_only = |status, message| {
            let mut response = Response::new(());
            *response.headers_mut() = trailers(status, message);
            respond.send_response(response, true).expect("sent");
        };
        let status = match service.as_str() {
            "" | "shop" => 1,
            "bar" => 2,
            "lost" => {
                headers_only("5", "unknown service");
                continue;
            }
            "old" => {
                headers_only("12", "");
                continue;
            }
            "busy" => {
                headers_only("14", "later");
                continue;
            }
            _ => {
                respond.send_response(Response::new(()), true).expect("sent");
                continue;
            }
        };
        let mut body = respond.send_response(Response::new(()), false).expect("sent");
        body.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false)
            .expect("sent");
        body.send_trailers(trailers("0", "")).expect("sent");
    }
}

#[tokio::test]
async fn the_serving_status_decides() {
    let mut tasks = JoinSet::new();
    let port = serving(&mut tasks, health).await;
    for service in ["", "shop"] {
        let outcome = probe(port, &format!("{{ type: grpc, service: '{service}' }}")).await;
        assert_eq!(outcome, Ok("SERVING".to_owned()));
    }
    for (service, why) in [
        ("bar", "NOT_SERVING"),
        ("lost", "the server does not know the service: unknown service"),
        (
            "old",
            "the server does not implement the health protocol (UNIMPLEMENTED)",
        ),
        ("busy", "gRPC status 14 (UNAVAILABLE): later"),
        ("odd", "the answer has no grpc-status, so this is no gRPC server"),
    ] {
        let outcome = probe(port, &format!("{{ type: grpc, service: {service} }}")).await;
        assert_eq!(outcome, Err(Failure::new(FailureKind::Answer, why)));
    }
}

#[tokio::test]
async fn a_server_that_is_none_or_hangs_fails() {
    let mut tasks = JoinSet::new();
    let silent = server(&mut tasks, "").await;
    let late = probe(silent, "{ type: grpc, timeoutInMilli: 100 }").await;
    assert_eq!(kind(late), FailureKind::Timeout);
    let old = server(&mut tasks, "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(kind(probe(old, "{ type: grpc }").await), FailureKind::Connection);
    let absent = probe(free_port().await, "{ type: grpc }").await;
    assert_eq!(kind(absent), FailureKind::Connection);
    let half_dead = serving(&mut tasks, |stream| async move {
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut held = Vec::new();
        while let Some(Ok(request)) = connection.accept().await {
            held.push(request);
        }
    })
    .await;
    let late = probe(half_dead, "{ type: grpc, timeoutInMilli: 100 }").await;
    assert_eq!(kind(late), FailureKind::Timeout);
}

#[tokio::test]
async fn it_speaks_tls_under_another_name() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["shop.example"], &[b"h2"], false);
    let port = serving(&mut tasks, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                health(stream).await;
            }
        }
    })
    .await;
    let check = |tls: &str| format!("{{ type: grpc, service: shop, authority: shop.example, tls: {{ {tls} }} }}");
    let trusting = check(&format!("ca: {}, serverName: shop.example", authority.ca()));
    assert_eq!(probe(port, &trusting).await, Ok("SERVING".to_owned()));
    let unnamed = check(&format!("ca: {}", authority.ca()));
    assert_eq!(kind(probe(port, &unnamed).await), FailureKind::Connection);
}
