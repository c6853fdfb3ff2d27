//! `panic` of a service.

use common::config::Section;

use super::lines::words;
use super::service_haproxy::SectionLines;
use crate::config::{Below, Panic, ServiceHaproxy, Then};

/// What the rule is to be put into.
pub(super) struct Place<'o> {
    /// The router drives HAProxy.
    pub(super) is_haproxy: bool,
    /// What the service is called in HAProxy; `None` when that is wrong already.
    pub(super) id: Option<&'o str>,
    pub(super) own: &'o SectionLines,
    pub(super) haproxy: &'o ServiceHaproxy,
}

/// Reads `panic`; `None` without a rule, or with one that can't be.
pub(super) fn panic(service: &mut Section<'_>, place: &Place<'_>) -> Option<Panic> {
    let mut section = service.section("panic", "panic")?;
    let written = section.text_or("below", "50%");
    let below = Below::parse(&written);
    if below.is_none() {
        section.problem(
            "below",
            format!("{written:?} is neither a share of a service's servers nor a number of them"),
            "write for example `50%`, or `3`",
        );
    }
    let then = section.choice_or("then", "", &[("use-all", Then::UseAll), ("fail-fast", Then::FailFast)]);
    if !place.is_haproxy {
        service.problem(
            "panic",
            "it is HAProxy that counts the healthy servers, and the router of this service drives none",
            "remove it, or move the service to a router of `type: haproxy`",
        );
        return None;
    }
    let rule = Panic {
        below: below?,
        then: then?,
    };
    can_count(&mut section, rule, place);
    if rule.then == Then::UseAll {
        can_choose(&mut section, place);
    }
    Some(rule)
}

/// The servers that are counted have to be the service's, and its lines fit to be there twice.
fn can_count(section: &mut Section<'_>, rule: Panic, place: &Place<'_>) {
    for line in &place.own.backend {
        let keyword = words(line).next().unwrap_or_default();
        let why = match (keyword, rule.then) {
            ("server" | "server-template" | "dispatch", _) => "it would count servers that are not the service's",
            ("id" | "guid", Then::UseAll) => {
                "the service gets two backends with these lines, and this one may be there once"
            }
            _ => continue,
        };
        let what = format!("`{line}` is in `routerOptions.backend`, and {why}");
        section.problem("then", what, "remove the line, or `panic`");
    }
}

/// `use-all` needs a frontend that chooses between the two backends by itself.
fn can_choose(section: &mut Section<'_>, place: &Place<'_>) {
    let help = "give the service a `port` in `haproxy`, or use `fail-fast`, which works in the backend";
    if place.own.frontend.is_empty() {
        let what = "`use-all` is decided in the service's frontend, and it has none";
        section.problem("then", what, help);
    }
    if !place.haproxy.shared_frontend.is_empty() {
        let what = "`use-all` is decided in the service's own frontend, and its lines in the shared one pass that by";
        section.problem("then", what, "remove `haproxy.sharedFrontend`, or use `fail-fast`");
    }
    for line in &place.own.frontend {
        let mut words = words(line);
        let (keyword, target) = (words.next().unwrap_or_default(), words.next());
        let is_own = target.is_some() && target == place.id;
        if (keyword == "default_backend" && !is_own) || (keyword == "use_backend" && is_own) {
            let what =
                format!("`{line}` is in `routerOptions.frontend`, and `use-all` has to choose the backend there");
            section.problem("then", what, "remove the line, or use `fail-fast`");
        }
    }
}
