//! Reasons of reloads, for the log, the metrics and the status.

use std::fmt;

use crate::router::scheduler::Urgency;

/// The reason of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReloadReason {
    /// HAProxy did not run.
    FirstStart,
    /// Sections differ from those that HAProxy has loaded.
    Structure { what: String },
    /// An instance of the service found no free slot.
    SlotsExhausted { service: String },
    /// An instance of the service has options that no slot has; HAProxy 2.6 can't set them at runtime.
    OptionClass { service: String },
    /// HAProxy refuses to change weights under the `balance` of this service.
    StaticBalance { service: String },
    /// The runtime API could not bring HAProxy to the desired state.
    Drift { what: String },
    /// HAProxy runs with a file that is not synapse's or was lost.
    Adoption,
    /// Sections that were left out are tried again.
    Quarantine,
    /// An operator requested it.
    Operator,
}

/// The labels of all reasons, so that each has its metric from the start.
pub const LABELS: [&str; 9] = [
    "first_start",
    "structure",
    "slots_exhausted",
    "option_class",
    "static_balance",
    "drift",
    "adoption",
    "quarantine",
    "operator",
];

impl ReloadReason {
    fn properties(&self) -> (&'static str, Urgency) {
        match self {
            Self::FirstStart => ("first_start", Urgency::Startup),
            // A new configuration reaches many hosts at once.
            Self::Structure { .. } => ("structure", Urgency::Jittered),
            Self::SlotsExhausted { .. } => ("slots_exhausted", Urgency::DebouncedOnce),
            Self::OptionClass { .. } => ("option_class", Urgency::DebouncedOnce),
            Self::StaticBalance { .. } => ("static_balance", Urgency::Debounced),
            Self::Drift { .. } => ("drift", Urgency::Immediate),
            Self::Adoption => ("adoption", Urgency::Immediate),
            Self::Quarantine => ("quarantine", Urgency::Immediate),
            Self::Operator => ("operator", Urgency::Immediate),
        }
    }

    /// Label for metrics.
    pub(crate) fn label(&self) -> &'static str {
        self.properties().0
    }

    /// How soon the reload is due.
    pub(crate) fn urgency(&self) -> Urgency {
        self.properties().1
    }

    /// The service whose registrations alone cause the reload, and may cause it again and again.
    pub(crate) fn service(&self) -> Option<&str> {
        match self {
            Self::SlotsExhausted { service } | Self::OptionClass { service } | Self::StaticBalance { service } => {
                Some(service)
            }
            _ => None,
        }
    }
}

impl fmt::Display for ReloadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStart => f.write_str("HAProxy did not run"),
            Self::Structure { what } => write!(f, "the sections differ: {what}"),
            Self::SlotsExhausted { service } => write!(f, "no free slot left in {service}"),
            Self::OptionClass { service } => write!(f, "an instance of {service} has options that no slot has"),
            Self::StaticBalance { service } => write!(f, "the balance of {service} takes weights from the file only"),
            Self::Drift { what } => write!(f, "the runtime API could not repair it: {what}"),
            Self::Adoption => f.write_str("HAProxy runs with another file"),
            Self::Quarantine => f.write_str("sections that HAProxy had refused are tried again"),
            Self::Operator => f.write_str("requested by an operator"),
        }
    }
}
