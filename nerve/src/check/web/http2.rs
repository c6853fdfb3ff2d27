//! HTTP/2, without an upgrade: the server is known to speak it.
//!
//! The connection is driven in the probe's own future: when the probe is over or late, nothing of it is left.

use std::pin::pin;

use http::Request;
use http::header::{HeaderValue, USER_AGENT};

use super::{Answer, Body, BodyLimit, Http2Request, innermost};
use crate::check::connect::Stream;
use crate::health::verdict::{Failure, FailureKind};

/// The most bytes of headers that are taken.
const HEADER_CAP: u32 = 64 * 1024;

/// Sends a request on `stream`.
pub(in crate::check) async fn send(
    stream: Box<dyn Stream>,
    ask: Http2Request,
    limit: BodyLimit,
) -> Result<Answer, Failure> {
    let (sender, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(HEADER_CAP)
        .handshake(stream)
        .await
        .map_err(|error| broken(&error))?;
    let mut exchange = pin!(exchange(sender, ask, limit));
    let answer = tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // A connection that ends first may have brought the answer.
        _ended = connection => exchange.await,
    };
    answer.map_err(|error| broken(&error))
}

fn broken(error: &h2::Error) -> Failure {
    Failure::new(FailureKind::Connection, innermost(error).to_string())
}

async fn exchange(
    sender: h2::client::SendRequest<bytes::Bytes>,
    ask: Http2Request,
    limit: BodyLimit,
) -> Result<Answer, h2::Error> {
    let mut sender = sender.ready().await?;
    let mut request = Request::new(());
    *request.method_mut() = ask.method;
    *request.uri_mut() = ask.uri;
    *request.headers_mut() = ask.headers;
    request
        .headers_mut()
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(super::USER_AGENT));
    let (response, mut send) = sender.send_request(request, ask.body.is_empty())?;
    if !ask.body.is_empty() {
        send.send_data(ask.body, true)?;
    }
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = Body::new(limit);
    let mut trailers = None;
    while !body.is_enough() {
        let Some(chunk) = incoming.data().await else {
            trailers = incoming.trailers().await?;
            break;
        };
        let chunk = chunk?;
        incoming.flow_control().release_capacity(chunk.len())?;
        body.push(&chunk);
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
        trailers,
    })
}
