//! Converts the servers of the catalog to those that HAProxy should have. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::desired::Server;
use crate::haproxy::plan::model::{DesiredBackend, DesiredServer};
use crate::haproxy::plan::options::{OperatorOptions, parse, safe_name};
use crate::haproxy::runtime::interner::Interner;
use common::report::{DEFAULT_WEIGHT, MAX_WEIGHT};

/// Returns what HAProxy should have of a service. Of two registrations at one address the newer one counts.
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
        ..DesiredBackend::default()
    };
    let mut interner = Interner::default();
    for server in servers {
        let Server { node, address, .. } = server;
        if newest.get(address).is_none_or(|newest| newest.node != *node) {
            let skipped = format!("{node}: a newer registration has the same address");
            desired.skipped.push(skipped);
            continue;
        }
        if !is_usable(*address) {
            desired.skipped.push(format!("{node}: no server can be at {address}"));
            continue;
        }
        let instance = safe_name(&server.name);
        let mut parsed = parse(&server.options, operator.policy);
        let mut operator_options = operator.of(&instance, *address).unwrap_or_else(|error| {
            parsed.ignored.push(format!("serverOptions: {error}"));
            Arc::from("")
        });
        if server.backup && operator_options.split(' ').all(|word| word != "backup") {
            operator_options = format!("{operator_options} backup").trim_start().into();
        }
        let options = format!("{} {operator_options}", parsed.options);
        desired.servers.push(DesiredServer {
            address: *address,
            weight: server.weight.unwrap_or(DEFAULT_WEIGHT).min(MAX_WEIGHT),
            options: interner.intern(options.trim()),
            operator_options,
            instance_options: parsed.options,
            ignored: parsed.ignored,
            instance: instance.into(),
            node: Arc::clone(node),
        });
    }
    operator.retain(|address| newest.contains_key(&address));
    desired
}

/// Whether a server can have this address: for HAProxy `0.0.0.0` is the address that the client connected to, and port 0
/// the port.
fn is_usable(address: SocketAddr) -> bool {
    let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
    !(address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 || scoped)
}
