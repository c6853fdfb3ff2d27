//! A client of the API, for the subcommands that replace curl.

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

/// Bytes of a response; a status of many thousand instances has some megabytes.
const MAX_RESPONSE: usize = 64 * 1024 * 1024;

/// The address of a daemon's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// `host:port`; the host is an address or a name.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The connection failed.
    #[error("can't connect to {api}: {source}; does it run, and is that the address of its API?")]
    Connect {
        /// The address.
        api: Api,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection broke, or the response is invalid.
    #[error("no valid response from {api}: {why}")]
    Response {
        /// The address.
        api: Api,
        /// The cause.
        why: String,
    },
    /// The deadline passed.
    #[error("{api} did not respond within {within:?}")]
    Timeout {
        /// The address.
        api: Api,
        /// The deadline.
        within: Duration,
    },
}

impl Api {
    /// Returns the address of the API that listens at `host` and `port`; loopback for an unspecified address.
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

/// Sends a request, with a JSON `body` if there is one, and returns the whole response; the deadline is `within`.
pub async fn request(
    api: &Api,
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
    within: Duration,
) -> Result<Response, RequestError> {
    let connected = |source| RequestError::Connect {
        api: api.clone(),
        source,
    };
    let response = async {
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
    let expired = RequestError::Timeout {
        api: api.clone(),
        within,
    };
    timeout(within, response).await.unwrap_or(Err(expired))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    api: &Api,
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<Response, RequestError> {
    let failed = |error: &dyn fmt::Display| RequestError::Response {
        api: api.clone(),
        why: error.to_string(),
    };
    let connected = handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| failed(&error))?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    // A Unix socket has no host name; a server on TCP accepts only `localhost`.
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(&error))?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        Ok(Response {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The end of the connection completes the response, or fails it.
        _ = connection => answered.await,
    }
}

/// Percent-encodes a segment of a path.
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

/// Returns the `detail` of a problem, or else the whole body, on one line.
pub fn problem_detail(answer: &Response) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    let text = detail.unwrap_or(&answer.body);
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

/// A health query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `/live`
    Live,
    /// `/started`
    Started,
    /// `/ready`
    Ready,
}

impl Probe {
    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Started => "started",
            Self::Ready => "ready",
        }
    }
}

/// Queries the health of the daemon `name`: a line, or the reason why it is not well.
pub async fn health(name: &str, api: &Api, probe: Probe, within: Duration) -> Result<String, String> {
    let state = probe.as_str();
    match request(api, "GET", &format!("/{state}"), None, within).await {
        Ok(Response { status: 200, .. }) => Ok(format!("{name} is {state}")),
        Ok(answer) => {
            let why = problem_detail(&answer);
            let why = why.strip_prefix("false, ").unwrap_or(&why);
            Err(format!("not {state}: waiting for {why}"))
        }
        Err(error) => Err(format!("not {state}: {error}")),
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
    fn a_problem_is_shown_by_its_detail_and_any_other_response_as_one_line() {
        let answer = |body: &str| Response {
            status: 503,
            body: body.to_owned(),
        };
        assert_eq!(problem_detail(&answer(r#"{"title":"x","detail":"why"}"#)), "why");
        assert_eq!(problem_detail(&answer("false\na\nb\n")), "false, a, b");
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
