//! The thread that reads the configuration.
//!
//! One thread serves all reads, for two reasons. A read allocates the whole document and its tree, and the allocator
//! keeps freed memory per thread: in the runtime's pool each thread would come to hold as much. And at most one read
//! hangs with its disk.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;

use tokio::sync::oneshot;

use crate::config::{Loaded, Problems};

/// The outcome of a read.
type ReadResult<C> = Result<Loaded<C>, Problems>;

/// The function that reads.
type Load<C> = Arc<dyn Fn() -> ReadResult<C> + Send + Sync>;

/// Reads the configuration on request, on a thread that starts at the first read and ends with this value.
pub struct Reader<C> {
    load: Load<C>,
    requests: Sender<oneshot::Sender<ReadResult<C>>>,
}

impl<C> fmt::Debug for Reader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl<C: Send + 'static> Reader<C> {
    /// Reads by `load`.
    pub fn new(load: impl Fn() -> ReadResult<C> + Send + Sync + 'static) -> Self {
        Self {
            load: Arc::new(load),
            // Disconnected: the first read starts the thread.
            requests: channel().0,
        }
    }

    /// Reads. An error when the thread can't be started or panicked.
    pub async fn read(&mut self) -> Result<ReadResult<C>, String> {
        let (answer, reading) = oneshot::channel();
        if let Err(SendError(answer)) = self.requests.send(answer) {
            self.requests = start(Arc::clone(&self.load)).map_err(|error| error.to_string())?;
            self.requests.send(answer).ok();
        }
        reading.await.map_err(|_| "its thread panicked".to_owned())
    }
}

fn start<C: Send + 'static>(load: Load<C>) -> io::Result<Sender<oneshot::Sender<ReadResult<C>>>> {
    let (requests, received) = channel();
    thread::Builder::new()
        .name("configuration".to_owned())
        .spawn(move || serve(&load, &received))?;
    Ok(requests)
}

fn serve<C>(load: &Load<C>, requests: &Receiver<oneshot::Sender<ReadResult<C>>>) {
    for answer in requests {
        // The requester may have timed out while an earlier read hung.
        if !answer.is_closed() {
            answer.send(load()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::time::timeout;

    use super::*;
    use crate::config::{UnknownKeys, load};

    fn port(path: &Path) -> ReadResult<u64> {
        let document = load(path, Ok)?;
        document.resolve(UnknownKeys::Refuse, |root| Some(root.integer_or("port", 0, 0..=9)))
    }

    #[tokio::test]
    async fn a_read_that_hangs_delays_only_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        // A read of a pipe blocks while it has a writer.
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let pipe = File::options().read(true).write(true).open(&path).expect("it is there");
        let mut reader = Reader::new({
            let path = path.clone();
            move || port(&path)
        });
        for _ in 0..3 {
            let hung = timeout(Duration::from_millis(10), reader.read()).await;
            hung.expect_err("it blocks");
        }
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "port: 7").expect("written");
        drop(pipe);
        let read = timeout(Duration::from_secs(20), reader.read()).await;
        let read = read.expect("it hangs no longer").expect("the thread lives");
        assert_eq!(read.expect("a configuration").value, 7);
    }
}
