//! The HAProxy of one run, seen from outside synapse: its processes, and the replies on its sockets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::eventually::wait_for;
use crate::usage::Usage;

/// The HAProxy whose configuration lies in a directory; its processes are killed when this is dropped.
#[derive(Debug)]
pub struct Haproxy {
    directory: PathBuf,
}

/// One line of `show servers state`, by column.
#[derive(Debug, Clone)]
pub struct Server(BTreeMap<String, String>);

impl Server {
    /// The server's name in its backend.
    pub fn name(&self) -> &str {
        self.column("srv_name")
    }

    /// `address:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.column("srv_addr"), self.column("srv_port"))
    }

    /// Its weight.
    pub fn weight(&self) -> u16 {
        self.column("srv_uweight").parse().unwrap()
    }

    /// Whether HAProxy gives it new requests: up, and neither in maintenance nor draining.
    pub fn takes_traffic(&self) -> bool {
        // Forced and inherited maintenance, forced and inherited drain, unresolved; not 4, which only means that the
        // file had it disabled.
        const OUT: u8 = 0x01 | 0x02 | 0x08 | 0x10 | 0x20;
        let admin: u8 = self.column("srv_admin_state").parse().unwrap();
        self.column("srv_op_state") == "2" && admin & OUT == 0 && self.weight() > 0
    }

    fn column(&self, name: &str) -> &str {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("`show servers state` has no column {name}: {:?}", self.0))
    }
}

/// What the master process reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Master {
    /// Its process id.
    pub id: i32,
    /// How often it was requested to reload.
    pub reloads: u64,
}

/// HAProxy 3.0, unpacked by `tests/install.sh` beside the directory that the running test was built into.
pub fn program_3() -> String {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).expect("target/debug/deps/test");
    let program = target.join("haproxy-3.0/haproxy");
    assert!(
        program.is_file(),
        "there is no {}, so nothing is known of HAProxy 3.0: `bash -c 'source tests/install.sh; unpack_haproxy_3'` gets it",
        program.display()
    );
    program
        .into_os_string()
        .into_string()
        .expect("the target directory's path is text")
}

impl Haproxy {
    /// The one that runs, or will run, on `<directory>/haproxy.cfg` with its stats socket at `<directory>/haproxy.sock`.
    pub fn in_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Its configuration file's text.
    pub fn configuration(&self) -> String {
        std::fs::read_to_string(self.directory.join("haproxy.cfg")).unwrap_or_default()
    }

    /// The servers of a backend, as the running process has them.
    pub async fn servers(&self, backend: &str) -> Result<Vec<Server>, String> {
        let table = self.ask(&format!("show servers state {backend}")).await?;
        let mut lines = table.lines().skip_while(|line| !line.starts_with('#'));
        let header = lines.next().ok_or_else(|| format!("no servers: {table}"))?;
        let columns: Vec<&str> = header.trim_start_matches("# ").split(' ').collect();
        let row = |line: &str| Server(columns.iter().zip(line.split(' ')).map(|(c, v)| pair(c, v)).collect());
        Ok(lines.filter(|line| !line.is_empty()).map(row).collect())
    }

    /// The addresses that HAProxy gives new requests of `backend` to, sorted.
    pub async fn active(&self, backend: &str) -> Result<Vec<String>, String> {
        let servers = self.servers(backend).await?;
        let mut active: Vec<String> = servers
            .iter()
            .filter(|s| s.takes_traffic())
            .map(Server::address)
            .collect();
        active.sort();
        Ok(active)
    }

    /// One command on the stats socket.
    pub async fn ask(&self, command: &str) -> Result<String, String> {
        ask(self.directory.join("haproxy.sock"), command).await
    }

    /// The master process, from its own socket: retried for a while, because at each start and reload the master
    /// executes itself again and does not answer meanwhile.
    pub async fn master(&self) -> Result<Master, String> {
        let answer = wait_for("HAProxy's master answers", Duration::from_secs(10), async || {
            self.ask_master().await
        });
        answer.await.map_err(|late| late.to_string())
    }

    async fn ask_master(&self) -> Result<Master, String> {
        let sockets = self.processes().into_iter().find_map(|(_, arguments)| {
            let socket = arguments.iter().skip_while(|argument| *argument != "-S").nth(1)?;
            socket.split(',').next().map(PathBuf::from)
        });
        let table = ask(sockets.ok_or("no HAProxy with a master socket runs here")?, "show proc").await?;
        let line = table
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some("master"));
        let mut words = line.ok_or_else(|| format!("no master: {table}"))?.split_whitespace();
        let mut number = |at| words.nth(at).and_then(|word| word.parse::<u64>().ok());
        let (id, reloads) = number(0).zip(number(1)).ok_or_else(|| format!("not loaded: {table}"))?;
        Ok(Master {
            id: i32::try_from(id).map_err(|error| error.to_string())?,
            reloads,
        })
    }

    /// What its processes hold in memory together, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let ids = self
            .processes()
            .into_iter()
            .map(|(id, _)| id.as_raw_nonzero().get().unsigned_abs());
        ids.map(|id| Usage::of(id).resident_kib).sum()
    }

    /// SIGKILL to all its processes. Returns how many there were.
    pub fn kill(&self) -> usize {
        let processes = self.processes();
        for (id, _) in &processes {
            // It may be gone by now: its master ends with it.
            let _gone = kill_process(*id, Signal::KILL);
        }
        processes.len()
    }

    /// The processes that were started with this run's configuration file, whatever their name.
    fn processes(&self) -> Vec<(Pid, Vec<String>)> {
        let configuration = self
            .directory
            .join("haproxy.cfg")
            .into_os_string()
            .into_string()
            .unwrap();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let ours = all.filter_map(|entry| {
            let id = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let command_line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let arguments: Vec<String> = command_line.split('\0').map(str::to_owned).collect();
            arguments.contains(&configuration).then_some((id, arguments))
        });
        ours.collect()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pair(column: &str, value: &str) -> (String, String) {
    (column.to_owned(), value.to_owned())
}

async fn ask(socket: PathBuf, command: &str) -> Result<String, String> {
    let exchange = async {
        let mut stream = UnixStream::connect(&socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        // The master process hangs up only when it sees that nothing more comes.
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match timeout(Duration::from_secs(2), exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{}: {error}", socket.display())),
        Err(_) => Err(format!("{}: no answer within 2s", socket.display())),
    }
}
