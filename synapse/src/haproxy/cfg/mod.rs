//! HAProxy's configuration file: rendered, read back, and the addresses it binds.

pub(crate) mod bind;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod panic_threshold;
pub(crate) mod render;
