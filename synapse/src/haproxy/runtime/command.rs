//! Runtime commands: typed in, text out, and HAProxy's answer understood. Pure.
//!
//! Every word of a command is a name we made, a parsed address or a number, so that no text from outside reaches the
//! socket; options get there only word by word of a safe alphabet (see `dynamic`). On success HAProxy answers `state`,
//! `weight` and `enable` with nothing, `addr` with what it changed, `add` and `del` with what they did; everything else is
//! a refusal, whatever its severity prefix (failures of `addr` bear that of a success).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A server in HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) backend: Arc<str>,
    pub(crate) server: Arc<str>,
}

/// What is asked of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// No new traffic and no checks; what is in flight goes on.
    Maint,
    Ready,
    /// Only ever asked while the server is in maintenance.
    Addr(SocketAddr),
    Weight(u16),
    /// Makes it, in maintenance.
    Add(NewServer),
    /// Begins its checks: a server that was made while HAProxy runs is not checked unasked, and passes for healthy.
    EnableHealth,
    /// The same for its agent.
    EnableAgent,
    /// Deletes it. Only ever asked in maintenance.
    Del,
}

/// A server to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewServer {
    pub(crate) address: SocketAddr,
    pub(crate) id: u32,
    pub(crate) weight: u16,
    /// What a line in the file would inherit.
    pub(crate) inherited: Arc<str>,
    /// Its own: the slot's options.
    pub(crate) options: Arc<str>,
}

/// One line for the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) target: Target,
    pub(crate) act: Action,
}

/// HAProxy said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This `balance` takes weights from the file only.
    StaticBalance,
    /// The server still has connections.
    Busy,
    /// Anything else, in HAProxy's words.
    Other(String),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { backend, server } = &self.target;
        match &self.act {
            Action::Maint => write!(f, "set server {backend}/{server} state maint"),
            Action::Ready => write!(f, "set server {backend}/{server} state ready"),
            Action::Addr(address) => {
                let (ip, port) = (address.ip(), address.port());
                write!(f, "set server {backend}/{server} addr {ip} port {port}")
            }
            Action::Weight(weight) => write!(f, "set server {backend}/{server} weight {weight}"),
            Action::Add(new) => {
                write!(f, "add server {backend}/{server} {}", new.address)?;
                // In the file's order, for of two words on one thing the later counts.
                let place = format!("id {} weight {}", new.id, new.weight);
                let parts = [&*new.inherited, &place, &new.options];
                let mut said = parts.iter().filter(|part| !part.is_empty());
                said.try_for_each(|part| write!(f, " {part}"))
            }
            Action::EnableHealth => write!(f, "enable health {backend}/{server}"),
            Action::EnableAgent => write!(f, "enable agent {backend}/{server}"),
            Action::Del => write!(f, "del server {backend}/{server}"),
        }
    }
}

impl Command {
    /// What HAProxy's answer means.
    pub(crate) fn check_reply(&self, reply: &str) -> Result<(), Refusal> {
        let reply = reply.trim();
        let accepted = match &self.act {
            Action::Maint | Action::Ready | Action::Weight(_) | Action::EnableHealth | Action::EnableAgent => {
                reply.is_empty()
            }
            // Perhaps after words on something else.
            Action::Add(_) => reply.lines().any(|line| line == "New server registered."),
            // Gone is gone.
            Action::Del => reply
                .lines()
                .any(|line| matches!(line, "Server deleted." | "No such server.")),
            Action::Addr(_) => {
                [
                    "IP changed from",
                    "port changed from",
                    "no need to change",
                    "nothing changed",
                ]
                .iter()
                .any(|start| reply.starts_with(start))
                    && !reply.contains("problem")
            }
        };
        if accepted {
            Ok(())
        } else if reply.contains("static LB algorithm") {
            Err(Refusal::StaticBalance)
        } else if self.act == Action::Del && reply.contains("still has connections") {
            Err(Refusal::Busy)
        } else {
            Err(Refusal::Other(reply.chars().take(200).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(act: Action) -> Command {
        let target = Target {
            backend: "web_1".into(),
            server: "slot_3".into(),
        };
        Command { target, act }
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
    fn answers_about_servers_that_come_and_go() {
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
    fn answers_of_haproxy_2_6_to_3_4() {
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
