//! What a router would make of HAProxy, without touching it: for those who want to look first.

use std::path::PathBuf;
use std::sync::Arc;

use common::exit::Fatal;

use super::{Operators, capabilities, mode, version};
use crate::config::{HaproxyConfig, HaproxyControl, ServiceConfig};
use crate::desired::Desired;
use crate::haproxy::actor::state::{State, World};
use crate::haproxy::cfg::file::ConfigFile;
use crate::haproxy::cfg::render::ConfigTemplate;
use crate::haproxy::plan::Plan;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::process::master::with_suffix;
use crate::haproxy::process::validate::{Checker, Quarantine};
use crate::haproxy::runtime::client;
use crate::haproxy::runtime::socket::Session;

/// What would be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// Commands, or the reload with its reason; empty when everything is as it should be.
    pub acts: Vec<String>,
    /// The file on disk, empty when there is none.
    pub before: String,
    /// The file as it would be.
    pub after: String,
    /// What would be left out, as `service: HAProxy's words`.
    pub left_out: Vec<String>,
}

/// Looks at HAProxy and at the file, and decides as the router would.
///
/// # Errors
/// When there is no HAProxy program of a known version, or it refuses the file outside of any service.
pub async fn preview(config: &HaproxyConfig, services: &[ServiceConfig], desired: &Desired) -> Result<Preview, Fatal> {
    let (HaproxyControl::Managed { program, .. } | HaproxyControl::External { program, .. }) = &config.control;
    let version = version(program).await?;
    let managed = matches!(config.control, HaproxyControl::Managed { .. });
    let before = std::fs::read_to_string(&config.config_path).unwrap_or_default();
    let disk = ConfigFile::parse(&before);
    let operators = Operators::of(config, services)?;
    let mut state = State::new(
        Arc::new(ConfigTemplate::new(config, services)),
        capabilities(config, program, &version)?,
        operators.options,
        operators.defaults,
    );
    state.want(desired);
    state.world = World::Absent;
    if let Ok(mut session) = Session::open(&config.stats_socket).await {
        let asked = async {
            Ok::<_, std::io::Error>((
                client::identify(&mut session).await?,
                client::table(&mut session).await?,
            ))
        };
        let (live, table) = asked.await.map_err(|error| {
            let socket = config.stats_socket.display();
            Fatal::runtime(format!("HAProxy does not answer on {socket}: {error}"))
        })?;
        state.saw(live, table, || ConfigFile::parse(&before));
    }
    state.stop_waiting(&disk);
    state.assign();
    let plan = match state.world {
        World::Absent => Plan::Reload(ReloadReason::FirstStart),
        World::Foreign(_) => Plan::Reload(ReloadReason::Adoption),
        World::Loaded(_) | World::Unknown => state.plan(),
    };
    let acts = plan.lines();
    let (after, quarantine) = match plan {
        Plan::Reload(reason) => {
            let checker = Checker {
                program: program.clone(),
                path: candidate_path(config),
                mode: mode(&config.config_path, managed),
            };
            let found = state.candidate(&reason, &disk, managed).prepare(&checker).await;
            std::fs::remove_file(&checker.path).ok();
            let found = found.map_err(Fatal::config)?;
            (found.file.text.as_str().to_owned(), found.quarantine)
        }
        Plan::Runtime(_) | Plan::Nothing => match &state.world {
            World::Loaded(loaded) => (loaded.text.as_str().to_owned(), Quarantine::new()),
            World::Unknown | World::Absent | World::Foreign(_) => (before.clone(), Quarantine::new()),
        },
    };
    Ok(Preview {
        acts,
        before,
        after,
        left_out: quarantine
            .iter()
            .map(|(service, known)| format!("{service}: {}", known.words))
            .collect(),
    })
}

/// Beside the file, so that relative paths in it mean the same, and not where a running synapse has its own.
fn candidate_path(config: &HaproxyConfig) -> PathBuf {
    with_suffix(&config.config_path, &format!(".preview-{}", std::process::id()))
}
