//! The standard health protocol of gRPC: `grpc.health.v1.Health/Check`.
//!
//! Its two messages are so small that they are written and read here: a request with the service's name in field 1, a
//! response with a status in field 1 (the format is that of grpc/health/v1/health.proto).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, StatusCode};

use super::Unbuildable;
use super::connect::{Dial, HTTP2, Tls};
use super::web::{self, Answer, Ask, BODY_CAP, Want};
use crate::config::{CheckConfig, GrpcConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct GrpcProbe {
    dial: Dial,
    tls: Option<Tls>,
    config: GrpcConfig,
    /// What the server is told, so that it gives up with us.
    timeout: HeaderValue,
}

impl GrpcProbe {
    pub(super) fn new(check: &CheckConfig, config: &GrpcConfig) -> Result<Self, Unbuildable> {
        // The protocol allows eight digits.
        let millis = check.timeout.as_millis().min(99_999_999);
        Ok(Self {
            dial: Dial::of(check),
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
        let request = Ask {
            method: Method::POST,
            uri: self.config.uri.clone(),
            headers,
            body: request(&self.config.service),
        };
        let stream = self.dial.open(self.tls.as_ref()).await?;
        judge(&web::ask(stream, request, Want::All(BODY_CAP)).await?)
    }
}

/// A frame (a flag for no compression, the length in four bytes) with a `HealthCheckRequest` in it.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, a length and that many bytes.
        message.push(0x0a);
        message.extend(varint(service.len()));
        message.extend(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = vec![0];
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
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
        Some(0) => answer("UNKNOWN: the service has not said how it is"),
        Some(1) => Ok("SERVING".to_owned()),
        Some(2) => answer("NOT_SERVING"),
        Some(3) => answer("SERVICE_UNKNOWN: the server does not know the service"),
        Some(other) => answer(&format!("the serving status {other} is not a known one")),
        None => answer("the answer is no HealthCheckResponse"),
    }
}

/// The `status` of the `HealthCheckResponse` in a frame; the last one counts, absent is 0. Other fields are passed over.
fn status(frame: &[u8]) -> Option<u64> {
    let (&[compressed, a, b, c, d], message) = frame.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let mut message = message.get(..length)?;
    if compressed != 0 {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                status = if tag >> 3 == 1 { value } else { status };
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_request_is_as_protobuf_writes_it() {
        assert_eq!(request("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request(&"x".repeat(300));
        assert_eq!(long.get(..8), Some([0, 0, 0, 1, 47, 0x0a, 0xac, 2].as_slice()));
    }

    #[test]
    fn the_status_is_found_among_other_fields() {
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 6, 0x12, 2, 8, 3, 8, 2]), Some(2));
        for bad in [
            &[][..],
            &[0, 0, 0, 0, 2, 8],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 2, 8, 0x80],
            &[0, 0, 0, 0, 1, 7],
        ] {
            assert_eq!(status(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(frame in prop::collection::vec(any::<u8>(), 0..40)) {
            let _status = status(&frame);
        }

        #[test]
        fn a_varint_comes_back(number in any::<usize>()) {
            let bytes = varint(number);
            prop_assert_eq!(take_varint(&mut bytes.as_slice()), u64::try_from(number).ok());
        }
    }
}
