//! Reaps orphans: PID 1 of a container becomes the parent of every orphaned process. A child that this program started is
//! reaped at once by the task that waits for it, so a child that stays a zombie is an orphan.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Between two scans for zombies. A zombie found by two scans is an orphan.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Reaps orphans until `stop` when this is PID 1; another process gets no orphans.
pub async fn reap(stop: CancellationToken) {
    if std::process::id() != 1 {
        return stop.cancelled().await;
    }
    let mut before = BTreeSet::new();
    while stop.run_until_cancelled(sleep(POLL_INTERVAL)).await.is_some() {
        let zombies = zombies();
        for orphan in zombies.intersection(&before) {
            if let Some(pid) = Pid::from_raw(*orphan) {
                // Fails when another task has reaped it, which is as good.
                waitpid(Some(pid), WaitOptions::NOHANG).ok();
                tracing::debug!(pid = orphan, "Orphan reaped.");
            }
        }
        before = zombies;
    }
}

/// The zombies among the children of process 1.
fn zombies() -> BTreeSet<i32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
            is_our_zombie(&stat).then_some(pid)
        })
        .collect()
}

/// Whether a `/proc/PID/stat` is of a zombie whose parent is process 1. The program's name may contain any characters.
fn is_our_zombie(stat: &str) -> bool {
    let Some((_, after_name)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = after_name.split_whitespace();
    (fields.next(), fields.next()) == (Some("Z"), Some("1"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_zombie_child_of_process_1_matches() {
        assert!(is_our_zombie("17 (haproxy) Z 1 17 17 0 -1"));
        assert!(is_our_zombie("17 (a) S 2 (b) Z 1 17"));
        for other in [
            "17 (haproxy) S 1 17",
            "17 (haproxy) Z 8 17",
            "17 (Z 1) S 8",
            "",
            "Z 1 (x",
            "17 (x)",
        ] {
            assert!(!is_our_zombie(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed(text in ".*") {
            is_our_zombie(&text);
        }
    }

    #[tokio::test]
    async fn other_processes_only_wait_for_the_stop() {
        let stop = CancellationToken::new();
        stop.cancel();
        reap(stop).await;
    }
}
