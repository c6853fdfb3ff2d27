use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_written_once_and_left_alone_when_equal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("haproxy.cfg");
    assert_eq!(write_atomic(&path, b"one", 0o600).unwrap(), Written::Changed);
    let inode = std::fs::metadata(&path).unwrap().ino();
    assert_eq!(write_atomic(&path, b"one", 0o600).unwrap(), Written::Unchanged);
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(write_atomic(&path, b"two", 0o600).unwrap(), Written::Changed);
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(names(directory.path()), ["haproxy.cfg"]);
}

#[test]
fn the_mode_is_exact_and_part_of_what_is_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report");
    // No usual umask leaves the last of these.
    for wanted in [0o600, 0o644, 0o666] {
        assert_eq!(write_atomic(&path, b"same", wanted).unwrap(), Written::Changed);
        assert_eq!(mode(&path), wanted);
    }
}

#[test]
fn a_link_is_replaced_and_its_target_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (directory.path().join("target"), directory.path().join("link"));
    std::fs::write(&target, "target").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert_eq!(write_atomic(&link, b"new", 0o600).unwrap(), Written::Changed);
    assert_eq!(std::fs::read(&target).unwrap(), b"target");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
}

#[test]
fn a_failure_names_step_and_file_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = write_atomic(&file.join("below"), b"x", 0o600).unwrap_err();
    let expected = format!(
        "cannot create a temporary file beside {}/below: Not a directory (os error 20)",
        file.display()
    );
    assert_eq!(error.to_string(), expected);

    let occupied = directory.path().join("directory");
    std::fs::create_dir_all(occupied.join("full")).unwrap();
    let error = write_atomic(&occupied, b"x", 0o600).unwrap_err();
    assert_eq!((error.action, &error.path), ("replace", &occupied));
    assert_eq!(names(directory.path()), ["directory", "file"]);

    assert!(write_atomic(Path::new("/"), b"x", 0o600).is_err());
}

#[test]
fn a_crashed_writers_leftover_does_not_disturb() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let leftover = directory.path().join(".state.0000000000000000.tmp");
    std::fs::write(&leftover, "half a fi").unwrap();
    assert_eq!(write_atomic(&path, b"whole", 0o600).unwrap(), Written::Changed);
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
}

#[test]
fn readers_never_see_a_part() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let contents = [vec![b'a'; 100_000], vec![b'b'; 200_000]];
    write_atomic(&path, &contents[0], 0o600).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert!(contents.contains(&std::fs::read(&path).unwrap()));
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for round in 1..=100 {
            write_atomic(&path, &contents[round % 2], 0o600).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn a_lock_has_one_holder_and_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let held = lock(&path).unwrap();
    assert!(held.is_some());
    assert_eq!(mode(&path), 0o600);
    assert!(lock(&path).unwrap().is_none());
    drop(held);
    assert!(lock(&path).unwrap().is_some());
    assert!(lock(&path.join("below")).is_err());
}
