//! One connection: requests read within their limits, answered one after the other.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error};

use super::access::Peer;
use super::body::{Pending, ReplyBody};
use super::{Handler, Reply, Request, request};

/// Size of the buffers for a request's head and for a reply.
const BUFFER: usize = 32 * 1024;

/// Timeouts for the peer. The handler limits its own time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// To send a request's head, counted from the connection's start or the reply before.
    pub(super) head: Duration,
    /// To send a request's body.
    pub(super) body: Duration,
    /// To read a reply. More than `head`, because a reply that was read looks the same until the next request. Checked once
    /// per timeout, so it may take twice as long.
    pub(super) reply: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            body: Duration::from_secs(5),
            reply: Duration::from_secs(30),
        }
    }
}

/// A TCP or Unix stream, so that hyper's state machine is compiled once.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Serves until the peer closes or exceeds a timeout. On `stop` a request in flight is still answered.
pub(super) async fn serve(
    stream: Box<dyn Stream>,
    peer: Peer,
    limits: Limits,
    handler: Handler,
    stop: CancellationToken,
) {
    let pending = Pending::default();
    let service = service_fn(|request| {
        pending.set(None);
        let handler = Arc::clone(&handler);
        async {
            let reply = answer(request, peer, limits, handler).await;
            pending.set(Some(Instant::now()));
            Ok::<_, Infallible>(response(reply, &stop, &pending))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut check = interval(limits.reply);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "An API connection ended early.");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            now = check.tick() => {
                // Hyper closes an idle connection long before; the peer of this one does not read its reply.
                if pending.since().is_some_and(|since| now.duration_since(since) >= limits.reply) {
                    debug!("An API peer did not read its reply in time.");
                    return;
                }
            }
        }
    }
}

async fn answer(request: hyper::Request<Incoming>, peer: Peer, limits: Limits, handler: Handler) -> Reply {
    match request::read(request, peer, limits.body).await {
        Ok(request) => handled(handler, request).await,
        Err(refusal) => refusal,
    }
}

/// Returns the handler's reply, 500 after a panic; the connection continues.
async fn handled(handler: Handler, request: Request) -> Reply {
    let mut task = JoinSet::new();
    task.spawn(async move { handler(request).await }.instrument(Span::current()));
    match task.join_next().await {
        Some(Ok(reply)) => reply,
        broken => {
            let why = broken.and_then(Result::err).map(|error| error.to_string());
            error!(why, "An API handler panicked.");
            Reply::problem(
                500,
                "Internal error",
                "The handler of this request failed; see the daemon's log.",
            )
        }
    }
}

fn response(reply: Reply, stop: &CancellationToken, pending: &Pending) -> Response<ReplyBody> {
    let stop = stop.clone().cancelled_owned();
    let mut response = Response::new(ReplyBody::new(reply.body, reply.stream, stop, pending.clone()));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if let Some(allow) = reply.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}
