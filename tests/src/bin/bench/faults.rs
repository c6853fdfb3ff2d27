//! What can be done to a container.

use common::clock::unix_millis;

use crate::docker::{compose, container, docker, in_network, on_host};
use crate::site::{APPS, CLIENTS, ZOOKEEPERS};

/// SIGKILL to all that runs in it.
pub(crate) async fn kill(part: &str) -> Result<(), String> {
    docker(&["kill", "-s", "KILL", &container(part)]).await.map(drop)
}

/// Starts it again as it is.
pub(crate) async fn start(part: &str) -> Result<(), String> {
    docker(&["start", &container(part)]).await.map(drop)
}

/// SIGTERM, as an orchestrator's.
pub(crate) async fn stop(part: &str) -> Result<(), String> {
    docker(&["stop", "-t", "30", &container(part)]).await.map(drop)
}

/// Replaces the container by a new one, as for a new image.
pub(crate) async fn replace(part: &str) -> Result<(), String> {
    compose(&["up", "-d", "--no-deps", "--force-recreate", part])
        .await
        .map(drop)
}

/// Freezes all that runs in it.
pub(crate) async fn pause(part: &str) -> Result<(), String> {
    docker(&["pause", &container(part)]).await.map(drop)
}

/// Goes on after [`pause`].
pub(crate) async fn unpause(part: &str) -> Result<(), String> {
    docker(&["unpause", &container(part)]).await.map(drop)
}

/// Sends a signal to every process of this program in the container but its first, which keeps the others; when.
pub(crate) async fn signal(part: &str, program: &str, signal: &str) -> Result<u64, String> {
    let first = docker(&["inspect", "-f", "{{.State.Pid}}", &container(part)]).await?;
    let list = docker(&["top", &container(part), "-eo", "pid,comm"]).await?;
    let pids: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().collect::<Vec<_>>().try_into().ok())
        .filter_map(|[pid, name]: [&str; 2]| (name == program && pid != first).then_some(pid))
        .collect();
    if pids.is_empty() {
        return Err(format!("{program} does not run in {part}"));
    }
    // The clock is the same in every container.
    let at = on_host(&format!("date +%s%3N; kill -{signal} {}", pids.join(" "))).await?;
    at.parse().map_err(|_| format!("`{at}` is no time"))
}

/// Cuts the network of a part off, or the traffic that `match_` (of iptables) selects.
pub(crate) async fn cut(part: &str, match_: &str) -> Result<(), String> {
    let rule = |chain, side| format!("iptables -A {chain} {side} eth0 {match_} -j DROP");
    let (input, output) = (rule("INPUT", "-i"), rule("OUTPUT", "-o"));
    in_network(part, &format!("{input} && {output}")).await.map(drop)
}

/// Undoes [`cut`].
pub(crate) async fn mend(part: &str) -> Result<(), String> {
    in_network(part, "iptables -F INPUT && iptables -F OUTPUT")
        .await
        .map(drop)
}

/// Makes the network of a part slow and lossy: by netem, or where the kernel has none by a narrow token bucket and by
/// dropping one packet in a hundred each way. Which of both it was.
pub(crate) async fn spoil(part: &str) -> Result<String, String> {
    let drop = |chain: &str, side: &str| {
        format!("iptables -A {chain} {side} eth0 -p tcp -m statistic --mode random --probability 0.01 -j DROP")
    };
    let narrow = "tc qdisc add dev eth0 root tbf rate 2mbit burst 4kb latency 100ms";
    let script = format!(
        "if tc qdisc add dev eth0 root netem delay 20ms 10ms loss 1% 2>/dev/null; then echo netem; \
         else {narrow} && {} && {} && echo 'a token bucket and dropped packets'; fi",
        drop("INPUT", "-i"),
        drop("OUTPUT", "-o")
    );
    in_network(part, &script).await
}

/// Undoes [`spoil`].
pub(crate) async fn clear(part: &str) -> Result<(), String> {
    in_network(part, "tc qdisc del dev eth0 root").await?;
    mend(part).await
}

/// Undoes what a bench that was interrupted has left.
pub(crate) async fn undo() -> Result<(), String> {
    for (status, cure) in [("paused", "unpause"), ("exited", "start")] {
        let status = format!("status={status}");
        let names = docker(&[
            "ps",
            "-a",
            "--filter",
            "name=^nsb-",
            "--filter",
            &status,
            "--format",
            "{{.Names}}",
        ])
        .await?;
        for name in names.lines() {
            docker(&[cure, name]).await?;
        }
    }
    for client in CLIENTS {
        signal(&format!("{client}-synapse"), "synapse", "CONT").await?;
    }
    let pods = APPS.iter().chain(&CLIENTS).map(|part| format!("{part}-pod"));
    for part in pods.chain(ZOOKEEPERS.map(str::to_owned)) {
        mend(&part).await?;
        in_network(&part, "tc qdisc del dev eth0 root 2>/dev/null || true").await?;
    }
    Ok(())
}

/// Now, in milliseconds of the Unix era.
pub(crate) fn now() -> u64 {
    unix_millis()
}
