//! HAProxy's configuration file: rendered, read back, and what it binds.

pub(crate) mod bind;
pub(crate) mod format;
pub(crate) mod panic_threshold;
pub(crate) mod read;
pub(crate) mod render;
