use std::sync::Mutex;

use super::*;

fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_nonblocking(true).expect("set");
    let notifier = Notifier::at(path.as_os_str(), Some(Duration::from_secs(9))).expect("connected");
    (directory, socket, notifier)
}

fn received(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 1024];
    std::iter::from_fn(|| {
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_daemon_is_notified() {
    let (_directory, socket, notifier) = manager();
    // A reload before the start sends nothing.
    notifier.reloading();
    notifier.reloaded();
    let state = Mutex::new(State {
        ready: false,
        status: "waiting for a\nb".to_owned(),
    });
    let set = |ready, status: &str| {
        *state.lock().expect("whole") = State {
            ready,
            status: status.to_owned(),
        };
    };
    let stop = CancellationToken::new();
    let run = notifier
        .clone()
        .run(|| state.lock().expect("whole").clone(), stop.clone());
    let story = async {
        sleep(STARTUP_POLL_INTERVAL / 2).await;
        assert_eq!(received(&socket), ["STATUS=waiting for a b\nWATCHDOG=1"]);
        set(true, "all is well");
        sleep(STARTUP_POLL_INTERVAL).await;
        assert_eq!(received(&socket), ["READY=1\nSTATUS=all is well\nWATCHDOG=1"]);
        // It stays ready.
        set(false, "all is well");
        sleep(Duration::from_secs(9)).await;
        assert_eq!(received(&socket), ["WATCHDOG=1"; 3]);
        notifier.reloading();
        notifier.reloaded();
        let reload = received(&socket);
        assert!(reload[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reload:?}");
        assert_eq!(reload[1], "READY=1");
        notifier.stopping(Duration::from_secs(85));
        assert_eq!(received(&socket), ["STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000"]);
        stop.cancel();
    };
    tokio::join!(run, story);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_hangs_or_is_gone_blocks_nothing() {
    let (_directory, socket, notifier) = manager();
    for _ in 0..10_000 {
        notifier.stopping(Duration::ZERO);
    }
    drop(socket);
    notifier.stopping(Duration::ZERO);
    Notifier::default().stopping(Duration::ZERO);
}

#[test]
fn an_abstract_socket_is_supported() {
    let name = format!("common-systemd-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    socket.set_nonblocking(true).expect("set");
    let path = format!("@{name}");
    let notifier = Notifier::at(OsStr::new(&path), None).expect("connected");
    notifier.stopping(Duration::ZERO);
    assert_eq!(received(&socket), ["STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000"]);
}

#[test]
fn the_watchdog_of_another_process_is_ignored() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(watchdog(some("30000000"), None, 7), Some(Duration::from_secs(30)));
    assert_eq!(watchdog(some("30000000"), some("7"), 7), Some(Duration::from_secs(30)));
    assert_eq!(watchdog(some("30000000"), some("8"), 7), None);
    for bad in [None, some("0"), some("soon"), some("-1")] {
        assert_eq!(watchdog(bad, None, 7), None);
    }
}
