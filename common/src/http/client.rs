//! Asking a daemon that runs, through its API: what the subcommands do where there is no curl.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Listen;

/// The longest answer; a status of many thousand instances is some megabytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Where a daemon's API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// `host:port`; the host is an address or a name.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("nothing answers at {api}: {source}; does it run, and is that its API's address?")]
    Connect {
        /// Where.
        api: Api,
        /// The system's word.
        source: std::io::Error,
    },
    /// The connection broke, or what is there speaks something else.
    #[error("{api} does not answer as an API does: {why}")]
    Answer {
        /// Where.
        api: Api,
        /// What is wrong.
        why: String,
    },
    /// The deadline passed.
    #[error("{api} did not answer within {within:?}")]
    Late {
        /// Where.
        api: Api,
        /// The deadline.
        within: Duration,
    },
}

impl Api {
    /// The API that listens at `host` and `port`: where that is every address of the machine, loopback is one of them.
    pub fn at(host: &str, port: u16) -> Self {
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1".to_owned(),
            Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".to_owned(),
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
        };
        Self::Tcp(format!("{host}:{port}"))
    }
}

impl From<&Listen> for Api {
    fn from(listen: &Listen) -> Self {
        match listen {
            Listen::Tcp(address) => Self::at(&address.ip().to_string(), address.port()),
            Listen::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl FromStr for Api {
    type Err = String;

    /// `HOST:PORT`, or the path of a socket, which has a `/`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        match port.parse::<u16>() {
            Ok(port) if port > 0 && !host.is_empty() => Ok(Self::at(host.trim_matches(['[', ']']), port)),
            _ => Err("is neither HOST:PORT nor the path of a socket".to_owned()),
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Sends one request, `body` (JSON) with it where there is one, and waits for the whole answer, `within` at most.
pub async fn ask(
    api: &Api,
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
    within: Duration,
) -> Result<Answer, ClientError> {
    let connected = |source| ClientError::Connect {
        api: api.clone(),
        source,
    };
    let asked = async {
        match api {
            Api::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(connected)?;
                exchange(stream, api, method, path, body).await
            }
            Api::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(connected)?;
                exchange(stream, api, method, path, body).await
            }
        }
    };
    let late = ClientError::Late {
        api: api.clone(),
        within,
    };
    timeout(within, asked).await.unwrap_or(Err(late))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    api: &Api,
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<Answer, ClientError> {
    let wrong = |why: String| ClientError::Answer { api: api.clone(), why };
    let (mut sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| wrong(error.to_string()))?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    // A socket has no name; a server on TCP takes no name but `localhost`, and does not care about the address.
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| wrong(error.to_string()))?;
    let answered = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| wrong(error.to_string()))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| wrong(error.to_string()))?.to_bytes();
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection's end wakes the answer, whole or not.
        _ = connection => answered.await,
    }
}

/// A segment of a path, percent-encoded.
pub fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The `detail` of an answer that is a problem, or else all that it says, on one line.
pub fn said(answer: &Answer) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    let text = detail.unwrap_or(&answer.body);
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

/// What `health` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `/live`
    Live,
    /// `/started`
    Started,
    /// `/ready`
    Ready,
}

impl Question {
    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Started => "started",
            Self::Ready => "ready",
        }
    }
}

/// Asks, and says in one line what is so of the daemon `name`; an `Err` is a no.
pub async fn health(name: &str, api: &Api, question: Question, within: Duration) -> Result<String, String> {
    let word = question.as_str();
    match ask(api, "GET", &format!("/{word}"), None, within).await {
        Ok(Answer { status: 200, .. }) => Ok(format!("{name} is {word}")),
        Ok(answer) => {
            let why = said(&answer);
            let why = why.strip_prefix("false, ").unwrap_or(&why);
            Err(format!("{name} is not {word} yet: it waits for {why}"))
        }
        Err(error) => Err(format!("{name} is not {word}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        text.parse::<Api>().map(|api| api.to_string())
    }

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_path() {
        for (text, api) in [
            ("127.0.0.1:3454", "127.0.0.1:3454"),
            ("0.0.0.0:3454", "127.0.0.1:3454"),
            ("localhost:1", "localhost:1"),
            ("[::1]:80", "[::1]:80"),
            ("[::]:80", "[::1]:80"),
            ("/run/nerve.sock", "/run/nerve.sock"),
            ("./nerve.sock", "./nerve.sock"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(api), "{text}");
        }
        for wrong in ["", "3454", "host", "host:", ":80", "host:0", "host:70000", "host:x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_problem_is_told_by_its_detail_and_any_other_answer_in_one_line() {
        let answer = |body: &str| Answer {
            status: 503,
            body: body.to_owned(),
        };
        assert_eq!(said(&answer(r#"{"title":"x","detail":"why"}"#)), "why");
        assert_eq!(said(&answer("false\na\nb\n")), "false, a, b");
    }

    proptest! {
        #[test]
        fn any_text_is_a_segment(text in ".*") {
            let segment = segment(&text);
            prop_assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
        }

        #[test]
        fn no_address_breaks_the_reading(text in ".*") {
            parse(&text).ok();
        }
    }
}
