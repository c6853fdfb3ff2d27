//! Free loopback ports for servers that must be told their port before they bind it.
//!
//! Ports come from below the kernel's ephemeral range, so no outgoing connection can take one, and from a block that
//! this process holds a file lock on, so neither can another test process. A port is handed out once per process.

use std::fs::File;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::Mutex;

/// Below 32768, where Linux's ephemeral range starts, and above the usual services.
const RANGE: Range<u16> = 20_000..32_000;
const BLOCK: u16 = 100;

/// What is left of this process's block, and the lock that makes it ours until the process ends.
static CLAIMED: Mutex<Option<(Range<u16>, File)>> = Mutex::new(None);

/// A port on 127.0.0.1 that nobody listens on and that nobody else is given.
pub fn free_port() -> u16 {
    let mut claimed = CLAIMED.lock().unwrap();
    loop {
        let (ports, _lock) = claimed.get_or_insert_with(claim_block);
        match ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            Some(port) => return port,
            None => *claimed = None,
        }
    }
}

fn claim_block() -> (Range<u16>, File) {
    let directory = std::env::temp_dir().join("nerve-synapse-e2e-ports");
    std::fs::create_dir_all(&directory).unwrap();
    RANGE
        .step_by(usize::from(BLOCK))
        .find_map(|first| {
            let lock = File::create(directory.join(first.to_string())).unwrap();
            lock.try_lock().is_ok().then(|| (first..first + BLOCK, lock))
        })
        .expect("no block of ports is free: too many test processes at once")
}
