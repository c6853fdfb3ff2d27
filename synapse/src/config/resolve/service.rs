//! `services[]` of a router.

use std::collections::{BTreeMap, BTreeSet};

use common::config::Section;
use common::template;

use super::{Reader, lines, watcher};
use crate::config::{Correlation, ServerSort, ServiceConfig, WatcherConfig};

/// The services of one router.
pub(super) struct Services {
    pub(super) services: Vec<ServiceConfig>,
    /// The ids of those with `fileOutput: {disabled: true}`.
    pub(super) without_file: BTreeSet<String>,
}

impl Services {
    /// The names of their frontends and backends.
    pub(super) fn ids(&self) -> Vec<String> {
        self.services.iter().map(|service| service.id.clone()).collect()
    }
}

/// A service whose `serverCorrelation` is not checked yet, for that takes the names of all.
struct Read<'a> {
    name: Option<String>,
    correlation: Option<(Section<'a>, String)>,
    has_file: bool,
    service: Option<ServiceConfig>,
}

impl Reader<'_> {
    /// Reads `services[]`; `files`: the router writes a file for each of them.
    pub(super) fn services(&mut self, router: &mut Section<'_>, files: bool) -> Option<Services> {
        let mut read: Vec<_> = router
            .sections("services", "service")
            .into_iter()
            .map(|section| self.service(section, files))
            .collect();
        let names: Vec<Option<String>> = read.iter().map(|read| read.name.clone()).collect();
        for (nth, read) in read.iter_mut().enumerate() {
            if let Some((section, other)) = &mut read.correlation {
                check_correlation(section, other, &names, nth);
            }
        }
        let disabled = read.iter().filter(|read| !read.has_file);
        let without_file = disabled.filter_map(|read| Some(read.service.as_ref()?.id.clone()));
        let without_file = without_file.collect();
        let services = read.into_iter().map(|read| read.service).collect::<Option<_>>()?;
        Some(Services { services, without_file })
    }

    fn service<'a>(&mut self, mut section: Section<'a>, files: bool) -> Read<'a> {
        self.services += 1;
        let watcher = section.section("watcher", "watcher");
        if watcher.is_none() {
            section.problem(
                "watcher",
                "a service needs one",
                "e.g. `watcher: {type: zookeeper, hosts: […], path: …}`",
            );
        }
        let watcher = watcher.and_then(|mut watcher| watcher::watcher(&mut watcher));
        let name = name(&mut section, watcher.as_ref());
        let sort = section.choice_or(
            "serverSort",
            "random",
            &[
                ("random", ServerSort::Random),
                ("name", ServerSort::Name),
                ("date", ServerSort::Date),
            ],
        );
        let server_options = server_options(&mut section);
        let (frontend, backend) = router_options(&mut section);
        for key in ["port", "socketFile", "reloadTimeout"] {
            section.ignored(
                key,
                "it stands in old examples, and no release of Go-Synapse has read it",
            );
        }
        let correlation = correlation(&mut section);
        let has_file = has_file(&mut section, files);
        let service = || {
            Some(ServiceConfig {
                id: format!("{}_{}", name.as_deref()?, self.services),
                name: name.clone()?,
                watcher: watcher?,
                sort: sort?,
                correlation: correlation.as_ref().map(|(_, other)| Correlation {
                    other_service: other.clone(),
                }),
                server_options,
                frontend,
                backend,
            })
        };
        Read {
            service: service(),
            name,
            correlation,
            has_file,
        }
    }
}

/// `name`, or the watcher's path without its first character and with `_` for `/`.
fn name(section: &mut Section<'_>, watcher: Option<&WatcherConfig>) -> Option<String> {
    let written = section.text_or("name", "");
    let name = if written.is_empty() {
        let WatcherConfig::Zookeeper { path, .. } = watcher?;
        path.trim_start_matches('/').replace('/', "_")
    } else {
        written
    };
    lines::check_name(section, "name", &name);
    Some(name)
}

fn server_options(section: &mut Section<'_>) -> String {
    let options = section.text_or("serverOptions", "");
    lines::check(section, "serverOptions", std::slice::from_ref(&options));
    let example = BTreeMap::from([("Name".to_owned(), "name".to_owned())]);
    match template::render(&options, &example) {
        Ok(text) if text.contains("<no value>") => section.problem(
            "serverOptions",
            "the template asks for a field that a server does not have",
            "the field is `{{.Name}}`",
        ),
        Ok(_) => {}
        Err(error) => section.problem(
            "serverOptions",
            error.to_string(),
            "it is a Go template with the field `{{.Name}}` and the functions `sha1String` and `randString`",
        ),
    }
    options
}

fn router_options(section: &mut Section<'_>) -> (Vec<String>, Vec<String>) {
    let Some(mut options) = section.section("routerOptions", "routerOptions") else {
        return (Vec::new(), Vec::new());
    };
    let [frontend, backend] = ["frontend", "backend"].map(|key| {
        let lines = options.texts(key);
        lines::check(&mut options, key, &lines);
        lines
    });
    (frontend, backend)
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

fn correlation<'a>(section: &mut Section<'a>) -> Option<(Section<'a>, String)> {
    let mut correlation = section.section("serverCorrelation", "serverCorrelation")?;
    correlation.choice_or("type", "excludeServer", &[("excludeServer", ())]);
    correlation.choice_or("scope", "first", &[("first", ())]);
    let other = correlation.required_text("otherServiceName")?;
    Some((correlation, other))
}

/// The other service has to be one of the same router, and not the service (the `nth`) itself.
fn check_correlation(section: &mut Section<'_>, other: &str, names: &[Option<String>], nth: usize) {
    let places: Vec<usize> = (0..names.len())
        .filter(|&place| names.get(place).is_some_and(|name| name.as_deref() == Some(other)))
        .collect();
    match places.as_slice() {
        [] if names.contains(&None) => {} // It may be the one whose name could not be read.
        [] => {
            let known: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            section.problem(
                "otherServiceName",
                format!("this router has no service `{other}`"),
                format!("its services are {}", known.join(", ")),
            );
        }
        [first, ..] if *first == nth => section.problem(
            "otherServiceName",
            format!("`{other}` is the service itself"),
            "name the service whose first server is to be left out here",
        ),
        [_] => {}
        [_, _, ..] => section.warning(
            "otherServiceName",
            format!("several services are named `{other}`; the first of them is meant"),
            "give them different names",
        ),
    }
}
