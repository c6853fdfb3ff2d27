//! `zone`: servers near this host first. Pure.
//!
//! - `require` leaves the others out.
//! - `prefer` makes them backups, always, even while there is no local one: HAProxy turns to them by itself as soon as
//!   no local server is up, and neither a zone that goes nor one that comes back needs a reload.
//! - `spill-over` shares by weight ([`spill`]).
//!
//! A server whose zone is unknown is not local. Default servers have no zone and keep their weights.

mod spill;

#[cfg(test)]
mod tests;

use super::{Note, Selection, Verdict, ZoneOutcome};
use crate::config::{ServiceConfig, ZoneConfig, ZonePolicy};
use crate::desired::Server;
use crate::health::{Check, Health};
use crate::watcher::Candidate;

use spill::Capacity;

/// Leaves out those in other zones, if the rule requires it.
pub(crate) fn require(selection: &mut Selection<'_>, rule: Option<&ZoneConfig>) {
    let Some((rule, local)) = rule.and_then(|rule| Some((rule, rule.known()?))) else {
        return;
    };
    if rule.policy == ZonePolicy::Require {
        selection.leave_out(|candidate| {
            (!is_local(rule, candidate)).then(|| Verdict::OtherZone {
                zone: zone_of(rule, candidate).cloned(),
                local: local.to_owned(),
            })
        });
    }
}

/// Whether it is where this host is.
pub(crate) fn is_local(rule: &ZoneConfig, candidate: &Candidate) -> bool {
    let zone = zone_of(rule, candidate);
    zone.is_some() && zone.map(String::as_str) == rule.known()
}

fn zone_of<'c>(rule: &ZoneConfig, candidate: &'c Candidate) -> Option<&'c String> {
    candidate.server.labels.get(&rule.label)
}

/// The servers of `selection` with their parts in the zone. `whole` is what the selection was chosen from; `before` is
/// what was [`ZoneOutcome::covered`] the last time.
pub(crate) fn place(
    selection: &mut Selection<'_>,
    whole: &[&Candidate],
    service: &ServiceConfig,
    health: &Health,
    before: Option<u32>,
) -> (Vec<Server>, Option<ZoneOutcome>) {
    let plain = || selection.kept.iter().map(|kept| kept.server.clone()).collect();
    let Some((rule, local)) = service
        .selection
        .zone
        .as_ref()
        .and_then(|rule| Some((rule, rule.known()?)))
    else {
        return (plain(), None);
    };
    let mut zone = ZoneOutcome {
        local: local.to_owned(),
        covered: None,
    };
    let servers = match rule.policy {
        ZonePolicy::Require => plain(),
        ZonePolicy::Prefer => backups(selection, rule),
        ZonePolicy::SpillOver { local_share } => {
            let fails =
                |candidate: &Candidate| health.of(&service.id, candidate.server.address) == Some(Check::Failing);
            match Capacity::of(selection, whole, rule, local_share, fails) {
                Some(capacity) => {
                    let covered = spill::settle(capacity.covered(), before);
                    zone.covered = Some(covered);
                    spill::apply_weights(selection, rule, &capacity.weights(covered))
                }
                None => plain(),
            }
        }
    };
    (servers, Some(zone))
}

/// Those of other zones as backups.
fn backups(selection: &mut Selection<'_>, rule: &ZoneConfig) -> Vec<Server> {
    let mut servers = Vec::with_capacity(selection.kept.len());
    for candidate in selection.kept.clone() {
        let mut server = candidate.server.clone();
        if !selection.is_default(candidate) && !is_local(rule, candidate) {
            server.backup = true;
            let zone = zone_of(rule, candidate).cloned();
            selection.note(&server.node, Note::Backup { zone });
        }
        servers.push(server);
    }
    servers
}
