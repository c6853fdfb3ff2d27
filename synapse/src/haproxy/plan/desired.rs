//! From the catalog's servers to what HAProxy should have. Pure.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::desired::Server;

use crate::haproxy::plan::model::{Wanted, Wants};
use crate::haproxy::plan::options::{OperatorOptions, parse, safe_name};

/// HAProxy's own default.
const DEFAULT_WEIGHT: u16 = 1;
const MAX_WEIGHT: u16 = 256;

/// Of two registrations at one address the newer one counts.
pub(crate) fn wants(servers: &[Server], operator: &mut OperatorOptions) -> Wants {
    let mut newest: HashMap<SocketAddr, &Server> = HashMap::new();
    for server in servers {
        let known = newest.entry(server.address).or_insert(server);
        if (server.created, &server.node) > (known.created, &known.node) {
            *known = server;
        }
    }
    let mut wants = Wants {
        spare_class: operator.spare().cloned(),
        servers: Vec::with_capacity(servers.len()),
        ..Wants::default()
    };
    let mut classes: BTreeSet<Arc<str>> = BTreeSet::new();
    for server in servers {
        if newest
            .get(&server.address)
            .is_none_or(|newest| newest.node != server.node)
        {
            wants
                .skipped
                .push(format!("{}: a newer registration has the same address", server.node));
            continue;
        }
        if !is_usable(server.address) {
            wants
                .skipped
                .push(format!("{}: no server can be at {}", server.node, server.address));
            continue;
        }
        let instance = safe_name(&server.name);
        let mut parsed = parse(&server.options, operator.policy);
        let operators = operator.of(&instance, server.address).unwrap_or_else(|error| {
            parsed.ignored.push(format!("serverOptions: {error}"));
            Arc::from("")
        });
        let operators = if server.backup {
            as_backup(&operators)
        } else {
            operators
        };
        let class: Arc<str> = [parsed.options.as_str(), &operators].join(" ").trim().into();
        let class = classes.get(&class).cloned().unwrap_or(class);
        classes.insert(Arc::clone(&class));
        wants.servers.push(Wanted {
            address: server.address,
            weight: server.weight.unwrap_or(DEFAULT_WEIGHT).min(MAX_WEIGHT),
            class,
            operators,
            instance: instance.into(),
            node: Arc::clone(&server.node),
            options: parsed.options,
            ignored: parsed.ignored,
        });
    }
    operator.retain(|address| newest.contains_key(&address));
    wants
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
