//! `guard` of a service.

use common::config::Section;

use crate::config::{Guard, GuardPolicy, Share};

/// Reads `guard`; without one, the defaults hold.
pub(super) fn guard(service: &mut Section<'_>) -> Option<Guard> {
    let default = Guard::default();
    let Some(mut section) = service.section("guard", "guard") else {
        return Some(default);
    };
    let policy = section.choice_or(
        "policy",
        "hold",
        &[("hold", GuardPolicy::Hold), ("trust", GuardPolicy::Trust)],
    );
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

fn share(section: &mut Section<'_>) -> Option<Share> {
    let written = section.text_or("share", "0.5");
    let share = Share::parse(&written);
    if share.is_none() {
        section.problem(
            "share",
            format!("{written:?} is not a share of a service's instances"),
            "write for example `0.5` or `50%`: more than 0, at most 1",
        );
    }
    share
}
