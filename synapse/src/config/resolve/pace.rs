//! How a router takes its time: keys that several types share.

use std::time::Duration;

use common::config::Section;

use crate::config::{ApplyBudget, PaceConfig};

/// The longest wait, in buffers, when it is not given.
const MAX_BUFFERS: u32 = 4;

/// Reads how long changes are gathered.
pub(super) fn pace(section: &mut Section<'_>) -> PaceConfig {
    let buffer = section.milliseconds_or("eventsBufferDurationInMilli", Duration::from_millis(500));
    let longest = section.duration("eventsBufferMaxDuration");
    if longest.is_some_and(|longest| longest < buffer) {
        section.problem(
            "eventsBufferMaxDuration",
            format!("changes are gathered for {buffer:?} at least, which is longer"),
            "raise it, or lower `eventsBufferDurationInMilli`",
        );
    }
    PaceConfig {
        buffer,
        max_buffer: longest.unwrap_or(buffer.saturating_mul(MAX_BUFFERS)),
        budget: None,
        jitter: Duration::ZERO,
    }
}

/// Reads `applyBudget`.
pub(super) fn budget(section: &mut Section<'_>) -> Option<ApplyBudget> {
    let mut section = section.section("applyBudget", "applyBudget")?;
    let applies = section.integer_or("applies", 10, 1..=10_000);
    Some(ApplyBudget {
        applies: usize::try_from(applies).unwrap_or(usize::MAX),
        per: section.duration_or("per", Duration::from_mins(1)),
    })
}

/// Reads `reloadJitter`.
pub(super) fn jitter(section: &mut Section<'_>) -> Duration {
    section.duration("reloadJitter").unwrap_or_default()
}
