//! The standard health protocol of gRPC: `grpc.health.v1.Health/Check`.
//!
//! The server's state is in three places: HTTP's status, gRPC's in the trailers, and the message.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, StatusCode};

use super::BuildError;
use super::connect::{Connector, HTTP2, Tls};
use super::web::{self, Answer, BODY_CAP, BodyLimit, Http2Request};
use super::wire::grpc::{request, status};
use crate::config::{CheckConfig, GrpcConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct GrpcProbe {
    connector: Connector,
    tls: Option<Tls>,
    config: GrpcConfig,
    /// The deadline that is sent to the server, so that it gives up with us.
    timeout: HeaderValue,
}

impl GrpcProbe {
    pub(super) fn new(check: &CheckConfig, config: &GrpcConfig) -> Result<Self, BuildError> {
        // The protocol allows eight digits.
        let millis = check.timeout.as_millis().min(99_999_999);
        Ok(Self {
            connector: Connector::of(check),
            tls: config.tls.as_ref().map(|tls| Tls::new(tls, HTTP2)).transpose()?,
            config: config.clone(),
            timeout: HeaderValue::from_str(&format!("{millis}m")).unwrap_or(HeaderValue::from_static("1S")),
        })
    }

    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (TE, HeaderValue::from_static("trailers")),
            (HeaderName::from_static("grpc-timeout"), self.timeout.clone()),
        ]);
        let request = Http2Request {
            method: Method::POST,
            uri: self.config.uri.clone(),
            headers,
            body: request(&self.config.service).into(),
        };
        let stream = self.connector.open(self.tls.as_ref()).await?;
        judge(&web::send(stream, request, BodyLimit::All(BODY_CAP)).await?)
    }
}

fn judge(answer: &Answer) -> Result<String, Failure> {
    if answer.status != StatusCode::OK {
        let what = format!("status {}, so this is no gRPC server", answer.status);
        return Err(Failure::new(FailureKind::Answer, what));
    }
    let field = |name: &str| {
        let trailer = answer.trailers.as_ref().and_then(|trailers| trailers.get(name));
        // An answer without a message carries them in its headers.
        let value = trailer.or_else(|| answer.headers.get(name))?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let Some(code) = field("grpc-status") else {
        return Err(Failure::new(
            FailureKind::Answer,
            "the answer has no grpc-status, so this is no gRPC server",
        ));
    };
    let message = field("grpc-message").filter(|message| !message.is_empty());
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    match code.as_str() {
        "0" => serving(answer.body.bytes()),
        "5" => Err(Failure::new(
            FailureKind::Answer,
            format!("the server does not know the service{message}"),
        )),
        "12" => Err(Failure::new(
            FailureKind::Answer,
            format!("the server does not implement the health protocol (UNIMPLEMENTED){message}"),
        )),
        code => Err(Failure::new(
            FailureKind::Answer,
            format!("gRPC status {code} ({}){message}", code_name(code)),
        )),
    }
}

/// The names of the codes, as gRPC's documentation has them.
fn code_name(code: &str) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let number = code.parse::<usize>().ok();
    number
        .and_then(|number| NAMES.get(number).copied())
        .unwrap_or("no known code")
}

fn serving(frame: &[u8]) -> Result<String, Failure> {
    let answer = |what: &str| Err(Failure::new(FailureKind::Answer, what));
    match status(frame) {
        Some(0) => answer("UNKNOWN: the service has not reported its state"),
        Some(1) => Ok("SERVING".to_owned()),
        Some(2) => answer("NOT_SERVING"),
        Some(3) => answer("SERVICE_UNKNOWN: the server does not know the service"),
        Some(other) => answer(&format!("the serving status {other} is not a known one")),
        None => answer("the answer is no HealthCheckResponse"),
    }
}
