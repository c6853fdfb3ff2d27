//! Memcached.

use super::{PASSWORD, Server, is_root, text};
use crate::ports::free_port;

/// A memcached; with a login for `me` when `guarded`.
pub fn memcached(guarded: bool) -> Server {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let logins = directory.path().join("logins");
    std::fs::write(&logins, format!("me:{PASSWORD}\n")).unwrap();
    let (logins, port_text) = (text(&logins).to_owned(), port.to_string());
    let mut argv = vec!["memcached", "-l", "127.0.0.1", "-p", &port_text, "-t", "1"];
    if is_root() {
        argv.extend(["-u", "root"]);
    }
    if guarded {
        argv.extend(["-Y", &logins]);
    }
    Server::start(&argv, directory, port)
}
