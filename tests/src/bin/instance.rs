//! A small HTTP/1.1 service for the end-to-end tests and the demo: it answers its name to every path but its own
//! few, and remembers when requests reached it.
//!
//! `/health` answers 200. `/first` and `/last` answer the times, in milliseconds of the Unix era, of the first and the
//! latest request, empty before there was one; `/count` how many there were. These four do not count as requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use common::clock::unix_millis;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// A service that answers its name.
#[derive(Debug, Parser)]
struct Arguments {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    address: std::net::IpAddr,
    /// The port to listen on.
    #[arg(long)]
    port: u16,
    /// What to answer.
    #[arg(long)]
    name: String,
}

#[derive(Debug, Default)]
struct Seen {
    first: AtomicU64,
    last: AtomicU64,
    count: AtomicU64,
}

impl Seen {
    fn request(&self) {
        let now = unix_millis();
        self.last.store(now, Ordering::Relaxed);
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.store(now, Ordering::Relaxed);
        }
    }

    fn answer(&self, name: &str, path: &str) -> String {
        let time = |at: &AtomicU64| match at.load(Ordering::Relaxed) {
            0 => String::new(),
            at => at.to_string(),
        };
        match path {
            "/health" => "well".to_owned(),
            "/first" => time(&self.first),
            "/last" => time(&self.last),
            "/count" => self.count.load(Ordering::Relaxed).to_string(),
            _ => {
                self.request();
                name.to_owned()
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let mut stop = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind((arguments.address, arguments.port)).await?;
    let (name, seen) = (Arc::new(arguments.name), Arc::new(Seen::default()));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_ended) = connections.join_next() => continue,
            _ = stop.recv() => break,
        };
        stream.set_nodelay(true)?;
        let (name, seen) = (Arc::clone(&name), Arc::clone(&seen));
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = seen.answer(&name, request.uri().path());
            async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer)))) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(graceful.watch(connection));
    }
    drop(listener);
    // Idle connections close at once; what is being answered has this long.
    let _finished = tokio::time::timeout(Duration::from_secs(5), graceful.shutdown()).await;
    Ok(())
}
