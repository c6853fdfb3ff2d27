//! The thread that reads the configuration again.
//!
//! One thread for all readings, for two reasons. A reading takes memory for the whole document and its tree, and the
//! allocator keeps what was freed apart for each thread: in the runtime's pool, each thread would come to hold as much.
//! And of readings that hang with their disk there is never more than one.

use std::io;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;

use common::config::{Problems, Understood};
use tokio::sync::oneshot;

use crate::config::{Config, Source};

/// What a reading brings.
pub(super) type Reading = Result<Understood<Config>, Problems>;

/// Reads the configuration when asked, on a thread that starts when it is first needed and ends with this.
#[derive(Debug)]
pub(super) struct Reader {
    source: Source,
    requests: Sender<oneshot::Sender<Reading>>,
}

impl Reader {
    /// Of this source.
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            // Nobody listens yet.
            requests: channel().0,
        }
    }

    /// Reads. An error when there is no thread for it, or it broke.
    pub(super) async fn read(&mut self) -> Result<Reading, String> {
        let (answer, reading) = oneshot::channel();
        if let Err(SendError(answer)) = self.requests.send(answer) {
            self.requests = start(self.source.clone()).map_err(|error| error.to_string())?;
            self.requests.send(answer).ok();
        }
        reading.await.map_err(|_| "its thread panicked".to_owned())
    }
}

fn start(source: Source) -> io::Result<Sender<oneshot::Sender<Reading>>> {
    let (requests, asked) = channel();
    thread::Builder::new()
        .name("configuration".to_owned())
        .spawn(move || serve(&source, &asked))?;
    Ok(requests)
}

fn serve(source: &Source, asked: &Receiver<oneshot::Sender<Reading>>) {
    for answer in asked {
        // After a reading that hung, nobody may wait for the next any more.
        if !answer.is_closed() {
            answer.send(source.load()).ok();
        }
    }
}
