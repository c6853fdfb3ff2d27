//! A `nerve` or `synapse` under test: the real binary with a configuration file, started and ended as often as wanted.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::eventually::{TooLate, wait_for};
use crate::http::{self, Failure, Reply};
use crate::program::{Running, binary};
use crate::usage::Usage;

/// How long a daemon may take to answer its API or to end: far more than it should, so that a busy machine is no failure.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One daemon, running or not; killed when dropped, and its log shown when the test has failed.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    argv: Vec<String>,
    api_port: u16,
    log: PathBuf,
    running: Option<Running>,
}

impl Daemon {
    /// Writes `configuration` to `<directory>/<name>.yaml`, for the binary `program`; starts nothing.
    pub fn new(program: &str, name: &str, directory: &Path, api_port: u16, configuration: &str) -> Self {
        let file = directory.join(format!("{name}.yaml"));
        std::fs::write(&file, configuration).unwrap();
        let argv = vec![
            binary(program),
            "--config".to_owned(),
            file.to_str().unwrap().to_owned(),
        ];
        let log = directory.join(format!("{name}.log"));
        Self {
            name: name.to_owned(),
            argv,
            api_port,
            log,
            running: None,
        }
    }

    /// One of its subcommands that stay, with the same configuration; nothing runs yet.
    #[must_use]
    pub fn subcommand(&self, command: &str) -> Self {
        let mut argv = self.argv.clone();
        let options = argv.iter().position(|word| word == "--config");
        argv.insert(options.expect("its file is named"), command.to_owned());
        Self {
            name: format!("{} {command}", self.name),
            argv,
            api_port: self.api_port,
            log: self.log.with_extension(format!("{command}.log")),
            running: None,
        }
    }

    /// Gives it a variable beside those of this process.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.argv.splice(0..0, ["env".to_owned(), format!("{name}={value}")]);
        self
    }

    /// Shows it `hosts` in place of `/etc/hosts`; what is written to that file later, in place, it sees as well.
    #[must_use]
    pub fn with_hosts(mut self, hosts: &Path) -> Self {
        // Root needs a mount namespace alone; other users need a user namespace in which to be root.
        let namespaces = if rustix::process::geteuid().is_root() {
            "-m"
        } else {
            "-rm"
        };
        let mount = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let wrapped = ["unshare", namespaces, "sh", "-c", mount, hosts.to_str().unwrap()];
        self.argv.splice(0..0, wrapped.map(str::to_owned));
        self
    }

    /// From its next start on it is the first process of a container: of a process namespace, at least, which ends with it.
    pub fn contain(&mut self) {
        // As for the hosts file.
        let user = if rustix::process::geteuid().is_root() {
            "--pid"
        } else {
            "-rp"
        };
        let wrapped = ["unshare", user, "--fork", "--kill-child", "--mount-proc"];
        self.argv.splice(0..0, wrapped.map(str::to_owned));
    }

    /// Of a daemon in a container: its first process, and the children that has.
    pub fn contained(&self) -> Option<(Pid, Vec<Pid>)> {
        let children = |pid: Pid| {
            let pid = pid.as_raw_nonzero();
            let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let pids = list
                .split_whitespace()
                .filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
            pids.collect::<Vec<_>>()
        };
        let outside = self.running.as_ref().expect("the daemon is running").id();
        let first = *children(Pid::from_raw(outside.cast_signed())?).first()?;
        Some((first, children(first)))
    }

    /// From its next start on it is the program at `path`.
    pub fn installed_at(&mut self, path: &Path) {
        let program = self.argv.iter_mut().find(|word| word.starts_with('/'));
        path.to_str()
            .unwrap()
            .clone_into(program.expect("the binary's path is whole"));
    }

    /// Starts it.
    pub fn start(&mut self) {
        assert!(self.running.is_none(), "{} is running already", self.name);
        self.running = Some(Running::start(&self.argv, &self.log));
    }

    /// Starts it and waits until its API answers.
    pub async fn start_and_wait(&mut self) -> Result<(), TooLate> {
        self.start();
        let running = self.running.as_mut().unwrap();
        let (name, port, log) = (&self.name, self.api_port, &self.log);
        wait_for(&format!("{name} answers"), TIMEOUT, async || {
            if let Some(status) = running.status() {
                panic!("{name} ended at its start: {status}\n{}", tail(log));
            }
            let answer = http::send("GET", port, "/live", Duration::from_secs(1)).await;
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.take().expect("the daemon is running").kill();
    }

    /// SIGTERM; returns how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// Waits for its end and returns how it ended.
    pub async fn wait(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the daemon was started");
        running
            .ended(TIMEOUT)
            .await
            .unwrap_or_else(|late| panic!("{}: {late}", self.name))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("the daemon is running").signal(signal);
    }

    /// How it ended by itself; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().expect("the daemon was started").status()
    }

    /// The port of its API.
    pub fn api_port(&self) -> u16 {
        self.api_port
    }

    /// Sends a GET to its API.
    pub async fn get(&self, path: &str) -> Result<Reply, Failure> {
        http::send("GET", self.api_port, path, TIMEOUT).await
    }

    /// Sends a request to its API.
    pub async fn send(&self, method: &str, path: &str) -> Result<Reply, Failure> {
        http::send(method, self.api_port, path, TIMEOUT).await
    }

    /// Its `/status`.
    pub async fn status(&self) -> Result<Value, String> {
        let reply = self.get("/status").await.map_err(|error| error.to_string())?;
        serde_json::from_str(&reply.body).map_err(|error| format!("{error} in {}", reply.body))
    }

    /// What it holds in memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.usage().resident_kib
    }

    /// What it uses.
    pub fn usage(&self) -> Usage {
        Usage::of(self.running.as_ref().expect("the daemon is running").id())
    }

    /// The processor time it has taken since it was started, in clock ticks.
    pub fn processor_ticks(&self) -> u64 {
        let id = self.running.as_ref().expect("the daemon is running").id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        // The program's name, in brackets, may hold spaces; user and system time are the 12th and 13th after it.
        let after_name = stat.rsplit(')').next().expect("the name is in brackets");
        let times = after_name.split_whitespace().skip(11).take(2);
        times
            .map(|ticks| ticks.parse::<u64>().expect("ticks are a number"))
            .sum()
    }

    /// All it has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of {}'s log:\n{}", self.name, tail(&self.log));
        }
    }
}

fn tail(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(60))
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}
