//! The rooms of each crate, ground-up, and which each may import.

/// A room and the rooms it imports.
type Table = &'static [(&'static str, &'static [&'static str])];

pub(crate) const COMMON: Table = &[
    ("backoff", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("file", &[]),
    ("hash", &[]),
    ("ratio", &[]),
    ("ready", &[]),
    ("report", &[]),
    ("signal", &[]),
    ("systemd", &[]),
    ("telemetry", &[]),
    ("exit", &["config"]),
    ("reload", &["clock", "config", "systemd", "telemetry"]),
    ("template", &["hash"]),
    ("tls", &["config"]),
    ("http", &["config", "ready", "reload", "telemetry"]),
    ("process", &["backoff", "exit"]),
    ("runtime", &["exit"]),
    ("supervise", &["exit", "signal"]),
    ("zk", &["backoff", "config", "hash", "report", "tls"]),
    (
        "daemon",
        &["clock", "config", "exit", "http", "reload", "supervise", "telemetry"],
    ),
];

pub(crate) const NERVE: Table = &[];

pub(crate) const SYNAPSE: Table = &[];
