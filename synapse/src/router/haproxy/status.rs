//! What the operator is told: plain data, published whole after each step.

use std::net::SocketAddr;

use serde::Serialize;

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
    /// What HAProxy is still to be brought to, in the order it will be: commands, or a reload with its reason.
    pub pending: Vec<String>,
    /// In the file's order.
    pub services: Vec<ServiceStatus>,
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
}

/// One slot with somebody in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// The server's id in HAProxy.
    pub slot: u32,
    /// The server's name in HAProxy.
    pub name: String,
    /// The registered name, made safe; empty when unknown.
    pub instance: String,
    /// The registration; empty when unknown.
    pub node: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// 0 to 256.
    pub weight: u16,
    /// `active` or `draining`.
    pub state: &'static str,
    /// The options of the server line.
    pub options: String,
    /// What the instance asked for and did not get.
    pub ignored_options: Vec<String>,
}
