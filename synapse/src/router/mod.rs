//! Routers: what makes a [`Desired`](crate::desired::Desired) true.

mod applier;
pub mod console;
pub mod file_output;
mod locks;
pub(crate) mod scheduler;
pub(crate) mod status;
pub mod template;

pub use applier::{Applier, ApplierTask};
pub use locks::Locks;
pub use status::RouterStatus;
