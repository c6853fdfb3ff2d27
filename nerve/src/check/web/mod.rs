//! One HTTP exchange on a connection of its own: a kept one would hide a listener that is gone.
//!
//! No redirects, no proxy from the environment, no more of the body than is wanted. The connection is driven in the
//! probe's own future: when the probe is over or late, nothing of it is left.

mod body;
mod http1;
mod http2;

use std::error::Error;
use std::pin::pin;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::connect::Stream;
use crate::health::verdict::{Failure, FailureKind};

pub(super) use body::{Body, Want};
pub(super) use http1::{Form, tunnel};

/// What every request says of us.
const USER_AGENT: &str = concat!("nerve/", env!("CARGO_PKG_VERSION"));

/// How much of a body is read at most.
pub(super) const BODY_CAP: usize = 64 * 1024;

/// A request.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// Absolute; its authority is what the server takes as `Host`.
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// HTTP/2 only, and only of a body that was read to its end.
    pub(super) trailers: Option<HeaderMap>,
}

/// The protocol of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1(Form),
    /// Without an upgrade: the server is known to speak it.
    Http2,
}

/// Asks on `stream`.
pub(super) async fn ask(stream: Box<dyn Stream>, version: Version, ask: Ask, want: Want) -> Result<Answer, Failure> {
    match version {
        Version::Http1(form) => http1::ask(stream, form, ask, want).await,
        Version::Http2 => http2::ask(stream, ask, want).await,
    }
}

/// Drives a connection until its exchange is done. A connection that ends first may have brought the answer.
async fn drive<T, E: Error + 'static>(
    connection: impl Future<Output = Result<(), E>>,
    exchange: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    let mut exchange = pin!(exchange);
    let answer = tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ended = connection => exchange.await,
    };
    answer.map_err(|error| broken(&error))
}

/// The innermost cause: the outer ones say "error".
fn broken(error: &(dyn Error + 'static)) -> Failure {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failure::new(FailureKind::Connection, cause.to_string())
}
