//! The body of a reply for hyper, with a record of whether the peer reads it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::reply::Stream;

/// When bytes were last passed to hyper that may still be on their way to the peer; `None` while hyper waits for us.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending(Arc<Mutex<Option<Instant>>>);

impl Pending {
    pub(super) fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    pub(super) fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes, followed by an optional stream that ends at the server's stop at the latest.
pub(super) struct ReplyBody {
    whole: Bytes,
    stream: Option<(Stream, Pin<Box<WaitForCancellationFutureOwned>>)>,
    pending: Pending,
}

impl ReplyBody {
    pub(super) fn new(
        whole: Vec<u8>,
        stream: Option<Stream>,
        stop: WaitForCancellationFutureOwned,
        pending: Pending,
    ) -> Self {
        Self {
            whole: whole.into(),
            stream: stream.map(|stream| (stream, Box::pin(stop))),
            pending,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.whole.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.whole)))));
        }
        let Self { stream, pending, .. } = &mut *self;
        let Some((Stream { feed, chunks }, stop)) = stream else {
            return Poll::Ready(None);
        };
        if stop.as_mut().poll(context).is_ready() {
            *stream = None;
            return Poll::Ready(None);
        }
        // Chunks that the feed sent before its end are still delivered.
        let ended = feed.as_mut().poll(context).is_ready();
        match chunks.poll_recv(context) {
            Poll::Ready(Some(chunk)) => {
                if ended {
                    *feed = Box::pin(std::future::ready(()));
                }
                pending.set(Some(Instant::now()));
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Poll::Pending if !ended => {
                pending.set(None);
                Poll::Pending
            }
            Poll::Ready(None) | Poll::Pending => {
                *stream = None;
                pending.set(Some(Instant::now()));
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_empty() && self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.stream.is_some() {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.whole.len() as u64)
    }
}
