//! The output of a program: one pipe for both streams, of which the last bytes are kept.

use std::io::{PipeWriter, Result, pipe};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::OUTPUT_CAP;

/// Bytes per read.
const CHUNK: usize = 8 * 1024;

/// The reading end of the pipe and the last bytes that came through it; never more than a few times the cap.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Receiver,
    tail: Vec<u8>,
    cut: bool,
}

impl Output {
    /// Returns the reader and the writer for the program.
    pub(super) fn new() -> Result<(Self, PipeWriter)> {
        let (reader, writer) = pipe()?;
        let output = Self {
            pipe: Receiver::from_owned_fd(reader.into())?,
            tail: Vec::new(),
            cut: false,
        };
        Ok((output, writer))
    }

    /// Reads until every writer is closed. Cancel-safe.
    pub(super) async fn read_to_end(&mut self) {
        loop {
            self.tail.reserve(CHUNK);
            // An error ends the output as well.
            if !matches!(self.pipe.read_buf(&mut self.tail).await, Ok(1..)) {
                return;
            }
            if self.tail.len() > 2 * OUTPUT_CAP {
                self.truncate();
            }
        }
    }

    /// As [`read_to_end`](Self::read_to_end), but never returns.
    pub(super) async fn read_forever(&mut self) {
        self.read_to_end().await;
        std::future::pending::<()>().await;
    }

    /// Returns the last bytes as text: invalid UTF-8 is replaced, and the first character is whole.
    pub(super) fn into_text(mut self) -> String {
        self.truncate();
        let continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let torn = self.tail.iter().take(3).take_while(continuation).count();
        if self.cut {
            self.tail.drain(..torn);
        }
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn truncate(&mut self) {
        let excess = self.tail.len().saturating_sub(OUTPUT_CAP);
        self.cut |= excess > 0;
        self.tail.drain(..excess);
    }
}
