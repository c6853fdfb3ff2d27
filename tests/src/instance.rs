//! A running `instance`, the small HTTP service that stands for an application.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::eventually::eventually;
use crate::http;
use crate::ports::free_port;
use crate::program::{Running, binary};

/// The service's process; killed when dropped.
#[derive(Debug)]
pub struct Instance {
    port: u16,
    running: Running,
}

impl Instance {
    /// Starts one that answers `name` and waits until it serves.
    pub async fn start(name: &str, directory: &Path) -> Self {
        Self::start_at(name, free_port(), directory).await
    }

    /// As [`Instance::start`], at a port that was handed out before.
    pub async fn start_at(name: &str, port: u16, directory: &Path) -> Self {
        let argv = [&binary("instance"), "--port", &port.to_string(), "--name", name].map(str::to_owned);
        let running = Running::start(&argv, &directory.join(format!("{name}.instance.log")));
        let instance = Self { port, running };
        eventually("the instance serves", Duration::from_secs(10), async || {
            http::send("GET", port, "/health", Duration::from_secs(1))
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        instance
    }

    /// Where it serves.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// When it got its first request, in milliseconds of the Unix era.
    pub async fn first_request(&self) -> Option<u64> {
        self.figure("/first").await
    }

    /// When it got its latest request.
    pub async fn last_request(&self) -> Option<u64> {
        self.figure("/last").await
    }

    /// How many requests it got.
    pub async fn requests(&self) -> u64 {
        self.figure("/count").await.unwrap_or(0)
    }

    /// Whether `/health` reports that all is well from now on; it answers requests all the same.
    pub async fn feel(&self, well: bool) {
        let path = if well { "/heal" } else { "/sicken" };
        let reply = http::send("GET", self.port, path, Duration::from_secs(5)).await;
        assert_eq!(reply.unwrap().status, 200);
    }

    /// SIGKILL, as a crash.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// SIGTERM: it finishes its requests and ends.
    pub async fn stop(mut self) {
        self.running.signal(Signal::TERM);
        self.running.ended(Duration::from_secs(10)).await.unwrap();
    }

    async fn figure(&self, path: &str) -> Option<u64> {
        let reply = http::send("GET", self.port, path, Duration::from_secs(5))
            .await
            .unwrap();
        reply.body.trim().parse().ok()
    }
}
