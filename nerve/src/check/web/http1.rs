//! HTTP/1.1, by reqwest.
//!
//! A client is made for one probe and gone with it, which costs some microseconds: so no connection is kept, a
//! certificate or a password that was replaced is the next probe's, and between two probes there is nothing in memory.

use std::net::SocketAddr;

use common::tls::untrusting;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue};
use http::{Method, Uri};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, Url, retry};

use super::{Answer, Body, BodyLimit, innermost};
use crate::check::BuildError;
use crate::check::connect::{Connector, Tls};
use crate::config::authority;
use crate::health::verdict::{Failure, FailureKind};

/// The host of URLs that no server sees: the addresses are resolved by us, and `Host` is sent beside it.
const NAMELESS: &str = "server.invalid";

/// A server and the requested URI.
#[derive(Debug)]
pub(in crate::check) struct HttpTarget {
    connector: Connector,
    tls: Option<Tls>,
    host: HeaderValue,
    /// Its host is the name in TLS.
    url: Url,
}

impl HttpTarget {
    /// `uri` is the request's; its authority is the `Host`, which may differ from `connector`'s.
    pub(in crate::check) fn new(connector: Connector, tls: Option<Tls>, uri: &Uri) -> Result<Self, BuildError> {
        let (scheme, name) = match &tls {
            Some(tls) => ("https", tls.name(connector.host())),
            None => ("http", NAMELESS),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri
            .authority()
            .map_or_else(|| connector.authority(), ToString::to_string);
        Ok(Self {
            url: url(&format!("{scheme}://{}{path}", authority(name, connector.port())))?,
            host: HeaderValue::try_from(&host).map_err(|error| BuildError(format!("`{host}`: {error}")))?,
            connector,
            tls,
        })
    }

    /// Sends a request and reads the answer up to the limit.
    pub(in crate::check) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        limit: BodyLimit,
    ) -> Result<Answer, Failure> {
        let addresses = self.connector.addresses().await?;
        let name = self.url.host_str().unwrap_or(NAMELESS);
        let asked = async {
            let client = builder(self.tls.as_ref()).resolve_to_addrs(name, &addresses).build()?;
            let request = client.request(method, self.url.clone()).headers(headers);
            answer(request.header(HOST, self.host.clone()), limit).await
        };
        asked.await.map_err(|error| broken(&self.connector, &error))
    }
}

/// A URL as reqwest takes it.
pub(in crate::check) fn url(text: &str) -> Result<Url, BuildError> {
    Url::parse(text).map_err(|error| BuildError(format!("`{text}` is no URL: {error}")))
}

/// A client whose requests all go through the proxy at `addresses`, with `authorization`; `https` in a tunnel.
pub(in crate::check) fn proxied(
    addresses: &[SocketAddr],
    authorization: Option<HeaderValue>,
    tls: Option<&Tls>,
) -> reqwest::Result<Client> {
    // The port is that of the addresses.
    let proxy = Proxy::all(format!("http://{NAMELESS}"))?;
    let proxy = match authorization {
        Some(authorization) => proxy.custom_http_auth(authorization),
        None => proxy,
    };
    builder(tls).proxy(proxy).resolve_to_addrs(NAMELESS, addresses).build()
}

fn builder(tls: Option<&Tls>) -> ClientBuilder {
    // Given one, reqwest reads no roots of its own.
    let tls = tls.map_or_else(untrusting, Tls::config);
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .retry(retry::never())
        .http1_only()
        .pool_max_idle_per_host(0)
        .user_agent(super::USER_AGENT)
        .tls_backend_preconfigured((*tls).clone())
}

/// Sends, and reads as much of the answer as is wanted.
pub(in crate::check) async fn answer(request: reqwest::RequestBuilder, limit: BodyLimit) -> reqwest::Result<Answer> {
    // Regardless of the operator's headers.
    let close = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
    let mut response = request.headers(close).send().await?;
    let mut body = Body::new(limit);
    while !body.is_enough()
        && let Some(chunk) = response.chunk().await?
    {
        body.push(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        body,
        trailers: None,
    })
}

/// A failed connection, reported with its target.
pub(in crate::check) fn broken(connector: &Connector, error: &reqwest::Error) -> Failure {
    let cause = innermost(error);
    let what = if error.is_connect() {
        format!("{}: {cause}", connector.authority())
    } else {
        cause.to_string()
    };
    Failure::new(FailureKind::Connection, what)
}

/// Whether a proxy refused the tunnel, and why. Its message is all that reqwest passes on.
pub(in crate::check) fn no_tunnel(error: &reqwest::Error) -> Option<&'static str> {
    match innermost(error).to_string().as_str() {
        "tunnel error: proxy authorization required" => Some("the proxy wants other credentials (407)"),
        "tunnel error: unsuccessful" => Some("the proxy refuses to make a tunnel"),
        _ => None,
    }
}
