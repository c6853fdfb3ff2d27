//! What the images weigh, and what the sidecars hold.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use e2e::eventually::wait_for;
use e2e::zookeeper::Client;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::docker::{PROJECT, container, docker, on_host};
use crate::faults::{pause, unpause};
use crate::site::{APART, APPS, CLIENTS, Site, TIMEOUT, ZOOKEEPERS, address};

/// What nerve's container is meant to hold at most when nothing happens.
const NERVE_IDLE: u64 = 12 << 20;

/// What synapse itself is meant to hold at most at 200 services of 10 instances.
const SYNAPSE_LARGE: u64 = 16 << 20;

/// How long the load is away before sidecars count as idle.
const IDLE: Duration = Duration::from_secs(10);

/// A figure, and what it is meant to be at most.
#[derive(Debug)]
pub(crate) struct Line {
    what: String,
    bytes: u64,
    most: Option<u64>,
}

impl Line {
    fn new(what: impl Into<String>, bytes: u64, most: Option<u64>) -> Self {
        Self {
            what: what.into(),
            bytes,
            most,
        }
    }

    /// Whether it is at most what it is meant to be.
    pub(crate) fn is_small(&self) -> bool {
        self.most.is_none_or(|most| self.bytes <= most)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "for people, to a tenth of a megabyte")]
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(f, "{:<60} {:>7.1} MB", self.what, megabytes(self.bytes))?;
        match self.most {
            Some(most) if self.is_small() => write!(f, "  (meant to be at most {:.0})", megabytes(most)),
            Some(most) => write!(f, "  TOO MUCH: meant to be at most {:.0}", megabytes(most)),
            None => Ok(()),
        }
    }
}

/// Measures them all; the site is as before when it returns.
pub(crate) async fn measure(site: &Site) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for image in ["nerve", "synapse"] {
        let bytes = docker(&["image", "inspect", "-f", "{{.Size}}", &format!("{PROJECT}/{image}")]).await?;
        lines.push(Line::new(format!("image {image}"), number(&bytes)?, None));
    }
    lines.extend(sidecars("under load", false).await?);
    for client in CLIENTS {
        pause(&format!("{client}-load")).await?;
    }
    sleep(IDLE).await;
    let idle = sidecars("idle", true).await;
    for client in CLIENTS {
        unpause(&format!("{client}-load")).await?;
    }
    lines.extend(idle?);
    lines.push(large().await?);
    site.whole().await?;
    Ok(lines)
}

/// Of each kind of sidecar the one that holds most.
async fn sidecars(when: &str, idle: bool) -> Result<Vec<Line>, String> {
    let (mut nerve, mut synapse, mut pair, mut apart) = (0, 0, 0, 0);
    for app in APPS {
        nerve = nerve.max(held(&format!("{app}-nerve"), "").await?);
    }
    for client in CLIENTS {
        let part = format!("{client}-synapse");
        synapse = synapse.max(held(&part, "synapse").await?);
        let all = held(&part, "").await?;
        if client == APART {
            apart = all + held(&format!("{client}-haproxy"), "").await?;
        } else {
            pair = pair.max(all);
        }
    }
    Ok(vec![
        Line::new(format!("nerve's container, {when}"), nerve, idle.then_some(NERVE_IDLE)),
        Line::new(format!("synapse's own processes, {when}"), synapse, None),
        Line::new(format!("synapse's container, with HAProxy, {when}"), pair, None),
        Line::new(format!("synapse's container, and HAProxy's own, {when}"), apart, None),
    ])
}

/// What the processes of a container hold: of this program, or of all of them.
async fn held(part: &str, program: &str) -> Result<u64, String> {
    let list = docker(&["top", &container(part), "-eo", "pid,comm"]).await?;
    let mut programs = BTreeMap::<&str, Vec<&str>>::new();
    for line in list.lines().skip(1) {
        if let [pid, name] = line.split_whitespace().collect::<Vec<_>>()[..]
            && (program.is_empty() || name == program)
        {
            programs.entry(name).or_default().push(pid);
        }
    }
    let mut all = 0;
    for pids in programs.values() {
        let files: Vec<String> = pids.iter().map(|pid| format!("/proc/{pid}/statm")).collect();
        let said = on_host(&format!("getconf PAGESIZE; cat {}", files.join(" "))).await?;
        let (page, processes) = said.split_once('\n').ok_or_else(|| format!("of {part}: {said}"))?;
        all += number(page)? * pages(processes)?;
    }
    Ok(all)
}

/// How many pages the processes of one program hold together, by their `statm`: those of the program's file, which they
/// share, count with the one that holds most.
fn pages(statm: &str) -> Result<u64, String> {
    let (mut files, mut own) = (0, 0);
    for process in statm.lines() {
        let figures: Result<Vec<u64>, String> = process.split_whitespace().map(number).collect();
        let [_, resident, shared, ..] = figures?[..] else {
            return Err(format!("`{process}` is no statm"));
        };
        files = files.max(shared);
        own += resident - shared.min(resident);
    }
    Ok(files + own)
}

/// A synapse of 200 services with 10 registered instances each.
async fn large() -> Result<Line, String> {
    let mut file = "routers:\n  - type: haproxy\n    configPath: /run/synapse/haproxy.cfg\n    stopOnExit: true\n    \
                    global: ['maxconn 1000']\n    services:\n"
        .to_owned();
    // The nodes go with this session.
    let registry = Client::connect(&format!("{}:2181", address(ZOOKEEPERS[0]).await?)).await;
    for service in 0..200 {
        for n in 1..=10 {
            let node =
                format!(r#"{{"available":true,"host":"10.9.{service}.{n}","port":80,"name":"i{n}","weight":255}}"#);
            registry
                .put_ephemeral(&format!("/large/s{service}/i{n}_10.9.{service}.{n}:80"), node)
                .await;
        }
        let _infallible = writeln!(
            file,
            "      - name: s{service}\n        watcher: {{type: zookeeper, hosts: ['zk1:2181'], path: /large/s{service}}}\n        \
             routerOptions: {{frontend: ['bind 127.0.0.1:{}']}}",
            20_000 + service
        );
    }
    let directory = TempDir::new().map_err(|error| error.to_string())?;
    let path = directory.path().join("synapse.yaml");
    std::fs::write(&path, file).map_err(|error| error.to_string())?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), readable).map_err(|error| error.to_string())?;
    let (name, image) = (container("large"), format!("{PROJECT}/synapse"));
    let mount = format!("{}:/etc/synapse/synapse.yaml:ro", path.display());
    let network = format!("{PROJECT}_site");
    let tmpfs = "/run/synapse:uid=65532,gid=65532,mode=0700";
    docker(&[
        "run",
        "-d",
        "--name",
        &name,
        "--network",
        &network,
        "--read-only",
        "--tmpfs",
        tmpfs,
        "-v",
        &mount,
        &image,
    ])
    .await?;
    let measured = async {
        let ready = async || docker(&["exec", &name, "/usr/bin/synapse", "wait", "--service", "s199"]).await;
        let ready = wait_for("the large synapse is ready", TIMEOUT, ready).await;
        ready.map_err(|late| late.to_string())?;
        sleep(IDLE).await;
        held("large", "synapse").await
    };
    let measured = measured.await;
    docker(&["rm", "-f", &name]).await?;
    let what = "synapse's own processes, 200 services of 10 instances";
    Ok(Line::new(what, measured?, Some(SYNAPSE_LARGE)))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_processes_share_count_once() {
        assert_eq!(
            pages("9000 1884 1627 900 0 300 0\n8000 960 836 900 0 100 0"),
            Ok(1627 + 257 + 124)
        );
        assert_eq!(pages("9000 5 7 900 0 300 0"), Ok(7));
        assert!(pages("9000 5").is_err() && pages("a b c").is_err());
    }
}
