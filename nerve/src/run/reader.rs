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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::path::Path;
    use std::time::Duration;

    use common::config::UnknownKeys;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::time::timeout;

    use super::*;

    fn source(path: &Path) -> Source {
        Source {
            path: path.to_owned(),
            environment: BTreeMap::new(),
            strict_template: false,
            unknown: UnknownKeys::Refuse,
            level_is_fixed: false,
        }
    }

    #[tokio::test]
    async fn a_reading_that_hangs_holds_up_the_next_and_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("nerve.yaml");
        // Whoever reads a pipe waits as long as somebody could write to it.
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let pipe = File::options().read(true).write(true).open(&path).expect("it is there");
        let mut reader = Reader::new(source(&path));
        for _ in 0..3 {
            let hung = timeout(Duration::from_millis(10), reader.read()).await;
            hung.expect_err("nobody writes");
        }
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "services: [{ port: 80 }]").expect("written");
        drop(pipe);
        let read = timeout(Duration::from_secs(20), reader.read()).await;
        let read = read.expect("it hangs no longer").expect("the thread lives");
        assert_eq!(read.expect("a configuration").value.services.len(), 1);
    }
}
