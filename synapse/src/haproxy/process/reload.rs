//! One reload or start of HAProxy, from the candidate to the verdict: prepare, rename, reload, and verify with the process
//! itself that it has loaded what was written. Runs beside the actor, which goes on changing servers in the old worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::process::{Outcome, Program};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::config::HaproxyConfig;
use crate::haproxy::cfg::file::ConfigFile;
use crate::haproxy::error::HaproxyError;
use crate::haproxy::plan::model::Layout;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::process::master::{ANSWER_TIMEOUT, Control, Master};
use crate::haproxy::process::server_state::{self, server_state};
use crate::haproxy::process::validate::{Candidate, Checker, Quarantine, QuarantineScope};
use crate::haproxy::runtime::client::{self, Worker};
use crate::haproxy::runtime::parse::Table;
use crate::haproxy::runtime::poll::Poll;
use crate::haproxy::runtime::socket::Session;

/// Time limit for a new worker to serve; after a port that can't be bound the master takes 2 s to give up.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The same after a command that has already reported its end.
const EXTERNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How HAProxy is reloaded.
#[derive(Debug, Clone)]
pub(crate) enum ReloadMethod {
    /// Through the master's socket.
    Managed(Control),
    /// By the operator's commands; the second may be empty.
    External { reload: Program, cleanup: Program },
}

/// One reload or start to be done.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) method: ReloadMethod,
    pub(crate) config: Arc<HaproxyConfig>,
    pub(crate) checker: Checker,
    pub(crate) reason: ReloadReason,
    /// The new file; `None` for the file as it is.
    pub(crate) candidate: Option<Candidate>,
    /// The current file at `config_path`.
    pub(crate) disk: ConfigFile,
    /// The worker to be replaced.
    pub(crate) running: Option<Worker>,
    /// Managed: there is no master that could be reloaded.
    pub(crate) start: bool,
    /// The parts left out of the running file.
    pub(crate) quarantine: Quarantine,
}

/// The result of a job.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reason: ReloadReason,
    pub(crate) ended: Ended,
    /// The parts that have to be left out, if that was found out.
    pub(crate) quarantine: Option<Quarantine>,
    /// The master, if it was started.
    pub(crate) master: Option<Master>,
    /// Whether the job was to start the file as it was.
    pub(crate) as_it_was: bool,
    pub(crate) took: Duration,
}

/// The end of a job.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The left out parts still have to be: nothing was changed.
    Unchanged,
    /// HAProxy reports that it runs this file.
    Loaded {
        disk: ConfigFile,
        worker: Worker,
        table: Table,
    },
    Failed(HaproxyError),
}

impl Job {
    /// Does the reload or start.
    pub(crate) async fn run(mut self) -> Done {
        let started = Instant::now();
        let as_it_was = self.candidate.is_none();
        let (mut quarantine, mut master) = (None, None);
        // The file has to exist, and to be empty for a first start.
        self.write_state(server_state::EMPTY);
        let ended = self.attempt(&mut quarantine, &mut master).await;
        self.write_state(server_state::EMPTY);
        Done {
            reason: self.reason,
            ended: ended.unwrap_or_else(Ended::Failed),
            quarantine,
            master,
            as_it_was,
            took: started.elapsed(),
        }
    }

    async fn attempt(
        &mut self,
        quarantine: &mut Option<Quarantine>,
        master: &mut Option<Master>,
    ) -> Result<Ended, HaproxyError> {
        if let Some(candidate) = self.candidate.take() {
            let loaded = candidate.layout.clone();
            let prepared = candidate.prepare(&self.checker).await?;
            let is_same = scopes(&prepared.quarantine).eq(scopes(&self.quarantine));
            *quarantine = Some(prepared.quarantine);
            if self.reason == ReloadReason::Quarantine && is_same {
                return Ok(Ended::Unchanged);
            }
            // Exactly the bytes that were checked.
            common::file::write_atomic(
                &self.config.config_path,
                prepared.file.text.as_bytes(),
                self.checker.mode,
            )?;
            self.disk = ConfigFile::parse(&prepared.file.text);
            self.hand_over_health(&loaded).await;
        }
        let (worker, table) = match &self.method {
            ReloadMethod::Managed(control) if self.start && control.run => self.start(control, master).await?,
            ReloadMethod::Managed(control) if self.start => self.started_elsewhere(control).await?,
            ReloadMethod::Managed(control) => {
                self.reload(control).await?;
                self.new_worker(RELOAD_TIMEOUT).await?
            }
            ReloadMethod::External { reload, .. } => {
                run(reload).await?;
                self.new_worker(EXTERNAL_TIMEOUT).await?
            }
        };
        let disk = std::mem::take(&mut self.disk);
        Ok(Ended::Loaded { disk, worker, table })
    }

    /// Passes the failed servers to the next worker; without them, it finds out by its own checks.
    async fn hand_over_health(&self, loaded: &Layout) {
        if self.config.state_file.is_none() || self.running.is_none() {
            return;
        }
        let query = async {
            let mut session = Session::open(&self.config.stats_socket).await?;
            session.send_one("show servers state").await
        };
        match query.await {
            Ok(reply) => self.write_state(&server_state(&reply, loaded, &self.disk.layout)),
            Err(error) => debug!(%error, "HAProxy did not report which servers are down."),
        }
    }

    /// Writes the `server-state-file`, filled only during synapse's own reload and empty otherwise, so that a manual reload
    /// can't restore outdated states.
    fn write_state(&self, text: &str) {
        let Some(path) = &self.config.state_file else { return };
        if let Err(error) = common::file::write_atomic(path, text.as_bytes(), self.checker.mode) {
            warn!(%error, "Can't write the server-state file; the new worker takes all servers for healthy.");
        }
    }

    async fn start(&self, control: &Control, master: &mut Option<Master>) -> Result<(Worker, Table), HaproxyError> {
        // Stored at once, so that it is never started twice.
        let child = master.insert(control.start()?);
        let found = tokio::select! {
            how = child.ended() => {
                *master = None;
                return Err(HaproxyError::Ended(how));
            }
            found = self.new_worker(RELOAD_TIMEOUT) => found?,
        };
        // Only then is it complete: it can be reloaded, and the next synapse can find it.
        let answer = control.processes_within(ANSWER_TIMEOUT).await;
        answer.map_err(HaproxyError::Master)?;
        Ok(found)
    }

    /// Waits for another supervisor to start it, with the file as it is now or as it was a moment ago.
    async fn started_elsewhere(&self, control: &Control) -> Result<(Worker, Table), HaproxyError> {
        let started = control.processes_within(RELOAD_TIMEOUT).await;
        started.map_err(HaproxyError::NoMaster)?;
        let any = self.worker(RELOAD_TIMEOUT, |worker| !worker.info.stopping).await?;
        if is_new(&any.0, None, self.disk.structure.as_deref()) {
            return Ok(any);
        }
        self.reload(control).await?;
        self.new_worker(RELOAD_TIMEOUT).await
    }

    /// Reloads by the master. The verdict of 2.6 is in `show proc`: one more reload, none failed, a new worker.
    async fn reload(&self, control: &Control) -> Result<(), HaproxyError> {
        let before = control.processes_within(ANSWER_TIMEOUT).await;
        let before = before.map_err(HaproxyError::Master)?;
        let reply = control.reload(RELOAD_TIMEOUT).await.map_err(HaproxyError::Master)?;
        if reply.contains("Success=0") {
            return Err(HaproxyError::NotLoaded(reply.trim().to_owned()));
        }
        let mut poll = Poll::new(RELOAD_TIMEOUT);
        loop {
            let last = match control.processes().await {
                Ok(now) if now.reloads > before.reloads && now.failed > 0 => {
                    return Err(HaproxyError::NotLoaded(
                        "it goes on with the old one; see its own log".to_owned(),
                    ));
                }
                Ok(now)
                    if now.reloads > before.reloads && now.workers.iter().any(|pid| !before.workers.contains(pid)) =>
                {
                    return Ok(());
                }
                Ok(_) => "the master has no new worker".to_owned(),
                // The master does not answer while it replaces itself.
                Err(error) => error.to_string(),
            };
            if !poll.wait().await {
                let limit = RELOAD_TIMEOUT;
                return Err(HaproxyError::Timeout { limit, last });
            }
        }
    }

    /// Waits for a worker other than the running one that has loaded the file's structure.
    async fn new_worker(&self, limit: Duration) -> Result<(Worker, Table), HaproxyError> {
        let structure = self.disk.structure.as_deref();
        let is_wanted = |worker: &Worker| is_new(worker, self.running.as_ref(), structure);
        self.worker(limit, is_wanted).await
    }

    /// Waits for a worker of which `is_wanted` is true.
    async fn worker(
        &self,
        limit: Duration,
        is_wanted: impl Fn(&Worker) -> bool,
    ) -> Result<(Worker, Table), HaproxyError> {
        let mut poll = Poll::new(limit);
        loop {
            let last = match self.observe().await {
                Ok((worker, table)) if is_wanted(&worker) => return Ok((worker, table)),
                Ok((worker, _)) => format!("process {} has not loaded it", worker.info.pid),
                Err(error) => error.to_string(),
            };
            if !poll.wait().await {
                return Err(HaproxyError::Timeout { limit, last });
            }
        }
    }

    async fn observe(&self) -> Result<(Worker, Table), io::Error> {
        client::observe(&mut Session::open(&self.config.stats_socket).await?).await
    }
}

/// Whether `worker` is a new worker that runs `structure`. A reload of an unchanged file gives the same fingerprint, so the
/// process must differ from the one `before` too.
fn is_new(worker: &Worker, before: Option<&Worker>, structure: Option<&str>) -> bool {
    before.is_none_or(|before| before.info.process() != worker.info.process() || before.structure != worker.structure)
        && !worker.info.stopping
        && worker.structure.as_deref() == structure
}

/// The parts that are left out, without the reasons: line numbers change.
fn scopes(quarantine: &Quarantine) -> impl Iterator<Item = (&String, QuarantineScope)> {
    quarantine.iter().map(|(service, known)| (service, known.scope))
}

/// Runs one of the operator's commands.
pub(crate) async fn run(program: &Program) -> Result<(), HaproxyError> {
    match program.run().await? {
        Outcome::Success { .. } => Ok(()),
        Outcome::Failure { how, output } => Err(HaproxyError::Program {
            command: program.argv.join(" "),
            how,
            output: output.trim().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::runtime::parse::Info;

    fn worker(pid: u32, started_secs: u64, structure: &str) -> Worker {
        Worker {
            info: Info {
                pid,
                version: "2.6.12".to_owned(),
                uptime_secs: 0,
                started_secs,
                stopping: false,
            },
            structure: Some(structure.to_owned()),
            supports_dynamic_servers: false,
        }
    }

    /// The state file was emptied before the new worker had read it, and dead servers got requests again.
    #[test]
    fn a_young_worker_is_not_taken_for_its_successor() {
        let before = worker(8, 100, "same");
        let follows = |worker: &Worker| is_new(worker, Some(&before), Some("same"));
        assert!(
            !follows(&before),
            "it has the structure, and started within this second"
        );
        assert!(follows(&worker(9, 100, "same")));
        assert!(
            follows(&worker(8, 101, "same")),
            "the pid of an earlier one, in a container"
        );
        assert!(!follows(&worker(9, 101, "other")), "it has loaded another file");
        let mut stopping = worker(9, 101, "same");
        stopping.info.stopping = true;
        assert!(!follows(&stopping));
        assert!(is_new(&before, None, Some("same")), "there was none");
    }
}
