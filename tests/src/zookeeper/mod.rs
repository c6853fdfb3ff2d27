//! A ZooKeeper server of Debian's packages, with its own port and data, that can be killed, frozen, wiped and started again.

mod client;
mod expire;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use client::{Client, Node};

use crate::authority::Authority;
use crate::eventually::{ensure, eventually};
use crate::ports::free_port;
use crate::program::Running;

/// A stand-alone server on 127.0.0.1, until it moves.
#[derive(Debug)]
pub struct ZooKeeper {
    directory: TempDir,
    host: Ipv4Addr,
    port: u16,
    /// More lines of its configuration, and more options of its machine.
    settings: Vec<String>,
    options: Vec<String>,
    running: Option<Running>,
}

/// The server's clock: sessions end on a multiple of it after their timeout.
pub const TICK: Duration = Duration::from_millis(500);

impl ZooKeeper {
    /// Starts a new, empty server and waits until it serves.
    pub async fn start() -> Self {
        let mut server = Self::prepare();
        server.restart().await;
        server
    }

    fn prepare() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            host: Ipv4Addr::LOCALHOST,
            port: free_port(),
            settings: Vec::new(),
            options: Vec::new(),
            running: None,
        }
    }

    /// As [`ZooKeeper::start`], for clients that authenticate themselves by SASL as `user`.
    pub async fn start_with_user(user: &str, password: &str) -> Self {
        let mut server = Self::prepare();
        let users = server.directory.path().join("jaas.conf");
        let section = format!(
            "Server {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required\n  user_{user}=\"{password}\";\n}};\n"
        );
        std::fs::write(&users, section).unwrap();
        server.settings = vec!["authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider".to_owned()];
        server.options = vec![format!("-Djava.security.auth.login.config={}", users.display())];
        server.restart().await;
        server
    }

    /// As [`ZooKeeper::start`], with a second port for clients that speak TLS and have a certificate of the same
    /// authority. Returns that port as well.
    pub async fn start_with_tls(authority: &Authority) -> (Self, u16) {
        let (identity, ca) = (authority.sign("zookeeper").both, authority.ca());
        let mut server = Self::prepare();
        let port = free_port();
        server.settings = vec![
            format!("secureClientPort={port}\nsecureClientPortAddress=127.0.0.1"),
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".to_owned(),
            format!("ssl.keyStore.location={}\nssl.keyStore.type=PEM", identity.display()),
            format!("ssl.trustStore.location={}\nssl.trustStore.type=PEM", ca.display()),
            "ssl.clientAuth=need".to_owned(),
        ];
        server.restart().await;
        (server, port)
    }

    /// Starts it (again) on the same port and data and waits until it serves.
    pub async fn restart(&mut self) {
        self.spawn();
        eventually("ZooKeeper serves", Duration::from_mins(1), async || {
            let ended = self.running.as_mut().is_none_or(|running| running.status().is_some());
            assert!(!ended, "ZooKeeper ended at its start: {}", self.log());
            self.serves().await
        })
        .await;
    }

    /// As [`ZooKeeper::restart`], without waiting.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "ZooKeeper is running already");
        let settings = self.directory.path().join("zoo.cfg");
        let lines = format!(
            "tickTime={}\nmaxSessionTimeout=40000\nmaxClientCnxns=0\ndataDir={}\nclientPort={}\n\
             clientPortAddress={}\nadmin.enableServer=false\n4lw.commands.whitelist=mntr,ruok,srvr\n{}\n",
            TICK.as_millis(),
            self.data().display(),
            self.port,
            self.host,
            self.settings.join("\n"),
        );
        std::fs::write(&settings, lines).unwrap();
        let settings = settings.to_str().unwrap();
        // Netty is what ZooKeeper serves TLS with; Debian's package leaves it to the user.
        let netty = ["buffer", "codec", "common", "handler", "resolver", "transport"]
            .map(|part| format!("/usr/share/java/netty-{part}.jar:"))
            .concat();
        let class_path = format!(
            "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:{netty}\
             /usr/share/java/netty-transport-native-epoll.jar:/usr/share/java/netty-transport-native-unix-common.jar"
        );
        let machine = [
            "java",
            // A small, quickly started machine ...
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            // ... and files that are neither large (KiB) nor waited for: the disk is not under test.
            "-Dzookeeper.preAllocSize=64",
            "-Dzookeeper.forceSync=no",
        ];
        let program = [
            "-cp",
            &class_path,
            "org.apache.zookeeper.server.ZooKeeperServerMain",
            settings,
        ];
        let argv = [
            machine.map(str::to_owned).as_slice(),
            &self.options,
            program.map(str::to_owned).as_slice(),
        ]
        .concat();
        self.running = Some(Running::start(&argv, &self.log_file()));
    }

    /// Serves at this loopback address from its next start on, on the same port and data. The server must be stopped.
    pub fn move_to(&mut self, host: Ipv4Addr) {
        assert!(self.running.is_none(), "ZooKeeper is still running where it was");
        self.host = host;
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The port clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new session of our own with this server.
    pub async fn client(&self) -> Client {
        Client::connect(&self.address()).await
    }

    /// SIGKILL. The data stay.
    pub fn kill(&mut self) {
        self.running.take().expect("ZooKeeper is running").kill();
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) {
        let mut running = self.running.take().expect("ZooKeeper is running");
        running.signal(Signal::TERM);
        running.ended(Duration::from_secs(20)).await.unwrap();
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.running.as_ref().expect("ZooKeeper is running").freeze();
    }

    /// SIGCONT after [`ZooKeeper::freeze`].
    pub fn thaw(&self) {
        self.running.as_ref().expect("ZooKeeper is running").thaw();
    }

    /// Removes every node and session. The server must be stopped.
    pub fn wipe(&self) {
        assert!(
            self.running.is_none(),
            "ZooKeeper is still running on the data to be wiped"
        );
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    /// Ends a session as if its timeout had passed: at once, regardless of its owner.
    pub async fn expire(&self, session: i64) {
        expire::close_session(self.port, session).await;
    }

    /// The server's own log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("zookeeper.log")
    }

    /// How many sessions it holds.
    pub async fn sessions(&self) -> Result<usize, String> {
        let statistics = self.ask("mntr").await?;
        let sessions = statistics
            .lines()
            .find_map(|line| line.strip_prefix("zk_global_sessions\t"));
        sessions.and_then(|number| number.parse().ok()).ok_or(statistics)
    }

    async fn serves(&self) -> Result<(), String> {
        let answer = self.ask("srvr").await?;
        ensure(answer.contains("Mode:"), || answer)
    }

    /// What it answers to one of its four-letter words.
    async fn ask(&self, word: &str) -> Result<String, String> {
        let answer = timeout(Duration::from_secs(1), async {
            let mut stream = TcpStream::connect(self.address()).await?;
            stream.write_all(word.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        });
        match answer.await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer within 1s".to_owned()),
        }
    }
}
