//! Redis.

use super::{PASSWORD, Server, text};
use crate::ports::free_port;

/// A Redis with a password and a key named `here`.
pub fn redis() -> Server {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let data = text(directory.path()).to_owned();
    let port_text = port.to_string();
    let argv = [
        "redis-server",
        "--bind",
        "127.0.0.1",
        "--port",
        &port_text,
        "--dir",
        &data,
        "--save",
        "",
        "--requirepass",
        PASSWORD,
    ];
    Server::start(&argv, directory, port)
}
