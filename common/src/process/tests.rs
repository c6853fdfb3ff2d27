use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};
use tokio::time::Instant;

use super::*;

fn shell(script: &str, timeout: Duration) -> Program {
    Program {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("GREETING".to_owned(), "hello".into())],
        timeout,
    }
}

const LONG: Duration = Duration::from_secs(20);

async fn failure(script: &str, timeout: Duration) -> (String, String) {
    match shell(script, timeout).run().await.unwrap() {
        Outcome::Failure { how, output } => (how, output),
        success @ Outcome::Success { .. } => panic!("{success:?}"),
    }
}

/// Waits until `pid` is gone or a zombie that init has not collected yet.
async fn gone(pid: &str) {
    let dead = || {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
    };
    timeout(LONG, async {
        while !dead() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("process {pid} lives on"));
}

#[tokio::test]
async fn output_and_error_output_are_one_text() {
    let outcome = shell("echo $GREETING; echo oops >&2; cat", LONG).run().await.unwrap();
    let output = "hello\noops\n".to_owned();
    assert_eq!(outcome, Outcome::Success { output });
}

#[tokio::test]
async fn exit_codes_and_signals_are_described() {
    assert_eq!(
        failure("echo no; exit 3", LONG).await,
        ("exit code 3".to_owned(), "no\n".to_owned())
    );
    assert_eq!(failure("kill -9 $$", LONG).await.0, "killed by signal 9");
}

#[tokio::test]
async fn the_deadline_kills_grandchildren_too() {
    let (how, output) = failure("sleep 600 & echo $!; wait", Duration::from_millis(300)).await;
    assert_eq!(how, "no answer within 300ms; its process group was killed");
    gone(output.trim()).await;
}

#[tokio::test]
async fn adopted_orphans_are_reaped() {
    // What a container's process 1 is: the one that orphans come to.
    rustix::process::set_child_subreaper(Some(getpid())).unwrap();
    let (_, output) = failure("sleep 600 & echo $!; wait", Duration::from_millis(300)).await;
    rustix::process::set_child_subreaper(None).unwrap();
    let orphan = Pid::from_raw(output.trim().parse().unwrap()).unwrap();
    assert!(test_kill_process(orphan).is_err(), "not even a zombie is left");
}

#[tokio::test]
async fn a_daemonising_program_ends_though_its_child_holds_the_pipe() {
    let began = Instant::now();
    let Outcome::Success { output } = shell("sleep 600 & echo $!", LONG).run().await.unwrap() else {
        panic!("exit code 0 is a success");
    };
    assert!(began.elapsed() < LONG / 2);
    gone(output.trim()).await;
}

#[tokio::test]
async fn a_child_in_a_session_of_its_own_stays() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let file = file.display();
    let script =
        format!("setsid sh -c 'echo $$ >{file}; exec sleep 600' & while [ ! -s {file} ]; do :; done; cat {file}");
    let Outcome::Success { output } = shell(&script, LONG).run().await.unwrap() else {
        panic!("exit code 0 is a success");
    };
    let pid = output.trim().parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).expect("it is still there");
}

#[tokio::test]
async fn a_flood_of_output_neither_blocks_nor_grows() {
    let script =
        "i=0; while [ $i -lt 3000 ]; do echo \"line $i 0123456789012345678901234567890123456789\"; i=$((i+1)); done";
    let Outcome::Success { output } = shell(script, LONG).run().await.unwrap() else {
        panic!("exit code 0 is a success");
    };
    assert_eq!(output.len(), OUTPUT_CAP);
    assert!(output.ends_with("line 2999 0123456789012345678901234567890123456789\n"));

    let (how, output) = failure("while :; do echo on and on; done", Duration::from_millis(300)).await;
    assert!(how.starts_with("no answer"), "{how}");
    assert!(output.len() <= OUTPUT_CAP);
}

#[tokio::test]
async fn truncation_keeps_characters_whole() {
    // Two bytes each and one byte at the end: the cut falls into the middle of one.
    let script = "i=0; while [ $i -lt 9000 ]; do printf 'é'; i=$((i+1)); done; printf x";
    let Outcome::Success { output } = shell(script, LONG).run().await.unwrap() else {
        panic!("exit code 0 is a success");
    };
    assert_eq!(output, "é".repeat(OUTPUT_CAP / 2 - 1) + "x");
}

#[tokio::test]
async fn invalid_utf8_is_replaced() {
    let output = failure("printf '\\377ok'; exit 1", LONG).await.1;
    assert_eq!(output, "\u{fffd}ok");
}

#[tokio::test]
async fn a_program_may_close_its_output_before_its_end() {
    let (how, _) = failure("exec >&- 2>&-; sleep 0.2; exit 4", LONG).await;
    assert_eq!(how, "exit code 4");
}

#[tokio::test]
async fn dropping_the_future_kills_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("sleep 600 & echo $! >{}; wait", file.display());
    let program = shell(&script, LONG);
    let pid = tokio::select! {
        outcome = program.run() => panic!("{outcome:?}"),
        pid = async {
            loop {
                match std::fs::read_to_string(&file) {
                    Ok(text) if text.ends_with('\n') => break text,
                    _ => tokio::task::yield_now().await,
                }
            }
        } => pid,
    };
    gone(pid.trim()).await;
}

#[tokio::test]
async fn an_absent_program_is_named() {
    let program = |argv: &[&str]| Program {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        timeout: LONG,
    };
    let error = program(&["no-such-program"]).run().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot start `no-such-program`: No such file or directory (os error 2)"
    );
    let error = program(&[]).run().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot start ``: the command is empty");
    assert!(Detached::start(&["/nowhere/haproxy".to_owned()]).is_err());
}

#[tokio::test]
async fn a_detached_child_outlives_its_handle_in_a_group_of_its_own() {
    let argv = ["/bin/sh", "-c", "exec sleep 600"].map(str::to_owned);
    let child = Detached::start(&argv).unwrap();
    let id = child.id().unwrap();
    let pid = Pid::from_raw(id.cast_signed()).unwrap();
    drop(child);
    test_kill_process(pid).unwrap();
    assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
    kill_process(pid, Signal::KILL).unwrap();
    gone(&id.to_string()).await;
}

#[tokio::test]
async fn the_end_of_a_detached_child_is_described() {
    let start = |script: &str| Detached::start(&["/bin/sh", "-c", script].map(str::to_owned)).unwrap();
    let mut child = start("exit 7");
    assert_eq!(child.ended().await, "exit code 7");
    assert_eq!(child.id(), None);
    assert_eq!(child.ended().await, "exit code 7");
    assert_eq!(start("kill -TERM $$").ended().await, "killed by signal 15");
}

#[test]
fn programs_are_found_as_they_are_run() {
    let shell = find("sh").unwrap();
    assert!(shell.is_absolute() && shell.ends_with("sh"));
    assert_eq!(find("/bin/sh"), Some(PathBuf::from("/bin/sh")));
    for absent in ["", "no-such-program", "/bin", "/etc/passwd", "/nowhere/sh"] {
        assert_eq!(find(absent), None, "{absent}");
    }
}
