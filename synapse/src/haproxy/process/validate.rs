//! Finds a file that HAProxy accepts: renders a candidate, tries its new ports, has HAProxy check it, and leaves services out
//! until the rest is right. One bad service never stops another.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::process::{Outcome, Program};

use crate::haproxy::cfg::render::{ConfigTemplate, Rendered};
use crate::haproxy::error::HaproxyError;
use crate::haproxy::plan::dynamic::{DynamicServers, Provisioning};
use crate::haproxy::plan::model::{DesiredBackend, Layout};
use crate::haproxy::plan::slots::layout_for_reload;
use crate::haproxy::process::alerts::attribute_alerts;

/// Time limit for `haproxy -c`.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The part of a service that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QuarantineScope {
    /// The options of its instances.
    Options,
    /// All of it: a port is in use.
    PortInUse,
    /// All of it: HAProxy refuses its lines.
    InvalidConfig,
}

/// A service that is not complete in the file, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub(crate) scope: QuarantineScope,
    /// The alert of HAProxy, or the system's error.
    pub(crate) reason: String,
}

/// By service.
pub(crate) type Quarantine = BTreeMap<String, Quarantined>;

/// The content of a new file.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) template: Arc<ConfigTemplate>,
    /// The slots that HAProxy has loaded, which keep their ids.
    pub(crate) layout: Layout,
    /// A service without desired servers keeps its slots as they are.
    pub(crate) desired: BTreeMap<String, Arc<DesiredBackend>>,
    pub(crate) provisioning: Provisioning,
    /// The services that get new servers at runtime.
    pub(crate) dynamic_backends: BTreeMap<String, DynamicServers>,
    /// The parts left out from the start.
    pub(crate) quarantine: Quarantine,
    /// The addresses that our HAProxy already listens on; `None` if unknown, so that no port can be tried.
    pub(crate) binds: Option<BTreeSet<SocketAddr>>,
}

/// A file that HAProxy accepts.
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
    /// Finds the largest part of it that HAProxy accepts. An error means that leaving out services does not help.
    pub(crate) async fn prepare(mut self, checker: &Checker) -> Result<Prepared, HaproxyError> {
        self.try_ports()?;
        loop {
            let file = self.render(&self.new_layout());
            let Some(output) = checker.check(&file).await? else {
                return Ok(Prepared {
                    file,
                    quarantine: self.quarantine,
                });
            };
            let alerts = attribute_alerts(&output, &file);
            let rest = alerts.rest.join("; ");
            let mut narrowed = false;
            for (service, reason) in alerts.services {
                narrowed |= self.leave_out(&service, reason);
            }
            if !narrowed && !self.search(checker, &rest).await? {
                return Err(HaproxyError::Refused(if rest.is_empty() { output } else { rest }));
            }
        }
    }

    fn render(&self, layout: &Layout) -> Rendered {
        self.template.render(layout, self.provisioning)
    }

    fn quarantine(&mut self, service: &str, scope: QuarantineScope, reason: String) {
        self.quarantine
            .insert(service.to_owned(), Quarantined { scope, reason });
    }

    /// Leaves out a little more of `service`: its instances' options first, then all of it. `false` if it is out.
    fn leave_out(&mut self, service: &str, reason: String) -> bool {
        let desired = self.desired.get(service);
        let has_options = desired.is_some_and(|desired| {
            let mut servers = desired.servers.iter();
            servers.any(|server| !server.instance_options.is_empty())
        });
        let scope = match self.quarantine.get(service).map(|known| known.scope) {
            None if has_options => QuarantineScope::Options,
            None | Some(QuarantineScope::Options) => QuarantineScope::InvalidConfig,
            Some(QuarantineScope::PortInUse | QuarantineScope::InvalidConfig) => return false,
        };
        self.quarantine(service, scope, reason);
        true
    }

    /// Finds a service without which the file is right, if the alerts point at none.
    async fn search(&mut self, checker: &Checker, reason: &str) -> Result<bool, HaproxyError> {
        if checker.check(&self.render(&Layout::new())).await?.is_some() {
            return Ok(false);
        }
        let template = Arc::clone(&self.template);
        let layout = self.new_layout();
        for (service, _) in template.binds().filter(|(service, _)| layout.contains_key(*service)) {
            let mut fewer = layout.clone();
            fewer.remove(service);
            if checker.check(&self.render(&fewer)).await?.is_none() {
                self.quarantine(service, QuarantineScope::InvalidConfig, reason.to_owned());
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The layout of all that is not left out.
    fn new_layout(&self) -> Layout {
        let mut layout = Layout::new();
        for (service, _) in self.template.binds() {
            let (old, dynamic) = (self.layout.get(service), self.dynamic_backends.get(service));
            let scope = self.quarantine.get(service).map(|known| known.scope);
            let backend = match (scope, self.desired.get(service)) {
                (Some(QuarantineScope::PortInUse | QuarantineScope::InvalidConfig), _) => continue,
                (Some(QuarantineScope::Options), Some(desired)) => {
                    Some(layout_for_reload(old, &desired.plain(), dynamic))
                }
                (None, Some(desired)) => Some(layout_for_reload(old, desired, dynamic)),
                (_, None) => old.cloned(),
            };
            layout.extend(backend.map(|backend| (service.into(), backend)));
        }
        self.template.add_shadows(&mut layout);
        layout
    }

    /// Tries the ports first: one that can't be bound would stop every listener for two seconds (see `bind`).
    fn try_ports(&mut self) -> Result<(), HaproxyError> {
        let Some(ours) = self.binds.take() else { return Ok(()) };
        let template = Arc::clone(&self.template);
        let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
        for address in &template.base_binds {
            try_port(*address, &ours).map_err(|reason| HaproxyError::Bind {
                address: *address,
                reason,
            })?;
            taken.insert(*address, "an extra section");
        }
        for (service, binds) in template.binds() {
            for address in binds {
                let tried = match taken.get(address) {
                    Some(other) => Err(format!("{other} listens there")),
                    None => try_port(*address, &ours),
                };
                match tried {
                    Ok(()) => _ = taken.insert(*address, service),
                    Err(error) => {
                        let reason = format!("can't listen on {address}: {error}");
                        self.quarantine(service, QuarantineScope::PortInUse, reason);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Binds without `SO_REUSEPORT`, so that the socket of another process there is noticed. If the permission is missing here,
/// HAProxy may have it.
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
    /// Runs `haproxy -c`; returns its output if it refuses the file. An alert is a refusal independent of the exit code.
    async fn check(&self, file: &Rendered) -> Result<Option<String>, HaproxyError> {
        common::file::write_atomic(&self.path, file.text.as_bytes(), self.mode)?;
        let argv = [self.program.as_str(), "-c", "-f", &*self.path.to_string_lossy()];
        let program = Program {
            argv: argv.map(str::to_owned).to_vec(),
            env: Vec::new(),
            timeout: CHECK_TIMEOUT,
        };
        match program.run().await? {
            Outcome::Success { output } | Outcome::Failure { output, .. } if output.contains("[ALERT]") => {
                return Ok(Some(output));
            }
            Outcome::Success { .. } => {}
            Outcome::Failure { how, output } => {
                return Err(HaproxyError::Program {
                    command: "haproxy -c".to_owned(),
                    how,
                    output: output.trim().to_owned(),
                });
            }
        }
        std::fs::remove_file(&self.path).ok();
        Ok(None)
    }
}
