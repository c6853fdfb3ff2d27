//! HAProxy's process: its master, reloads, the validation of a file before it is loaded, and the server states that a new
//! worker inherits.

pub(crate) mod alerts;
pub(crate) mod master;
pub(crate) mod reload;
pub(crate) mod server_state;
pub(crate) mod validate;
