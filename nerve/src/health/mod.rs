//! From single probes to one word about a service. Pure.

pub mod history;
pub mod threshold;
pub mod verdict;
