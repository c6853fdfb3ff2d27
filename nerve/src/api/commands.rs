//! Commands: parsed from a request, sent to services, and answered.

use std::time::Duration;

use common::http::{Reply, Request};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::delivery::ReporterState;
use crate::lifecycle::Settled;
use crate::overrides::{Action, Metadata, Override};
use crate::service::{Disabled, ServiceHandle};
use crate::state_store::StateStore;

use super::view::source_of;

/// An operator's command.
#[derive(Debug)]
pub(super) struct CommandRequest {
    action: Action,
    metadata: Metadata,
}

/// The body of a command; the query may hold each of its keys instead.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    reason: Option<String>,
    author: Option<String>,
    expires: Option<String>,
    shutdown: Option<bool>,
    force: Option<bool>,
    weight: Option<u64>,
}

/// The outcome of a command for one service.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) service: String,
    /// The result, in a sentence that begins with the service's name.
    pub(super) text: String,
    pub(super) status: u16,
    /// The duration of the command.
    pub(super) waited: Duration,
}

impl Body {
    /// Parses the request's body as JSON; an empty one has no key.
    pub(super) fn read(request: &Request) -> Result<Self, Reply> {
        if request.body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(&request.body).map_err(|error| {
            let detail = format!(
                "the body is no JSON object of `reason`, `author`, `expires`, `shutdown`, `force` and `weight`: {error}"
            );
            Reply::problem(400, "Not a command", detail)
        })
    }

    /// Adds the keys of the query; those of the body take precedence.
    pub(super) fn and_query(mut self, request: &Request) -> Self {
        let text = |key: &str| request.query.get(key).cloned();
        self.reason = self.reason.or_else(|| text("reason"));
        self.author = self.author.or_else(|| text("author"));
        self.expires = self.expires.or_else(|| text("expires"));
        self.shutdown = self
            .shutdown
            .or_else(|| text("shutdown").map(|_| request.flag("shutdown")));
        self.force = self.force.or_else(|| text("force").map(|_| request.flag("force")));
        self
    }

    /// Returns the command `name`, sent at `now`; `None` when there is no such. `weight` is the path's, if any.
    pub(super) fn command(self, name: &str, weight: Option<&str>, now: u64) -> Result<Option<CommandRequest>, Reply> {
        let action = match name {
            "disable" => Action::Disable {
                shutdown: self.shutdown.unwrap_or_default(),
            },
            "enable" if self.force == Some(true) => Action::Force,
            "enable" => Action::Enable,
            "weight" => Action::Weight(Some(self.weight(weight)?)),
            _ => return Ok(None),
        };
        let expires = self.expires.as_deref().filter(|text| !text.is_empty());
        let expires = match expires.map(common::config::duration).transpose() {
            Ok(expires) => expires.map(|span| now.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))),
            Err(what) => {
                let detail = format!("`expires` {what}; write for example `30m` or `1h 30m`");
                return Err(Reply::problem(400, "Not a duration", detail));
            }
        };
        if action == Action::Enable && expires.is_some() {
            let detail = "an enable leaves the service to its checks, which does not expire; leave `expires` out";
            return Err(Reply::problem(400, "Nothing to expire", detail));
        }
        let (reason, author) = (self.reason.unwrap_or_default(), self.author.unwrap_or_default());
        Ok(Some(CommandRequest {
            action,
            metadata: Metadata::new(&reason, &author, now, expires),
        }))
    }

    fn weight(&self, path: Option<&str>) -> Result<u8, Reply> {
        let body = self.weight.map(|weight| weight.to_string()).unwrap_or_default();
        let text = path.unwrap_or(&body);
        text.parse().ok().filter(|weight| *weight > 0).ok_or_else(|| {
            let detail = format!("`{text}` is not within 1 to 255; to withdraw a service, disable it");
            Reply::problem(400, "Not a weight", detail)
        })
    }
}

impl CommandRequest {
    /// Returns the command that restores the configured weight.
    pub(super) fn configured_weight(now: u64) -> Self {
        Self {
            action: Action::Weight(None),
            metadata: Metadata::new("", "", now, None),
        }
    }

    /// Returns the command of the pre-stop hook.
    pub(super) fn leave(now: u64) -> Self {
        Self {
            action: Action::Leave,
            metadata: Metadata::new("about to be stopped", "pre-stop hook", now, None),
        }
    }

    /// Sends the command to all services; it is in force when this returns.
    pub(super) async fn send<'s>(self, services: &[&'s ServiceHandle]) -> InFlight<'s> {
        let started = Instant::now();
        let mut sent = Vec::new();
        for service in services {
            sent.push((*service, service.command(self.action, self.metadata.clone()).await));
        }
        let mut accepted = Vec::new();
        for (service, (answer, disabled)) in sent {
            accepted.push((service, answer.await.ok(), disabled));
        }
        InFlight {
            action: self.action,
            started,
            accepted,
        }
    }

    /// Sends the command to all services, then waits for each, and for the disk.
    pub(super) async fn carry_out(self, services: &[&ServiceHandle], state_store: &StateStore) -> Vec<Outcome> {
        self.send(services).await.settled(state_store).await
    }
}

/// A service, the overrides that keep it down (`None` when it accepts no commands any more), and the end of its disable
/// sequence.
type Accepted<'s> = (&'s ServiceHandle, Option<Vec<Override>>, oneshot::Receiver<Disabled>);

/// A command that every service has accepted, or can't accept any more.
#[derive(Debug)]
pub(super) struct InFlight<'s> {
    action: Action,
    started: Instant,
    accepted: Vec<Accepted<'s>>,
}

impl InFlight<'_> {
    /// Waits until the command is carried out and, where it persists, on disk.
    pub(super) async fn settled(self, state_store: &StateStore) -> Vec<Outcome> {
        let (action, started) = (self.action, self.started);
        let persists = state_store.is_persistent() && action != Action::Leave;
        let is_lost_by_restart = persists && !state_store.is_written().await;
        let mut outcomes = Vec::new();
        for (service, down, is_disabled) in self.accepted {
            let (status, mut text) = match down {
                None => (503, "takes no commands: nerve is stopping".to_owned()),
                Some(_) if action.withdraws() => disabled(service, is_disabled, started).await,
                Some(down) => (200, describe(action, &down)),
            };
            if is_lost_by_restart && status == 200 {
                text.push_str("; this is not on disk yet: a restart of nerve would lose it");
            }
            let name = &service.config.name;
            outcomes.push(Outcome {
                service: name.clone(),
                text: format!("{name} {text}"),
                status,
                waited: started.elapsed(),
            });
        }
        outcomes
    }
}

/// Describes the result of an action that withdraws nothing.
fn describe(action: Action, down: &[Override]) -> String {
    match (action, down.first()) {
        (Action::Weight(Some(weight)), _) => format!("has weight {weight}"),
        (Action::Weight(None), _) => "has its configured weight".to_owned(),
        (_, Some(entry)) => format!("is enabled, but stays down because of {}", source_of(&entry.source)),
        (_, None) => "is enabled".to_owned(),
    }
}

/// Waits until it is safe to stop the service; returns the status and the result.
async fn disabled(service: &ServiceHandle, done: oneshot::Receiver<Disabled>, started: Instant) -> (u16, String) {
    let what = match done.await {
        Ok(Disabled::Settled(Settled::Minimum)) => "is disabled: the minimum duration is over",
        Ok(Disabled::Settled(Settled::GracefullyDone)) => "is disabled: it is gracefully done",
        Ok(Disabled::Settled(Settled::Maximum)) => {
            "is disabled: the maximum duration is over, it was not gracefully done"
        }
        Ok(Disabled::Cancelled) => return (409, "was enabled again meanwhile".to_owned()),
        Err(_) => return (503, "can't be disabled any more: nerve is stopping".to_owned()),
    };
    // A client that does not see the withdrawal still sends requests.
    let deadline = started + service.config.lifecycle.disable.max;
    for reporter in &service.reporters {
        let mut state = reporter.state.clone();
        let is_delivered = |state: &ReporterState| match state {
            ReporterState::Pending(_) | ReporterState::Withdrawing(_) => false,
            ReporterState::Idle | ReporterState::Reported | ReporterState::Withdrawn => true,
        };
        if timeout_at(deadline, state.wait_for(is_delivered)).await.is_err() {
            let (kind, target, detail) = (
                reporter.kind.as_str(),
                &reporter.target,
                state.borrow().detail().to_owned(),
            );
            return (200, format!("{what}, but {kind} {target} is not up to date: {detail}"));
        }
    }
    (200, what.to_owned())
}
