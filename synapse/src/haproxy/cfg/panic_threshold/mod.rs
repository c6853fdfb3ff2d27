//! HAProxy's behaviour while too few servers of a service are healthy. Pure.
//!
//! HAProxy decides it by itself, request by request, because synapse may be down at that time. HAProxy counts how many
//! servers of a backend are usable (`nbsrv`), but not how many there should be. So a service with a panic threshold has a
//! *shadow backend*, in which the servers that count are without their checks: its `nbsrv` is the number that should be
//! there, and with `use-all` it is also the destination of the requests. It has the slots of the primary under the same
//! names and ids, and its assignments follow from the primary, so that membership changes neither rules nor structure.
//!
//! A server counts if it has traffic in its own right: a weight above 0, and no `backup`. While a service has a backup, no
//! server counts: HAProxy uses backups by rules of its own, to which `nbsrv` is no answer.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Below, PanicThreshold, Then};
use crate::haproxy::plan::model::{Assignment, Backend, Slot};
use crate::haproxy::runtime::parse::{LiveBackend, LiveServer};
use crate::haproxy::status::PanicThresholdStatus;
use crate::health::Check;

/// The number of servers that should be there, as a variable that HAProxy can calculate with.
const VARIABLE: &str = "txn.synapse_all";

/// Returns the shadow backend of `primary`.
pub(crate) fn shadow(primary: &Backend, then: Then) -> Backend {
    let mut shadow = primary.clone();
    for slot in &mut shadow.slots {
        slot.options = shadow_options(&slot.options, then);
    }
    sync(&mut shadow, primary, then);
    shadow
}

/// Assigns to `shadow` the servers that count in `primary`.
pub(crate) fn sync(shadow: &mut Backend, primary: &Backend, then: Then) {
    let is_backup = |slot: &Slot| has_traffic(slot) && slot.has_option("backup");
    let has_backup = primary.slots.iter().any(is_backup);
    let counted = primary.slots.iter().filter(|slot| has_traffic(slot) && !has_backup);
    let counted: HashMap<u32, Assignment> = counted.map(|slot| (slot.id, slot.assignment)).collect();
    for slot in &mut shadow.slots {
        slot.assignment = counted.get(&slot.id).copied().unwrap_or(Assignment::Free);
        if let Assignment::Active { weight, .. } = &mut slot.assignment
            && then == Then::FailFast
        {
            // A constant weight needs no `balance` that can change it.
            *weight = 1;
        }
    }
}

fn has_traffic(slot: &Slot) -> bool {
    matches!(slot.assignment, Assignment::Active { weight: 1.., .. })
}

/// The options of a server that is always up. Only its number matters if no request goes there.
fn shadow_options(primary: &str, then: Then) -> Arc<str> {
    let mut words: Vec<&str> = Vec::new();
    let mut all = primary.split_ascii_whitespace().filter(|_| then == Then::UseAll);
    while let Some(word) = all.next() {
        match word {
            // With these it would be down without a check.
            "track" | "init-state" => _ = all.next(),
            word => words.push(word),
        }
    }
    // Against `default-server`.
    words.extend(["no-check", "no-agent-check"]);
    words.join(" ").into()
}

/// Inserts the choice between the backends into the lines of a frontend.
pub(crate) fn add_selection(lines: &mut Vec<String>, http: bool, rule: PanicThreshold, id: &str) {
    add_counter(lines, http, rule, id);
    let shadow = PanicThreshold::shadow_backend(id);
    lines.push(format!("use_backend {shadow} if {}", condition(rule, id)));
}

/// Inserts the rejection of requests into the lines of the primary backend.
pub(crate) fn add_rejection(lines: &mut Vec<String>, http: bool, rule: PanicThreshold, id: &str) {
    let rejection = if http {
        "http-request deny deny_status 503"
    } else {
        "tcp-request content reject"
    };
    let at = add_counter(lines, http, rule, id);
    lines.insert(at + 1, format!("{rejection} if {}", condition(rule, id)));
}

/// Inserts the line that sets [`VARIABLE`] before any line that could end the rules of its kind; returns its index.
fn add_counter(lines: &mut Vec<String>, http: bool, rule: PanicThreshold, id: &str) -> usize {
    let (kind, rules): (_, &[&str]) = if http {
        ("http-request", &["http-request", "redirect", "use_backend"])
    } else {
        ("tcp-request content", &["tcp-request content", "use_backend"])
    };
    let is_rule = |line: &String| {
        let line = line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        rules.iter().any(|rule| line.starts_with(rule))
    };
    let at = lines.iter().position(is_rule).unwrap_or(lines.len());
    let factor = match rule.below {
        Below::Share(share) => format!(",mul({})", share.get()),
        Below::Count(_) => String::new(),
    };
    let shadow = PanicThreshold::shadow_backend(id);
    lines.insert(at, format!("{kind} set-var({VARIABLE}) nbsrv({shadow}){factor}"));
    at
}

/// [`Below::is_reached`] as a condition of HAProxy.
fn condition(rule: PanicThreshold, id: &str) -> String {
    match rule.below {
        Below::Share(_) => format!("{{ nbsrv({id}),mul(1000),sub({VARIABLE}) lt 0 }}"),
        Below::Count(count) => format!("{{ nbsrv({id}) lt {count} }} {{ nbsrv({id}),sub({VARIABLE}) lt 0 }}"),
    }
}

/// Returns what HAProxy does by the rule, from the servers it reported.
pub(crate) fn status(
    rule: PanicThreshold,
    primary: Option<&LiveBackend>,
    shadow: Option<&LiveBackend>,
) -> PanicThresholdStatus {
    let usable = |backend: &LiveBackend| backend.servers.values().filter(|server| is_usable(server)).count();
    let all = shadow.map_or(0, usable);
    // If no server counts, the others are not of interest.
    let healthy = if all == 0 { 0 } else { primary.map_or(0, usable) };
    let active = rule.below.is_reached(healthy, all);
    let figures = format!("{healthy} of {all} servers are healthy");
    PanicThresholdStatus {
        below: match rule.below {
            Below::Share(share) => format!("{}%", f64::from(share.get()) / 10.0),
            Below::Count(count) => count.to_string(),
        },
        then: match rule.then {
            Then::UseAll => "use-all",
            Then::FailFast => "fail-fast",
        },
        why: match (shadow, all, active, rule.then) {
            (None, ..) => "HAProxy does not have the rule yet".to_owned(),
            (_, 0, ..) => "no server counts: there is none, all drain, or there are backups".to_owned(),
            (_, _, false, _) => format!("{figures}, which is enough"),
            (_, _, true, Then::UseAll) => format!("{figures}: all are used, independent of their checks"),
            (_, _, true, Then::FailFast) => format!("{figures}: requests are rejected at once"),
        },
        healthy,
        all,
        active,
    }
}

/// Whether `nbsrv` counts the server.
fn is_usable(server: &LiveServer) -> bool {
    !server.maint && !server.drain && server.weight > 0 && server.check != Some(Check::Failing)
}

#[cfg(test)]
mod tests;
