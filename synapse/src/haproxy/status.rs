//! The published state of a HAProxy router: plain data, replaced as a whole after each step.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::haproxy::plan::dynamic::Provisioning;
use crate::haproxy::runtime::parse::ServerStatistics;
use crate::name::ServerName;
use crate::router::status::RouterStatus;

/// The state of one HAProxy router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct HaproxyStatus {
    /// HAProxy was last seen exactly as desired, nothing is left out, and the file on disk has the same content.
    pub in_sync: bool,
    /// Every source has answered, and HAProxy was seen as desired since then.
    pub complete: bool,
    /// The supervisor of HAProxy.
    pub control: ControlMode,
    /// The worker that serves; absent if none answers.
    pub pid: Option<u32>,
    /// Version of the worker, or of the program if none answers.
    pub version: String,
    /// How HAProxy gets new servers.
    pub servers: Provisioning,
    /// Uptime of the worker in seconds when it was last queried.
    pub uptime_secs: Option<u64>,
    /// Reloads and starts since synapse started, by reason and result.
    pub reloads: Vec<ReloadCount>,
    /// The last reload or start.
    pub last_reload: Option<LastReload>,
    /// Runtime commands that HAProxy accepted.
    pub runtime_commands_ok: u64,
    /// Runtime commands that HAProxy refused.
    pub runtime_commands_failed: u64,
    /// Servers that differed from their last state and were repaired.
    pub drift_repairs: u64,
    /// Workers that a reload has replaced and that still have connections; managed only.
    pub old_workers: usize,
    /// The current error, or empty.
    pub last_error: String,
    /// The reason of a reload that is due and not done, or empty.
    pub pending: String,
    /// Time of the last change of HAProxy in milliseconds since the Unix epoch.
    pub last_apply: Option<u64>,
    /// The pending changes in their order: commands, or a reload with its reason.
    pub acts: Vec<String>,
    /// In the file's order. An unchanged service is shared with the status published before.
    pub services: Vec<Arc<ServiceStatus>>,
}

/// The process that runs HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ControlMode {
    /// synapse, or `synapse haproxy`.
    #[default]
    Managed,
    /// Another supervisor, with a command for reloads.
    External,
}

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReloadResult {
    /// HAProxy runs with the new file.
    Ok,
    /// It does not.
    Failed,
}

impl ReloadResult {
    /// Label for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// The phase of an instance in HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerPhase {
    /// It gets traffic.
    Active,
    /// It was removed; its last requests may go on.
    Draining,
}

impl HaproxyStatus {
    /// The part that every type of router has.
    pub(crate) fn summary(&self) -> RouterStatus {
        RouterStatus {
            in_sync: self.in_sync,
            complete: self.complete,
            pending: self.pending.clone(),
            last_error: self.last_error.clone(),
            last_apply: self.last_apply,
            applies: self.reloads(ReloadResult::Ok) + self.runtime_commands_ok,
            failures: self.reloads(ReloadResult::Failed) + self.runtime_commands_failed,
        }
    }

    /// The number of reloads with this result.
    pub(crate) fn reloads(&self, result: ReloadResult) -> u64 {
        let reloads = self.reloads.iter().filter(|reload| reload.result == result);
        reloads.map(|reload| reload.count).sum()
    }
}

/// The number of reloads with one reason and result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadCount {
    /// Label of the reason.
    pub reason: &'static str,
    /// The result.
    pub result: ReloadResult,
    /// The number.
    pub count: u64,
}

/// One reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastReload {
    /// Label of the reason.
    pub reason: &'static str,
    /// Time of its end in milliseconds since the Unix epoch.
    pub at: u64,
    /// The result.
    pub result: ReloadResult,
    /// The reason, and the error if there was one.
    pub detail: String,
}

/// One service in HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The name of its frontend and backend.
    pub id: String,
    /// Why it, or the options of its instances, are left out.
    pub quarantined: Option<String>,
    /// Slots with an instance.
    pub servers: Vec<ServerStatus>,
    /// The number of slots without an instance.
    pub free_slots: usize,
    /// Instances that have no slot yet.
    pub waiting: usize,
    /// Registrations that HAProxy can't have, as `node: reason`.
    pub skipped: Vec<String>,
    /// The state of its panic threshold; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<PanicThresholdStatus>,
}

/// What HAProxy does by a panic threshold, as of the last observation of its servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PanicThresholdStatus {
    /// The threshold.
    pub below: String,
    /// `use-all` or `fail-fast`.
    pub then: &'static str,
    /// Servers that count and that HAProxy uses.
    pub healthy: usize,
    /// Servers that count.
    pub all: usize,
    /// Whether too few are healthy.
    pub active: bool,
    /// The explanation.
    pub why: String,
}

/// One occupied slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// The server's id in HAProxy.
    pub slot: u32,
    /// The server's name in HAProxy.
    pub name: ServerName,
    /// The registered name, made safe; empty if unknown.
    pub instance: Arc<str>,
    /// The registration; empty if unknown.
    pub node: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
    /// 0 to 256.
    pub weight: u16,
    /// Its phase.
    pub state: ServerPhase,
    /// The options of the server line.
    pub options: Arc<str>,
    /// Options of the instance that were not taken.
    pub ignored_options: Vec<String>,
    /// HAProxy's counters, read every `reconcileInterval`; absent before the first time under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Arc<ServerStatistics>>,
}
