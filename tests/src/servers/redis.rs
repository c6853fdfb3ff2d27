//! Redis.

use super::{PASSWORD, Server, text};
use crate::authority::Authority;
use crate::ports::free_port;

/// A Redis with a password; with an `authority`, for clients that speak TLS and have a certificate of it.
pub fn redis(authority: Option<&Authority>) -> Server {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let data = text(directory.path()).to_owned();
    let port_text = port.to_string();
    let mut argv = vec!["redis-server", "--bind", "127.0.0.1", "--dir", &data, "--save", ""];
    argv.extend(["--requirepass", PASSWORD]);
    let signed = authority.map(|authority| (authority.sign("redis"), authority.ca()));
    match &signed {
        None => argv.extend(["--port", &port_text]),
        Some((us, ca)) => {
            argv.extend(["--port", "0", "--tls-port", &port_text, "--tls-ca-cert-file", text(ca)]);
            argv.extend(["--tls-cert-file", text(&us.cert), "--tls-key-file", text(&us.key)]);
        }
    }
    Server::start(&argv, directory, port)
}
