//! PostgreSQL. It refuses to run as root, so it runs as nobody then.

use std::os::unix::fs::chown;
use std::path::PathBuf;

use super::{PASSWORD, Server, is_root, run, text};
use crate::ports::free_port;

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// A PostgreSQL with the user `probe`, who has [`PASSWORD`] and a database of that name.
pub fn postgres() -> Server {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("password"), PASSWORD).unwrap();
    let mut lead = Vec::new();
    if is_root() {
        for path in [directory.path(), &at("password")] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        lead = "setpriv --reuid=65534 --regid=65534 --clear-groups --pdeathsig=KILL --"
            .split(' ')
            .collect();
    }
    let (initdb, postgres) = (program("initdb"), program("postgres"));
    let (data, password) = (at("data"), format!("--pwfile={}", text(&at("password"))));
    let mut argv = lead.clone();
    argv.extend([
        text(&initdb),
        "-D",
        text(&data),
        "-U",
        "probe",
        "-A",
        "scram-sha-256",
        &password,
    ]);
    argv.extend(["-N", "--no-locale", "-E", "UTF8"]);
    run(&argv);
    let (port_text, sockets) = (port.to_string(), text(directory.path()).to_owned());
    lead.extend([text(&postgres), "-D", text(&data), "-p", &port_text, "-k", &sockets]);
    lead.extend(["-h", "127.0.0.1", "-F"]);
    Server::start(&lead, directory, port)
}

/// One of the programs of Debian's newest version.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("the package postgresql");
    let programs = versions.map(|version| version.unwrap().path().join("bin").join(name));
    programs
        .filter(|path| path.is_file())
        .max()
        .expect("the package postgresql")
}
