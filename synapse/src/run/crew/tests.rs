use std::path::{Path, PathBuf};

use common::config::{Document, UnknownKeys};
use common::telemetry::log::{Format, init};

use super::*;

/// A file of a router that prints, with these keys at its root.
fn config(root: &str) -> Config {
    let text = format!(
        "{root}\nrouters: [{{type: console, services: [{{watcher: {{type: zookeeper, hosts: ['127.0.0.1:1'], path: /s}}}}]}}]\n"
    );
    let document = Document::parse("synapse.yaml", text).expect("it parses");
    let loaded = crate::config::resolve(&document, UnknownKeys::Refuse, Path::new("/"));
    loaded.unwrap_or_else(|problems| panic!("{problems}")).value
}

/// A crew without a router, whose level the file decides unless it `is_fixed`.
fn crew(is_fixed: bool) -> Crew {
    let empty = Config {
        routers: Vec::new(),
        ..config("")
    };
    let source = Source {
        path: PathBuf::from("/nowhere/synapse.yaml"),
        base: PathBuf::from("/"),
        unknown: UnknownKeys::Refuse,
        level_is_fixed: is_fixed,
    };
    let level = init("info", Format::Text).expect("a level");
    let groups = Supervisor::new().groups();
    Crew::new(
        (source, empty),
        level,
        SessionPool::new().0,
        groups,
        RunningState::default(),
    )
}

#[tokio::test]
async fn a_refused_log_level_leaves_no_source_behind() {
    let mut crew = crew(false);
    let refused = crew.apply(config("logLevel: loud")).await;
    let Err(Refusal::Problem(problem)) = refused else {
        panic!("it was not refused");
    };
    assert!(problem.starts_with("logLevel: `loud` is no log level"), "{problem}");
    assert!(crew.parts.sources.ensembles().is_empty());
    assert!(crew.members.is_empty());
}

#[tokio::test]
async fn a_source_that_is_built_is_one_that_could_be_left_behind() {
    let mut crew = crew(false);
    let wanted = config("");
    let plan = plan(&[], &wanted.routers);
    crew.build(&plan, &wanted)
        .await
        .map_err(|fatal| fatal.message)
        .expect("it can be built");
    assert_eq!(crew.parts.sources.ensembles().len(), 1);
    crew.stop_idle_sources().await;
    assert!(crew.parts.sources.ensembles().is_empty());
}
