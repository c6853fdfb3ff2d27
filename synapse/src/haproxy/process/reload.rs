//! One reload or start of HAProxy, from the candidate to the verdict: prepare, rename, reload, and learn from the process
//! itself that it has loaded what was written. Runs with_suffix the actor, which goes on changing servers in the old worker.

use std::path::PathBuf;
use std::time::Duration;

use common::process::{Outcome, Program};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use crate::haproxy::cfg::file::ConfigFile;
use crate::haproxy::plan::model::Layout;
use crate::haproxy::plan::reason::ReloadReason;
use crate::haproxy::process::master::{ANSWER, Control, Master};
use crate::haproxy::process::server_state;
use crate::haproxy::process::validate::{Candidate, Checker, Quarantine, Quarantined};
use crate::haproxy::runtime::client::{self, Worker};
use crate::haproxy::runtime::parse::Table;
use crate::haproxy::runtime::socket::Session;

/// How long a master may take until its new worker serves; a port that can't be bound takes it 2 s to give up.
const VERDICT: Duration = Duration::from_secs(30);
/// The same for a command that has already said that it is done.
const EXTERNAL_VERDICT: Duration = Duration::from_secs(5);

/// Who reloads.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// We, through the master's socket.
    Managed(Control),
    /// The operator's commands; the second may be empty.
    External { reload: Program, cleanup: Program },
}

/// One reload or start to be done.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) engine: Engine,
    pub(crate) stats_socket: PathBuf,
    pub(crate) config_path: PathBuf,
    /// From which HAProxy takes who is down; only while it is reloaded is anything in it, for whoever reloads it at another
    /// time would bring back what was true long ago.
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) mode: u32,
    pub(crate) checker: Checker,
    pub(crate) reason: ReloadReason,
    /// What to load; `None` for the file as it is.
    pub(crate) candidate: Option<Candidate>,
    /// What the file at `config_path` says now.
    pub(crate) disk: ConfigFile,
    /// The worker to be replaced.
    pub(crate) running: Option<Worker>,
    /// Managed: there is no master that could be reloaded.
    pub(crate) start: bool,
    /// What is left out of what is running.
    pub(crate) quarantine: Quarantine,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reason: ReloadReason,
    pub(crate) ended: Ended,
    /// What has to be left out, when that was found out.
    pub(crate) quarantine: Option<Quarantine>,
    /// The master, if it was started.
    pub(crate) master: Option<Master>,
    /// Whether the file as it was should have been started.
    pub(crate) as_it_was: bool,
    pub(crate) took: Duration,
}

/// The end of a job.
#[derive(Debug)]
pub(crate) enum Ended {
    /// What was left out still has to be: nothing was touched.
    Unchanged,
    /// HAProxy says that it runs this.
    Loaded {
        disk: ConfigFile,
        live: Worker,
        table: Table,
    },
    /// For the operator.
    Failed(String),
}

impl Job {
    /// Does it.
    pub(crate) async fn run(mut self) -> Done {
        let started = Instant::now();
        let as_it_was = self.candidate.is_none();
        let mut quarantine = None;
        let mut master = None;
        // It has to be there, and to be empty for a first start.
        self.write_state(server_state::NOTHING);
        let ended = match self.attempt(&mut quarantine, &mut master).await {
            Ok(ended) => ended,
            Err(error) => Ended::Failed(error),
        };
        self.write_state(server_state::NOTHING);
        Done {
            reason: self.reason,
            ended,
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
    ) -> Result<Ended, String> {
        if let Some(candidate) = self.candidate.take() {
            let loaded = candidate.layout.clone();
            let found = candidate.prepare(&self.checker).await?;
            *quarantine = Some(found.quarantine.clone());
            if self.reason == ReloadReason::Quarantine && left(&found.quarantine).eq(left(&self.quarantine)) {
                return Ok(Ended::Unchanged);
            }
            // The very bytes that were checked.
            common::file::write_atomic(&self.config_path, found.file.text.as_bytes(), self.mode)
                .map_err(|error| error.to_string())?;
            self.disk = ConfigFile::parse(&found.file.text);
            self.hand_over_health(&loaded).await;
        }
        let (live, table) = match &self.engine {
            Engine::Managed(control) if self.start && control.run => self.start(control, master).await?,
            Engine::Managed(control) if self.start => self.started_elsewhere(control).await?,
            Engine::Managed(control) => {
                self.reload(control).await?;
                self.new_worker(VERDICT).await?
            }
            Engine::External { reload, .. } => {
                run(reload).await?;
                self.new_worker(EXTERNAL_VERDICT).await?
            }
        };
        let disk = std::mem::take(&mut self.disk);
        Ok(Ended::Loaded { disk, live, table })
    }

    /// Tells the next worker who is down; without it, it finds out by its own checks.
    async fn hand_over_health(&self, loaded: &Layout) {
        if self.state_file.is_none() || self.running.is_none() {
            return;
        }
        let state = async {
            Session::open(&self.stats_socket)
                .await?
                .send_one("show servers state")
                .await
        };
        match state.await {
            Ok(state) => self.write_state(&server_state::keep(&state, loaded, &self.disk.layout)),
            Err(error) => debug!(%error, "HAProxy did not say which servers are down."),
        }
    }

    fn write_state(&self, text: &str) {
        let Some(path) = &self.state_file else { return };
        if let Err(error) = common::file::write_atomic(path, text.as_bytes(), self.mode) {
            warn!(%error, "HAProxy's new worker will not know which servers are down.");
        }
    }

    async fn start(&self, control: &Control, master: &mut Option<Master>) -> Result<(Worker, Table), String> {
        let child = control.start().map_err(|error| error.to_string())?;
        // Known from the first moment, so that it is never started twice.
        let child = master.insert(child);
        let found = tokio::select! {
            how = child.ended() => {
                *master = None;
                return Err(format!("HAProxy ended as soon as it was started ({how}); its own log says why"));
            }
            found = self.new_worker(VERDICT) => found?,
        };
        // Only then is it complete: it can be reloaded, and the next synapse can find it.
        let answer = control.processes_within(ANSWER).await;
        answer.map_err(|error| format!("the new HAProxy master does not answer: {error}"))?;
        Ok(found)
    }

    /// Somebody else starts it, with the file as it is now or as it was a moment ago.
    async fn started_elsewhere(&self, control: &Control) -> Result<(Worker, Table), String> {
        let started = control.processes_within(VERDICT).await;
        started.map_err(|error| {
            format!("no HAProxy master answers; is there a `synapse haproxy` that runs one? ({error})")
        })?;
        let any = self.worker(VERDICT, |live| !live.info.stopping).await?;
        if is_new(&any.0, None, self.disk.structure.as_deref()) {
            return Ok(any);
        }
        self.reload(control).await?;
        self.new_worker(VERDICT).await
    }

    /// The verdict of 2.6 stands in `show proc`: one more reload, none failed, a new worker.
    async fn reload(&self, control: &Control) -> Result<(), String> {
        let lost = |error| format!("the HAProxy master does not answer: {error}");
        let before = control.processes_within(ANSWER).await.map_err(lost)?;
        let said = control.reload(VERDICT).await.map_err(lost)?;
        if said.contains("Success=0") {
            return Err(format!("HAProxy did not load the new file: {}", said.trim()));
        }
        let verdict = async {
            let mut wait = Waits::default();
            loop {
                // It does not answer while it replaces itself.
                if let Ok(now) = control
                    .processes()
                    .await
                    .map_err(|error| debug!(%error, "The HAProxy master does not answer yet."))
                    && now.reloads > before.reloads
                {
                    if now.failed > 0 {
                        return Err(
                            "HAProxy did not load the new file and goes on with the old one; its own log says why"
                                .to_owned(),
                        );
                    }
                    if now.workers.iter().any(|pid| !before.workers.contains(pid)) {
                        return Ok(());
                    }
                }
                wait.one().await;
            }
        };
        timeout(VERDICT, verdict)
            .await
            .unwrap_or_else(|_| Err(format!("no new worker within {VERDICT:?} of a reload")))
    }

    /// Waits until a worker other than the running one says that it has loaded the file's structure.
    async fn new_worker(&self, within: Duration) -> Result<(Worker, Table), String> {
        let is_wanted = |live: &Worker| is_new(live, self.running.as_ref(), self.disk.structure.as_deref());
        self.worker(within, is_wanted).await
    }

    /// Waits until one answers that is wanted.
    async fn worker(&self, within: Duration, is_wanted: impl Fn(&Worker) -> bool) -> Result<(Worker, Table), String> {
        let mut last = "it was not asked".to_owned();
        let found = async {
            let mut wait = Waits::default();
            loop {
                match self.look().await {
                    Ok((live, table)) if is_wanted(&live) => return (live, table),
                    Ok((live, _)) => last = format!("process {} has not loaded it", live.info.pid),
                    Err(error) => last = error.to_string(),
                }
                wait.one().await;
            }
        };
        timeout(within, found)
            .await
            .map_err(|_| format!("no HAProxy with the new file answers within {within:?}: {last}"))
    }

    async fn look(&self) -> Result<(Worker, Table), std::io::Error> {
        let mut session = Session::open(&self.stats_socket).await?;
        Ok((
            client::identify(&mut session).await?,
            client::table(&mut session).await?,
        ))
    }
}

/// Whether this is another worker than the one `before` a reload, and has loaded the file with this structure. A file that
/// says what the one before it said has its structure too: who answers is known by its process alone.
fn is_new(live: &Worker, before: Option<&Worker>, structure: Option<&str>) -> bool {
    before.is_none_or(|before| before.info.process() != live.info.process() || before.structure != live.structure)
        && !live.info.stopping
        && live.structure.as_deref() == structure
}

/// What is left out, without the words: line numbers change.
fn left(quarantine: &Quarantine) -> impl Iterator<Item = (&String, crate::haproxy::process::validate::Left)> {
    quarantine
        .iter()
        .map(|(service, Quarantined { left, .. })| (service, *left))
}

/// Runs one of the operator's commands.
pub(crate) async fn run(program: &Program) -> Result<(), String> {
    match program.run().await {
        Ok(Outcome::Success { .. }) => Ok(()),
        Ok(Outcome::Failure { how, output }) => Err(format!(
            "`{}` failed ({how}): {}",
            program.argv.join(" "),
            output.trim()
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Waits that grow from 2 ms to 50 ms.
#[derive(Debug, Default)]
struct Waits(u32);

impl Waits {
    async fn one(&mut self) {
        self.0 = self.0.saturating_add(1);
        sleep(Duration::from_millis(2_u64.saturating_pow(self.0).min(50))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::haproxy::runtime::parse::Info;

    fn live(pid: u32, started_secs: u64, structure: &str) -> Worker {
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

    /// Its state file was emptied before the new worker had read it, and the dead got requests again.
    #[test]
    fn a_young_worker_is_not_taken_for_the_one_that_follows_it() {
        let before = live(8, 100, "same");
        let follows = |live: &Worker| is_new(live, Some(&before), Some("same"));
        assert!(
            !follows(&before),
            "it has the structure, and started within this second"
        );
        assert!(follows(&live(9, 100, "same")));
        assert!(
            follows(&live(8, 101, "same")),
            "the number of one before it, in a container"
        );
        assert!(!follows(&live(9, 101, "other")), "it has loaded another file");
        let mut stopping = live(9, 101, "same");
        stopping.info.stopping = true;
        assert!(!follows(&stopping));
        assert!(is_new(&before, None, Some("same")), "there was none");
    }
}
