//! `advertise`: where others reach the service, when that is not its `host`.

use std::net::IpAddr;

use common::config::Section;

use crate::config::ReporterConfig;

/// The label that holds the addresses after the first, separated by commas.
pub(super) const LABEL: &str = "otherAddresses";

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    interface: String,
    ip: IpAddr,
}

/// The announced host, and the others as a label's text; `None` when the key is absent or wrong.
pub(super) fn advertised(section: &mut Section<'_>) -> Option<(String, Option<String>)> {
    let wanted = section.texts("advertise");
    if wanted.is_empty() {
        return None;
    }
    let machine = addresses();
    let mut found = Vec::new();
    for entry in &wanted {
        let host = match entry.split_once(':') {
            Some(("env", name)) => std::env::var(name).map_err(|_| format!("the variable {name} is not set")),
            _ => choose(entry, &machine),
        };
        match host {
            Ok(host) => found.extend(super::host(section, "advertise", host)),
            Err(why) => section.problem(
                "advertise",
                format!("`{}`: {why}", entry.escape_debug()),
                "an address, a name, `env:NAME`, `interface:NAME`, `interface6:NAME` or `cidr:NETWORK/BITS`",
            ),
        }
    }
    found.dedup();
    let mut found = found.into_iter();
    let first = found.next()?;
    let others = found.collect::<Vec<_>>().join(",");
    Some((first, Some(others).filter(|others| !others.is_empty())))
}

/// Only this machine reaches what is announced at a loopback address.
pub(super) fn warn_of_loopback(section: &mut Section<'_>, host: &str, reporters: &[ReporterConfig]) {
    let meant = section.flag_or("announceLoopback", false);
    let elsewhere = reporters
        .iter()
        .any(|reporter| matches!(reporter, ReporterConfig::Zookeeper(_)));
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback && elsewhere && !meant {
        section.warning(
            "host",
            format!("is announced as {host}, a loopback address: only this machine can reach it"),
            "set `host` or `advertise`, or `announceLoopback: true`",
        );
    }
}

/// What an entry means on a machine of these addresses. Pure.
fn choose(entry: &str, machine: &[Address]) -> Result<String, String> {
    let mut all = machine.iter();
    let on = |name| move |address: &&Address| address.interface == name && is_reachable(address.ip);
    let found = match entry.split_once(':') {
        Some(("interface", name)) => all.filter(on(name)).min_by_key(|address| address.ip.is_ipv6()),
        Some(("interface6", name)) => all.filter(on(name)).find(|address| address.ip.is_ipv6()),
        Some(("cidr", network)) => {
            let network = Network::parse(network).ok_or("is no network such as 10.0.0.0/8")?;
            all.find(|address| network.contains(address.ip))
        }
        // An address, which may be one of IPv6, or a name.
        _ => return Ok(entry.to_owned()),
    };
    found.map(|address| address.ip.to_string()).ok_or_else(|| {
        let there = machine
            .iter()
            .map(|address| format!("{} on {}", address.ip, address.interface));
        format!(
            "no such address here; there are {}",
            there.collect::<Vec<_>>().join(", ")
        )
    })
}

/// Whether another machine can use it: addresses of one link need a zone that only this machine has.
fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let (base, bits) = (base.parse().ok()?, bits.parse().ok()?);
        (bits <= width(base)).then_some(Self { base, bits })
    }

    fn contains(self, ip: IpAddr) -> bool {
        let prefix = |ip| number(ip).checked_shr(width(ip) - self.bits).unwrap_or(0);
        ip.is_ipv6() == self.base.is_ipv6() && prefix(ip) == prefix(self.base)
    }
}

fn width(ip: IpAddr) -> u32 {
    if ip.is_ipv6() { 128 } else { 32 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn addresses() -> Vec<Address> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let address = |interface: if_addrs::Interface| Address {
        ip: interface.ip(),
        interface: interface.name,
    };
    interfaces.into_iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Address> {
        [
            ("lo", "127.0.0.1"),
            ("eth0", "fe80::1"),
            ("eth0", "2001:db8::4"),
            ("eth0", "10.1.0.4"),
            ("eth1", "169.254.0.9"),
            ("eth1", "192.168.7.4"),
        ]
        .map(|(interface, ip)| Address {
            interface: interface.to_owned(),
            ip: ip.parse().expect("an address"),
        })
        .to_vec()
    }

    #[test]
    fn an_entry_means_an_address_of_this_machine() {
        let chosen = |entry| choose(entry, &machine());
        for (entry, host) in [
            ("10.9.9.9", "10.9.9.9"),
            ("2001:db8::99", "2001:db8::99"),
            ("shop.example", "shop.example"),
            ("interface:eth0", "10.1.0.4"),
            ("interface6:eth0", "2001:db8::4"),
            ("interface:eth1", "192.168.7.4"),
            ("cidr:192.168.0.0/16", "192.168.7.4"),
            ("cidr:2001:db8::/32", "2001:db8::4"),
            ("cidr:0.0.0.0/0", "127.0.0.1"),
        ] {
            assert_eq!(chosen(entry).as_deref(), Ok(host), "{entry}");
        }
        for bad in [
            "interface:eth9",
            "interface:lo",
            "interface6:eth1",
            "cidr:172.16.0.0/12",
        ] {
            let why = chosen(bad).expect_err(bad);
            assert!(why.contains("10.1.0.4 on eth0"), "{why}");
        }
        for bad in ["cidr:10.0.0.0", "cidr:10.0.0.0/33", "cidr:x/8", "cidr:10.0.0.0/-1"] {
            assert_eq!(chosen(bad), Err("is no network such as 10.0.0.0/8".to_owned()));
        }
    }
}
