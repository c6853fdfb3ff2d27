//! `extraSections`, `listen`, `frontend` and `backend` of an HAProxy router: sections of the operator's own.

use common::config::Section;

use super::lines;
use super::obsolete::Place;
use super::router_context::RouterContext;
use crate::config::{ExtraSection, SHARED_FRONTEND};

/// The kinds of sections that HAProxy has, but for those with a key or a rule of their own.
const KINDS: [&str; 18] = [
    "defaults",
    "listen",
    "frontend",
    "backend",
    "userlist",
    "peers",
    "resolvers",
    "mailers",
    "cache",
    "http-errors",
    "ring",
    "log-forward",
    "log-profile",
    "fcgi-app",
    "crt-store",
    "traces",
    "acme",
    "healthcheck",
];

/// Reads all of them; `ids` are the sections that the services make.
pub(super) fn extra_sections(section: &mut Section<'_>, context: &RouterContext, ids: &[String]) -> Vec<ExtraSection> {
    // A frontend and a backend may share a name, as those of a service do.
    let mut fronts = ids.to_vec();
    fronts.extend(context.shared_frontend.then(|| SHARED_FRONTEND.to_owned()));
    let mut taken = Taken {
        fronts,
        backs: ids.to_vec(),
        others: Vec::new(),
    };
    let mut found = Vec::new();
    for (title, written) in section.text_lists("extraSections") {
        found.extend(extra(section, context, &mut taken, &title, written));
    }
    for kind in ["listen", "frontend", "backend"] {
        for (name, written) in section.text_lists(kind) {
            lines::check_name(section, kind, &name);
            taken.take(section, kind, kind, &name);
            found.push(ExtraSection {
                title: format!("{kind} {name}"),
                lines: context.modern(section, kind, written, Place::Proxy, Section::problem),
            });
        }
    }
    found
}

/// The names that are given.
struct Taken {
    fronts: Vec<String>,
    backs: Vec<String>,
    /// With their kind: `userlist a` and `peers a` don't meet.
    others: Vec<String>,
}

impl Taken {
    fn take(&mut self, section: &mut Section<'_>, key: &str, kind: &str, name: &str) {
        let given = |names: &mut Vec<String>, name: String| {
            let is_new = !names.contains(&name);
            names.push(name);
            is_new
        };
        let is_new = match kind {
            "frontend" => given(&mut self.fronts, name.to_owned()),
            "backend" => given(&mut self.backs, name.to_owned()),
            // Both in one.
            "listen" => given(&mut self.fronts, name.to_owned()) & given(&mut self.backs, name.to_owned()),
            kind => given(&mut self.others, format!("{kind} {name}")),
        };
        if !is_new {
            section.problem(
                key,
                format!("`{name}` is the name of another section, or the one a service gets"),
                "choose another name",
            );
        }
    }
}

/// One of `extraSections`: `<kind> <name> …`. The address that 1.x allowed after the name of a proxy becomes a line.
fn extra(
    section: &mut Section<'_>,
    context: &RouterContext,
    taken: &mut Taken,
    title: &str,
    written: Vec<String>,
) -> Option<ExtraSection> {
    let key = "extraSections";
    lines::check(section, key, &[title.to_owned()]);
    let mut words = title.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let refused = match kind {
        "global" => Some("its lines have a key of their own, `global`"),
        "program" => Some(
            "it would have HAProxy's master run a program out of synapse's sight: start it as a service of the system",
        ),
        kind if !KINDS.contains(&kind) => Some("HAProxy has no such section"),
        _ => None,
    };
    if let Some(why) = refused {
        section.problem(key, format!("`{title}` can't be a section here"), why);
        return None;
    }
    let name = words.next().unwrap_or_default();
    let is_nameless = matches!(kind, "traces");
    if name.is_empty() && !is_nameless {
        let help = match kind {
            "defaults" => "the lines for all sections have a key of their own, `defaults`; another set needs a name",
            _ => "write the section's kind and its name, e.g. `userlist admins`",
        };
        section.problem(key, format!("`{title}` has no name"), help);
        return None;
    }
    if !is_nameless {
        lines::check_name(section, key, name);
        taken.take(section, key, kind, name);
    }
    let is_proxy = matches!(kind, "listen" | "frontend");
    let mut rest: Vec<&str> = words.collect();
    let mut all = Vec::with_capacity(written.len().saturating_add(1));
    if let Some(address) = rest.first().copied().filter(|word| is_proxy && word.contains(':')) {
        all.push(format!("bind {address}"));
        rest.remove(0);
    }
    all.extend(if is_proxy || kind == "backend" || kind == "defaults" {
        // A `defaults` with a name takes all that a proxy takes.
        context.modern(section, key, written, Place::Proxy, Section::problem)
    } else {
        lines::check(section, key, &written);
        written
    });
    let title = [&[kind, name], rest.as_slice()].concat().join(" ");
    Some(ExtraSection {
        title: title.trim_end().to_owned(),
        lines: all,
    })
}
