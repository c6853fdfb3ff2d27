//! What the operator is told: plain data, published whole after each step.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::haproxy::runtime::parse::ServerStatistics;
use crate::name::ServerName;
use crate::router::status::RouterStatus;

/// The state of one HAProxy router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct HaproxyStatus {
    /// HAProxy has been seen to be exactly as desired, nothing is left out, and the file on disk says the same.
    pub in_sync: bool,
    /// Every source has answered, and HAProxy was since seen to be as they say.
    pub complete: bool,
    /// `managed` or `external`.
    pub control: &'static str,
    /// The worker that serves; absent when none answers.
    pub pid: Option<u32>,
    /// Of the worker, or of the program when none answers.
    pub version: String,
    /// `slots` or `dynamic`: how it gets new servers.
    pub servers: &'static str,
    /// Seconds the worker has served, when it was last asked.
    pub uptime_secs: Option<u64>,
    /// Reloads and starts since synapse started, by reason and result.
    pub reloads: Vec<ReloadCount>,
    /// The last of them.
    pub last_reload: Option<LastReload>,
    /// Runtime commands that HAProxy took.
    pub runtime_commands_ok: u64,
    /// Runtime commands that it refused.
    pub runtime_commands_failed: u64,
    /// Servers that were found different from what they had been made, and put right.
    pub drift_repairs: u64,
    /// Workers that a reload has replaced and that still have connections; managed only.
    pub old_workers: usize,
    /// What is wrong now, or empty.
    pub last_error: String,
    /// Why HAProxy is to be reloaded, as long as it was not; or empty.
    pub pending: String,
    /// When HAProxy was last changed, in milliseconds since the Unix epoch.
    pub last_apply: Option<u64>,
    /// What HAProxy is still to be brought to, in the order it will be: commands, or a reload with its reason.
    pub acts: Vec<String>,
    /// In the file's order. One that is as it was is shared with what was published before.
    pub services: Vec<Arc<ServiceStatus>>,
}

impl HaproxyStatus {
    /// What every type of router can tell.
    pub(crate) fn summary(&self) -> RouterStatus {
        let reloads = |result| {
            let of = self.reloads.iter().filter(move |reload| reload.result == result);
            of.map(|reload| reload.count).sum::<u64>()
        };
        RouterStatus {
            in_sync: self.in_sync,
            complete: self.complete,
            pending: self.pending.clone(),
            last_error: self.last_error.clone(),
            last_apply: self.last_apply,
            applies: reloads("ok").saturating_add(self.runtime_commands_ok),
            failures: reloads("failed").saturating_add(self.runtime_commands_failed),
        }
    }
}

/// How often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadCount {
    /// A word of a fixed set.
    pub reason: &'static str,
    /// `ok` or `failed`.
    pub result: &'static str,
    /// How often.
    pub count: u64,
}

/// One reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastReload {
    /// A word of a fixed set.
    pub reason: &'static str,
    /// When it ended, in milliseconds since the Unix epoch.
    pub at: u64,
    /// `ok` or `failed`.
    pub result: &'static str,
    /// The reason in words, and the error if there was one.
    pub detail: String,
}

/// One service in HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The name of its frontend and backend.
    pub id: String,
    /// Why it, or its instances' options, are left out: HAProxy's own words.
    pub quarantined: Option<String>,
    /// Slots with somebody in them.
    pub servers: Vec<ServerStatus>,
    /// Slots without.
    pub free_slots: usize,
    /// Instances that have no slot yet.
    pub waiting: usize,
    /// Registrations HAProxy can't have, as `node: why`.
    pub skipped: Vec<String>,
    /// What its panic rule makes HAProxy do; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<PanicThresholdStatus>,
}

/// What HAProxy does by a panic rule, as of the last look at its servers.
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
    /// Whether that is too few.
    pub active: bool,
    /// The same in words.
    pub why: String,
}

/// One slot with somebody in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// The server's id in HAProxy.
    pub slot: u32,
    /// The server's name in HAProxy.
    pub name: ServerName,
    /// The registered name, made safe; empty when unknown.
    pub instance: Arc<str>,
    /// The registration; empty when unknown.
    pub node: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// 0 to 256.
    pub weight: u16,
    /// `active` or `draining`.
    pub state: &'static str,
    /// The options of the server line.
    pub options: Arc<str>,
    /// What the instance asked for and did not get.
    pub ignored_options: Vec<String>,
    /// What HAProxy counts of it, asked every `reconcileInterval`; absent before the first time under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Arc<ServerStatistics>>,
}
