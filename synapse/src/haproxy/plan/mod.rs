//! What to do next, from what should be, what HAProxy has loaded and what it says it is. Pure.
//!
//! Membership comes first: as long as the runtime API can bring HAProxy nearer, the plan is [`Plan::Runtime`]; only what
//! is left then asks for a reload. Equal states give [`Plan::Nothing`].

pub(crate) mod desired;
pub(crate) mod dynamic;
pub(crate) mod model;
pub(crate) mod options;
pub(crate) mod reason;
pub(crate) mod slots;

use std::collections::{BTreeMap, BTreeSet};

use crate::haproxy::plan::dynamic::DynamicServers;
use crate::haproxy::plan::model::{Assignment, Layout, Slot};
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::runtime::batch::Batch;
use crate::haproxy::runtime::command::{Action, Command, NewServer, Target};
use crate::haproxy::runtime::parse::{LiveServer, Table};
use crate::name::BackendName;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a plan does nothing by itself"]
pub(crate) enum Plan {
    /// Everything is as it should be.
    Nothing,
    /// Never empty.
    Runtime(Batch),
    /// The runtime API can't do it.
    Reload(ReloadReason),
}

impl Plan {
    /// What it does, a line for each command or for the reload.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Runtime(batch) => batch.commands().map(ToString::to_string).collect(),
            Self::Reload(reason) => vec![format!("reload ({}): {reason}", reason.label())],
        }
    }
}

/// `dynamic_backends` are the backends that get new servers while HAProxy runs; `structural` says why what it has loaded will not
/// do, if it will not; `fixed_weights` are the backends whose weights HAProxy refused to change.
pub(crate) fn plan(
    layout: &Layout,
    table: &Table,
    dynamic_backends: &BTreeMap<&str, &DynamicServers>,
    structural: Option<&ReloadReason>,
    fixed_weights: &BTreeSet<BackendName>,
) -> Plan {
    let mut batch = Batch::default();
    let mut deleted = Vec::new();
    let mut fixed = None;
    for (service, backend) in layout {
        let live = table.get(&**service);
        for slot in &backend.slots {
            let dynamic = dynamic_backends.get(&**service).copied();
            let Some(server) = live.and_then(|live| live.servers.get(&slot.name)) else {
                if slot.dynamic && (!slot.is_listed() || add_server(&mut batch, service, slot, dynamic)) {
                    continue;
                }
                let what = format!("HAProxy has no server {service}/{}", slot.name);
                return most_urgent(Some(ReloadReason::Drift { what }), structural);
            };
            let command = |act| command(service, slot, act);
            let Assignment::Active { address, weight } = slot.assignment else {
                if !server.maint {
                    batch.retire.push(command(Action::Maint));
                }
                if slot.assignment == Assignment::Gone {
                    deleted.push(command(Action::Del));
                }
                continue;
            };
            let moves = server.address != Some(address);
            if moves && !server.maint {
                batch.address.push(command(Action::Maint));
            }
            if moves {
                batch.address.push(command(Action::Addr(address)));
            }
            if server.weight != u32::from(weight) {
                if fixed_weights.contains(service) {
                    fixed.get_or_insert_with(|| service.to_string());
                } else if weight == 0 && !moves && !server.maint {
                    batch.retire.push(command(Action::Weight(weight)));
                } else {
                    batch.activate.push(command(Action::Weight(weight)));
                }
            }
            if slot.dynamic && server.maint {
                let begin = begin(server).into_iter();
                batch.activate.extend(begin.map(command));
            }
            if moves || server.maint || server.drain {
                batch.activate.push(command(Action::Ready));
            }
        }
    }
    // A second backend (see `panic`) comes after its first: so it gains servers after that, and loses them before it.
    // Else what it counts would, for a moment, be more than can be healthy.
    batch.retire.reverse();
    batch.retire.extend(deleted);
    if !batch.is_empty() {
        return Plan::Runtime(batch);
    }
    let fixed = fixed.map(|service| ReloadReason::StaticBalance { service });
    most_urgent(fixed, structural)
}

fn command(backend: &BackendName, slot: &Slot, action: Action) -> Command {
    Command {
        target: Target {
            backend: backend.clone(),
            server: slot.name.clone(),
        },
        action,
    }
}

/// The checks to be begun of a server that was made while HAProxy runs; each after its making, which may have got lost.
fn begin(server: &LiveServer) -> Vec<Action> {
    let off = [
        (server.paused.check, Action::EnableHealth),
        (server.paused.agent, Action::EnableAgent),
    ];
    off.into_iter()
        .filter_map(|(is_off, act)| is_off.then_some(act))
        .collect()
}

/// Adds the commands that create the server of a slot; `false` if the options to create it with are unknown.
fn add_server(batch: &mut Batch, backend: &BackendName, slot: &Slot, dynamic: Option<&DynamicServers>) -> bool {
    let options = dynamic.and_then(|dynamic| Some((dynamic, dynamic.options(&slot.options)?)));
    let (Some((dynamic, (inherited, options))), Assignment::Active { address, weight }) = (options, slot.assignment)
    else {
        return false;
    };
    let new = NewServer {
        address,
        id: slot.id,
        weight,
        inherited,
        options,
    };
    batch.address.push(command(backend, slot, Action::Add(new)));
    for (keyword, act) in [("check", Action::EnableHealth), ("agent-check", Action::EnableAgent)] {
        if dynamic.has_keyword(keyword, &slot.options) {
            batch.activate.push(command(backend, slot, act));
        }
    }
    batch.activate.push(command(backend, slot, Action::Ready));
    true
}

/// One reload serves both reasons, and the one with less haste may be put off.
fn most_urgent(own: Option<ReloadReason>, structural: Option<&ReloadReason>) -> Plan {
    let reasons = own.into_iter().chain(structural.cloned());
    reasons
        .max_by_key(ReloadReason::urgency)
        .map_or(Plan::Nothing, Plan::Reload)
}

#[cfg(test)]
mod tests;
