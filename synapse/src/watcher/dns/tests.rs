//! Against a fake server at the socket whose answers the test sets.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::report::Report;
use common::zk::reflector::Freshness;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record as ResourceRecord, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::config::{Question, Record};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The server's answer for one name and type.
#[derive(Debug, Clone)]
enum Saying {
    Records(Vec<RData>),
    Failure,
    /// Over TCP alone; a datagram is truncated.
    TooLong(Vec<RData>),
}

type Sayings = Arc<Mutex<BTreeMap<(String, RecordType), Saying>>>;

/// A name server on a port of its own.
struct Server {
    address: SocketAddr,
    sayings: Sayings,
    asked: Arc<Mutex<usize>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            let address = udp.local_addr().expect("an address");
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("an address");
        let (sayings, asked) = (Sayings::default(), Arc::new(Mutex::new(0)));
        let mut tasks = JoinSet::new();
        let (says, counts) = (Arc::clone(&sayings), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                *counts.lock().expect("a lock") += 1;
                let reply = reply(&buffer[..length], &says, false);
                udp.send_to(&reply, from).await.expect("it is sent");
            }
        });
        let says = Arc::clone(&sayings);
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.expect("a length");
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.expect("a question");
                let reply = reply(&question, &says, true);
                let length = u16::try_from(reply.len()).expect("short");
                stream.write_u16(length).await.expect("it is sent");
                stream.write_all(&reply).await.expect("it is sent");
            }
        });
        Self {
            address,
            sayings,
            asked,
            _tasks: tasks,
        }
    }

    fn answers(&self, name: &str, record: RecordType, saying: Saying) {
        let key = (format!("{name}."), record);
        self.sayings.lock().expect("a lock").insert(key, saying);
    }

    fn answers_a(&self, name: &str, last: &[u8]) {
        let address = |last: &u8| RData::A(A(Ipv4Addr::new(10, 0, 0, *last)));
        self.answers(name, RecordType::A, Saying::Records(last.iter().map(address).collect()));
    }

    /// Watches these names through it.
    fn watch(&self, questions: Vec<Question>) -> Watched {
        let (snapshots, task) = dns(DnsConfig {
            questions,
            nameserver: Some(self.address),
            check_interval: Duration::from_secs(1),
        });
        let mut running = JoinSet::new();
        running.spawn(task.run(CancellationToken::new()));
        Watched {
            snapshots,
            _running: running,
        }
    }
}

fn reply(question: &[u8], sayings: &Sayings, is_tcp: bool) -> Vec<u8> {
    let mut message = Message::from_vec(question).expect("a question").into_response();
    let query = message.queries.first().expect("a question").clone();
    let name = query.name().to_ascii().to_ascii_lowercase();
    let saying = sayings
        .lock()
        .expect("a lock")
        .get(&(name, query.query_type()))
        .cloned();
    let records = match saying {
        None => {
            message.metadata.response_code = ResponseCode::NXDomain;
            Vec::new()
        }
        Some(Saying::Failure) => {
            message.metadata.response_code = ResponseCode::ServFail;
            Vec::new()
        }
        Some(Saying::TooLong(_)) if !is_tcp => {
            message.metadata.truncation = true;
            Vec::new()
        }
        Some(Saying::Records(records) | Saying::TooLong(records)) => records,
    };
    let record = |data| ResourceRecord::from_rdata(query.name().clone(), 0, data);
    message.add_answers(records.into_iter().map(record));
    message.to_vec().expect("it can be written")
}

struct Watched {
    snapshots: watch::Receiver<Snapshot>,
    _running: JoinSet<()>,
}

impl Watched {
    async fn until(&mut self, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let found = timeout(TIMEOUT, self.snapshots.wait_for(is_so)).await;
        found.expect("in time").expect("the task runs").clone()
    }

    /// Waits until it is all known and these are the servers.
    async fn live(&mut self, servers: &[&str]) -> Snapshot {
        self.until(|snapshot| snapshot.freshness == Freshness::Live && servers_of(snapshot) == servers)
            .await
    }
}

/// `name address weight options` of each server.
fn servers_of(snapshot: &Snapshot) -> Vec<String> {
    let server = |data: &bytes::Bytes| {
        let report = Report::decode(data).expect("a report");
        let weight = report.weight.map_or_else(String::new, |weight| weight.to_string());
        let (name, host, port, options) = (report.name, report.host, report.port, report.haproxy_server_options);
        format!("{name} {host} {port} {weight} {options}").trim().to_owned()
    };
    snapshot.children.values().map(|child| server(&child.data)).collect()
}

fn question(host: &str, record: Record) -> Question {
    Question {
        host: host.to_owned(),
        record,
        name: None,
        weight: None,
        labels: BTreeMap::new(),
        options: String::new(),
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(
        priority,
        weight,
        port,
        Name::from_ascii(target).expect("a name"),
    ))
}

#[tokio::test]
async fn addresses_are_followed_and_the_last_are_kept_while_the_server_fails() {
    let server = Server::start().await;
    server.answers_a("web.example", &[1, 2]);
    let v6 = RData::AAAA(AAAA(Ipv6Addr::LOCALHOST));
    server.answers("six.example", RecordType::AAAA, Saying::Records(vec![v6]));
    let mut watched = server.watch(vec![
        question("web.example", Record::A(80)),
        question("six.example", Record::Aaaa(81)),
        question("10.9.9.9", Record::A(82)),
    ]);
    let fixed = ["10.9.9.9 10.9.9.9 82", "six.example ::1 81"];
    let with = |mut more: Vec<&'static str>| {
        more.splice(0..0, fixed);
        more
    };
    let both = with(vec!["web.example 10.0.0.1 80", "web.example 10.0.0.2 80"]);
    let known = watched.live(&both).await;

    server.answers("web.example", RecordType::A, Saying::Failure);
    let stale = watched.until(|s| matches!(s.freshness, Freshness::Stale { .. })).await;
    assert_eq!(stale.children, known.children);
    assert!(
        stale.error.starts_with("can't resolve web.example: "),
        "{}",
        stale.error
    );

    server.answers_a("web.example", &[2]);
    watched.live(&with(vec!["web.example 10.0.0.2 80"])).await;
    // That there is no such name is an answer.
    server
        .sayings
        .lock()
        .expect("a lock")
        .remove(&("web.example.".to_owned(), RecordType::A));
    watched.live(&fixed).await;
}

#[tokio::test]
async fn srv_targets_have_their_ports_weights_and_backups() {
    let server = Server::start().await;
    let services = vec![
        srv(1, 30, 8001, "n1.example."),
        srv(1, 10, 8002, "n2.example."),
        srv(5, 10, 8003, "n3.example."),
        srv(1, 10, 8004, "gone.example."),
        srv(1, 10, 0, "n1.example."),
    ];
    // More than fits into a datagram.
    server.answers("_web._tcp.example", RecordType::SRV, Saying::TooLong(services));
    server.answers_a("n1.example", &[1]);
    server.answers_a("n2.example", &[2]);
    server.answers(
        "n3.example",
        RecordType::AAAA,
        Saying::Records(vec![RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))]),
    );
    let mut watched = server.watch(vec![question("_web._tcp.example", Record::Srv)]);
    let all = [
        "n1.example 10.0.0.1 8001 30",
        "n2.example 10.0.0.2 8002 10",
        "n3.example ::1 8003 10 backup",
    ];
    let known = watched.live(&all).await;

    // One target that can't be resolved keeps its last address, and the others are followed.
    server.answers("n2.example", RecordType::A, Saying::Failure);
    server.answers_a("n1.example", &[9]);
    let stale = watched.until(|s| matches!(s.freshness, Freshness::Stale { .. })).await;
    assert!(stale.error.contains("its target n2.example"), "{}", stale.error);
    let moved = watched
        .until(|s| servers_of(s).contains(&"n1.example 10.0.0.9 8001 30".to_owned()))
        .await;
    assert_eq!(moved.children.len(), known.children.len());
    server.answers_a("n2.example", &[2]);
    watched
        .live(&[
            "n2.example 10.0.0.2 8002 10",
            "n1.example 10.0.0.9 8001 30",
            "n3.example ::1 8003 10 backup",
        ])
        .await;

    // `.` means that the service is not there.
    server.answers(
        "_web._tcp.example",
        RecordType::SRV,
        Saying::Records(vec![srv(0, 0, 0, ".")]),
    );
    watched.live(&[]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_at_first_is_unknown_and_queried_again() {
    let server = Server::start().await;
    server.answers("web.example", RecordType::A, Saying::Failure);
    let mut watched = server.watch(vec![question("web.example", Record::A(80))]);
    let unknown = watched.until(|s| !s.error.is_empty()).await;
    assert_eq!(unknown.freshness, Freshness::Never);
    assert!(*server.asked.lock().expect("a lock") > 0);
    server.answers_a("web.example", &[1]);
    watched.live(&["web.example 10.0.0.1 80"]).await;
}
