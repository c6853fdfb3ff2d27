//! Orders: loaded from a request, given to services, and answered.

use std::time::Duration;

use common::http::{Reply, Request};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::lifecycle::Settled;
use crate::overrides::{Metadata, Override};
use crate::reporter::ReporterState;
use crate::service::{Act, Command, Disabled, ServiceHandle};
use crate::state_store::StateStore;

use super::view::source_of;

/// What is ordered, once the request is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Disable { shutdown: bool },
    Leave,
    Enable { force: bool },
    Weight(Option<u8>),
}

/// An order and who gives it.
#[derive(Debug)]
pub(super) struct CommandRequest {
    pub(super) wanted: Wanted,
    note: Metadata,
}

/// The body of an order; every key may stand in the query instead.
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

/// How one service took an order.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) service: String,
    /// What is so now, in a sentence that begins with the service's name.
    pub(super) said: String,
    pub(super) status: u16,
    /// How long it took.
    pub(super) waited: Duration,
}

impl Body {
    /// The JSON of the request's body; an empty one says nothing.
    pub(super) fn read(request: &Request) -> Result<Self, Reply> {
        if request.body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(&request.body).map_err(|error| {
            let detail = format!(
                "the body is no JSON object of `reason`, `author`, `expires`, `shutdown`, `force` and `weight`: {error}"
            );
            Reply::problem(400, "Not an order", detail)
        })
    }

    /// What the query says as well.
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

    /// The order `act`, given at `now`. `weight` is the path's, where it has one.
    pub(super) fn order(self, act: &str, weight: Option<&str>, now: u64) -> Result<Option<CommandRequest>, Reply> {
        let wanted = match act {
            "disable" => Wanted::Disable {
                shutdown: self.shutdown.unwrap_or_default(),
            },
            "enable" => Wanted::Enable {
                force: self.force.unwrap_or_default(),
            },
            "weight" => Wanted::Weight(Some(self.weight(weight)?)),
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
        if wanted == (Wanted::Enable { force: false }) && expires.is_some() {
            let detail = "an enable leaves the service to its checks, which does not expire; leave `expires` out";
            return Err(Reply::problem(400, "Nothing to expire", detail));
        }
        let (reason, author) = (self.reason.unwrap_or_default(), self.author.unwrap_or_default());
        Ok(Some(CommandRequest {
            wanted,
            note: Metadata::new(&reason, &author, now, expires),
        }))
    }

    fn weight(&self, path: Option<&str>) -> Result<u8, Reply> {
        let text = match (path, self.weight) {
            (Some(text), _) => text.to_owned(),
            (None, Some(weight)) => weight.to_string(),
            (None, None) => String::new(),
        };
        text.parse().ok().filter(|weight| *weight > 0).ok_or_else(|| {
            let detail = format!("`{text}` is not within 1 to 255; to take a service away, disable it");
            Reply::problem(400, "Not a weight", detail)
        })
    }
}

impl CommandRequest {
    /// The configured weight again.
    pub(super) fn configured_weight(now: u64) -> Self {
        Self {
            wanted: Wanted::Weight(None),
            note: Metadata::new("", "", now, None),
        }
    }

    /// What a hook says.
    pub(super) fn leave(now: u64) -> Self {
        Self {
            wanted: Wanted::Leave,
            note: Metadata::new("about to be stopped", "pre-stop hook", now, None),
        }
    }

    /// Gives the order to all services first, then waits for each, and for the disk.
    pub(super) async fn carry_out(self, services: &[&ServiceHandle], state_store: &StateStore) -> Vec<Outcome> {
        self.give(services).await.settled(state_store).await
    }

    /// Gives the order to all services; it is in force when this returns.
    pub(super) async fn give<'s>(self, services: &[&'s ServiceHandle]) -> InFlight<'s> {
        let started = Instant::now();
        let mut given = Vec::new();
        for service in services {
            let (taken, answer) = oneshot::channel();
            let (act, done) = self.wanted.act();
            let note = self.note.clone();
            service.order(Command { act, note, taken }).await;
            given.push((service, answer, done));
        }
        let mut taken = Vec::new();
        for (service, answer, done) in given {
            taken.push(Accepted {
                service,
                kept_by: answer.await.ok(),
                done,
            });
        }
        InFlight {
            wanted: self.wanted,
            started,
            taken,
        }
    }
}

/// An order that every service has taken, or can't take any more.
#[derive(Debug)]
pub(super) struct InFlight<'s> {
    wanted: Wanted,
    started: Instant,
    taken: Vec<Accepted<'s>>,
}

/// How one service took an order.
#[derive(Debug)]
struct Accepted<'s> {
    service: &'s ServiceHandle,
    /// What keeps it away all the same; `None`: it takes no commands any more.
    kept_by: Option<Vec<Override>>,
    /// CommandRequest when it may be stopped, where that was ordered.
    done: Option<oneshot::Receiver<Disabled>>,
}

impl InFlight<'_> {
    /// Waits until the order is carried out and, where it is to last, on disk.
    pub(super) async fn settled(self, state_store: &StateStore) -> Vec<Outcome> {
        let Self { wanted, started, taken } = self;
        // A hook's word is not meant to last.
        let lasting = state_store.is_persistent() && wanted != Wanted::Leave;
        let forgettable = lasting && !state_store.is_written().await;
        let mut outcomes = Vec::new();
        for Accepted { service, kept_by, done } in taken {
            let (status, mut said) = match (kept_by, done) {
                (None, _) => (503, "takes no commands: nerve is stopping".to_owned()),
                (Some(kept_by), None) => (200, wanted.said(&kept_by)),
                (Some(_), Some(done)) => disabled(service, done, started).await,
            };
            if forgettable && status == 200 {
                said.push_str("; this is not on disk yet: a restart of nerve would not know of it");
            }
            let name = &service.config.name;
            outcomes.push(Outcome {
                service: name.clone(),
                said: format!("{name} {said}"),
                status,
                waited: started.elapsed(),
            });
        }
        outcomes
    }
}

impl Wanted {
    fn act(self) -> (Act, Option<oneshot::Receiver<Disabled>>) {
        match self {
            Self::Disable { shutdown } => {
                let (done, disabled) = oneshot::channel();
                (Act::Disable { shutdown, done }, Some(disabled))
            }
            Self::Leave => {
                let (done, disabled) = oneshot::channel();
                (Act::Leave { done }, Some(disabled))
            }
            Self::Enable { force: false } => (Act::Enable, None),
            Self::Enable { force: true } => (Act::Force, None),
            Self::Weight(weight) => (Act::Weight(weight), None),
        }
    }

    fn said(self, kept_by: &[Override]) -> String {
        match (self, kept_by.first()) {
            (Self::Weight(Some(weight)), _) => format!("is told weight {weight}"),
            (Self::Weight(None), _) => "is told its configured weight".to_owned(),
            (Self::Enable { .. }, Some(entry)) => {
                format!("is enabled, but stays away: {} says down", source_of(&entry.source))
            }
            (Self::Enable { .. } | Self::Disable { .. } | Self::Leave, _) => "is enabled".to_owned(),
        }
    }
}

/// Waits until it is safe to stop the service; what was waited for.
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
    // Whoever can't be told that the service is away still sends requests.
    let deadline = started + service.config.lifecycle.disable.max;
    for reporter in &service.reporters {
        let mut state = reporter.state.clone();
        let told = |state: &ReporterState| match state {
            ReporterState::Pending(_) | ReporterState::Withdrawing(_) => false,
            ReporterState::Idle | ReporterState::Reported | ReporterState::Withdrawn => true,
        };
        if timeout_at(deadline, state.wait_for(told)).await.is_err() {
            let (kind, target, detail) = (reporter.kind, &reporter.target, state.borrow().detail().to_owned());
            return (200, format!("{what}, but {kind} {target} can't be told: {detail}"));
        }
    }
    (200, what.to_owned())
}
