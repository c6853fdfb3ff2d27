//! Drives HAProxy.

mod bind;
mod blame;
mod command;
mod disk;
mod model;
mod options;
mod pace;
mod parse;
mod plan;
mod reason;
mod render;
mod slots;
mod wants;
