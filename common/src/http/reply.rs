//! Replies.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

/// A reply: status, content type, body.
#[derive(Debug)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// The chunks after the body.
    pub stream: Option<Stream>,
    /// The `Allow` of a 405: the methods that the path has, e.g. `GET, HEAD`.
    pub allow: Option<&'static str>,
}

/// The part of a body that is produced while it is sent.
pub struct Stream {
    pub(super) feed: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(super) chunks: mpsc::Receiver<Bytes>,
}

/// Greatest number of chunks produced ahead of the peer.
const BODY_BUFFER: usize = 4;

impl Stream {
    /// Returns the stream of the chunks that `feed` sends. It runs within the connection: it pauses while the peer reads
    /// nothing, and is dropped when the peer closes or the server stops. It must send a chunk at least every 30 s, the
    /// timeout for reading a reply.
    pub fn new<F: Future<Output = ()> + Send + 'static>(feed: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Self {
        let (sender, chunks) = mpsc::channel(BODY_BUFFER);
        Self {
            feed: Box::pin(feed(sender)),
            chunks,
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Reply {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into().into_bytes(),
            stream: None,
            allow: None,
        }
    }

    /// JSON; a value that cannot be serialised (our views have none) becomes a 500.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(json) => Self::json_text(status, json),
            Err(error) => Self::text(500, error.to_string()),
        }
    }

    /// JSON that is already serialised.
    pub fn json_text(status: u16, json: impl Into<String>) -> Self {
        Self {
            content_type: "application/json",
            ..Self::text(status, json)
        }
    }

    /// A 200 with a streamed body.
    pub fn stream(content_type: &'static str, stream: Stream) -> Self {
        Self {
            content_type,
            stream: Some(stream),
            ..Self::text(200, "")
        }
    }

    /// An error as RFC 9457 problem+json: what failed and what to do.
    pub fn problem(status: u16, title: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let problem = json!({ "type": "about:blank", "title": title, "status": status, "detail": detail });
        Self {
            content_type: "application/problem+json",
            ..Self::json(status, &problem)
        }
    }

    /// A 405 of a path with the methods `allow`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("This path takes {allow}.");
        Self {
            allow: Some(allow),
            ..Self::problem(405, "Method not allowed", detail)
        }
    }
}
