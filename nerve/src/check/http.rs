//! The answer to a request: its status, and its body when the operator wants a text in it.

use common::config::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Unbuildable;
use super::connect::{Dial, HTTP1, HTTP2, Tls};
use super::web::{self, Answer, Ask, BODY_CAP, Form, Version, Want};
use crate::config::{CheckConfig, HttpConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct HttpProbe {
    dial: Dial,
    tls: Option<Tls>,
    config: HttpConfig,
}

impl HttpProbe {
    pub(super) fn new(check: &CheckConfig, config: &HttpConfig) -> Result<Self, Unbuildable> {
        let alpn = if config.http2 { HTTP2 } else { HTTP1 };
        Ok(Self {
            dial: Dial::of(check),
            tls: config.tls.as_ref().map(|tls| Tls::new(tls, alpn)).transpose()?,
            config: config.clone(),
        })
    }

    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let config = &self.config;
        let request = Ask {
            method: config.method.clone(),
            uri: config.uri.clone(),
            headers: headers(&config.headers)?,
            body: bytes::Bytes::new(),
        };
        let version = if config.http2 {
            Version::Http2
        } else {
            Version::Http1(Form::Origin)
        };
        let want = config
            .expect
            .as_ref()
            .map_or(Want::Nothing, |text| Want::Until(text.clone().into_bytes(), BODY_CAP));
        let stream = self.dial.open(self.tls.as_ref()).await?;
        judge(config, &web::ask(stream, version, request, want).await?)
    }
}

fn judge(config: &HttpConfig, answer: &Answer) -> Result<String, Failure> {
    let status = format!("status {}", answer.status);
    let missing = config.expect.as_ref().filter(|_| !answer.body.found());
    if !config.expected.contains(answer.status.as_u16()) {
        Err(Failure::new(FailureKind::Answer, status))
    } else if let Some(text) = missing {
        let what = format!(
            "{status}, but the first {} bytes of the body lack `{text}`",
            answer.body.bytes().len()
        );
        Err(Failure::new(FailureKind::Answer, what))
    } else {
        Ok(status)
    }
}

/// The headers as they are now: a value may be a secret that was replaced.
pub(super) fn headers(configured: &[(HeaderName, Secret)]) -> Result<HeaderMap, Failure> {
    let header = |(name, value): &(HeaderName, Secret)| Ok((name.clone(), sensitive(&value.read()?)?));
    configured.iter().map(header).collect()
}

/// A value that is never shown.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Failure::new(FailureKind::Secret, "a secret for a header has a line break in it"))?;
    value.set_sensitive(true);
    Ok(value)
}
