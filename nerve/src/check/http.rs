//! The status of a `GET`.
//!
//! Each probe is a connection of its own (a kept one would hide a listener that is gone). No proxy from the
//! environment, no redirects followed, and the body is never read.

use std::error::Error;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url, redirect};

use crate::config::StatusSet;
use crate::health::verdict::{Failure, FailureKind};

#[derive(Debug)]
pub(super) struct HttpProbe {
    client: Client,
    url: Url,
    expected: StatusSet,
}

impl HttpProbe {
    pub(super) fn new(url: Url, expected: StatusSet, prefer_ipv4: bool) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .dns_resolver(Names { prefer_ipv4 })
            .user_agent(concat!("nerve/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, url, expected })
    }

    pub(super) async fn probe(&self) -> Result<String, Failure> {
        let response = self
            .client
            .get(self.url.clone())
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let status = response.status();
        if self.expected.contains(status.as_u16()) {
            Ok(format!("status {status}"))
        } else {
            Err(Failure::new(FailureKind::Answer, format!("status {status}")))
        }
    }
}

/// The innermost cause: the outer ones only repeat the URL.
fn failure(error: &reqwest::Error) -> Failure {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failure::new(FailureKind::Connection, cause.to_string())
}

/// Resolves as the other checks do.
#[derive(Debug)]
struct Names {
    prefer_ipv4: bool,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let prefer_ipv4 = self.prefer_ipv4;
        Box::pin(async move {
            let addresses = super::resolve(name.as_str(), 0, prefer_ipv4).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
