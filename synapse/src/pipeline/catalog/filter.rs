//! Which candidates take traffic, and which of those the operator wants. Pure.

use super::{Selection, Verdict};
use crate::config::LabelFilter;

/// Leaves out unavailable candidates. A weight of 0 stays: such a server finishes its requests.
pub(crate) fn available(selection: &mut Selection<'_>) {
    selection.leave_out(|candidate| candidate.unavailable.clone().map(Verdict::NotAvailable));
}

/// Leaves out those for which a filter does not hold.
pub(crate) fn labels(selection: &mut Selection<'_>, filters: &[LabelFilter]) {
    selection.leave_out(|candidate| {
        let value = |filter: &LabelFilter| candidate.server.labels.get(&filter.label);
        let fails = |filter: &&LabelFilter| !filter.condition.holds(value(filter).map(String::as_str));
        let filter = filters.iter().find(fails)?;
        Some(Verdict::Filtered {
            label: filter.label.clone(),
            value: value(filter).cloned(),
            condition: filter.condition.clone(),
        })
    });
}
