//! The settings of a router that its services read. Pure.

use crate::config::Weights;

/// What the services of a router share while they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouterContext {
    /// It is HAProxy whose lines these are.
    pub(super) haproxy: bool,
    /// `modernise`.
    pub(super) modernise: bool,
    /// `bindAddress`.
    pub(super) bind_address: String,
    /// Whether there is a `sharedFrontend`.
    pub(super) shared_frontend: bool,
    /// `useRegisteredWeights`.
    pub(super) weights: Weights,
}

impl Default for RouterContext {
    fn default() -> Self {
        Self {
            haproxy: false,
            modernise: false,
            bind_address: DEFAULT_BIND.to_owned(),
            shared_frontend: false,
            weights: Weights::default(),
        }
    }
}

/// Where services listen: an application talks to its own machine's HAProxy.
pub(super) const DEFAULT_BIND: &str = "127.0.0.1";
