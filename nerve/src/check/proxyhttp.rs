//! URLs through an HTTP proxy: the proxy is what is checked.
//!
//! As Go-Nerve's: all URLs are fetched at once, and an answer that is no server error shows that the proxy works. A
//! `https` URL goes through a tunnel of the proxy's.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::config::Secret;
use http::{HeaderValue, StatusCode};
use reqwest::{Client, Url};
use tokio::task::JoinSet;

use super::BuildError;
use super::connect::{Connector, HTTP1, Tls};
use super::http::sensitive;
use super::web::{self, BodyLimit};
use crate::config::{CheckConfig, ProxyHttpConfig};
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct ProxyHttpProbe(Arc<Proxy>);

#[derive(Debug)]
struct Proxy {
    connector: Connector,
    /// For the tunnels.
    tls: Option<Tls>,
    urls: Vec<Url>,
    config: ProxyHttpConfig,
}

impl ProxyHttpProbe {
    pub(super) fn new(check: &CheckConfig, config: &ProxyHttpConfig) -> Result<Self, BuildError> {
        let urls = config.urls.iter().map(|url| web::url(&url.to_string()));
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        let tunnels = urls.iter().any(|url| url.scheme() == "https");
        Ok(Self(Arc::new(Proxy {
            connector: Connector::to(&config.host, config.port, check.prefer_ipv4),
            tls: tunnels.then(|| Tls::new(&config.tls, HTTP1)).transpose()?,
            urls,
            config: config.clone(),
        })))
    }

    /// The first decisive result: a failure when each URL must be reached, a success when one is enough.
    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let strict = self.0.config.fail_on_any;
        let client = self.0.client().await?;
        let mut fetches = JoinSet::new();
        for url in self.0.urls.clone() {
            let (proxy, client) = (Arc::clone(&self.0), client.clone());
            fetches.spawn(async move { proxy.fetch(url, client).await });
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
    async fn client(&self) -> Result<Client, Failure> {
        let authorization = self.authorization()?;
        let addresses = self.connector.addresses().await?;
        web::proxied(&addresses, authorization, self.tls.as_ref()).map_err(|error| web::broken(&self.connector, &error))
    }

    /// `Basic`, when there is a user.
    fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(user) = &self.config.username else {
            return Ok(None);
        };
        let password = self.config.password.as_ref().map(Secret::read).transpose()?;
        let credentials = STANDARD.encode(format!("{user}:{}", password.unwrap_or_default()));
        sensitive(&format!("Basic {credentials}")).map(Some)
    }

    async fn fetch(&self, url: Url, client: Client) -> Result<String, Failure> {
        let failed = |kind, what: &str| Err(Failure::new(kind, format!("{url}: {what}")));
        let status = match web::answer(client.get(url.clone()), BodyLimit::Nothing).await {
            Ok(answer) => answer.status,
            Err(error) => {
                let broken = web::broken(&self.connector, &error);
                return match web::no_tunnel(&error) {
                    Some(what) => failed(FailureKind::Answer, what),
                    None => failed(broken.kind, &broken.detail),
                };
            }
        };
        let what = format!("status {status}");
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let what = format!("the proxy wants other credentials ({status})");
            failed(FailureKind::Answer, &what)
        } else if self.config.expected.contains(status.as_u16()) {
            Ok(format!("{url}: {what}"))
        } else {
            failed(FailureKind::Answer, &what)
        }
    }
}
