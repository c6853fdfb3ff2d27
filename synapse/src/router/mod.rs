//! Routers: what makes a [`Desired`](crate::desired::Desired) true.

pub mod haproxy;
