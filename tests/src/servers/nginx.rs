//! nginx, whose sites another program writes.

use std::path::{Path, PathBuf};

use super::{Server, is_root, text};
use crate::ports::free_port;

/// A running nginx without a site.
#[derive(Debug)]
pub struct Nginx {
    server: Server,
    configuration: PathBuf,
    /// The file that its one site is read from, and that is not there yet.
    pub site: PathBuf,
}

/// An nginx that serves its site file; the site may listen on [`Nginx::port`].
pub fn nginx() -> Nginx {
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let path = directory.path().to_owned();
    let configuration = path.join("nginx.conf");
    std::fs::create_dir(path.join("sites")).unwrap();
    std::fs::write(&configuration, main_configuration(&path)).unwrap();
    let argv = ["nginx", "-p", text(&path), "-c", text(&configuration)];
    Nginx {
        server: Server::start(&argv, directory, port),
        site: path.join("sites/site.conf"),
        configuration,
    }
}

impl Nginx {
    /// Where its site may listen, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// What makes it read its files again, as a list in a configuration.
    pub fn reload_command(&self) -> String {
        format!("[nginx, -c, {}, -s, reload]", text(&self.configuration))
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

fn main_configuration(directory: &Path) -> String {
    let user = if is_root() { "user root;" } else { "" };
    let directory = text(directory);
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {directory}/{kind};"))
        .join("\n");
    format!(
        "{user}
daemon off;
pid {directory}/pid;
error_log stderr notice;
worker_processes 1;
events {{}}
http {{
    access_log off;
{temporary}
    include {directory}/sites/*.conf;
}}
"
    )
}
