//! HAProxy's sockets: the stats socket of a worker and the command socket of the master.
//!
//! A session lives as long as one batch of commands. A connection that is kept would stick to the worker that a reload
//! has replaced, answer happily and keep it alive; a new one always reaches the newest worker, and costs a tenth of a
//! millisecond.
//!
//! Framing: in `prompt` mode every version ends each reply to a *line* with `\n> `, so there is one command per line,
//! as many lines in flight as [`PIPELINE`].

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The end of a reply.
const PROMPT: &str = "\n> ";
/// What of it stands after the last line.
const PROMPT_LINE: &[u8] = b"> ";
/// How much is read at a time.
const CHUNK: usize = 16 * 1024;
/// Lines sent before their replies are read: few enough that neither side's buffers fill up.
const PIPELINE: usize = 64;
/// How long HAProxy may take for a pipeline's replies.
const DEADLINE: Duration = Duration::from_secs(5);
/// 20 000 servers are 2 MB.
const MAX_REPLY: usize = 64 * 1024 * 1024;

/// A conversation with the newest worker.
#[derive(Debug)]
pub(crate) struct Session {
    stream: UnixStream,
    /// Read, but not yet handed out.
    buffer: Vec<u8>,
}

impl Session {
    /// Connects. `NotFound` and `ConnectionRefused` mean that nobody is there.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let stream = deadline(UnixStream::connect(path)).await?;
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
            deadline(async {
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

    /// Sends one line and hands on the lines of its reply as they come: whole replies can be megabytes.
    pub(crate) async fn send_for_lines(&mut self, line: &str, mut take: impl FnMut(&str)) -> Result<(), Error> {
        deadline(async {
            self.stream.write_all(format!("{line}\n").as_bytes()).await?;
            let mut seen = 0_usize;
            loop {
                seen = seen.saturating_add(hand_on(&mut self.buffer, &mut take));
                if seen > 0 && self.buffer == PROMPT_LINE {
                    self.buffer.clear();
                    return Ok(());
                }
                if seen.saturating_add(self.buffer.len()) > MAX_REPLY {
                    return Err(Error::new(ErrorKind::InvalidData, "HAProxy's reply has no end"));
                }
                self.buffer.reserve(CHUNK);
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(Error::new(ErrorKind::UnexpectedEof, "HAProxy closed the connection"));
                }
            }
        })
        .await
    }

    async fn reply(&mut self) -> Result<String, Error> {
        let mut searched = 0_usize;
        loop {
            // The end may straddle two reads.
            let from = searched.saturating_sub(PROMPT.len());
            let tail = self.buffer.get(from..).unwrap_or_default();
            if let Some(at) = tail.windows(PROMPT.len()).position(|bytes| bytes == PROMPT.as_bytes()) {
                let end = from.saturating_add(at);
                let rest = self.buffer.split_off(end.saturating_add(PROMPT.len()));
                self.buffer.truncate(end);
                let reply = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&reply).into_owned());
            }
            searched = self.buffer.len();
            if searched > MAX_REPLY {
                return Err(Error::new(ErrorKind::InvalidData, "HAProxy's reply has no end"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "HAProxy closed the connection"));
            }
        }
    }
}

/// Hands on the whole lines that stand in `buffer` and takes them out; how many bytes they were.
fn hand_on(buffer: &mut Vec<u8>, take: &mut impl FnMut(&str)) -> usize {
    let mut whole = 0_usize;
    for line in buffer.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        take(&String::from_utf8_lossy(text));
        whole = whole.saturating_add(line.len());
    }
    buffer.drain(..whole);
    whole
}

/// Asks the master, which answers one command and waits for more until our side is closed.
pub(crate) async fn query_master(path: &Path, command: &str, wait: Duration) -> Result<String, Error> {
    let ask = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        stream.shutdown().await?;
        let mut reply = Vec::new();
        stream.take(MAX_REPLY as u64).read_to_end(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    timeout(wait, ask).await.unwrap_or_else(|_| Err(no_answer(wait)))
}

/// The process that listens at a socket, by the kernel's word; `None` when it is in another process namespace.
pub(crate) async fn listener(path: &Path) -> Result<Option<u32>, Error> {
    let peer = deadline(UnixStream::connect(path)).await?.peer_cred()?;
    Ok(peer
        .pid()
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid != 0))
}

/// Whether the error says that nobody listens.
pub(crate) fn is_not_listening(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

async fn deadline<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|_| Err(no_answer(DEADLINE)))
}

fn no_answer(wait: Duration) -> Error {
    Error::new(ErrorKind::TimedOut, format!("no answer from HAProxy within {wait:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_on_whole_however_they_are_cut() {
        let reply = "one\n\ntwo > \u{e9}\n\n> ".as_bytes();
        for at in 0..reply.len() {
            let (mut buffer, mut lines, mut seen) = (Vec::new(), Vec::new(), 0);
            let (head, tail) = reply.split_at(at);
            for piece in [head, tail] {
                assert!(seen == 0 || buffer != PROMPT_LINE, "cut at {at}, it has not ended yet");
                buffer.extend_from_slice(piece);
                seen += hand_on(&mut buffer, &mut |line| lines.push(line.to_owned()));
            }
            assert_eq!(lines, ["one", "", "two > \u{e9}", ""], "cut at {at}");
            assert_eq!(
                (buffer.as_slice(), seen),
                (PROMPT_LINE, reply.len() - PROMPT_LINE.len())
            );
        }
    }
}
