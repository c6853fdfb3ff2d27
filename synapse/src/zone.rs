//! Finds the zone of this host where the configuration points to.
//!
//! The zone is read once, at the start, because a host does not move. If it is unknown, the services go without their zone
//! rule, because a wrong guess would send all traffic away.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, LocalZone};

/// Puts what was found into the configuration, and takes the rules out that nothing was found for.
pub fn settle(config: &mut Config) {
    let mut found = BTreeMap::new();
    let routers = config.routers.iter_mut();
    for service in routers.flat_map(|router| Arc::make_mut(&mut router.services)) {
        let Some(zone) = &mut service.selection.zone else {
            continue;
        };
        let known = found
            .entry(zone.local.to_string())
            .or_insert_with(|| find(&zone.local))
            .clone();
        match known {
            Some(known) => zone.local = LocalZone::Known(known),
            None => service.selection.zone = None,
        }
    }
}

fn find(local: &LocalZone) -> Option<String> {
    let found = match local {
        LocalZone::Known(zone) => Ok(zone.clone()),
        LocalZone::Environment(name) => std::env::var(name).map_err(|error| error.to_string()),
        LocalZone::File(path) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
    };
    let error = match found.map(|zone| zone.trim().to_owned()) {
        Ok(zone) if !zone.is_empty() => return Some(zone),
        Ok(_) => "it is empty".to_owned(),
        Err(error) => error,
    };
    tracing::warn!(from = %local, %error, "The zone of this host is unknown: its services treat all zones alike.");
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use common::config::{Document, UnknownKeys};

    use super::*;

    #[test]
    fn a_zone_is_read_and_trimmed_or_unknown() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "eu-1a").expect("written");
        let found = |text: &str| find(&LocalZone::parse(text));
        assert_eq!(found("eu-1b").as_deref(), Some("eu-1b"));
        assert_eq!(
            found(&format!("file:{}", file.path().display())).as_deref(),
            Some("eu-1a")
        );
        assert_eq!(found("file:/nowhere/at/all"), None);
        assert_eq!(found("env:SYNAPSE_NO_SUCH_VARIABLE"), None);
        file.as_file().set_len(0).expect("emptied");
        assert_eq!(found(&format!("file:{}", file.path().display())), None);
    }

    #[test]
    fn services_whose_zone_is_unknown_go_without_its_rule() {
        let watcher = "watcher: {type: zookeeper, hosts: [z], path: /s}";
        let text = format!(
            "routers: [{{type: console, services: [{{{watcher}, zone: {{local: a}}}}, \
             {{{watcher}, zone: {{local: 'file:/nowhere/at/all'}}}}, {{{watcher}}}]}}]"
        );
        let document = Document::parse("test", text).expect("it parses");
        let loaded = crate::config::resolve(&document, UnknownKeys::Refuse, Path::new("/"));
        let mut config = loaded.expect("it is right").value;
        settle(&mut config);
        let services = config.routers.iter().flat_map(|router| router.services.iter());
        let zones: Vec<Option<&str>> = services
            .map(|service| service.selection.zone.as_ref().and_then(|zone| zone.known()))
            .collect();
        assert_eq!(zones, [Some("a"), None, None]);
    }
}
