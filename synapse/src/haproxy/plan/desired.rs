//! From the catalog's servers to what HAProxy should have. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::desired::Server;

use crate::haproxy::plan::model::{DesiredBackend, DesiredServer};
use crate::haproxy::plan::options::{OperatorOptions, parse, safe_name};

/// HAProxy's own default.
const DEFAULT_WEIGHT: u16 = 1;
const MAX_WEIGHT: u16 = 256;

/// Of two registrations at one address the newer one counts.
pub(crate) fn desired_backend(servers: &[Server], operator: &mut OperatorOptions) -> DesiredBackend {
    let mut newest: HashMap<SocketAddr, &Server> = HashMap::new();
    for server in servers {
        let known = newest.entry(server.address).or_insert(server);
        if (server.created, &server.node) > (known.created, &known.node) {
            *known = server;
        }
    }
    let mut desired = DesiredBackend {
        spare_options: operator.spare().cloned(),
        servers: Vec::with_capacity(servers.len()),
        ..DesiredBackend::default()
    };
    let mut seen: BTreeSet<Arc<str>> = BTreeSet::new();
    for server in servers {
        if newest
            .get(&server.address)
            .is_none_or(|newest| newest.node != server.node)
        {
            desired
                .skipped
                .push(format!("{}: a newer registration has the same address", server.node));
            continue;
        }
        if !is_usable(server.address) {
            desired
                .skipped
                .push(format!("{}: no server can be at {}", server.node, server.address));
            continue;
        }
        let instance = safe_name(&server.name);
        let mut parsed = parse(&server.options, operator.policy);
        let operator_options = operator.of(&instance, server.address).unwrap_or_else(|error| {
            parsed.ignored.push(format!("serverOptions: {error}"));
            Arc::from("")
        });
        let operator_options = if server.backup {
            as_backup(&operator_options)
        } else {
            operator_options
        };
        let options: Arc<str> = [parsed.options.as_str(), &operator_options].join(" ").trim().into();
        let options = seen.get(&options).cloned().unwrap_or(options);
        seen.insert(Arc::clone(&options));
        desired.servers.push(DesiredServer {
            address: server.address,
            weight: server.weight.unwrap_or(DEFAULT_WEIGHT).min(MAX_WEIGHT),
            options,
            operator_options,
            instance: instance.into(),
            node: Arc::clone(&server.node),
            instance_options: parsed.options,
            ignored: parsed.ignored,
        });
    }
    operator.retain(|address| newest.contains_key(&address));
    desired
}

/// The options with `backup` among them.
fn as_backup(options: &str) -> Arc<str> {
    if options.split(' ').any(|word| word == "backup") {
        options.into()
    } else {
        format!("{options} backup").trim_start().into()
    }
}

/// HAProxy takes `0.0.0.0` for "where the client wanted to go" and port 0 for "the client's port".
fn is_usable(address: SocketAddr) -> bool {
    let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
    !(address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 || scoped)
}
