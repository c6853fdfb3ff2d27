//! Reporters of one nerve that would keep the same node: each would overwrite what the other wrote, and take it away. Pure.

use common::config::Section;

use crate::config::{ReporterConfig, ServiceConfig, ZookeeperConfig};

/// Names each pair of reporters whose nodes clash.
pub(super) fn nodes(root: &mut Section<'_>, services: &[Option<ServiceConfig>]) {
    let mut seen: Vec<(&str, Place, &ZookeeperConfig)> = Vec::new();
    for service in services.iter().flatten() {
        for reporter in &service.reporters {
            let ReporterConfig::Zookeeper(keeper) = reporter else {
                continue;
            };
            let place = Place::of(keeper);
            let clash = seen
                .iter()
                .find(|(_, other, kept)| *other == place && kept.node.clashes(&keeper.node));
            if let Some((first, ..)) = clash {
                let whose = if *first == service.name {
                    format!("two reporters of service `{first}`")
                } else {
                    format!("services `{first}` and `{}`", service.name)
                };
                root.problem(
                    "services",
                    format!("{whose} would keep the same node: {}", keeper.node.path()),
                    "give one of them another `path`, `instanceId` or a numbered `nodeType`, or remove it",
                );
            }
            seen.push((&service.name, place, keeper));
        }
    }
}

/// The place of nodes, regardless of the session and of the length of its chroot.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    hosts: Vec<String>,
    directory: String,
}

impl Place {
    fn of(keeper: &ZookeeperConfig) -> Self {
        let (hosts, chroot) = keeper.ensemble.hosts_and_chroot();
        let with_port = |host: String| if host.contains(':') { host } else { host + ":2181" };
        Self {
            hosts: hosts.into_iter().map(with_port).collect(),
            directory: chroot + &keeper.node.directory,
        }
    }
}
