//! HAProxy's sockets: the stats socket of a worker and the command socket of the master.
//!
//! A session lives as long as one batch of commands. A connection that stays open would keep the worker alive that a
//! reload has replaced, and would read from it; a new connection always reaches the newest worker, and costs a tenth of a
//! millisecond.
//!
//! Framing: in `prompt` mode every version ends each reply to a *line* with `\n> `, so there is one command a line, and as
//! many lines in flight as [`PIPELINE`].

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The end of a reply.
const PROMPT: &[u8] = b"\n> ";
/// The part of the prompt that follows the last line.
const PROMPT_LINE: &[u8] = b"> ";
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;
/// Lines sent before their replies are read: few enough that the buffers of neither side fill up.
const PIPELINE: usize = 64;
/// Time limit for the replies to one pipeline.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes; 20 000 servers are 2 MB.
const MAX_REPLY: usize = 64 * 1024 * 1024;

/// A connection to the newest worker.
#[derive(Debug)]
pub(crate) struct Session {
    stream: UnixStream,
    /// Bytes read and not yet returned.
    buffer: Vec<u8>,
}

impl Session {
    /// Connects. `NotFound` and `ConnectionRefused` mean that no process listens.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let stream = with_timeout(REPLY_TIMEOUT, UnixStream::connect(path)).await?;
        let mut session = Self {
            stream,
            buffer: Vec::new(),
        };
        session.send_one("prompt").await?;
        Ok(session)
    }

    /// Sends `lines` and returns the reply to each.
    pub(crate) async fn send(&mut self, lines: &[String]) -> Result<Vec<String>, Error> {
        let mut replies = Vec::with_capacity(lines.len());
        for chunk in lines.chunks(PIPELINE) {
            let text: String = chunk.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            with_timeout(REPLY_TIMEOUT, async {
                self.stream.write_all(text.as_bytes()).await?;
                for _ in chunk {
                    replies.push(self.reply().await?);
                }
                Ok(())
            })
            .await?;
        }
        Ok(replies)
    }

    /// Sends one line and returns its reply.
    pub(crate) async fn send_one(&mut self, line: &str) -> Result<String, Error> {
        Ok(self.send(&[line.to_owned()]).await?.pop().unwrap_or_default())
    }

    /// Sends one line and passes the lines of its reply on as they arrive, because a whole reply can be megabytes.
    pub(crate) async fn send_for_lines(&mut self, line: &str, mut take: impl FnMut(&str)) -> Result<(), Error> {
        with_timeout(REPLY_TIMEOUT, async {
            self.stream.write_all(format!("{line}\n").as_bytes()).await?;
            let mut taken = 0;
            loop {
                taken += take_lines(&mut self.buffer, &mut take);
                if taken > 0 && self.buffer == PROMPT_LINE {
                    self.buffer.clear();
                    return Ok(());
                }
                self.fill(taken).await?;
            }
        })
        .await
    }

    async fn reply(&mut self) -> Result<String, Error> {
        let mut searched = 0_usize;
        loop {
            // The prompt may straddle two reads.
            let from = searched.saturating_sub(PROMPT.len());
            let tail = self.buffer.get(from..).unwrap_or_default();
            if let Some(at) = tail.windows(PROMPT.len()).position(|bytes| bytes == PROMPT) {
                let rest = self.buffer.split_off(from + at + PROMPT.len());
                self.buffer.truncate(from + at);
                let reply = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&reply).into_owned());
            }
            searched = self.buffer.len();
            self.fill(0).await?;
        }
    }

    /// Reads more of a reply, of which `taken` bytes have left the buffer.
    async fn fill(&mut self, taken: usize) -> Result<(), Error> {
        if taken + self.buffer.len() > MAX_REPLY {
            return Err(Error::new(ErrorKind::InvalidData, "HAProxy's reply has no end"));
        }
        self.buffer.reserve(CHUNK);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "HAProxy closed the connection")),
            _ => Ok(()),
        }
    }
}

/// Passes the complete lines in `buffer` on and removes them; returns their length in bytes.
fn take_lines(buffer: &mut Vec<u8>, take: &mut impl FnMut(&str)) -> usize {
    let mut taken = 0;
    for line in buffer.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        take(&String::from_utf8_lossy(text));
        taken += line.len();
    }
    buffer.drain(..taken);
    taken
}

/// Sends a command to the master, which replies to one command and waits for more until the other side is closed.
pub(crate) async fn query_master(path: &Path, command: &str, limit: Duration) -> Result<String, Error> {
    with_timeout(limit, async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        stream.shutdown().await?;
        let mut reply = Vec::new();
        stream.take(MAX_REPLY as u64).read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    })
    .await
}

/// Returns the process that listens at a socket according to the kernel; `None` if it is in another process namespace.
pub(crate) async fn listener(path: &Path) -> Result<Option<u32>, Error> {
    let stream = with_timeout(REPLY_TIMEOUT, UnixStream::connect(path)).await?;
    let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok(pid.filter(|pid| *pid != 0))
}

/// Whether the error means that no process listens.
pub(crate) fn is_not_listening(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

async fn with_timeout<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let what = format!("no answer from HAProxy within {limit:?}");
        Err(Error::new(ErrorKind::TimedOut, what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_complete_wherever_reads_cut_them() {
        let reply = "one\n\ntwo > \u{e9}\n\n> ".as_bytes();
        for at in 0..reply.len() {
            let (mut buffer, mut lines, mut seen) = (Vec::new(), Vec::new(), 0);
            let (head, tail) = reply.split_at(at);
            for piece in [head, tail] {
                assert!(
                    seen == 0 || buffer != PROMPT_LINE,
                    "cut at {at}, the reply has not ended"
                );
                buffer.extend_from_slice(piece);
                seen += take_lines(&mut buffer, &mut |line| lines.push(line.to_owned()));
            }
            assert_eq!(lines, ["one", "", "two > \u{e9}", ""], "cut at {at}");
            assert_eq!(
                (buffer.as_slice(), seen),
                (PROMPT_LINE, reply.len() - PROMPT_LINE.len())
            );
        }
    }
}
