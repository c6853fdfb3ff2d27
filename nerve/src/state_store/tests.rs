use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::file::{decode, encode};
use super::*;
use crate::overrides::{Action, Metadata, Overrides};

fn record(step: u32) -> ServiceRecord {
    let mut set = Overrides::default();
    set.apply(
        Action::Disable { shutdown: false },
        Metadata::new("deploy", "ann", 1, Some(2)),
    );
    ServiceRecord {
        words: set.persisted,
        progress: Some(WarmUpProgress { step, ran: 8000 }),
    }
}

fn loaded(directory: &Path) -> ServiceRecord {
    let (state_store, _task) = open(directory, ["web"].into_iter()).expect("it opens");
    state_store.load("web")
}

/// Saves `record` of `web` in a store that then ends.
async fn save(directory: &Path, record: &ServiceRecord) {
    let (state_store, task) = open(directory, ["web"].into_iter()).expect("it opens");
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(task.run(stop.clone()));
    state_store.save("web", record);
    assert!(state_store.is_written().await);
    stop.cancel();
    tasks.join_next().await.expect("one task").expect("no panic");
}

#[tokio::test]
async fn a_saved_record_is_loaded_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let below = directory.path().join("made/here");
    save(&below, &record(4)).await;
    let mode = std::fs::metadata(&below).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mode = std::fs::metadata(below.join("nerve.state.json"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(loaded(&below), record(4));
    save(&below, &ServiceRecord::default()).await;
    assert_eq!(loaded(&below), ServiceRecord::default());
}

#[tokio::test]
async fn an_old_file_keeps_overrides_and_not_progress() {
    let directory = tempfile::tempdir().expect("a directory");
    save(directory.path(), &record(4)).await;
    let file = File::options()
        .write(true)
        .open(directory.path().join("nerve.state.json"));
    file.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
        .expect("it is made old");
    let old = loaded(directory.path());
    assert_eq!((old.words, old.progress), (record(4).words, None));
}

#[tokio::test]
async fn a_broken_file_is_ignored() {
    let directory = tempfile::tempdir().expect("a directory");
    save(directory.path(), &record(4)).await;
    let path = directory.path().join("nerve.state.json");
    let good = std::fs::read_to_string(&path).expect("it is there");
    for bad in [
        &good.replace("deploy", "deplay"),
        &good.replace("\"format\": 1", "\"format\": 2"),
        "",
        "[]",
    ] {
        std::fs::write(&path, bad).expect("it is written");
        assert_eq!(loaded(directory.path()), ServiceRecord::default(), "{bad}");
    }
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_state_store, _task) = open(directory.path(), std::iter::empty()).expect("it opens");
    let refused = open(directory.path(), std::iter::empty()).expect_err("it is taken");
    assert!(matches!(refused, OpenError::Taken(_)), "{refused}");
}

#[tokio::test]
async fn a_failed_write_is_reported_and_retried() {
    let directory = tempfile::tempdir().expect("a directory");
    let (state_store, task) = open(directory.path(), std::iter::empty()).expect("it opens");
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(task.run(stop.clone()));
    std::fs::create_dir(directory.path().join("nerve.state.json")).expect("it is in the way");
    state_store.save("web", &record(1));
    assert!(!state_store.is_written().await);
    std::fs::remove_dir(directory.path().join("nerve.state.json")).expect("it goes");
    assert!(state_store.is_written().await, "it is retried");
    assert!(!StateStore::in_memory().is_written().await);
    stop.cancel();
}

proptest! {
    #[test]
    fn an_encoded_state_is_decoded(names in proptest::collection::btree_set(".*", 0..5), step in 0..30_u32) {
        let services: Services = names.into_iter().map(|name| (name, record(step))).collect();
        prop_assert_eq!(decode(&encode(&services).expect("it is JSON")).expect("it is good"), services);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
    }
}

#[test]
fn the_record_of_an_earlier_release_is_read() {
    let text = r#"{"words":{"weight":[7,{"reason":"","author":"ann","since":1,"expires":null}]},"warmth":{"step":4,"ran":9000}}"#;
    let record: ServiceRecord = serde_json::from_str(text).expect("a record");
    assert_eq!(record.progress, Some(WarmUpProgress { step: 4, ran: 9000 }));
    assert_ne!(
        record,
        ServiceRecord {
            progress: record.progress,
            ..ServiceRecord::default()
        }
    );
    assert_eq!(serde_json::to_string(&record).expect("JSON"), text);
}
