//! HAProxy's process: its master, reloads, the validation of a file before it is loaded, and the state of servers that is
//! handed to a new worker.

pub(crate) mod alerts;
pub(crate) mod master;
pub(crate) mod reload;
pub(crate) mod server_state;
pub(crate) mod validate;
