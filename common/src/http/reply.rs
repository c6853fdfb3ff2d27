//! Answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

/// An answer: status, content type, body.
#[derive(Debug)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// What follows the body bit by bit; `None`: nothing.
    pub stream: Option<Stream>,
    /// The `Allow` of a 405: the methods that the path has, e.g. `GET, HEAD`.
    pub allow: Option<&'static str>,
}

/// The rest of a body that comes into being while it is sent.
pub struct Stream {
    pub(super) feed: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(super) chunks: mpsc::Receiver<Bytes>,
}

/// How many chunks are made ahead of the peer.
const BODY_BUFFER: usize = 4;

impl Stream {
    /// A stream of what `feed` sends, until it ends. It runs within the connection: it stands still while the peer takes
    /// nothing, and is dropped when the peer leaves or the server stops. It must send something more often than peers
    /// are given to take a reply (30 s), for a peer that takes nothing is cut then.
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

    /// JSON; a value that can't be serialised (there is none in our views) becomes a 500.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self {
                status,
                content_type: "application/json",
                body,
                stream: None,
                allow: None,
            },
            Err(error) => Self::text(500, error.to_string()),
        }
    }

    /// JSON that is text already.
    pub fn json_text(status: u16, json: &str) -> Self {
        Self {
            content_type: "application/json",
            ..Self::text(status, json)
        }
    }

    /// A 200 whose body comes bit by bit.
    pub fn stream(content_type: &'static str, stream: Stream) -> Self {
        Self {
            content_type,
            stream: Some(stream),
            ..Self::text(200, "")
        }
    }

    /// An error as RFC 9457 problem+json: what failed and what to do.
    pub fn problem(status: u16, title: &str, detail: impl Into<String>) -> Self {
        let mut reply = Self::json(
            status,
            &serde_json::json!({ "type": "about:blank", "title": title, "status": status, "detail": detail.into() }),
        );
        reply.content_type = "application/problem+json";
        reply
    }

    /// A path that is there, asked with a method that it does not have; `allow` names those it has.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("This path takes {allow}.");
        Self {
            allow: Some(allow),
            ..Self::problem(405, "Method not allowed", detail)
        }
    }
}
