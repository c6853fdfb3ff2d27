//! Access control of changes: allowed to programs on this machine, refused to web pages in a browser on it. Pure.
//!
//! A page of a foreign site can make the browser send requests here: from its own origin, which is in `Origin` then, or
//! under its own name that resolves to our address (DNS rebinding), which is in `Host` then.

use std::net::{IpAddr, Ipv6Addr};

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

use super::Reply;

/// The origin of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A program with permission to open our socket.
    Unix,
    /// This machine.
    Loopback,
    /// Another machine.
    Remote,
}

impl Peer {
    /// Returns the peer at a TCP address.
    pub(super) fn at(address: IpAddr) -> Self {
        if address.to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Remote
        }
    }
}

/// The reason to refuse a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It comes from another machine.
    Remote,
    /// It has an `Origin`: a web page sent it.
    Origin,
    /// Its `Host` is a name that is not ours.
    Host,
}

impl Refusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Remote => Reply::problem(
                403,
                "Forbidden",
                "Changes are taken from this machine only: send the request to the API's Unix socket or to its port on \
                 a loopback address.",
            ),
            Self::Origin => Reply::problem(
                403,
                "Forbidden",
                "The request has an `Origin`: changes are not taken from web pages.",
            ),
            Self::Host => Reply::problem(
                421,
                "Misdirected request",
                "Changes are taken under an IP address or `localhost` only; the request's `Host` is another name.",
            ),
        }
    }
}

/// Returns the reason to refuse changes from `peer`; `None` when they are allowed.
pub(super) fn refusal(peer: Peer, headers: &HeaderMap) -> Option<Refusal> {
    if peer == Peer::Remote {
        return Some(Refusal::Remote);
    }
    if headers.contains_key(ORIGIN) {
        return Some(Refusal::Origin);
    }
    // Browsers do not use Unix sockets, and other clients send any `Host` there.
    let named = |host: &str| !host.is_empty() && !host.eq_ignore_ascii_case("localhost") && !is_address(host);
    let foreign = peer == Peer::Loopback
        && headers
            .get_all(HOST)
            .iter()
            .any(|host| host.to_str().map_or(true, |host| named(without_port(host))));
    foreign.then_some(Refusal::Host)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The last colon of an IPv6 address does not precede a port.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn status(peer: Peer, headers: &[(HeaderName, &'static str)]) -> Option<u16> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        refusal(peer, &headers).map(|refusal| refusal.reply().status)
    }

    #[test]
    fn remote_peers_change_nothing() {
        assert_eq!(status(Peer::Remote, &[]), Some(403));
        assert_eq!(Peer::at("10.0.0.1".parse().unwrap()), Peer::Remote);
        for local in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(Peer::at(local.parse().unwrap()), Peer::Loopback, "{local}");
        }
    }

    #[test]
    fn web_pages_change_nothing() {
        for peer in [Peer::Loopback, Peer::Unix] {
            assert_eq!(status(peer, &[(ORIGIN, "null")]), Some(403));
        }
        for host in [
            "evil.example",
            "evil.example:3454",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "[::1",
            "[::1].x",
            "::1",
            ":::1",
            "a:b:80",
        ] {
            assert_eq!(status(Peer::Loopback, &[(HOST, host)]), Some(421), "{host}");
        }
    }

    #[test]
    fn programs_of_this_machine_do() {
        assert_eq!(status(Peer::Loopback, &[]), None);
        for host in [
            "",
            "localhost",
            "LocalHost:3454",
            "127.0.0.1",
            "10.1.2.3:3454",
            "[::1]",
            "[::1]:3454",
        ] {
            assert_eq!(status(Peer::Loopback, &[(HOST, host)]), None, "{host}");
        }
        assert_eq!(status(Peer::Unix, &[(HOST, "nerve")]), None);
    }
}
