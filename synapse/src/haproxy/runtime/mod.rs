//! HAProxy's runtime API: the socket, commands and their replies, and the worker that answers.

pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod interner;
pub(crate) mod parse;
pub(crate) mod poll;
pub(crate) mod socket;
