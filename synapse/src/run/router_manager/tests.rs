use std::path::Path;

use common::config::{Document, UnknownKeys};

use super::*;

fn config() -> Config {
    let text =
        "routers: [{type: console, services: [{watcher: {type: zookeeper, hosts: ['127.0.0.1:1'], path: /s}}]}]\n";
    let document = Document::parse("synapse.yaml", text.to_owned()).expect("it parses");
    let loaded = crate::config::resolve(&document, UnknownKeys::Refuse, Path::new("/"));
    loaded.unwrap_or_else(|problems| panic!("{problems}")).value
}

#[tokio::test]
async fn a_source_that_was_built_in_vain_is_removed() {
    let empty = Config {
        routers: Vec::new(),
        ..config()
    };
    let groups = Supervisor::new().groups();
    let mut manager = RouterManager::new(empty, SessionPool::new().0, groups, RunningState::default());
    let desired = config();
    let plan = plan(&[], &desired.routers);
    let built = manager.build(&plan, &desired).await;
    built.map_err(|fatal| fatal.message).expect("it can be built");
    assert_eq!(manager.builder.sources.ensembles().len(), 1);
    manager.stop_unused_sources().await;
    assert!(manager.builder.sources.ensembles().is_empty());
}
