//! Who takes traffic.

use super::{Selection, Verdict};

/// Leaves out those that say they are not available. A weight of 0 stays: such a server finishes what it has.
pub(super) fn available(selection: &mut Selection<'_>) {
    selection.leave_out(|candidate| candidate.unavailable.clone().map(Verdict::NotAvailable));
}
