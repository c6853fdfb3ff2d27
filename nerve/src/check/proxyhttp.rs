//! URLs through an HTTP proxy: the proxy is what is checked.
//!
//! As Go-Nerve's: all URLs are fetched at once, and an answer that is no server error shows that the proxy works. A
//! `https` URL goes through a tunnel of the proxy's.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use common::config::Secret;
use http::header::{HeaderMap, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{Method, StatusCode, Uri};
use tokio::task::JoinSet;

use super::Unbuildable;
use super::connect::{Dial, HTTP1, Tls};
use super::http::sensitive;
use super::web::{self, Ask, Form, Version, Want};
use crate::config::{CheckConfig, ProxyHttpConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct ProxyHttpProbe(Arc<Proxy>);

#[derive(Debug)]
struct Proxy {
    dial: Dial,
    /// For the tunnels.
    tls: Option<Tls>,
    config: ProxyHttpConfig,
}

impl ProxyHttpProbe {
    pub(super) fn new(check: &CheckConfig, config: &ProxyHttpConfig) -> Result<Self, Unbuildable> {
        let tunnels = config.urls.iter().any(is_https);
        Ok(Self(Arc::new(Proxy {
            dial: Dial::to(&config.host, config.port, check.prefer_ipv4),
            tls: tunnels.then(|| Tls::new(&config.tls, HTTP1)).transpose()?,
            config: config.clone(),
        })))
    }

    /// The first word that decides: a failure when each URL must be reached, a success when one is enough.
    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let strict = self.0.config.fail_on_any;
        let authorization = self.0.authorization()?;
        let mut fetches = JoinSet::new();
        for url in self.0.config.urls.clone() {
            let (proxy, headers) = (Arc::clone(&self.0), authorization.clone());
            fetches.spawn(async move { proxy.fetch(url, headers).await });
        }
        let mut last = Err(Failure::new(FailureKind::Connection, "no URL was fetched"));
        while let Some(fetched) = fetches.join_next().await {
            last = fetched.unwrap_or_else(|error| Err(Failure::new(FailureKind::Connection, error.to_string())));
            if last.is_ok() != strict {
                break;
            }
        }
        last
    }
}

impl Proxy {
    /// `Basic`, when there is a user.
    fn authorization(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(user) = &self.config.username {
            let password = self.config.password.as_ref().map(Secret::read).transpose()?;
            let credentials = STANDARD.encode(format!("{user}:{}", password.unwrap_or_default()));
            headers.insert(PROXY_AUTHORIZATION, sensitive(&format!("Basic {credentials}"))?);
        }
        Ok(headers)
    }

    async fn fetch(&self, url: Uri, authorization: HeaderMap) -> Result<String, Failure> {
        let named = |failure: Failure| Failure::new(failure.kind, format!("{url}: {}", failure.detail));
        let status = self.status(&url, authorization).await.map_err(named)?;
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let what = format!("{url}: the proxy wants other credentials ({status})");
            return Err(Failure::new(FailureKind::Answer, what));
        }
        let what = format!("{url}: status {status}");
        if self.config.expected.contains(status.as_u16()) {
            Ok(what)
        } else {
            Err(Failure::new(FailureKind::Answer, what))
        }
    }

    async fn status(&self, url: &Uri, authorization: HeaderMap) -> Result<StatusCode, Failure> {
        let stream = self.dial.open(None).await?;
        let request = |headers| Ask {
            method: Method::GET,
            uri: url.clone(),
            headers,
            body: Bytes::new(),
        };
        let answer = match self.tls.as_ref().filter(|_| is_https(url)) {
            Some(tls) => {
                let host = url.host().unwrap_or_default();
                let target = format!("{host}:{}", url.port_u16().unwrap_or(443));
                let target =
                    Uri::try_from(target).map_err(|error| Failure::new(FailureKind::Connection, error.to_string()))?;
                let tunnel = web::tunnel(stream, &target, authorization).await?;
                let stream = tls.over(host.trim_matches(['[', ']']), tunnel).await?;
                web::ask(
                    stream,
                    Version::Http1(Form::Origin),
                    request(HeaderMap::new()),
                    Want::Nothing,
                )
                .await?
            }
            None => {
                web::ask(
                    stream,
                    Version::Http1(Form::Absolute),
                    request(authorization),
                    Want::Nothing,
                )
                .await?
            }
        };
        Ok(answer.status)
    }
}

fn is_https(url: &Uri) -> bool {
    url.scheme() == Some(&Scheme::HTTPS)
}
