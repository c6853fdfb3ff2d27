//! `guard` of a service.

use common::config::Section;
use common::ratio::PerMille;

use crate::config::{Guard, GuardPolicy, SelectionConfig, WatcherConfig};

/// Reads `guard`; without one, the defaults apply. Removals from a file on this host apply at once unless `policy` is set,
/// and those from a list in the configuration always do.
pub(super) fn guard(
    service: &mut Section<'_>,
    watcher: Option<&WatcherConfig>,
    selection: Option<&SelectionConfig>,
) -> Option<Guard> {
    let trusted = watcher.is_some_and(WatcherConfig::is_own_word);
    let default = Guard {
        policy: if trusted { GuardPolicy::Trust } else { GuardPolicy::Hold },
        ..Guard::default()
    };
    let Some(mut section) = service.section("guard", "guard") else {
        return Some(default);
    };
    let policy = section.choice_or(
        "policy",
        if trusted { "trust" } else { "hold" },
        &[
            ("hold", GuardPolicy::Hold),
            ("defaults", GuardPolicy::Defaults),
            ("trust", GuardPolicy::Trust),
        ],
    );
    if watcher.is_some_and(WatcherConfig::is_fixed) && policy.is_some_and(|policy| policy != GuardPolicy::Trust) {
        section.problem(
            "policy",
            "removals from a list in the configuration always apply at once",
            "remove `policy`: only what a registry takes away can be doubted",
        );
    }
    if policy == Some(GuardPolicy::Defaults) && selection.is_some_and(|rules| rules.default_servers.is_empty()) {
        section.problem(
            "policy",
            "the service has no default servers that could help",
            "name some in its `defaultServers`, or use `hold`",
        );
    }
    let share = share(&mut section);
    let least = section.integer_or("least", default.least as u64, 1..=1_000_000);
    Some(Guard {
        policy: policy?,
        share: share?,
        least: usize::try_from(least).ok()?,
        window: section.duration_or("window", default.window),
        settle: section.duration_or("settle", default.settle),
        hold_time: section.duration_or("holdTime", default.hold_time),
    })
}

fn share(section: &mut Section<'_>) -> Option<PerMille> {
    let written = section.text_or("share", "0.5");
    let share = PerMille::parse(&written);
    if share.is_none() {
        section.problem(
            "share",
            format!("{written:?} is not a share of a service's instances"),
            "write for example `0.5` or `50%`: more than 0, at most 1",
        );
    }
    share
}
