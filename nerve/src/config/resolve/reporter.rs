//! `reporters[]`.

use std::path::PathBuf;
use std::time::Duration;

use common::config::Section;
use common::zk::node::NodeConfig;
use common::zk::security::Security;
use common::zk::session::EnsembleConfig;

use super::access;
use super::node::{self, Instance};
use crate::config::{ReporterConfig, ZookeeperConfig};

/// ZooKeeper's own lower bound with its default tick: a shorter request gets this anyway.
const MIN_SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// The reporters of an instance; the console when it names none, as in Go-Nerve.
pub(super) fn reporters(service: &mut Section<'_>, instance: Instance<'_>) -> Option<Vec<ReporterConfig>> {
    let mut sections = service.sections("reporters", "reporter");
    let reporters: Vec<_> = sections.iter_mut().map(|section| reporter(section, instance)).collect();
    if reporters.is_empty() {
        return Some(vec![ReporterConfig::Console]);
    }
    reporters.into_iter().collect()
}

#[derive(Debug, Clone, Copy)]
enum Type {
    Zookeeper,
    File,
    Console,
}

fn reporter(section: &mut Section<'_>, instance: Instance<'_>) -> Option<ReporterConfig> {
    let types = [
        ("zookeeper", Type::Zookeeper),
        ("file", Type::File),
        ("console", Type::Console),
    ];
    match section.choice_or("type", "", &types)? {
        Type::Zookeeper => {
            section.is_a("reporter zookeeper");
            zookeeper(section, instance)
        }
        Type::File => {
            section.is_a("reporter file");
            let path = PathBuf::from(section.text_or("path", "/tmp/nerve.report"));
            let append = section.flag_or("append", false);
            Some(ReporterConfig::File { path, append })
        }
        Type::Console => {
            section.is_a("reporter console");
            Some(ReporterConfig::Console)
        }
    }
}

fn zookeeper(section: &mut Section<'_>, instance: Instance<'_>) -> Option<ReporterConfig> {
    let path = section
        .required_text("path")
        .and_then(|path| node_parent(section, &path));
    let hosts = section.texts("hosts");
    let hosts = ensemble_hosts(section, &hosts);
    let session_timeout = session_timeout(section);
    section.ignored(
        "refreshIntervalInMilli",
        "the node is watched and read back, so there is nothing to refresh",
    );
    let expose_on_unavailable = section.flag_or("exposeOnUnavailable", false);
    let security = Security::of(section);
    let access = access::access(section, security.as_ref());
    let node = node::node(section, instance, expose_on_unavailable);
    let (node, payload) = node?;
    Some(ReporterConfig::Zookeeper(Box::new(ZookeeperConfig {
        ensemble: EnsembleConfig {
            hosts: hosts?,
            session_timeout,
            security: security?,
        },
        node: NodeConfig {
            directory: path?,
            access: access?,
            ..node
        },
        payload,
        expose_on_unavailable,
    })))
}

/// An absolute path without its trailing `/`.
fn node_parent(section: &mut Section<'_>, path: &str) -> Option<String> {
    let trimmed = path.trim_end_matches('/');
    let bad_part = |part: &str| part.is_empty() || part == "." || part == ".." || part.chars().any(char::is_control);
    let absolute = path.starts_with('/');
    if !absolute || trimmed.split('/').skip(1).any(bad_part) {
        section.problem(
            "path",
            format!("`{}` is no absolute path of ZooKeeper nodes", path.escape_debug()),
            "e.g. `/services/shop`",
        );
        return None;
    }
    Some(trimmed.to_owned())
}

/// The hosts, sorted and without repetition, so that equal ensembles look equal; the chroot stays at the end.
fn ensemble_hosts(section: &mut Section<'_>, hosts: &[String]) -> Option<Vec<String>> {
    let mut chroot = "";
    let mut sorted: Vec<String> = Vec::new();
    let mut good = !hosts.is_empty();
    for entry in hosts.iter().map(|host| host.trim()) {
        let (host, root) = entry.find('/').map_or((entry, ""), |at| entry.split_at(at));
        let root = root.trim_end_matches('/');
        good &= !host.is_empty() && !entry.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',');
        good &= root.is_empty() || chroot.is_empty() || root == chroot;
        chroot = if root.is_empty() { chroot } else { root };
        sorted.push(host.to_owned());
    }
    sorted.sort_unstable();
    sorted.dedup();
    if let Some(last) = sorted.last_mut() {
        last.push_str(chroot);
    }
    if good {
        return Some(sorted);
    }
    section.problem(
        "hosts",
        "is not a list of ZooKeeper servers",
        "one `host` or `host:port` per entry; the last may carry a chroot, e.g. `[zk1:2181, \"zk2:2181/app\"]`",
    );
    None
}

/// Our `sessionTimeout`, unless the original's name for it is there.
fn session_timeout(section: &mut Section<'_>) -> Duration {
    let ours = section.duration_or("sessionTimeout", Duration::from_secs(10));
    let legacy = section.has("connectionTimeoutInMilli");
    let theirs = section.milliseconds_or("connectionTimeoutInMilli", ours);
    let timeout = if legacy { theirs } else { ours };
    let key = if legacy {
        "connectionTimeoutInMilli"
    } else {
        "sessionTimeout"
    };
    if timeout < MIN_SESSION_TIMEOUT {
        section.warning(
            key,
            format!("is a session timeout of {timeout:?}: a pause that long takes the instance away"),
            "leave it out for 10 s; ZooKeeper grants no less than two ticks, 4 s by default",
        );
    }
    timeout
}
