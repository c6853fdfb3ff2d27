use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::file::{decode, encode};
use super::*;
use crate::overrides::Metadata;

fn kept(step: u32) -> ServiceRecord {
    let mut words = PersistedOverrides::default();
    words.disable(Metadata::new("deploy", "ann", 1, Some(2)));
    ServiceRecord {
        words,
        progress: Some(WarmUpProgress { step, ran: 8000 }),
    }
}

fn remembered(directory: &Path) -> ServiceRecord {
    let (state_store, _task) = open(directory, ["web"].into_iter()).expect("it opens");
    state_store.load("web")
}

/// Has a nerve keep `kept` of `web` and end.
async fn keep(directory: &Path, kept: &ServiceRecord) {
    let (state_store, task) = open(directory, ["web"].into_iter()).expect("it opens");
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(task.run(stop.clone()));
    state_store.keep("web", kept);
    assert!(state_store.is_written().await);
    stop.cancel();
    tasks.join_next().await.expect("one task").expect("no panic");
}

#[tokio::test]
async fn what_is_kept_is_known_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let below = directory.path().join("made/here");
    keep(&below, &kept(4)).await;
    let mode = std::fs::metadata(&below).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mode = std::fs::metadata(below.join("nerve.state.json"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(remembered(&below), kept(4));
    keep(&below, &ServiceRecord::default()).await;
    assert_eq!(remembered(&below), ServiceRecord::default());
}

#[tokio::test]
async fn a_file_of_long_ago_knows_the_words_and_not_the_warmth() {
    let directory = tempfile::tempdir().expect("a directory");
    keep(directory.path(), &kept(4)).await;
    let file = File::options()
        .write(true)
        .open(directory.path().join("nerve.state.json"));
    file.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
        .expect("it is made old");
    let old = remembered(directory.path());
    assert_eq!((old.words, old.progress), (kept(4).words, None));
}

#[tokio::test]
async fn a_broken_file_is_no_obstacle() {
    let directory = tempfile::tempdir().expect("a directory");
    keep(directory.path(), &kept(4)).await;
    let path = directory.path().join("nerve.state.json");
    let good = std::fs::read_to_string(&path).expect("it is there");
    for bad in [
        &good.replace("deploy", "deplay"),
        &good.replace("\"format\": 1", "\"format\": 2"),
        "",
        "[]",
    ] {
        std::fs::write(&path, bad).expect("it is written");
        assert_eq!(remembered(directory.path()), ServiceRecord::default(), "{bad}");
    }
}

#[tokio::test]
async fn one_directory_serves_one_nerve() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_memory, _task) = open(directory.path(), std::iter::empty()).expect("it opens");
    let refused = open(directory.path(), std::iter::empty()).expect_err("it is taken");
    assert!(matches!(refused, OpenError::Taken(_)), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_written_is_said_not_to_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let (state_store, task) = open(directory.path(), std::iter::empty()).expect("it opens");
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(task.run(stop.clone()));
    std::fs::create_dir(directory.path().join("nerve.state.json")).expect("it is in the way");
    state_store.keep("web", &kept(1));
    assert!(!state_store.is_written().await);
    std::fs::remove_dir(directory.path().join("nerve.state.json")).expect("it goes");
    assert!(state_store.is_written().await, "it is tried again");
    assert!(!StateStore::in_memory().is_written().await);
    stop.cancel();
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(names in proptest::collection::btree_set(".*", 0..5), step in 0..30_u32) {
        let services: Services = names.into_iter().map(|name| (name, kept(step))).collect();
        prop_assert_eq!(decode(&encode(&services).expect("it is JSON")).expect("it is good"), services);
    }

    #[test]
    fn no_file_breaks_the_reading(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
    }
}
