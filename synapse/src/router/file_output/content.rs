//! What stands in the files, and which files there should be. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::report::encoded::sequence;
use serde::Serialize;

use crate::desired::Server;

/// One backend with the keys of Airbnb's synapse, in its order; null where a registration has no value.
#[derive(Debug, Serialize)]
struct Backend<'s> {
    name: &'s str,
    host: IpAddr,
    port: u16,
    id: Option<u64>,
    weight: Option<u16>,
    haproxy_server_options: Option<&'s str>,
    labels: Option<&'s BTreeMap<String, String>>,
}

impl<'s> Backend<'s> {
    fn of(server: &'s Server) -> Self {
        Self {
            name: &server.name,
            host: server.address.ip(),
            port: server.address.port(),
            id: sequence(&server.node),
            weight: server.weight,
            haproxy_server_options: Some(server.options.as_str()).filter(|options| !options.is_empty()),
            labels: Some(&server.labels).filter(|labels| !labels.is_empty()),
        }
    }
}

/// The bytes of a service's file.
pub(crate) fn backends(servers: &[Server]) -> Vec<u8> {
    let backends: Vec<Backend<'_>> = servers.iter().map(Backend::of).collect();
    // Text and numbers in structs: there is nothing that JSON has no form for.
    serde_json::to_vec(&backends).unwrap_or_default()
}

/// The name of a service's file.
pub(crate) fn file_name(service: &str) -> String {
    format!("{service}.json")
}

/// The service that a file of this name would be of.
pub(crate) fn service_of(file: &str) -> Option<String> {
    let service = file.strip_suffix(".json")?;
    let is_plain = !service.is_empty() && !service.starts_with('.') && !service.contains('/');
    is_plain.then(|| service.to_owned())
}

/// The services whose files have to go: those that we wrote once, or that are there, but are not among the configured
/// (`files`: by id). One that is configured keeps its file, known or not.
pub(crate) fn stale(
    files: &BTreeMap<String, String>,
    written: &BTreeSet<String>,
    present: &BTreeSet<String>,
) -> BTreeSet<String> {
    let configured: BTreeSet<&String> = files.values().collect();
    let known = written.union(present);
    known.filter(|service| !configured.contains(service)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(node: &str) -> Server {
        Server {
            node: node.into(),
            name: "host-a.example".to_owned(),
            address: "127.0.0.1:25001".parse().expect("an address"),
            weight: Some(15),
            options: "check inter 2s".to_owned(),
            labels: BTreeMap::from([("az".to_owned(), "us-east-1a\n".to_owned())]),
            created: 7,
            backup: false,
        }
    }

    #[test]
    fn the_bytes_of_airbnbs_synapse() {
        let bare = Server {
            weight: None,
            options: String::new(),
            labels: BTreeMap::new(),
            ..server("host-b_+5")
        };
        assert_eq!(
            String::from_utf8(backends(&[server("host-a_0000000012"), bare])).expect("UTF-8"),
            r#"[{"name":"host-a.example","host":"127.0.0.1","port":25001,"id":12,"weight":15,"haproxy_server_options":"check inter 2s","labels":{"az":"us-east-1a\n"}},"#
                .to_owned()
                + r#"{"name":"host-a.example","host":"127.0.0.1","port":25001,"id":null,"weight":null,"haproxy_server_options":null,"labels":null}]"#
        );
        assert_eq!(backends(&[]), b"[]");
    }

    proptest! {
        #[test]
        fn only_what_was_ours_or_is_there_goes_and_never_what_is_configured(
            configured in prop::collection::btree_set("[a-e]", 0..5),
            written in prop::collection::btree_set("[a-e]", 0..5),
            present in prop::collection::btree_set("[a-e]", 0..5),
        ) {
            let files = configured.iter().map(|name| (format!("{name}_1"), name.clone())).collect();
            let gone = stale(&files, &written, &present);
            prop_assert!(gone.is_disjoint(&configured));
            prop_assert_eq!(gone, &(&written | &present) - &configured);
        }

        #[test]
        fn a_name_leads_back_to_its_service(service in "[a-zA-Z0-9_:-][a-zA-Z0-9_.:-]{0,20}") {
            prop_assert_eq!(service_of(&file_name(&service)), Some(service));
        }
    }
}
