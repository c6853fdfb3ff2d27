//! From nodes to candidates. Pure.
//!
//! The content of a node was written by another program: it becomes a literal address, a port, a weight and text, or the
//! node is skipped with the reason. A change of one node decodes one node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use common::report::{Decoder, Report, encoded};
use common::zk::reflector::Child;

use super::{Candidate, Reason, Skipped};
use crate::desired::Server;

/// The decoded content of every node.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    nodes: BTreeMap<Arc<str>, Node>,
}

#[derive(Debug)]
struct Node {
    child: Arc<Child>,
    report: Result<(Report, Host), String>,
}

/// A registered host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

/// What the nodes mean.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interpreted {
    pub(super) candidates: Vec<Candidate>,
    pub(super) skipped: Vec<Skipped>,
}

impl Decoded {
    /// Follows a snapshot, decoding what is new or has changed. Returns how many nodes were newly found bad.
    pub(super) fn follow(&mut self, children: &BTreeMap<Arc<str>, Arc<Child>>, decoder: &Decoder) -> u64 {
        self.nodes.retain(|name, _| children.contains_key(name));
        let mut bad = 0;
        for (name, child) in children {
            let known = self.nodes.get(name).map(|node| &node.child);
            if known.is_some_and(|known| Arc::ptr_eq(known, child) || known == child) {
                continue;
            }
            let node = Node {
                child: Arc::clone(child),
                report: decode(decoder, name, &child.data),
            };
            bad += u64::from(node.report.is_err());
            self.nodes.insert(Arc::clone(name), node);
        }
        bad
    }

    /// The names that have to be resolved.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let hosts = self.nodes.values().filter_map(|node| node.report.as_ref().ok());
        hosts
            .filter_map(|(_, host)| match host {
                Host::Name(name) => Some(name.as_str()),
                Host::Address(_) => None,
            })
            .collect()
    }

    /// The candidates in the nodes; `resolve` returns the address of a name or why there is none.
    pub(super) fn interpret(&self, resolve: impl Fn(&str) -> Result<IpAddr, Reason>) -> Interpreted {
        let mut interpreted = Interpreted {
            candidates: Vec::with_capacity(self.nodes.len()),
            skipped: Vec::new(),
        };
        for (name, node) in &self.nodes {
            match node.candidate(name, &resolve) {
                Ok(candidate) => interpreted.candidates.push(candidate),
                Err(reason) => interpreted.skipped.push(Skipped {
                    node: Arc::clone(name),
                    reason,
                }),
            }
        }
        interpreted
    }
}

impl Node {
    fn candidate(
        &self,
        name: &Arc<str>,
        resolve: impl Fn(&str) -> Result<IpAddr, Reason>,
    ) -> Result<Candidate, Reason> {
        let (report, host) = self.report.as_ref().map_err(|what| Reason::Bad(what.clone()))?;
        let ip = match host {
            Host::Address(ip) => *ip,
            Host::Name(name) => {
                usable(resolve(name)?).map_err(|what| Reason::Bad(format!("`{name}` resolves to {what}")))?
            }
        };
        Ok(Candidate {
            server: Server {
                node: Arc::clone(name),
                name: report.name.clone(),
                address: SocketAddr::new(ip, report.port),
                weight: report.weight,
                options: report.haproxy_server_options.clone(),
                labels: report.labels.clone(),
                created: self.child.ctime,
                backup: false,
            },
            czxid: self.created_by(name),
            unavailable: (!report.available).then(|| report.unavailable_reason.trim().to_owned()),
        })
    }

    /// The transaction that created the node. Of one that was not read only its number among its siblings is known,
    /// which orders it among its like.
    fn created_by(&self, name: &str) -> i64 {
        match self.child.czxid {
            0 => encoded::sequence(name)
                .and_then(|number| number.try_into().ok())
                .unwrap_or(0),
            czxid => czxid,
        }
    }
}

fn decode(decoder: &Decoder, name: &str, data: &[u8]) -> Result<(Report, Host), String> {
    let report = decoder.decode(name, data).map_err(|error| error.to_string())?;
    let host = host(&report.host)?;
    Ok((report, host))
}

fn host(text: &str) -> Result<Host, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return usable(ip).map(Host::Address).map_err(|what| format!("host is {what}"));
    }
    let is_name = text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && !text.starts_with(['.', '-']);
    if is_name {
        Ok(Host::Name(text.to_ascii_lowercase()))
    } else {
        Err("host is neither an IP address nor a DNS name".to_owned())
    }
}

/// The address, unless no server can have it. To HAProxy an unspecified one means "where the client wanted to go".
fn usable(ip: IpAddr) -> Result<IpAddr, String> {
    let ip = ip.to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        Err(format!("{ip}, which is not the address of a server"))
    } else {
        Ok(ip)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn children(nodes: &[(&str, &str, i64)]) -> BTreeMap<Arc<str>, Arc<Child>> {
        let child = |data: &str, zxid| Child {
            data: Bytes::copy_from_slice(data.as_bytes()),
            czxid: zxid,
            mzxid: zxid,
            ctime: zxid,
        };
        nodes
            .iter()
            .map(|(name, data, zxid)| (Arc::from(*name), Arc::new(child(data, *zxid))))
            .collect()
    }

    fn report(host: &str) -> String {
        format!(r#"{{"available":true,"host":"{host}","port":80,"name":"n","weight":5}}"#)
    }

    fn auto() -> Decoder {
        Decoder::default()
    }

    fn unresolved(name: &str) -> Result<IpAddr, Reason> {
        Err(Reason::Pending(name.to_owned()))
    }

    fn interpret(nodes: &[(&str, &str, i64)]) -> Interpreted {
        let mut decoded = Decoded::default();
        decoded.follow(&children(nodes), &auto());
        decoded.interpret(unresolved)
    }

    #[test]
    fn a_bad_node_is_skipped_and_the_good_ones_stay() {
        let good = report("10.0.0.1");
        let all = interpret(&[("a", &good, 1), ("b", "{", 2), ("c", "", 3), ("d", &report("x/y"), 4)]);
        assert_eq!(all.candidates.len(), 1);
        assert_eq!(&*all.candidates[0].server.node, "a");
        assert_eq!(all.skipped.len(), 3);
        assert_eq!(
            all.skipped[2].reason.to_string(),
            "host is neither an IP address nor a DNS name"
        );
    }

    #[test]
    fn a_name_waits_for_its_address_alone() {
        let mut decoded = Decoded::default();
        let nodes = [("a", report("10.0.0.1"), 1), ("b", report("DB.example"), 2)];
        let nodes = nodes.each_ref().map(|(name, data, zxid)| (*name, data.as_str(), *zxid));
        decoded.follow(&children(&nodes), &auto());
        assert_eq!(decoded.names(), BTreeSet::from(["db.example"]));
        let before = decoded.interpret(unresolved);
        assert_eq!((before.candidates.len(), before.skipped.len()), (1, 1));
        let after = decoded.interpret(|_| Ok(IpAddr::from([10, 0, 0, 9])));
        assert_eq!(after.candidates[1].server.address.to_string(), "10.0.0.9:80");
    }

    #[test]
    fn an_address_that_is_no_servers_is_skipped() {
        for host in [
            "0.0.0.0",
            "::",
            "[::]",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert_eq!(interpret(&[("a", &report(host), 1)]).skipped.len(), 1, "{host}");
        }
        let mut decoded = Decoded::default();
        decoded.follow(&children(&[("a", &report("any.example"), 1)]), &auto());
        let all = decoded.interpret(|_| Ok(IpAddr::from([0, 0, 0, 0])));
        assert_eq!(
            all.skipped[0].reason.to_string(),
            "`any.example` resolves to 0.0.0.0, which is not the address of a server"
        );
    }

    #[test]
    fn brackets_and_mapped_addresses_are_read() {
        let all = interpret(&[("a", &report("[::1]"), 1), ("b", &report("::ffff:10.0.0.1"), 1)]);
        assert_eq!(all.candidates[0].server.address.to_string(), "[::1]:80");
        assert_eq!(all.candidates[1].server.address.to_string(), "10.0.0.1:80");
    }

    #[test]
    fn only_what_changed_is_decoded_and_counted() {
        let mut decoded = Decoded::default();
        let good = report("10.0.0.1");
        assert_eq!(decoded.follow(&children(&[("a", &good, 1), ("b", "{", 2)]), &auto()), 1);
        assert_eq!(decoded.follow(&children(&[("a", &good, 1), ("b", "{", 2)]), &auto()), 0);
        assert_eq!(decoded.interpret(unresolved).candidates.len(), 1);
        assert_eq!(decoded.follow(&children(&[("a", "{", 3), ("b", "{", 2)]), &auto()), 1);
        assert_eq!(decoded.follow(&children(&[]), &auto()), 0);
        assert_eq!(decoded.interpret(unresolved), Interpreted::default());
    }

    proptest! {
        #[test]
        fn rubbish_never_touches_a_good_node(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut nodes = children(&[("a", &report("10.0.0.1"), 1)]);
            nodes.insert(Arc::from("b"), Arc::new(Child { data: data.into(), czxid: 2, mzxid: 2, ctime: 2 }));
            let mut decoded = Decoded::default();
            decoded.follow(&nodes, &auto());
            let all = decoded.interpret(unresolved);
            prop_assert_eq!(&*all.candidates[0].server.node, "a");
            prop_assert_eq!(all.candidates.len() + all.skipped.len(), 2);
        }
    }
}
