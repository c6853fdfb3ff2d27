//! HTTP/1.1.

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{Answer, Ask, Body, Want, broken, drive};
use crate::check::connect::Stream;
use crate::health::verdict::{Failure, FailureKind};

/// What stands in the first line of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::check) enum Form {
    /// The path.
    Origin,
    /// The whole URL, as proxies want it.
    Absolute,
}

pub(super) async fn ask(stream: Box<dyn Stream>, form: Form, ask: Ask, want: Want) -> Result<Answer, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let request = request(form, ask);
    let exchange = async {
        let (head, mut incoming) = sender.send_request(request).await?.into_parts();
        let mut body = Body::new(want);
        while !body.is_enough()
            && let Some(frame) = incoming.frame().await
        {
            body.push(frame?.data_ref().map_or(&[], |data| data));
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            trailers: None,
        })
    };
    drive(connection, exchange).await
}

fn request(form: Form, ask: Ask) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(ask.body));
    *request.method_mut() = ask.method;
    *request.headers_mut() = ask.headers;
    say(request.headers_mut(), &ask.uri);
    *request.uri_mut() = match form {
        Form::Absolute => ask.uri,
        Form::Origin => ask.uri.path_and_query().cloned().map_or(ask.uri, Uri::from),
    };
    request
}

/// What is said in every request.
fn say(headers: &mut HeaderMap, uri: &Uri) {
    if let Some(host) = uri
        .authority()
        .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        headers.insert(HOST, host);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(super::USER_AGENT));
}

/// Lets a proxy connect to `authority`; what it says then is that server's.
pub(in crate::check) async fn tunnel(
    stream: Box<dyn Stream>,
    authority: &Uri,
    headers: HeaderMap,
) -> Result<Box<dyn Stream>, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let mut request = Request::new(Full::<Bytes>::default());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = authority.clone();
    *request.headers_mut() = headers;
    say(request.headers_mut(), authority);
    request.headers_mut().remove(CONNECTION);
    let exchange = async {
        let response = sender.send_request(request).await?;
        if response.status().is_success() {
            hyper::upgrade::on(response).await.map(Ok)
        } else {
            Ok(Err(response.status()))
        }
    };
    match drive(connection.with_upgrades(), exchange).await? {
        Ok(tunnel) => Ok(Box::new(TokioIo::new(tunnel))),
        Err(status) => Err(Failure::new(
            FailureKind::Answer,
            format!("the proxy answers CONNECT with status {status}"),
        )),
    }
}
