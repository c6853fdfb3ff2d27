//! A program's output: one pipe for both of its streams, of which the end is kept.

use std::io::{PipeWriter, Result, pipe};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::OUTPUT_CAP;

/// How much is read at a time.
const CHUNK: usize = 8 * 1024;

/// The reading end of the pipe and the last bytes that came through it; never more than a few times the cap.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Receiver,
    tail: Vec<u8>,
    cut: bool,
}

impl Output {
    /// The reader and the end that the program gets.
    pub(super) fn new() -> Result<(Self, PipeWriter)> {
        let (reader, writer) = pipe()?;
        let output = Self {
            pipe: Receiver::from_owned_fd(reader.into())?,
            tail: Vec::new(),
            cut: false,
        };
        Ok((output, writer))
    }

    /// Reads until nobody can write any more. Cancel-safe.
    pub(super) async fn read_to_end(&mut self) {
        loop {
            self.tail.reserve(CHUNK);
            // A pipe that can't be read says no more than one that has ended.
            if !matches!(self.pipe.read_buf(&mut self.tail).await, Ok(1..)) {
                return;
            }
            if self.tail.len() > 2 * OUTPUT_CAP {
                self.keep_the_end();
            }
        }
    }

    /// As [`read_to_end`](Self::read_to_end), but never ends.
    pub(super) async fn read_for_ever(&mut self) {
        self.read_to_end().await;
        std::future::pending::<()>().await;
    }

    /// What was read, bytes that are no UTF-8 replaced, beginning with a whole character.
    pub(super) fn into_text(mut self) -> String {
        self.keep_the_end();
        let continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let torn = self.tail.iter().take(3).take_while(continuation).count();
        if self.cut {
            self.tail.drain(..torn);
        }
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    fn keep_the_end(&mut self) {
        let excess = self.tail.len().saturating_sub(OUTPUT_CAP);
        self.cut |= excess > 0;
        self.tail.drain(..excess);
    }
}
