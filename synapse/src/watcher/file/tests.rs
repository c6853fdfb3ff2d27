use common::zk::reflector::Freshness;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

const OFTEN: Duration = Duration::from_millis(5);

/// A file that is looked at.
struct Watched {
    directory: tempfile::TempDir,
    snapshots: watch::Receiver<Snapshot>,
    _running: JoinSet<()>,
}

impl Watched {
    fn start(below: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (snapshots, task) = file(directory.path().join(below), OFTEN);
        let mut running = JoinSet::new();
        running.spawn(task.run(CancellationToken::new()));
        Self {
            directory,
            snapshots,
            _running: running,
        }
    }

    /// Replaces a file as one should.
    fn replace(&self, name: &str, text: &str) {
        let temporary = self.directory.path().join(".new");
        fs::write(&temporary, text).expect("it is written");
        fs::rename(&temporary, self.directory.path().join(name)).expect("it is renamed");
    }

    async fn until(&mut self, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let found = timeout(Duration::from_secs(20), self.snapshots.wait_for(is_so)).await;
        found.expect("in time").expect("the task runs").clone()
    }

    async fn has(&mut self, addresses: &[&str]) -> Snapshot {
        self.until(|snapshot| {
            let data = snapshot.children.values().map(|child| child.data.as_ref());
            data.eq(addresses.iter().map(|address| address.as_bytes()))
        })
        .await
    }
}

#[tokio::test]
async fn a_replaced_file_is_noticed_and_a_broken_or_lost_one_keeps_its_content() {
    let mut watched = Watched::start("web.yaml");
    let absent = watched.until(|snapshot| !snapshot.error.is_empty()).await;
    assert_eq!(absent.freshness, Freshness::Never);

    watched.replace("web.yaml", "[a:1, b:2]");
    let live = watched.has(&["a:1", "b:2"]).await;
    assert_eq!((live.freshness, live.error.as_str()), (Freshness::Live, ""));

    // Of the same length, within the same moment.
    watched.replace("web.yaml", "[a:1, c:2]");
    let changed = watched.has(&["a:1", "c:2"]).await;
    let kept = |snapshot: &Snapshot| {
        matches!(snapshot.freshness, Freshness::Stale { .. }) && snapshot.children == changed.children
    };
    watched.replace("web.yaml", "[a:1, c:");
    let broken = watched.until(kept).await;
    assert!(broken.error.starts_with("web.yaml: line "), "{}", broken.error);

    fs::remove_file(watched.directory.path().join("web.yaml")).expect("it is removed");
    let lost = watched.until(|snapshot| snapshot.error.contains("No such file")).await;
    assert!(kept(&lost));

    watched.replace("web.yaml", "");
    assert_eq!(watched.has(&[]).await.freshness, Freshness::Live);
}

#[tokio::test]
async fn a_file_written_in_place_within_one_tick_of_the_clock_is_noticed() {
    let mut watched = Watched::start("web.json");
    let path = watched.directory.path().join("web.json");
    for round in 0..20 {
        let address = format!("a:{}", 10 + round);
        fs::write(&path, format!("[\"{address}\"]")).expect("it is written");
        watched.has(&[&address]).await;
    }
}

#[tokio::test]
async fn a_directory_is_the_sum_of_its_documents() {
    let mut watched = Watched::start("");
    assert_eq!(
        watched.until(|s| s.freshness == Freshness::Live).await.children.len(),
        0
    );
    watched.replace("b.yaml", "b:1");
    watched.replace("a.json", "[\"a:1\"]");
    watched.replace("notes.txt", "rubbish");
    watched.replace(".hidden.json", "rubbish");
    watched.has(&["a:1", "b:1"]).await;
    // A link moved over another, as Kubernetes does.
    let at = |name: &str| watched.directory.path().join(name);
    fs::write(at("data"), "c:1").expect("it is written");
    std::os::unix::fs::symlink(at("data"), at(".link")).expect("it is linked");
    fs::rename(at(".link"), at("b.yaml")).expect("it is renamed");
    watched.has(&["a:1", "c:1"]).await;

    watched.replace("a.json", "[");
    let broken = watched.until(|s| s.error.starts_with("a.json: ")).await;
    assert_eq!(broken.children.len(), 2, "its last content stays, and the other file's");
    fs::remove_file(watched.directory.path().join("a.json")).expect("it is removed");
    let rest = watched.has(&["c:1"]).await;
    assert_eq!((rest.freshness, rest.error.as_str()), (Freshness::Live, ""));
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("web.json");
    fs::write(&path, "[\"a:1\"]").expect("it is written");
    let later = unix_millis() + 60_000;
    let mut document = Document::default();
    let mut read = |now| document.read(&path, now).expect("it is looked at");
    assert!(read(unix_millis()).is_some());
    assert!(
        read(later).is_some(),
        "its last change was too near to the last reading"
    );
    assert!(read(later).is_none());
    fs::write(&path, "[\"b:1\"]").expect("it is written");
    assert_eq!(read(later).as_deref(), Some("[\"b:1\"]"));
}
