//! The answer to a request: its status, and its body when the operator wants a text in it.

use common::config::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::BuildError;
use super::connect::{Connector, HTTP1, HTTP2, Tls};
use super::web::{self, Answer, BODY_CAP, BodyLimit, Http2Request, HttpTarget};
use crate::config::{CheckConfig, HttpConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct HttpProbe {
    server: Server,
    config: HttpConfig,
}

#[derive(Debug)]
enum Server {
    Http1(HttpTarget),
    Http2(Connector, Option<Tls>),
}

impl HttpProbe {
    pub(super) fn new(check: &CheckConfig, config: &HttpConfig) -> Result<Self, BuildError> {
        let connector = Connector::of(check);
        let tls = |alpn| config.tls.as_ref().map(|tls| Tls::new(tls, alpn)).transpose();
        let server = if config.http2 {
            Server::Http2(connector, tls(HTTP2)?)
        } else {
            Server::Http1(HttpTarget::new(connector, tls(HTTP1)?, &config.uri)?)
        };
        Ok(Self {
            server,
            config: config.clone(),
        })
    }

    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let config = &self.config;
        let limit = config.expect.as_ref().map_or(BodyLimit::Nothing, |text| {
            BodyLimit::Until(text.clone().into_bytes(), BODY_CAP)
        });
        let (method, headers) = (config.method.clone(), headers(&config.headers)?);
        let answer = match &self.server {
            Server::Http1(site) => site.send(method, headers, limit).await?,
            Server::Http2(connector, tls) => {
                let request = Http2Request {
                    method,
                    uri: config.uri.clone(),
                    headers,
                    body: bytes::Bytes::new(),
                };
                web::send(connector.open(tls.as_ref()).await?, request, limit).await?
            }
        };
        judge(config, &answer)
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
