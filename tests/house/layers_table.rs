//! The rooms of each crate, ground-up, and which each may import.

/// A room and the rooms it imports.
type Table = &'static [(&'static str, &'static [&'static str])];

pub(crate) const COMMON: Table = &[];

pub(crate) const NERVE: Table = &[];

pub(crate) const SYNAPSE: Table = &[];
