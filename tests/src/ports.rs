//! Free loopback ports for servers that need their port before they bind it.
//!
//! Ports come from below the kernel's ephemeral range, so no outgoing connection can take one, and from blocks that
//! this process holds a file lock on, so neither can another test process. A port is handed out once per process.

use std::fs::File;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::Mutex;

/// Below 32768, where Linux's ephemeral range starts, and above the usual services.
const RANGE: Range<u16> = 20_000..32_000;
const BLOCK: u16 = 100;

struct Claimed {
    ports: Range<u16>,
    /// One for each block claimed so far; the kernel lets go of them when the process ends.
    locks: Vec<File>,
}

static CLAIMED: Mutex<Claimed> = Mutex::new(Claimed {
    ports: 0..0,
    locks: Vec::new(),
});

/// A port on 127.0.0.1 without a listener, given out once.
pub fn free_port() -> u16 {
    let mut claimed = CLAIMED.lock().unwrap();
    loop {
        match claimed
            .ports
            .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        {
            Some(port) => return port,
            None => claim_block(&mut claimed),
        }
    }
}

fn claim_block(claimed: &mut Claimed) {
    let directory = std::env::temp_dir().join("nerve-synapse-e2e-ports");
    std::fs::create_dir_all(&directory).unwrap();
    let (ports, lock) = RANGE
        .step_by(usize::from(BLOCK))
        .find_map(|first| {
            let lock = File::create(directory.join(first.to_string())).unwrap();
            lock.try_lock().is_ok().then(|| (first..first + BLOCK, lock))
        })
        .expect("no block of ports is free: too many test processes at once");
    claimed.ports = ports;
    claimed.locks.push(lock);
}
