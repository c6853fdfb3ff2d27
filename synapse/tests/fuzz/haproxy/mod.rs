//! The fuzz targets of HAProxy, and a simulator of HAProxy: they feed bytes from outside and assert the invariants. The unit
//! tests replay the seeds.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a finding is a panic"
)]

mod replies;
mod servers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use common::config::{Document, UnknownKeys};

use crate::config::OptionsPolicy;
use crate::config::{RouterKind, resolve};
use crate::desired::Server;
use crate::haproxy::cfg::file::{ConfigFile, apply_live_state};
use crate::haproxy::cfg::render::ConfigTemplate;
use crate::haproxy::plan::desired::desired_backend;
use crate::haproxy::plan::dynamic::{DynamicServers, Provisioning};
use crate::haproxy::plan::model::{Assignment, Backend, DesiredBackend, DesiredServer, Layout, NOWHERE, Slot};
use crate::haproxy::plan::options::{self, OperatorOptions, Parsed};
use crate::haproxy::plan::slots::{
    DynamicContext, Unassigned, assign, layout_for_reload, make_dynamic, release, sync_with_live,
};
use crate::haproxy::plan::{Plan, plan as next};
use crate::haproxy::runtime::command::{Action, Command};
use crate::haproxy::runtime::parse::{IdleServers, LiveBackend, LiveServer, PausedChecks, Table};
pub use replies::replies;
pub(crate) use servers::statistics;

/// The service of [`FRAME`].
const SERVICE: &str = "web_1";

/// Maximal number of steps of one service.
const STEPS: usize = 32;

static FRAME: LazyLock<ConfigTemplate> = LazyLock::new(|| {
    let text = "routers: [{type: haproxy, configPath: /run/h.cfg, services: [{name: web, watcher: \
        {type: zookeeper, hosts: ['zk:2181'], path: /web}, routerOptions: {frontend: ['bind 127.0.0.1:80']}}]}]";
    let document = Document::parse("synapse.yaml", text.to_owned()).expect("YAML");
    let config =
        resolve(&document, UnknownKeys::Refuse, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}"));
    let router = config.value.routers.first().expect("a router");
    let RouterKind::Haproxy(haproxy) = &router.kind else {
        panic!("another router")
    };
    ConfigTemplate::new(haproxy, &router.services)
});

/// Checks a text as the file on disk: its content is unchanged after its own servers were written into it, if HAProxy could
/// have loaded it.
pub fn file(text: &str) {
    let found = ConfigFile::parse(text);
    // Non-ASCII blanks are letters for HAProxy, and synapse never writes them.
    let odd = |c: char| c.is_whitespace() && !c.is_ascii_whitespace();
    if !names_are_unique(text) || text.contains(odd) {
        return;
    }
    let seated = ConfigFile::parse(&found.text.with_servers(&found.layout));
    assert_eq!(
        (seated.layout, seated.structure, seated.binds),
        (found.layout, found.structure, found.binds)
    );
}

/// Whether no two backends and no two servers of one have the same name, as HAProxy demands.
fn names_are_unique(text: &str) -> bool {
    let (mut backends, mut servers) = (BTreeSet::new(), BTreeSet::new());
    text.lines().all(|line| {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("server"), Some(name)) => servers.insert(name),
            (Some(section), name) if !line.starts_with(' ') => {
                servers.clear();
                section != "backend" || backends.insert(name)
            }
            _ => true,
        }
    })
}

/// Checks a text as the name and the options of a registration: the part in the file is of the safe alphabet, is taken
/// unchanged the next time, and is read back from the file as it was written.
pub fn options(text: &str) {
    let Parsed { options, ignored } = options::parse(text, OptionsPolicy::Strict);
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    assert!(options.bytes().all(|byte| safe(byte) || byte == b' '), "{options}");
    assert!(!ignored.concat().contains(char::is_control), "{ignored:?}");
    let name = options::safe_name(text);
    assert!(
        (1..=60).contains(&name.len()) && name.bytes().all(|byte| safe(byte) || byte == b':'),
        "{name}"
    );

    let server = Server {
        node: "node".into(),
        name: text.to_owned(),
        address: address(1),
        weight: Some(5),
        options: text.to_owned(),
        labels: BTreeMap::new(),
        created: 1,
        backup: text.len().is_multiple_of(2),
    };
    let mut operators = OperatorOptions::new("check port {{.Port}} # {{.Name}}").expect("a template");
    let desired = desired_backend(&[server], &mut operators);
    let layout = Layout::from([(SERVICE.into(), layout_for_reload(None, &desired, None))]);
    let file = FRAME.render(&layout, Provisioning::Slots);
    let found = ConfigFile::parse(&file.text);
    assert_eq!((found.layout, found.structure), (layout, Some(file.structure)));
    let again = options::parse(&options, OptionsPolicy::Strict);
    assert_eq!(
        again,
        Parsed {
            options,
            ignored: Vec::new()
        }
    );
}

/// Checks bytes as a history of one service: instances come and go, HAProxy is reloaded, its servers are changed externally.
/// After each step the plan leads to the desired layout and leaves correct servers alone. Once with slots, and once with
/// dynamic servers.
pub fn plan(bytes: &[u8]) {
    let dynamic = DynamicServers::of(&["default-server inter 2s".to_owned()], &[]).expect("it grows");
    for dynamic in [None, Some(&dynamic)] {
        simulate(bytes, dynamic);
    }
}

fn simulate(bytes: &[u8], dynamic: Option<&DynamicServers>) {
    let mut dice = bytes.iter().copied();
    let mut wanted = DesiredBackend::default();
    let mut backend = Backend::default();
    let mut table = Table::from([(SERVICE.into(), LiveBackend::default())]);
    for _ in 0..STEPS {
        let Some(step) = dice.next() else { break };
        let before = backend.clone();
        match step % 8 {
            0 => {
                backend = layout_for_reload(Some(&before), &wanted, dynamic);
                table = started(&backend);
                assert_eq!(
                    assigned(&backend, &wanted, &table, dynamic),
                    (backend.clone(), None),
                    "there is room for all"
                );
                assert_eq!(planned(&backend, &table, dynamic), Plan::Nothing);
            }
            1 => {
                let idle = |slot: &&Slot| u32::from(step >> 3) & (1 << (slot.id % 5)) != 0;
                let idle = backend.slots.iter().filter(idle).map(|slot| slot.name.clone());
                let idle: BTreeSet<_> = idle.collect();
                let idle = IdleServers {
                    reusable: idle.clone(),
                    deletable: idle,
                };
                release(&mut backend, &idle);
            }
            2 => change_externally(&mut table, &mut dice, dynamic.is_some()),
            _ => wanted = any_desired(&mut dice),
        }
        sync(&mut backend, &table, dynamic);
        let unassigned;
        (backend, unassigned) = assigned(&backend, &wanted, &table, dynamic);
        assert_eq!(
            assigned(&backend, &wanted, &table, dynamic),
            (backend.clone(), unassigned),
            "assigning again changes nothing"
        );
        assert!(
            dynamic.is_none() || unassigned.is_none(),
            "a backend that grows has room for all"
        );
        check_assignments(&backend, &wanted, unassigned);
        if step % 8 > 2 || step % 8 == 2 && dynamic.is_none() {
            check_slots_in_use(&before, &backend);
        }
        apply_plan(&mut backend, &mut table, dynamic);
        check_adoption(&backend, &table, dynamic);
    }
}

fn assigned(
    backend: &Backend,
    wanted: &DesiredBackend,
    table: &Table,
    dynamic: Option<&DynamicServers>,
) -> (Backend, Option<Unassigned>) {
    let live = table.get(SERVICE);
    assign(backend, wanted, dynamic.map(|dynamic| DynamicContext { dynamic, live }))
}

fn planned(backend: &Backend, table: &Table, dynamic: Option<&DynamicServers>) -> Plan {
    let dynamic_backends = dynamic.map(|dynamic| (SERVICE, dynamic)).into_iter().collect();
    next(&layout(backend), table, &dynamic_backends, None, &BTreeSet::new())
}

fn sync(backend: &mut Backend, table: &Table, dynamic: Option<&DynamicServers>) {
    if dynamic.is_some() {
        sync_with_live(backend, table.get(SERVICE), |_| false);
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn layout(backend: &Backend) -> Layout {
    Layout::from([(SERVICE.into(), backend.clone())])
}

fn any_desired(dice: &mut impl Iterator<Item = u8>) -> DesiredBackend {
    let count = dice.next().unwrap_or_default() % 24;
    let mut servers = BTreeMap::new();
    for _ in 0..count {
        let (Some(last), Some(kind)) = (dice.next(), dice.next()) else {
            break;
        };
        let options = ["", "check", "check backup", "cookie a"]
            .get(usize::from(kind % 4))
            .copied()
            .unwrap_or_default();
        let server = DesiredServer {
            address: address(last % 32),
            weight: u16::from(kind),
            options: options.into(),
            operator_options: "".into(),
            instance: format!("web{last}").into(),
            node: format!("node{last}").into(),
            instance_options: String::new(),
            ignored: Vec::new(),
        };
        servers.insert(server.address, server);
    }
    DesiredBackend {
        servers: servers.into_values().collect(),
        spare_options: Some("".into()),
        skipped: Vec::new(),
    }
}

/// HAProxy's servers after a start with the file of `backend`.
fn started(backend: &Backend) -> Table {
    let text = FRAME.render(&layout(backend), Provisioning::Dynamic).text;
    let found = ConfigFile::parse(&text).layout.remove(SERVICE).expect("the service");
    let server = |slot: &Slot| {
        let (address, weight, maint) = match slot.assignment {
            Assignment::Active { address, weight } => (address, weight, false),
            Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => (NOWHERE, 1, true),
        };
        let server = LiveServer {
            id: slot.id,
            address: Some(address),
            weight: weight.into(),
            maint,
            ..LiveServer::default()
        };
        (slot.name.clone(), server)
    };
    let servers = found.slots.iter().map(server).collect();
    Table::from([(SERVICE.into(), LiveBackend { id: 3, servers })])
}

/// Changes servers externally, and perhaps adds and deletes some.
fn change_externally(table: &mut Table, dice: &mut impl Iterator<Item = u8>, and_makes: bool) {
    let servers = &mut table.get_mut(SERVICE).expect("the backend").servers;
    let names: Vec<_> = servers.iter().map(|(name, _)| name.clone()).collect();
    for name in names {
        let Some(how) = dice.next() else { return };
        let unused = servers
            .values()
            .map(|server| server.id)
            .max()
            .unwrap_or(0)
            .saturating_add(1);
        let server = servers.get_mut(&name).expect("it is there");
        match how % 8 {
            0 => server.address = None,
            1 => server.address = Some(address(how >> 3)),
            2 => server.weight = u32::from(how),
            3 => server.maint = true,
            4 => server.maint = false,
            5 => server.drain = true,
            6 if and_makes => drop(servers.remove(&name)),
            7 if and_makes && how & 8 == 0 => server.id = unused,
            7 if and_makes => {
                let id = server.id;
                servers.remove(&name);
                let other = LiveServer {
                    id,
                    address: Some(address(how >> 3)),
                    maint: how & 16 == 0,
                    ..LiveServer::default()
                };
                servers.insert(format!("foreign_{how}").into(), other);
            }
            _ => {}
        }
    }
}

/// Asserts that each slot has its own id and name and a desired instance, and that each desired instance has a slot or there
/// is a reason.
fn check_assignments(backend: &Backend, wanted: &DesiredBackend, unassigned: Option<Unassigned>) {
    let ids: BTreeSet<u32> = backend.slots.iter().map(|slot| slot.id).collect();
    let names: BTreeSet<&str> = backend.slots.iter().map(|slot| &*slot.name).collect();
    assert_eq!((ids.len(), names.len()), (backend.slots.len(), backend.slots.len()));
    let active = |slot: &Slot| match slot.assignment {
        Assignment::Active { address, .. } => Some(address),
        Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => None,
    };
    let active: Vec<SocketAddr> = backend.slots.iter().filter_map(active).collect();
    let placed: BTreeSet<SocketAddr> = active.iter().copied().collect();
    assert_eq!(placed.len(), active.len(), "no instance has two slots");
    let wanted: BTreeSet<SocketAddr> = wanted.servers.iter().map(|server| server.address).collect();
    assert!(placed.is_subset(&wanted));
    assert!(placed == wanted || unassigned.is_some());
}

/// Asserts that no slot in use was given to another address.
fn check_slots_in_use(before: &Backend, after: &Backend) {
    let address = |slot: &Slot| match slot.assignment {
        Assignment::Free | Assignment::Gone => None,
        Assignment::Active { address, .. } | Assignment::Draining { address } => Some(address),
    };
    let used: HashMap<u32, SocketAddr> = before
        .slots
        .iter()
        .filter_map(|slot| Some((slot.id, address(slot)?)))
        .collect();
    for slot in &after.slots {
        let old = used.get(&slot.id);
        assert!(
            old.is_none() || old == address(slot).as_ref(),
            "{slot:?} was at {old:?}"
        );
    }
}

/// Executes the plan on `table`.
fn apply_plan(backend: &mut Backend, table: &mut Table, dynamic: Option<&DynamicServers>) {
    if let Plan::Runtime(batch) = planned(backend, table, dynamic) {
        assert!(!batch.is_empty());
        for command in batch.commands() {
            execute(backend, table, command);
        }
    }
    sync(backend, table, dynamic);
    assert_eq!(planned(backend, table, dynamic), Plan::Nothing);
    let servers = &table.get(SERVICE).expect("the backend").servers;
    for slot in &backend.slots {
        assert!(is_right(slot, servers.get(&slot.name)), "{slot:?} in {table:?}");
    }
    if dynamic.is_some() {
        assert!(
            servers
                .iter()
                .all(|(name, _)| backend.slots.iter().any(|slot| slot.name == *name))
        );
    }
}

/// Whether HAProxy has the desired instance in this slot.
fn is_right(slot: &Slot, server: Option<&LiveServer>) -> bool {
    let Some(server) = server else {
        return slot.dynamic && !slot.is_listed();
    };
    match slot.assignment {
        Assignment::Active { address, weight } => {
            let there = server.address == Some(address) && server.weight == u32::from(weight);
            there && !server.maint && !server.drain
        }
        Assignment::Free | Assignment::Draining { .. } => server.maint,
        Assignment::Gone => false,
    }
}

/// Simulates a command.
fn execute(backend: &Backend, table: &mut Table, command: &Command) {
    let slot = backend
        .slots
        .iter()
        .find(|slot| slot.name == command.target.server)
        .expect("a slot");
    let servers = &mut table.get_mut(SERVICE).expect("the backend").servers;
    assert!(
        !is_right(slot, servers.get(&slot.name)),
        "`{command}` for one that is right"
    );
    if let Action::Add(new) = &command.action {
        assert!(servers.values().all(|other| other.id != new.id), "two of one id");
        let server = LiveServer {
            id: new.id,
            address: Some(new.address),
            weight: new.weight.into(),
            maint: true,
            paused: PausedChecks {
                check: new.options.split(' ').any(|word| word == "check"),
                agent: false,
            },
            ..LiveServer::default()
        };
        assert_eq!(servers.insert(slot.name.clone(), server), None, "two of one name");
        return;
    }
    let server = servers.get_mut(&slot.name).expect("it is there");
    match &command.action {
        Action::Maint => server.maint = true,
        Action::Ready => {
            assert!(!server.paused.check, "it would stay unchecked");
            (server.maint, server.drain) = (false, false);
        }
        Action::Weight(weight) => server.weight = (*weight).into(),
        Action::Addr(address) => {
            assert!(server.maint, "an address is changed in maintenance only");
            server.address = Some(*address);
        }
        Action::EnableHealth => server.paused.check = false,
        Action::EnableAgent => server.paused.agent = false,
        Action::Del => {
            assert!(server.maint, "only a server in maintenance is deleted");
            servers.remove(&slot.name);
        }
        Action::Add(_) => {}
    }
}

/// Asserts that the next synapse finds the same instances in the same slots.
fn check_adoption(backend: &Backend, table: &Table, dynamic: Option<&DynamicServers>) {
    let text = FRAME.render(&layout(backend), Provisioning::Dynamic).text;
    let mut found = ConfigFile::parse(&text).layout;
    apply_live_state(&mut found, table);
    let mut found = found.remove(SERVICE).unwrap_or_default();
    if let Some(dynamic) = dynamic {
        make_dynamic(&mut found, dynamic);
    }
    let listed: Vec<&Slot> = backend.slots.iter().filter(|slot| slot.is_listed()).collect();
    for (now, then) in listed.iter().zip(&found.slots) {
        let same = match now.assignment {
            Assignment::Active { .. } => *now == then,
            Assignment::Free | Assignment::Draining { .. } | Assignment::Gone => {
                !matches!(then.assignment, Assignment::Active { .. })
            }
        };
        assert!(
            same && (now.id, &now.name) == (then.id, &then.name),
            "{now:?} is found as {then:?}"
        );
    }
    assert_eq!(found.slots.len(), listed.len());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seeds::seeds;

    proptest! {
        #[test]
        fn whatever_happens_the_plan_leads_there(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            plan(&bytes);
        }
    }

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        for seed in seeds("haproxy_replies") {
            replies(&String::from_utf8_lossy(&seed));
        }
        for seed in seeds("haproxy_file") {
            file(&String::from_utf8_lossy(&seed));
        }
        for seed in seeds("server_options") {
            options(&String::from_utf8_lossy(&seed));
        }
        for seed in seeds("plan_apply") {
            plan(&seed);
        }
    }
}
