//! A dry run: what a router would change in HAProxy, without touching it.

use std::collections::BTreeSet;

use common::exit::Fatal;

use super::prepare;
use crate::config::{HaproxyConfig, HaproxyControl, ServiceConfig};
use crate::desired::Desired;
use crate::haproxy::actor::state::ProxyState;
use crate::haproxy::cfg::file::ConfigFile;
use crate::haproxy::plan::Plan;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::process::validate::Quarantine;
use crate::haproxy::runtime::client;
use crate::haproxy::runtime::socket::Session;

/// The changes of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// Commands, or the reload with its reason; empty if HAProxy is as desired.
    pub acts: Vec<String>,
    /// The file on disk, empty if there is none.
    pub before: String,
    /// The file as it would be.
    pub after: String,
    /// The services that would be left out, as `service: reason`.
    pub left_out: Vec<String>,
}

/// Observes HAProxy and the file, and decides as the router would.
///
/// # Errors
/// When there is no HAProxy program of a known version, or it refuses the file outside of any service.
pub async fn preview(config: &HaproxyConfig, services: &[ServiceConfig], desired: &Desired) -> Result<Preview, Fatal> {
    // Not the path of a running synapse.
    let candidate = format!(".preview-{}", std::process::id());
    let (mut state, checker, _) = prepare(config, services, &candidate).await?;
    let managed = matches!(config.control, HaproxyControl::Managed { .. });
    let before = std::fs::read_to_string(&config.config_path).unwrap_or_default();
    let disk = ConfigFile::parse(&before);
    state.set_desired(desired);
    state.proxy = ProxyState::Down;
    if let Ok(mut session) = Session::open(&config.stats_socket).await {
        let (worker, table) = client::observe(&mut session).await.map_err(|error| {
            let socket = config.stats_socket.display();
            Fatal::runtime(format!("HAProxy does not answer on {socket}: {error}"))
        })?;
        state.observe(worker, table, || ConfigFile::parse(&before));
    }
    state.stop_waiting(&disk);
    state.assign();
    let plan = match state.proxy {
        ProxyState::Down => Plan::Reload(ReloadReason::FirstStart),
        ProxyState::Foreign(_) => Plan::Reload(ReloadReason::Adoption),
        ProxyState::Loaded(_) | ProxyState::Unknown => state.plan(),
    };
    let acts = plan.lines();
    let (after, quarantine) = match plan {
        Plan::Reload(reason) => {
            let found = state
                .candidate(&reason, &disk, managed.then(BTreeSet::new))
                .prepare(&checker)
                .await;
            std::fs::remove_file(&checker.path).ok();
            let found = found.map_err(|error| Fatal::config(error.to_string()))?;
            (found.file.text.as_str().to_owned(), found.quarantine)
        }
        Plan::Runtime(_) | Plan::Nothing => {
            let loaded = state.proxy.loaded();
            let text = loaded.map_or(&before, |loaded| &*loaded.text);
            (text.clone(), Quarantine::new())
        }
    };
    Ok(Preview {
        acts,
        before,
        after,
        left_out: quarantine
            .iter()
            .map(|(service, known)| format!("{service}: {}", known.reason))
            .collect(),
    })
}
