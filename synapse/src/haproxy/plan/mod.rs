//! The next step from the desired layout and from what HAProxy has loaded and reports. Pure.
//!
//! Membership comes first: as long as the runtime API can bring HAProxy nearer, the plan is [`Plan::Runtime`]; only the
//! rest then needs a reload. Equal states give [`Plan::Nothing`].

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
use crate::haproxy::runtime::parse::Table;
use crate::name::BackendName;

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a plan does nothing by itself"]
pub(crate) enum Plan {
    /// HAProxy is as desired.
    Nothing,
    /// Never empty.
    Runtime(Batch),
    /// The runtime API can't do the rest.
    Reload(ReloadReason),
}

impl Plan {
    /// Returns a line for each command or for the reload.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Runtime(batch) => batch.commands().map(ToString::to_string).collect(),
            Self::Reload(reason) => vec![format!("reload ({}): {reason}", reason.label())],
        }
    }
}

/// Plans the next step. `dynamic_backends` are the backends that get new servers at runtime; `structural` is the reason why
/// the loaded structure will not do, if there is one; `fixed_weights` are the backends whose weights HAProxy refused to
/// change.
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
    for (name, backend) in layout {
        let live = table.get(name);
        let dynamic = dynamic_backends.get(&**name).copied();
        for slot in &backend.slots {
            let command = |action| Command {
                target: Target {
                    backend: name.clone(),
                    server: slot.name.clone(),
                },
                action,
            };
            let Some(server) = live.and_then(|live| live.servers.get(&slot.name)) else {
                if slot.dynamic && (!slot.is_listed() || add_server(&mut batch, slot, dynamic, command).is_some()) {
                    continue;
                }
                let what = format!("HAProxy has no server {name}/{}", slot.name);
                return most_urgent(Some(ReloadReason::Drift { what }), structural);
            };
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
            if moves {
                if !server.maint {
                    batch.address.push(command(Action::Maint));
                }
                batch.address.push(command(Action::Addr(address)));
            }
            if server.weight != u32::from(weight) {
                let drains = weight == 0 && !moves && !server.maint;
                match fixed_weights.contains(name) {
                    true => fixed = fixed.or(Some(name)),
                    false if drains => batch.retire.push(command(Action::Weight(weight))),
                    false => batch.activate.push(command(Action::Weight(weight))),
                }
            }
            // Only after the server was added, which may have been in a batch whose rest was lost.
            if slot.dynamic && server.maint && server.paused.check {
                batch.activate.push(command(Action::EnableHealth));
            }
            if slot.dynamic && server.maint && server.paused.agent {
                batch.activate.push(command(Action::EnableAgent));
            }
            if moves || server.maint || server.drain {
                batch.activate.push(command(Action::Ready));
            }
        }
    }
    // Shadow backends (see `panic_threshold`) are ordered after their primary, so they gain servers later and lose them
    // earlier. Otherwise `nbsrv` of the shadow would briefly exceed what can be healthy.
    batch.retire.reverse();
    batch.retire.extend(deleted);
    if !batch.is_empty() {
        return Plan::Runtime(batch);
    }
    let fixed = fixed.map(|name| ReloadReason::StaticBalance {
        service: name.to_string(),
    });
    most_urgent(fixed, structural)
}

/// Adds the commands that create the server of a slot; `None` if the options to create it with are unknown.
fn add_server(
    batch: &mut Batch,
    slot: &Slot,
    dynamic: Option<&DynamicServers>,
    command: impl Fn(Action) -> Command,
) -> Option<()> {
    let dynamic = dynamic?;
    let (inherited, options) = dynamic.options(&slot.options)?;
    let Assignment::Active { address, weight } = slot.assignment else {
        return None;
    };
    batch.address.push(command(Action::Add(NewServer {
        address,
        id: slot.id,
        weight,
        inherited,
        options,
    })));
    for (keyword, action) in [("check", Action::EnableHealth), ("agent-check", Action::EnableAgent)] {
        if dynamic.has_keyword(keyword, &slot.options) {
            batch.activate.push(command(action));
        }
    }
    batch.activate.push(command(Action::Ready));
    Some(())
}

/// One reload serves both reasons, and the less urgent one may be delayed.
fn most_urgent(own: Option<ReloadReason>, structural: Option<&ReloadReason>) -> Plan {
    own.into_iter()
        .chain(structural.cloned())
        .max_by_key(ReloadReason::urgency)
        .map_or(Plan::Nothing, Plan::Reload)
}

#[cfg(test)]
mod tests;
