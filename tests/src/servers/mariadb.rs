//! MariaDB.

use super::{PASSWORD, Server, is_root, run, text};
use crate::authority::Authority;
use crate::ports::free_port;

/// A MariaDB whose user `probe` may ask it anything, with [`PASSWORD`]; with an `authority`, over TLS alone and with a
/// certificate of it.
pub fn mariadb(authority: Option<&Authority>) -> Server {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let at = |name: &str| text(&directory.path().join(name)).to_owned();
    let user = if is_root() {
        "--user=root"
    } else {
        "--skip-name-resolve"
    };
    let small = "--innodb-log-file-size=8M";
    let data = format!("--datadir={}", at("data"));
    run(&[
        "mariadb-install-db",
        "--no-defaults",
        user,
        &data,
        small,
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    ]);
    let init = directory.path().join("init.sql");
    let require = if authority.is_some() { "REQUIRE X509" } else { "" };
    let grant = format!("CREATE USER probe@127.0.0.1 IDENTIFIED BY '{PASSWORD}' {require};\n");
    std::fs::write(&init, grant).unwrap();
    let (port_option, socket) = (format!("--port={port}"), format!("--socket={}", at("sock")));
    let (pid, init) = (
        format!("--pid-file={}", at("pid")),
        format!("--init-file={}", text(&init)),
    );
    let mut argv = vec![
        "/usr/sbin/mariadbd",
        "--no-defaults",
        user,
        &data,
        small,
        &port_option,
        &socket,
        &pid,
        &init,
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--innodb-buffer-pool-size=16M",
        "--innodb-flush-log-at-trx-commit=0",
    ];
    let tls = authority.map(|authority| {
        let (us, ca) = (authority.sign("mariadb"), authority.ca());
        [("cert", us.cert), ("key", us.key), ("ca", ca)].map(|(name, path)| format!("--ssl-{name}={}", text(&path)))
    });
    argv.extend(tls.iter().flatten().map(String::as_str));
    Server::start(&argv, directory, port)
}
