//! `panicThreshold` of a service; its earlier name `panic` is read with a warning.

use common::config::Section;

use super::lines::words;
use super::service_haproxy::SectionLines;
use crate::config::{Below, PanicThreshold, ServiceHaproxy, Then};

const KEY: &str = "panicThreshold";
const OLD_KEY: &str = "panic";

/// What a rule applies to.
pub(super) struct Context<'o> {
    /// The router drives HAProxy.
    pub(super) is_haproxy: bool,
    /// Name of the service in HAProxy; `None` when the configured one is invalid.
    pub(super) id: Option<&'o str>,
    pub(super) own: &'o SectionLines,
    pub(super) haproxy: &'o ServiceHaproxy,
}

/// Reads the rule; `None` without one, or with an invalid one.
pub(super) fn panic_threshold(service: &mut Section<'_>, context: &Context<'_>) -> Option<PanicThreshold> {
    let key = if service.has(OLD_KEY) { OLD_KEY } else { KEY };
    if key == OLD_KEY && service.has(KEY) {
        let what = "it is the earlier name of `panicThreshold`, which is there too";
        service.problem(OLD_KEY, what, "remove one of the two");
    } else if key == OLD_KEY {
        service.warning(OLD_KEY, "it is now called `panicThreshold`", "rename the key");
    }
    let mut section = service.section(key, KEY)?;
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
    if !context.is_haproxy {
        service.problem(
            key,
            "it is HAProxy that counts the healthy servers, and the router of this service drives none",
            "remove it, or move the service to a router of `type: haproxy`",
        );
        return None;
    }
    let rule = PanicThreshold {
        below: below?,
        then: then?,
    };
    can_count(&mut section, rule, context);
    if rule.then == Then::UseAll {
        can_choose(&mut section, context);
    }
    Some(rule)
}

/// The servers that are counted have to be the service's, and its lines fit to be there twice.
fn can_count(section: &mut Section<'_>, rule: PanicThreshold, context: &Context<'_>) {
    for line in &context.own.backend {
        let keyword = words(line).next().unwrap_or_default();
        let why = match (keyword, rule.then) {
            ("server" | "server-template" | "dispatch", _) => "it would count servers that are not the service's",
            ("id" | "guid", Then::UseAll) => {
                "the service gets two backends with these lines, and this one may be there once"
            }
            _ => continue,
        };
        let what = format!("`{line}` is in `routerOptions.backend`, and {why}");
        section.problem("then", what, "remove the line, or `panicThreshold`");
    }
}

/// `use-all` needs a frontend that chooses between the two backends by itself.
fn can_choose(section: &mut Section<'_>, context: &Context<'_>) {
    let help = "give the service a `port` in `haproxy`, or use `fail-fast`, which works in the backend";
    if context.own.frontend.is_empty() {
        let what = "`use-all` is decided in the service's frontend, and it has none";
        section.problem("then", what, help);
    }
    if !context.haproxy.shared_frontend.is_empty() {
        let what = "`use-all` is decided in the service's own frontend, and its lines in the shared one pass that by";
        section.problem("then", what, "remove `haproxy.sharedFrontend`, or use `fail-fast`");
    }
    for line in &context.own.frontend {
        let mut words = words(line);
        let (keyword, target) = (words.next().unwrap_or_default(), words.next());
        let is_own = target.is_some() && target == context.id;
        if (keyword == "default_backend" && !is_own) || (keyword == "use_backend" && is_own) {
            let what =
                format!("`{line}` is in `routerOptions.frontend`, and `use-all` has to choose the backend there");
            section.problem("then", what, "remove the line, or use `fail-fast`");
        }
    }
}
