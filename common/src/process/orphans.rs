//! PID 1 of a container is the parent of whoever loses its own, and has to reap it. What this program started itself is
//! reaped by whoever waits for it, within a moment; a child that stays a zombie is an orphan, and nobody else's.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often zombies are looked for. One that is there at two looks is an orphan.
const LOOK: Duration = Duration::from_secs(5);

/// Reaps orphans until `stop`, where this is a container's first process; elsewhere nobody is orphaned to us.
pub async fn reap(stop: CancellationToken) {
    if std::process::id() != 1 {
        return stop.cancelled().await;
    }
    let mut before = BTreeSet::new();
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let zombies = zombies();
        for orphan in zombies.intersection(&before) {
            if let Some(pid) = Pid::from_raw(*orphan) {
                // Someone who did wait for it has been faster: that is as good.
                waitpid(Some(pid), WaitOptions::NOHANG).ok();
                tracing::debug!(pid = orphan, "An orphan was reaped.");
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

/// Whether this `/proc/PID/stat` is of a zombie whose parent is process 1. A program's name may hold anything but its end.
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
    fn only_a_zombie_of_ours_is_one() {
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
        fn no_text_breaks_the_reading(text in ".*") {
            is_our_zombie(&text);
        }
    }

    #[tokio::test]
    async fn elsewhere_it_only_waits_for_its_end() {
        let stop = CancellationToken::new();
        stop.cancel();
        reap(stop).await;
    }
}
