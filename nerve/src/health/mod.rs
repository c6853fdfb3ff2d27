//! From single probes to one word about a service. Pure.

pub mod check_state;
pub mod history;
pub mod threshold;
pub mod verdict;
