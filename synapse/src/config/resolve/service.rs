//! `services[]` of a router.

use std::collections::{BTreeMap, BTreeSet};

use common::config::Section;
use common::template;

use super::selection::{self, Other};
use super::{ResolveContext, guard, lines, panic_threshold, watcher};
use crate::config::{PanicThreshold, ServiceConfig, WatcherConfig, ZoneConfig};

/// The services of one router.
pub(super) struct Services {
    pub(super) services: Vec<ServiceConfig>,
    /// The ids of those with `fileOutput: {disabled: true}`.
    pub(super) without_file: BTreeSet<String>,
}

impl Services {
    /// The names of their frontends and backends.
    pub(super) fn ids(&self) -> Vec<String> {
        let second = |service: &ServiceConfig| {
            service
                .haproxy
                .panic_threshold
                .map(|_| PanicThreshold::shadow_backend(&service.id))
        };
        let names = |service: &ServiceConfig| [Some(service.id.clone()), second(service)];
        self.services.iter().flat_map(names).flatten().collect()
    }
}

/// A service whose `serverCorrelation` is not checked yet, for that takes the names of all.
struct Read<'a> {
    name: Option<String>,
    other: Option<Other<'a>>,
    has_file: bool,
    service: Option<ServiceConfig>,
}

impl ResolveContext<'_> {
    /// Reads `services[]`; `files`: the router writes a file for each of them.
    /// `zone` is what they inherit.
    pub(super) fn services(
        &mut self,
        router: &mut Section<'_>,
        zone: Option<&ZoneConfig>,
        files: bool,
    ) -> Option<Services> {
        let mut read: Vec<_> = router
            .sections("services", "service")
            .into_iter()
            .map(|section| self.service(section, zone, files))
            .collect();
        let names: Vec<Option<String>> = read.iter().map(|read| read.name.clone()).collect();
        for (nth, read) in read.iter_mut().enumerate() {
            if let Some(other) = &mut read.other {
                other.check(&names, nth);
            }
        }
        let disabled = read.iter().filter(|read| !read.has_file);
        let without_file = disabled.filter_map(|read| Some(read.service.as_ref()?.id.clone()));
        let without_file = without_file.collect();
        let services = read.into_iter().map(|read| read.service).collect::<Option<_>>()?;
        Some(Services { services, without_file })
    }

    fn service<'a>(&mut self, mut section: Section<'a>, zone: Option<&ZoneConfig>, files: bool) -> Read<'a> {
        self.services += 1;
        let watcher = section.section("watcher", "watcher");
        if watcher.is_none() {
            section.problem(
                "watcher",
                "a service needs one",
                "e.g. `watcher: {type: zookeeper, hosts: […], path: …}`",
            );
        }
        let watcher = watcher.and_then(|mut watcher| watcher::watcher(&mut watcher, self.base));
        let name = name(&mut section, watcher.as_ref());
        let (selection, other) = selection::selection(&mut section, zone, &self.context);
        let server_options = server_options(&mut section);
        let mut own = self.context.router_options(&mut section);
        let mut haproxy = self.context.service_haproxy(&mut section, &mut own);
        own.backend.extend(
            selection
                .as_ref()
                .and_then(|selection| selection::all_backups(selection, &own.backend)),
        );
        let guard = guard::guard(&mut section, watcher.as_ref(), selection.as_ref());
        for key in ["port", "socketFile", "reloadTimeout"] {
            section.ignored(
                key,
                "it stands in old examples, and no release of Go-Synapse has read it",
            );
        }
        let id = match own.backend_name.take() {
            Some(chosen) => Some(chosen),
            None => name.as_ref().map(|name| format!("{name}_{}", self.services)),
        };
        let place = panic_threshold::Context {
            is_haproxy: self.context.haproxy,
            id: id.as_deref(),
            own: &own,
            haproxy: &haproxy,
        };
        haproxy.panic_threshold = panic_threshold::panic_threshold(&mut section, &place);
        let second = haproxy
            .panic_threshold
            .and(id.as_deref())
            .map(PanicThreshold::shadow_backend);
        for name in id.iter().chain(&second) {
            if !self.ids.insert(name.clone()) {
                section.problem(
                    "haproxy",
                    format!("`{name}` is what another service is called in HAProxy"),
                    "choose another `backendName`",
                );
            }
        }
        let has_file = has_file(&mut section, files);
        let service = || {
            Some(ServiceConfig {
                id: id?,
                name: name.clone()?,
                watcher: watcher?,
                selection: selection?,
                server_options,
                frontend: own.frontend,
                backend: own.backend,
                haproxy,
                guard: guard?,
            })
        };
        Read {
            service: service(),
            name,
            other,
            has_file,
        }
    }
}

/// `name`, or the path in ZooKeeper without its first character and with `_` for `/`.
fn name(section: &mut Section<'_>, watcher: Option<&WatcherConfig>) -> Option<String> {
    let written = section.text_or("name", "");
    let name = if written.is_empty() {
        let WatcherConfig::Zookeeper(zookeeper) = watcher? else {
            section.problem("name", "is required", "only a path in ZooKeeper can stand for it");
            return None;
        };
        zookeeper.path.trim_start_matches('/').replace('/', "_")
    } else {
        written
    };
    lines::check_name(section, "name", &name);
    Some(name)
}

fn server_options(section: &mut Section<'_>) -> String {
    let options = section.text_or("serverOptions", "");
    lines::check(section, "serverOptions", std::slice::from_ref(&options));
    let example = ["Name", "Host", "Port", "Server"].map(|field| (field.to_owned(), "x".to_owned()));
    let example = BTreeMap::from(example);
    match template::render(&options, &example) {
        Ok(text) if text.contains("<no value>") => section.problem(
            "serverOptions",
            "the template uses a field that a server does not have",
            "the fields are `{{.Name}}`, `{{.Host}}`, `{{.Port}}` and `{{.Server}}`",
        ),
        Ok(_) => {}
        Err(error) => section.problem(
            "serverOptions",
            error.to_string(),
            "it is a Go template with fields such as `{{.Name}}` and the functions `sha1String` and `randString`",
        ),
    }
    options
}

/// `fileOutput`; `files`: the router is one that writes files.
fn has_file(section: &mut Section<'_>, files: bool) -> bool {
    let Some(mut output) = section.section("fileOutput", "fileOutput") else {
        return true;
    };
    let disabled = output.flag_or("disabled", false);
    if !files {
        section.problem(
            "fileOutput",
            "the router of this service writes no file for each service",
            "remove it, or move the service to a router of `type: file_output`",
        );
    }
    !disabled
}
