use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::desired::{Server, Service};

struct Rig {
    directory: TempDir,
    config: FileOutputConfig,
}

/// `web` and `db` have files, the third service has none.
fn rig() -> Rig {
    let directory = tempfile::tempdir().expect("a directory");
    let files = [("web_1", "web"), ("db_2", "db")];
    let config = FileOutputConfig {
        directory: directory.path().join("services"),
        files: files.map(|(id, name)| (id.to_owned(), name.to_owned())).into(),
        purge_unknown: false,
        reconcile_interval: Duration::from_secs(10),
    };
    Rig { directory, config }
}

/// The services with as many servers each; `None`: unknown.
fn desired(web: Option<usize>, db: Option<usize>) -> Desired {
    let server = |number: usize| Server {
        node: format!("n_{number}").into(),
        name: format!("n{number}"),
        address: "10.0.0.1:80".parse().expect("an address"),
        weight: None,
        options: String::new(),
        labels: BTreeMap::new(),
        created: 0,
        backup: false,
    };
    let service = |id: &str, count: Option<usize>| Service {
        id: id.to_owned(),
        servers: count.map(|count| (0..count).map(server).collect()),
        remembered: false,
    };
    Desired {
        services: vec![
            service("web_1", web),
            service("db_2", db),
            service("disabled_3", Some(1)),
        ],
    }
}

impl Rig {
    fn apply(&self, desired: &Desired) -> Result<bool, String> {
        apply(&self.config, desired)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.directory.join(name)
    }

    /// What applications see.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.config.directory).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn changed_at(&self, name: &str) -> SystemTime {
        let metadata = std::fs::metadata(self.path(name)).expect("a file");
        metadata.modified().expect("a time")
    }
}

#[test]
fn each_service_has_a_file_that_is_rewritten_only_when_it_changes() {
    let rig = rig();
    assert_eq!(rig.apply(&desired(Some(2), Some(0))), Ok(true));
    assert_eq!(rig.files(), ["db.json", "web.json"]);
    let text = std::fs::read_to_string(rig.path("web.json")).expect("a file");
    assert!(
        text.starts_with(r#"[{"name":"n0","host":"10.0.0.1","port":80,"id":0,"#),
        "{text}"
    );
    let before = (rig.changed_at("web.json"), rig.changed_at("db.json"));
    assert_eq!(rig.apply(&desired(Some(2), Some(0))), Ok(false));
    assert_eq!(rig.apply(&desired(Some(2), Some(1))), Ok(true));
    assert_eq!(rig.changed_at("web.json"), before.0);
    let mut labelled = desired(Some(2), Some(1));
    let servers = labelled.services[0].servers.as_mut().expect("known");
    Arc::make_mut(servers)[0].labels.insert("az".to_owned(), "b".to_owned());
    assert_eq!(rig.apply(&labelled), Ok(true), "readers choose by labels");
    assert_eq!(rig.apply(&labelled), Ok(false));
}

#[test]
fn the_file_of_a_service_that_is_gone_goes_and_no_other() {
    let mut rig = rig();
    rig.apply(&desired(Some(1), Some(1))).expect("it is applied");
    for foreign in ["mine.json", "notes.txt"] {
        std::fs::write(rig.path(foreign), "{}").expect("it is written");
    }
    rig.config.files.remove("db_2");
    assert_eq!(rig.apply(&desired(Some(1), Some(1))), Ok(true));
    assert_eq!(rig.files(), ["mine.json", "notes.txt", "web.json"]);
    rig.config.purge_unknown = true;
    assert_eq!(rig.apply(&desired(Some(1), Some(1))), Ok(true));
    assert_eq!(rig.files(), ["notes.txt", "web.json"], "as Airbnb's");
    assert_eq!(rig.apply(&desired(Some(1), Some(1))), Ok(false));
}

#[test]
fn an_unknown_service_keeps_its_file_and_delays_no_other() {
    let rig = rig();
    rig.apply(&desired(Some(1), Some(2))).expect("it is applied");
    let before = std::fs::read(rig.path("web.json")).expect("a file");
    assert_eq!(rig.apply(&desired(None, Some(1))), Ok(true));
    assert_eq!(std::fs::read(rig.path("web.json")).expect("a file"), before);
}

#[test]
fn a_file_that_can_not_be_written_keeps_no_other_from_it() {
    let rig = rig();
    std::fs::create_dir_all(rig.path("db.json").join("in the way")).expect("a directory");
    let error = rig.apply(&desired(Some(1), Some(1))).expect_err("a failure");
    assert!(error.contains("db.json"), "{error}");
    assert_eq!(rig.files(), ["db.json", "web.json"]);
    std::fs::remove_dir_all(rig.path("db.json")).expect("it is removed");
    assert_eq!(rig.apply(&desired(Some(1), Some(1))), Ok(true));
}

#[tokio::test]
async fn a_directory_is_made_and_is_one_routers_alone() {
    let rig = rig();
    let build = || {
        let desired = watch::Sender::new(Arc::default()).subscribe();
        let latch = common::ready::Readiness::default().latch("first write");
        let pace = PaceConfig {
            buffer: Duration::from_millis(1),
            max_buffer: Duration::from_millis(1),
            budget: None,
            jitter: Duration::ZERO,
        };
        build(rig.config.clone(), pace, desired, latch, &mut Locks::default()).map_err(|fatal| fatal.message)
    };
    let first = build().expect("it is right");
    assert!(build().expect_err("refused").contains("another synapse keeps"));
    drop(first);
    assert!(build().is_ok(), "it is free again");
    let mut rig = rig;
    std::fs::write(rig.directory.path().join("plain"), "").expect("it is written");
    rig.config.directory = rig.directory.path().join("plain/services");
    assert!(
        apply(&rig.config, &desired(Some(1), None))
            .expect_err("a failure")
            .contains("cannot create")
    );
}
