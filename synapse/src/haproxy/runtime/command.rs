//! Runtime commands, from type to text, and the meaning of HAProxy's reply. Pure.
//!
//! Every part of a command is a name that synapse made, a parsed address or a number, so that no text from outside reaches
//! the socket; options get there only word by word, in a safe alphabet (see `dynamic`). On success HAProxy replies to
//! `state`, `weight` and `enable` with nothing, to `addr` with what it changed, to `add` and `del` with what they did. All
//! else is a refusal, independent of its severity prefix (failures of `addr` carry that of a success).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::name::{BackendName, ServerName};

/// A server in HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) backend: BackendName,
    pub(crate) server: ServerName,
}

/// A change of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// No new traffic and no checks; requests in flight go on.
    Maint,
    Ready,
    /// Only sent while the server is in maintenance.
    Addr(SocketAddr),
    Weight(u16),
    /// Adds the server, in maintenance.
    Add(NewServer),
    /// Starts its checks: HAProxy does not check a server that was added at runtime, and takes it for healthy.
    EnableHealth,
    /// Starts its agent check.
    EnableAgent,
    /// Deletes the server. Only sent while it is in maintenance.
    Del,
}

/// A server to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewServer {
    pub(crate) address: SocketAddr,
    pub(crate) id: u32,
    pub(crate) weight: u16,
    /// The options that a line in the file would inherit.
    pub(crate) inherited: Arc<str>,
    /// Its own options.
    pub(crate) options: Arc<str>,
}

/// One line for the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) target: Target,
    pub(crate) action: Action,
}

/// Why HAProxy did not carry out a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This `balance` takes weights from the file only.
    StaticBalance,
    /// The server still has connections.
    Busy,
    /// Any other reply.
    Other(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.backend, self.server)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        match &self.action {
            Action::Maint => write!(f, "set server {target} state maint"),
            Action::Ready => write!(f, "set server {target} state ready"),
            Action::Addr(address) => {
                write!(f, "set server {target} addr {} port {}", address.ip(), address.port())
            }
            Action::Weight(weight) => write!(f, "set server {target} weight {weight}"),
            Action::Add(new) => {
                write!(f, "add server {target} {}", new.address)?;
                // In the order of a line in the file, because the last of two equal keywords counts.
                let numbers = format!("id {} weight {}", new.id, new.weight);
                let mut parts = [&*new.inherited, &numbers, &new.options].into_iter();
                parts.try_for_each(|part| if part.is_empty() { Ok(()) } else { write!(f, " {part}") })
            }
            Action::EnableHealth => write!(f, "enable health {target}"),
            Action::EnableAgent => write!(f, "enable agent {target}"),
            Action::Del => write!(f, "del server {target}"),
        }
    }
}

impl Command {
    /// Returns what HAProxy's reply means.
    pub(crate) fn check_reply(&self, reply: &str) -> Result<(), Refusal> {
        let reply = reply.trim();
        let accepted = match &self.action {
            Action::Maint | Action::Ready | Action::Weight(_) | Action::EnableHealth | Action::EnableAgent => {
                reply.is_empty()
            }
            // Other notices may come first.
            Action::Add(_) => reply.lines().any(|line| line == "New server registered."),
            Action::Del => reply
                .lines()
                .any(|line| matches!(line, "Server deleted." | "No such server.")),
            Action::Addr(_) => {
                let starts = [
                    "IP changed from",
                    "port changed from",
                    "no need to change",
                    "nothing changed",
                ];
                starts.iter().any(|start| reply.starts_with(start)) && !reply.contains("problem")
            }
        };
        if accepted {
            Ok(())
        } else if reply.contains("static LB algorithm") {
            Err(Refusal::StaticBalance)
        } else if self.action == Action::Del && reply.contains("still has connections") {
            Err(Refusal::Busy)
        } else {
            Err(Refusal::Other(reply.chars().take(200).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(action: Action) -> Command {
        let target = Target {
            backend: "web_1".into(),
            server: "slot_3".into(),
        };
        Command { target, action }
    }

    #[test]
    fn a_command_is_one_line() {
        let v6 = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(
            command(Action::Addr(v6)).to_string(),
            "set server web_1/slot_3 addr 2001:db8::1 port 80"
        );
        assert_eq!(
            command(Action::Weight(0)).to_string(),
            "set server web_1/slot_3 weight 0"
        );
        assert_eq!(
            command(Action::Maint).to_string(),
            "set server web_1/slot_3 state maint"
        );
        let new = |inherited: &str, options: &str| {
            command(Action::Add(NewServer {
                address: v6,
                id: 7,
                weight: 5,
                inherited: inherited.into(),
                options: options.into(),
            }))
        };
        assert_eq!(
            new("inter 2s", "check").to_string(),
            "add server web_1/slot_3 [2001:db8::1]:80 inter 2s id 7 weight 5 check"
        );
        assert_eq!(
            new("", "").to_string(),
            "add server web_1/slot_3 [2001:db8::1]:80 id 7 weight 5"
        );
        assert_eq!(command(Action::EnableHealth).to_string(), "enable health web_1/slot_3");
        assert_eq!(command(Action::Del).to_string(), "del server web_1/slot_3");
    }

    #[test]
    fn replies_to_add_and_del() {
        let add = command(Action::Add(NewServer {
            address: "10.0.0.1:80".parse().unwrap(),
            id: 7,
            weight: 5,
            inherited: "".into(),
            options: "".into(),
        }));
        assert_eq!(add.check_reply("[NOTICE] something\nNew server registered.\n"), Ok(()));
        for bad in [
            "",
            "Already exists a server with the same name in backend.\n",
            "Backend must use a dynamic load balancing to support dynamic servers.\n",
            "'id' : custom id 7 already used at (null):0 ('server b').\n",
        ] {
            assert!(matches!(add.check_reply(bad), Err(Refusal::Other(_))), "{bad}");
        }
        let del = command(Action::Del);
        assert_eq!(del.check_reply("Server deleted.\n"), Ok(()));
        assert_eq!(del.check_reply("No such server.\n"), Ok(()));
        let busy = "Server still has connections attached to it, cannot remove it.\n";
        assert_eq!(del.check_reply(busy), Err(Refusal::Busy));
        assert!(matches!(
            del.check_reply(
                "This server cannot be removed at runtime due to other configuration elements pointing to it.\n"
            ),
            Err(Refusal::Other(_))
        ));
        assert!(command(Action::EnableHealth).check_reply("No such server.\n").is_err());
    }

    #[test]
    fn replies_of_haproxy_2_6_to_3_4() {
        let addr = command(Action::Addr("10.0.0.1:80".parse().unwrap()));
        for good in [
            "IP changed from '127.0.0.1' to '10.0.0.1', port changed from '1' to '80' by 'stats socket command'\n",
            "no need to change the addr, port changed from '1' to '80' by 'stats socket command'",
            "no need to change the addr, no need to change the port by 'stats socket command'",
            "nothing changed\n",
        ] {
            assert_eq!(addr.check_reply(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Invalid addr 'x'",
            "No such server.\n",
            "IP changed from 'a' to 'b', problem converting port 'abc' to an int",
        ] {
            assert!(addr.check_reply(bad).is_err(), "{bad}");
        }
        assert_eq!(command(Action::Ready).check_reply("\n"), Ok(()));
        assert_eq!(
            command(Action::Ready).check_reply("No such server.\n\n"),
            Err(Refusal::Other("No such server.".into()))
        );
        let fixed = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n";
        assert_eq!(
            command(Action::Weight(5)).check_reply(fixed),
            Err(Refusal::StaticBalance)
        );
    }
}
