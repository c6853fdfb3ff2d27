//! The servers that nerve's checks speak to, and the one that synapse reloads, from Debian's packages: each a process of its own, on a free port, with its
//! data in a temporary directory.

mod mariadb;
mod memcached;
mod nginx;
mod postgres;
mod rabbitmq;
mod redis;

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::program::Running;

pub use mariadb::mariadb;
pub use memcached::memcached;
pub use nginx::{Nginx, nginx};
pub use postgres::postgres;
pub use rabbitmq::{RabbitMq, rabbitmq};
pub use redis::redis;

/// The password of every server that has one.
pub const PASSWORD: &str = "s3cret-of-the-tests";

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    running: Running,
    /// Gone after the process.
    directory: TempDir,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Starts `argv` with its log in `directory`.
    fn start(argv: &[&str], directory: TempDir, port: u16) -> Self {
        let argv: Vec<_> = argv.iter().map(|&word| word.to_owned()).collect();
        let running = Running::start(&argv, &directory.path().join("log"));
        Self {
            running,
            directory,
            port,
        }
    }

    /// SIGSTOP: it accepts connections, for the kernel does, and answers nothing.
    pub fn freeze(&self) {
        self.running.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.running.thaw();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log());
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a program to its end, which must be a good one.
fn run(argv: &[&str]) -> Output {
    let (program, arguments) = argv.split_first().unwrap();
    #[expect(clippy::disallowed_methods, reason = "prepares a server's data and ends by itself")]
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{argv:?}: {output:?}");
    output
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
