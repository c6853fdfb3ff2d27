//! The keys of `push`.

use std::time::Duration;

use common::config::Section;

use crate::config::CheckKind;

const TTL: Duration = Duration::from_secs(30);

/// Heartbeats of the service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// How the API calls the check.
    pub name: String,
    /// How long a heartbeat without a time to live holds.
    pub ttl: Duration,
}

pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    let ttl = section.duration_or("ttl", TTL);
    let name = section.text_or("name", "push");
    if name.contains('/') || name.chars().any(char::is_control) {
        section.problem(
            "name",
            "has a `/` or a control character",
            "the name is part of the API's path: leave those out",
        );
        return None;
    }
    Some(CheckKind::Push(PushConfig { name, ttl }))
}
