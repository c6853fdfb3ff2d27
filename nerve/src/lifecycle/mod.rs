//! The lifecycle of a service: when it is registered, at which weight, and how it is withdrawn. Pure.

pub mod machine;
pub mod warmup;

mod drain;

pub use drain::{Settled, Stage};
