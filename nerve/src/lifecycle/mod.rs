//! A service between up and down: when it is announced, at which weight, and how it is taken away. Pure.

pub mod machine;
pub mod warmup;

mod drain;

pub use drain::{Settled, Stage};
