//! Finds a file that HAProxy will take: renders a candidate, tries its new ports, has HAProxy check it, and leaves out
//! what can't be, until the rest is right. One bad service never stops another.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::process::{Outcome, Program};

use crate::haproxy::cfg::render::{ConfigTemplate, Provisioning, Rendered};
use crate::haproxy::plan::dynamic::DynamicServers;
use crate::haproxy::plan::model::{DesiredBackend, Layout};
use crate::haproxy::plan::slots::layout_for_reload;
use crate::haproxy::process::alerts::blame;

/// How long HAProxy may take to check a file.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a service is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    /// The options its instances brought along.
    Options,
    /// All of it: a port is taken.
    ForItsPort,
    /// All of it: HAProxy refuses its lines.
    ForItsLines,
}

/// A service that is not whole in the file, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub(crate) left: Left,
    /// HAProxy's own words, or the system's.
    pub(crate) words: String,
}

/// By service.
pub(crate) type Quarantine = BTreeMap<String, Quarantined>;

/// What a file is to be made of.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) frame: Arc<ConfigTemplate>,
    /// What HAProxy has loaded: slots keep their ids.
    pub(crate) layout: Layout,
    /// A service without desired servers keeps its slots as they are.
    pub(crate) desired: BTreeMap<String, Arc<DesiredBackend>>,
    /// How the file gets new servers, and the services that do while HAProxy runs.
    pub(crate) kind: Provisioning,
    pub(crate) dynamic_backends: BTreeMap<String, DynamicServers>,
    /// What is left out from the start.
    pub(crate) quarantine: Quarantine,
    /// What our HAProxy listens on already; `None` when that is not known, and no port can be tried.
    pub(crate) binds: Option<BTreeSet<SocketAddr>>,
}

/// A file HAProxy has found right.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: Rendered,
    pub(crate) quarantine: Quarantine,
}

/// How to check a file.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    pub(crate) program: String,
    /// Beside the real file, so that relative paths mean the same.
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
}

impl Candidate {
    /// Finds the most of it that HAProxy takes. An error means that nothing can be done by leaving out services.
    pub(crate) async fn prepare(mut self, checker: &Checker) -> Result<Prepared, String> {
        self.try_ports()?;
        loop {
            let layout = self.lay_out();
            let file = self.frame.render(&layout, self.kind);
            let Err(output) = checker.check(&file).await? else {
                return Ok(Prepared {
                    file,
                    quarantine: self.quarantine,
                });
            };
            let blame = blame(&output, &file);
            let mut narrowed = false;
            for (service, words) in blame.services {
                narrowed |= self.leave_out(&service, &words);
            }
            if !narrowed && !self.search(checker, &blame.rest.join("; ")).await? {
                let words = if blame.rest.is_empty() {
                    output
                } else {
                    blame.rest.join("; ")
                };
                return Err(format!(
                    "HAProxy refuses the file outside of any service, so nothing was changed: {words}"
                ));
            }
        }
    }

    /// Leaves out a little more of `service`: its instances' options first, then all of it. `false` if it is out.
    fn leave_out(&mut self, service: &str, words: &str) -> bool {
        let options = self
            .desired
            .get(service)
            .is_some_and(|desired| desired.servers.iter().any(|server| !server.instance_options.is_empty()));
        let left = match self.quarantine.get(service).map(|known| known.left) {
            None if options => Left::Options,
            None | Some(Left::Options) => Left::ForItsLines,
            Some(Left::ForItsPort | Left::ForItsLines) => return false,
        };
        self.quarantine.insert(
            service.to_owned(),
            Quarantined {
                left,
                words: words.to_owned(),
            },
        );
        true
    }

    /// HAProxy's words point nowhere: finds a service without which the file is right.
    async fn search(&mut self, checker: &Checker, words: &str) -> Result<bool, String> {
        let layout = self.lay_out();
        if checker
            .check(&self.frame.render(&Layout::new(), self.kind))
            .await?
            .is_err()
        {
            return Ok(false);
        }
        for (service, _) in self.frame.binds().filter(|(service, _)| layout.contains_key(*service)) {
            let mut fewer = layout.clone();
            fewer.remove(service);
            if checker.check(&self.frame.render(&fewer, self.kind)).await?.is_ok() {
                self.quarantine.insert(
                    service.to_owned(),
                    Quarantined {
                        left: Left::ForItsLines,
                        words: words.to_owned(),
                    },
                );
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lay_out(&self) -> Layout {
        let mut layout = Layout::new();
        for (service, _) in self.frame.binds() {
            let left = self.quarantine.get(service).map(|known| known.left);
            if matches!(left, Some(Left::ForItsLines | Left::ForItsPort)) {
                continue;
            }
            let (old, dynamic) = (self.layout.get(service), self.dynamic_backends.get(service));
            let backend = match self.desired.get(service) {
                Some(desired) if left.is_some() => Some(layout_for_reload(old, &desired.plain(), dynamic)),
                Some(desired) => Some(layout_for_reload(old, desired, dynamic)),
                None => old.cloned(),
            };
            layout.extend(backend.map(|backend| (service.into(), backend)));
        }
        self.frame.add_shadows(&mut layout);
        layout
    }

    /// A port that can't be bound would stop every listener for two seconds (see `bind`).
    fn try_ports(&mut self) -> Result<(), String> {
        let Some(ours) = &self.binds else { return Ok(()) };
        let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
        for address in &self.frame.base_binds {
            try_port(*address, ours).map_err(|error| format!("an extra section can't listen on {address}: {error}"))?;
            taken.insert(*address, "an extra section");
        }
        for (service, binds) in self.frame.binds() {
            for address in binds {
                let tried = match taken.get(address) {
                    Some(other) => Err(format!("{other} listens there")),
                    None => try_port(*address, ours),
                };
                match tried {
                    Ok(()) => {
                        taken.insert(*address, service);
                    }
                    Err(error) => {
                        let words = format!("can't listen on {address}: {error}");
                        self.quarantine.insert(
                            service.to_owned(),
                            Quarantined {
                                left: Left::ForItsPort,
                                words,
                            },
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// Without `SO_REUSEPORT`, so that another process's socket there is noticed. What we may not bind HAProxy perhaps may.
fn try_port(address: SocketAddr, ours: &BTreeSet<SocketAddr>) -> Result<(), String> {
    if ours.contains(&address) {
        return Ok(());
    }
    match TcpListener::bind(address) {
        Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {
            Err(error.to_string())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Checker {
    /// `haproxy -c`: `Ok(Err(output))` when HAProxy refuses the file. An alert is a refusal whatever the exit code.
    async fn check(&self, file: &Rendered) -> Result<Result<(), String>, String> {
        common::file::write_atomic(&self.path, file.text.as_bytes(), self.mode).map_err(|error| error.to_string())?;
        let argv = [self.program.as_str(), "-c", "-f", &self.path.to_string_lossy()]
            .map(str::to_owned)
            .to_vec();
        let program = Program {
            argv,
            env: Vec::new(),
            timeout: CHECK_TIMEOUT,
        };
        let verdict = match program.run().await.map_err(|error| error.to_string())? {
            Outcome::Success { output } if !output.contains("[ALERT]") => Ok(()),
            Outcome::Success { output } => Err(output),
            Outcome::Failure { output, .. } if output.contains("[ALERT]") => Err(output),
            Outcome::Failure { how, output } => return Err(format!("`haproxy -c` failed ({how}): {}", output.trim())),
        };
        if verdict.is_ok() {
            std::fs::remove_file(&self.path).ok();
        }
        Ok(verdict)
    }
}
