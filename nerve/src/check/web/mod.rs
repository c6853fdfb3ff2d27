//! One HTTP exchange on a connection of its own: a kept one would hide a listener that is gone.
//!
//! No redirects, no proxy from the environment, no more of the body than is wanted. When a probe is over or late, its
//! connection is closed.
//!
//! HTTP/1.1 is reqwest's. HTTP/2 is not: gRPC needs the trailers, and a request may have three names, the server's address,
//! the name in its certificate and the authority, of which a URL holds but one. (HTTP/1.1 has the last in a header.)

mod body;
mod http1;
mod http2;

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

pub(super) use body::{Body, BodyLimit};
pub(super) use http1::{HttpTarget, answer, broken, no_tunnel, proxied, url};
pub(super) use http2::send;

/// The `User-Agent` of every request.
const USER_AGENT: &str = concat!("nerve/", env!("CARGO_PKG_VERSION"));

/// How much of a body is read at most.
pub(super) const BODY_CAP: usize = 64 * 1024;

/// A request of HTTP/2.
#[derive(Debug)]
pub(super) struct Http2Request {
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

/// The innermost cause: the outer ones are just "error".
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}
