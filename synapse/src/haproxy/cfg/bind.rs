//! The addresses of `bind` lines. Pure.
//!
//! A reload with one port that can't be bound is an outage of two seconds for *every* listener: HAProxy makes the old worker
//! release all of them before it gives up. So synapse tries the new ones first, and has to find them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the certain addresses; not ranges, names, variables and Unix sockets.
pub(crate) fn addresses<S: AsRef<str>>(lines: &[S]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in lines {
        let mut words = line.as_ref().split_ascii_whitespace();
        if words.next() != Some("bind") {
            continue;
        }
        let Some(list) = words.next() else { continue };
        // Other namespaces, interfaces and foreign addresses can't be tried.
        if words.any(|word| matches!(word, "namespace" | "interface" | "transparent")) {
            continue;
        }
        found.extend(list.split(',').filter_map(address));
    }
    found
}

fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let (v6, host) = match (host.strip_prefix("ipv4@"), host.strip_prefix("ipv6@")) {
        (Some(host), _) => (false, host),
        (_, Some(host)) => (true, host),
        (None, None) => (false, host),
    };
    let ip = match host {
        "" | "*" if v6 => Ipv6Addr::UNSPECIFIED.into(),
        "" | "*" => Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok()?,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn only_certain_addresses_are_found() {
        let lines = [
            "bind 127.0.0.1:80",
            "bind *:81,[::1]:82 ssl crt /x",
            "bind :83",
            "bind ipv6@*:84",
            "bind 127.0.0.1:80-90",
            "bind unix@/run/x",
            "bind /run/x:1",
            "bind \"${HOST}:80\"",
            "bind 10.0.0.1:85 transparent",
            "bind example.org:86",
            "bind",
            "mode http",
        ];
        let found: Vec<String> = addresses(&lines).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["127.0.0.1:80", "0.0.0.0:81", "[::1]:82", "0.0.0.0:83", "[::]:84"]
        );
    }
}
