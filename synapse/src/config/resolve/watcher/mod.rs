//! `watcher`: where a service's servers come from.

mod multi;
mod servers;
mod zookeeper;

use std::path::Path;
use std::time::Duration;

use common::config::Section;

use crate::config::WatcherConfig;

/// `type`.
#[derive(Debug, Clone, Copy)]
enum Type {
    Zookeeper,
    ZookeeperPoll,
    Static,
    File,
    Dns,
    Multi,
}

/// Reads `watcher`; relative paths start from `base`.
pub(super) fn watcher(section: &mut Section<'_>, base: &Path) -> Option<WatcherConfig> {
    let (name, kind) = section.choice_or(
        "type",
        "",
        &[
            ("zookeeper", ("watcher zookeeper", Type::Zookeeper)),
            ("zookeeper_poll", ("watcher zookeeper_poll", Type::ZookeeperPoll)),
            ("static", ("watcher static", Type::Static)),
            ("file", ("watcher file", Type::File)),
            ("dns", ("watcher dns", Type::Dns)),
            ("multi", ("watcher multi", Type::Multi)),
        ],
    )?;
    section.is_a(name);
    match kind {
        Type::Zookeeper | Type::ZookeeperPoll => {
            let config = zookeeper::zookeeper(section, matches!(kind, Type::ZookeeperPoll));
            config.map(Box::new).map(WatcherConfig::Zookeeper)
        }
        Type::Static => servers::fixed(section).map(WatcherConfig::Static),
        Type::File => file(section, base),
        Type::Dns => servers::dns(section).map(WatcherConfig::Dns),
        Type::Multi => multi::multi(section, base).map(WatcherConfig::Multi),
    }
}

fn file(section: &mut Section<'_>, base: &Path) -> Option<WatcherConfig> {
    let path = section.required_text("path");
    let check_interval = section.duration_or("checkInterval", Duration::from_secs(1));
    Some(WatcherConfig::File {
        path: base.join(path?),
        check_interval,
    })
}

#[cfg(test)]
mod tests;
