//! What HAProxy does while too few servers of a service are healthy. Pure.
//!
//! HAProxy decides it by itself, request by request, for synapse may be dead when it matters. It knows how many servers of
//! a backend are usable (`nbsrv`), and not how many there should be. So a service with the rule has a *shadow backend*,
//! in which the servers that count stand without their checks: its `nbsrv` is what there should be, and with `use-all` it
//! is also where requests go. It has the slots of the first under the same names and numbers, and who sits in them follows
//! from the first, so that membership changes neither a rule nor the structure.
//!
//! Who counts has traffic by its own right: a weight above 0, and no `backup`. While a service has a backup, nobody
//! counts: HAProxy turns to backups by rules of its own, and what `nbsrv` then says is no answer to this question.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{Below, Panic, Then};
use crate::haproxy::plan::model::{Assignment, Backend, Slot};
use crate::haproxy::runtime::parse::{LiveBackend, LiveServer};
use crate::haproxy::status::PanicStatus;
use crate::health::Check;

/// How many servers there should be, where HAProxy can calculate with it.
const VARIABLE: &str = "txn.synapse_all";

/// The shadow backend for a file in which the service has `first`.
pub(crate) fn shadow(first: &Backend, then: Then) -> Backend {
    let mut shadow = Backend {
        slots: first
            .slots
            .iter()
            .map(|slot| Slot {
                options: shadow_options(&slot.options, then),
                assignment: Assignment::Free,
                ..slot.clone()
            })
            .collect(),
    };
    sync(&mut shadow, first, then);
    shadow
}

/// Seats in `shadow` who counts in `first`.
pub(crate) fn sync(shadow: &mut Backend, first: &Backend, then: Then) {
    let has_backup = first
        .slots
        .iter()
        .any(|slot| has_traffic(slot.assignment) && slot.options.split(' ').any(|word| word == "backup"));
    let seats: HashMap<u32, Assignment> = first.slots.iter().map(|slot| (slot.id, slot.assignment)).collect();
    for slot in &mut shadow.slots {
        slot.assignment = match seats.get(&slot.id) {
            Some(Assignment::Active { address, weight }) if *weight > 0 && !has_backup => Assignment::Active {
                address: *address,
                // A number that stays needs no `balance` that can change it.
                weight: if then == Then::UseAll { *weight } else { 1 },
            },
            Some(_) | None => Assignment::Free,
        };
    }
}

fn has_traffic(assignment: Assignment) -> bool {
    matches!(assignment, Assignment::Active { weight: 1.., .. })
}

/// The options of a server that is always up. Nothing but its number matters where no request goes.
fn shadow_options(first: &str, then: Then) -> Arc<str> {
    let mut words: Vec<&str> = Vec::new();
    if then == Then::UseAll {
        let mut all = first.split_ascii_whitespace();
        while let Some(word) = all.next() {
            match word {
                // They would have it down without a check.
                "track" | "init-state" => _ = all.next(),
                word => words.push(word),
            }
        }
    }
    // Whatever `default-server` says.
    words.extend(["no-check", "no-agent-check"]);
    words.join(" ").into()
}

/// Puts the choice between the backends into a frontend.
pub(crate) fn add_selection(lines: &mut Vec<String>, http: bool, rule: Panic, id: &str) {
    count(lines, http, rule, id);
    lines.push(format!(
        "use_backend {} if {}",
        Panic::second_backend(id),
        few(rule, id)
    ));
}

/// Puts the refusal into the first backend.
pub(crate) fn add_rejection(lines: &mut Vec<String>, http: bool, rule: Panic, id: &str) {
    let refusal = if http {
        "http-request deny deny_status 503"
    } else {
        "tcp-request content reject"
    };
    let place = count(lines, http, rule, id);
    lines.insert(place.saturating_add(1), format!("{refusal} if {}", few(rule, id)));
}

/// Counts what there should be, before any line that could end the rules of its kind; says where.
fn count(lines: &mut Vec<String>, http: bool, rule: Panic, id: &str) -> usize {
    let rules: &[&str] = if http {
        &["http-request", "redirect", "use_backend"]
    } else {
        &["tcp-request content", "use_backend"]
    };
    let is_rule = |line: &String| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        rules.iter().any(|rule| words.join(" ").starts_with(rule))
    };
    let place = lines.iter().position(is_rule).unwrap_or(lines.len());
    let kind = if http { "http-request" } else { "tcp-request content" };
    let times = match rule.below {
        Below::Share(share) => format!(",mul({})", share.per_mille()),
        Below::Count(_) => String::new(),
    };
    let all = Panic::second_backend(id);
    lines.insert(place, format!("{kind} set-var({VARIABLE}) nbsrv({all}){times}"));
    place
}

/// [`Below::is_reached`], as a condition of HAProxy's.
fn few(rule: Panic, id: &str) -> String {
    match rule.below {
        Below::Share(_) => format!("{{ nbsrv({id}),mul(1000),sub({VARIABLE}) lt 0 }}"),
        Below::Count(count) => format!("{{ nbsrv({id}) lt {count} }} {{ nbsrv({id}),sub({VARIABLE}) lt 0 }}"),
    }
}

/// What HAProxy does by the rule, from what it said of its servers.
pub(crate) fn status(rule: Panic, first: Option<&LiveBackend>, shadow: Option<&LiveBackend>) -> PanicStatus {
    let usable = |backend: &LiveBackend| backend.servers.values().filter(|server| is_usable(server)).count();
    let all = shadow.map_or(0, usable);
    // Without anybody who counts there is nothing to tell.
    let healthy = if all == 0 { 0 } else { first.map_or(0, usable) };
    let active = rule.below.is_reached(healthy, all);
    let then = match rule.then {
        Then::UseAll => "use-all",
        Then::FailFast => "fail-fast",
    };
    let below = match rule.below {
        Below::Share(share) => format!("{}%", f64::from(share.per_mille()) / 10.0),
        Below::Count(count) => count.to_string(),
    };
    let figures = format!("{healthy} of {all} servers are healthy");
    let why = match (shadow, all, active, rule.then) {
        (None, ..) => "HAProxy does not have the rule yet".to_owned(),
        (_, 0, ..) => "no server counts: there is none, all drain, or there are backups".to_owned(),
        (_, _, false, _) => format!("{figures}, which is enough"),
        (_, _, true, Then::UseAll) => format!("{figures}: all are used, whatever their checks say"),
        (_, _, true, Then::FailFast) => format!("{figures}: requests are refused at once"),
    };
    PanicStatus {
        below,
        then,
        healthy,
        all,
        active,
        why,
    }
}

/// What `nbsrv` counts.
fn is_usable(server: &LiveServer) -> bool {
    !server.maint && !server.drain && server.weight > 0 && server.check != Some(Check::Failing)
}

#[cfg(test)]
mod tests;
