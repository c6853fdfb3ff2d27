//! `probes`: a read-only listener for an orchestrator's probes and Prometheus, while the API stays on loopback. It shows
//! nothing of the configuration or the services except the metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Bound, CommonRoutes, Handler, Listen, Reply, bind, common_routes};
use crate::config::Section;

/// Listen address of the probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbesConfig {
    /// `host`: an address or a name, resolved once, or `env:NAME` for the value of a variable.
    pub host: String,
    /// `port`.
    pub port: u16,
}

/// The section is invalid; the problem was reported there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadProbes;

impl ProbesConfig {
    /// Reads the section `probes` of the root; `None` when there is none.
    pub fn read(root: &mut Section<'_>, default_port: u16) -> Result<Option<Self>, BadProbes> {
        let Some(mut section) = root.section("probes", "probes") else {
            return if root.has("probes") { Err(BadProbes) } else { Ok(None) };
        };
        let host = section.required_text("host");
        let port = section.integer_or("port", default_port.into(), 1..=65535);
        let port = u16::try_from(port).unwrap_or(default_port);
        Ok(Some(Self {
            host: host.ok_or(BadProbes)?,
            port,
        }))
    }

    /// Binds the address; the error is for the operator.
    pub async fn bind(&self) -> Result<Bound, String> {
        let address = self.address().await?;
        let bound = bind(&Listen::Tcp(address)).await;
        bound.map_err(|error| {
            format!("probes: {error}; `host` has to be an address of this machine (or pod), and `port` free")
        })
    }

    async fn address(&self) -> Result<SocketAddr, String> {
        let host = match self.host.strip_prefix("env:") {
            Some(name) => std::env::var(name)
                .map_err(|_| format!("probes.host: there is no variable {name}: set it, or write the address"))?,
            None => self.host.clone(),
        };
        let found = tokio::net::lookup_host((host.as_str(), self.port)).await;
        found
            .map_err(|error| format!("probes.host: cannot resolve `{host}`: {error}"))?
            .next()
            .ok_or_else(|| format!("probes.host: `{host}` has no address"))
    }
}

/// Returns the handler of `/live /started /ready /metrics`, which replies as the API does.
pub fn probes(common: CommonRoutes) -> Handler {
    let common = Arc::new(common);
    Arc::new(move |request| {
        let common = Arc::clone(&common);
        Box::pin(async move {
            let offered = matches!(
                request.segments().as_slice(),
                ["live" | "started" | "ready" | "metrics"]
            );
            let reply = offered.then(|| common_routes(&request, &common)).flatten();
            reply.unwrap_or_else(|| {
                Reply::problem(
                    404,
                    "Unknown path",
                    "This listener has only /live /started /ready /metrics.",
                )
            })
        })
    })
}
