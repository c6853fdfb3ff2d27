//! PostgreSQL. It refuses to run as root, so it runs as nobody then.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::{PASSWORD, Server, is_root, run, text};
use crate::authority::Authority;
use crate::ports::free_port;

/// Debian's unprivileged user and group.
const NOBODY: u32 = 65534;

/// A PostgreSQL with the user `probe`, with [`PASSWORD`] and a database of that name; with an `authority`, over TLS
/// alone and with a certificate of it.
pub fn postgres(authority: Option<&Authority>) -> Server {
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
    let settings = authority.map(|authority| encrypt(authority, directory.path()));
    for setting in settings.iter().flatten() {
        lead.extend(["-c", setting]);
    }
    Server::start(&lead, directory, port)
}

/// Writes what encrypted connections need and returns the settings for it. The server reads its key only when the file is
/// its own and readable to no other user.
fn encrypt(authority: &Authority, directory: &Path) -> Vec<String> {
    let us = authority.sign("postgres");
    let mut settings = vec!["ssl=on".to_owned()];
    for (name, from) in [("cert", &us.cert), ("key", &us.key), ("ca", &authority.ca())] {
        let path = directory.join(name);
        std::fs::copy(from, &path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        settings.push(format!("ssl_{name}_file={}", text(&path)));
    }
    let hba = directory.join("hba");
    std::fs::write(
        &hba,
        "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n",
    )
    .unwrap();
    settings.push(format!("hba_file={}", text(&hba)));
    settings
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
