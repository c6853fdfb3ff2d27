//! Memcached.

use super::{PASSWORD, Server, is_root, text};
use crate::authority::Authority;
use crate::ports::free_port;

/// A memcached; with a login for `me` when `guarded`; with an `authority`, for clients that speak TLS and have a
/// certificate of it.
pub fn memcached(guarded: bool, authority: Option<&Authority>) -> Server {
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
    let tls = authority.map(|authority| {
        let (us, ca) = (authority.sign("memcached"), authority.ca());
        let (cert, key) = (text(&us.cert), text(&us.key));
        // 2: a client without a good certificate is refused.
        format!(
            "ssl_chain_cert={cert},ssl_key={key},ssl_ca_cert={},ssl_verify_mode=2",
            text(&ca)
        )
    });
    if let Some(tls) = &tls {
        argv.extend(["-Z", "-o", tls]);
    }
    Server::start(&argv, directory, port)
}
