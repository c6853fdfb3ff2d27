//! What a service has to choose from, and what it falls back on when nothing of it is left. Pure.
//!
//! Default servers are the operator's own command: filters, zones and subsets do not apply to them. A registration of the
//! same address takes precedence.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use common::zk::reflector::Freshness;

use super::{Note, Selection, ServiceOutcome};
use crate::config::default_servers;
use crate::config::{SelectionConfig, Weights};
use crate::watcher::{Candidate, WatcherState};

/// All that one service has to choose from.
#[derive(Debug)]
pub(crate) struct CandidatePool<'s> {
    pub(crate) registered: Cow<'s, [Candidate]>,
    defaults: Vec<Candidate>,
    /// Whether the source has answered at all.
    is_known: bool,
}

impl<'s> CandidatePool<'s> {
    /// The content of the source, without the weights that do not count, and the operator's servers; with `portOverride`.
    pub(crate) fn of(rules: &SelectionConfig, state: &'s WatcherState) -> Self {
        let mut registered = Cow::Borrowed(state.candidates.as_slice());
        if rules.weights == Weights::Equal {
            for candidate in registered.to_mut() {
                // A registered weight of 0 requests a drain, and that counts.
                candidate.server.weight = candidate.server.weight.filter(|weight| *weight == 0);
            }
        }
        if let Some(port) = rules.port_override {
            for candidate in registered.to_mut() {
                candidate.server.address.set_port(port.get());
            }
        }
        let unregistered = |server| Candidate {
            server,
            czxid: 0,
            unavailable: None,
        };
        Self {
            registered,
            defaults: default_servers(rules).map(unregistered).collect(),
            is_known: state.freshness != Freshness::Never,
        }
    }
}

/// Adds the default servers if they are wanted; if there are none, and no server is left, the previous ones. A source that
/// has not answered has lost no server.
pub(crate) fn fall_back<'c>(
    selection: &mut Selection<'c>,
    rules: &SelectionConfig,
    stock: &'c CandidatePool<'_>,
    previous: Option<&'c ServiceOutcome>,
) {
    if !stock.is_known {
        return;
    }
    if selection.kept.is_empty() || rules.keep_default_servers {
        let mut taken: BTreeSet<_> = selection.kept.iter().map(|kept| kept.server.address).collect();
        for default in &stock.defaults {
            if taken.insert(default.server.address) {
                selection.kept.push(default);
                selection.note(&default.server.node, Note::Default);
                selection.unlisted.insert(Arc::clone(&default.server.node));
            }
        }
    }
    if selection.kept.is_empty() && rules.use_previous_servers {
        for candidate in previous.iter().flat_map(|previous| previous.previous.iter()) {
            let node = &candidate.server.node;
            if selection.left_out.remove(node).is_none() {
                selection.unlisted.insert(Arc::clone(node));
            }
            selection.kept.push(candidate);
            selection.note(node, Note::Previous);
        }
    }
}

/// What `usePreviousServers` will fall back on.
pub(crate) fn remember(rules: &SelectionConfig, selection: &Selection<'_>) -> Arc<[Candidate]> {
    if rules.use_previous_servers {
        selection.kept.iter().copied().cloned().collect()
    } else {
        Arc::default()
    }
}
