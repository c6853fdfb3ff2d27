//! The thread that reads the configuration again.
//!
//! One thread for all readings, for two reasons. A reading takes memory for the whole document and its tree, and the
//! allocator keeps what was freed apart for each thread: in the runtime's pool, each thread would come to hold as much.
//! And of readings that hang with their disk there is never more than one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;

use tokio::sync::oneshot;

use crate::config::{Loaded, Problems};

/// What a reading of a `C` brings.
type Reading<C> = Result<Loaded<C>, Problems>;

/// How it is read.
type Load<C> = Arc<dyn Fn() -> Reading<C> + Send + Sync>;

/// Reads the configuration when asked, on a thread that starts when it is first needed and ends with this.
pub struct Reader<C> {
    load: Load<C>,
    requests: Sender<oneshot::Sender<Reading<C>>>,
}

impl<C> fmt::Debug for Reader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl<C: Send + 'static> Reader<C> {
    /// Reads by `load`.
    pub fn new(load: impl Fn() -> Reading<C> + Send + Sync + 'static) -> Self {
        Self {
            load: Arc::new(load),
            // Nobody listens yet.
            requests: channel().0,
        }
    }

    /// Reads. An error when there is no thread for it, or it broke.
    pub async fn read(&mut self) -> Result<Reading<C>, String> {
        let (answer, reading) = oneshot::channel();
        if let Err(SendError(answer)) = self.requests.send(answer) {
            self.requests = start(Arc::clone(&self.load)).map_err(|error| error.to_string())?;
            self.requests.send(answer).ok();
        }
        reading.await.map_err(|_| "its thread panicked".to_owned())
    }
}

fn start<C: Send + 'static>(load: Load<C>) -> io::Result<Sender<oneshot::Sender<Reading<C>>>> {
    let (requests, asked) = channel();
    thread::Builder::new()
        .name("configuration".to_owned())
        .spawn(move || serve(&load, &asked))?;
    Ok(requests)
}

fn serve<C>(load: &Load<C>, asked: &Receiver<oneshot::Sender<Reading<C>>>) {
    for answer in asked {
        // After a reading that hung, nobody may wait for the next any more.
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

    fn port(path: &Path) -> Reading<u64> {
        let document = load(path, Ok)?;
        document.resolve(UnknownKeys::Refuse, |root| Some(root.integer_or("port", 0, 0..=9)))
    }

    #[tokio::test]
    async fn a_reading_that_hangs_holds_up_the_next_and_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        // Whoever reads a pipe waits as long as somebody could write to it.
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let pipe = File::options().read(true).write(true).open(&path).expect("it is there");
        let mut reader = Reader::new({
            let path = path.clone();
            move || port(&path)
        });
        for _ in 0..3 {
            let hung = timeout(Duration::from_millis(10), reader.read()).await;
            hung.expect_err("nobody writes");
        }
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "port: 7").expect("written");
        drop(pipe);
        let read = timeout(Duration::from_secs(20), reader.read()).await;
        let read = read.expect("it hangs no longer").expect("the thread lives");
        assert_eq!(read.expect("a configuration").value, 7);
    }
}
