//! Runtime commands: typed in, text out, and HAProxy's answer understood. Pure.
//!
//! Every word of a command is a name we made, a parsed address or a number, so that no text from outside reaches the
//! socket. On success HAProxy answers `state` and `weight` with nothing and `addr` with what it changed; everything
//! else is a refusal, whatever its severity prefix (failures of `addr` bear that of a success).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// A server in HAProxy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) backend: Arc<str>,
    pub(super) server: Arc<str>,
}

/// What is asked of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// No new traffic and no checks; what is in flight goes on.
    Maint,
    Ready,
    /// Only ever asked while the server is in maintenance.
    Addr(SocketAddr),
    Weight(u16),
}

/// One line for the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) target: Target,
    pub(super) act: Act,
}

/// HAProxy said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This `balance` takes weights from the file only.
    StaticBalance,
    /// Anything else, in HAProxy's words.
    Other(String),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { backend, server } = &self.target;
        write!(f, "set server {backend}/{server} ")?;
        match self.act {
            Act::Maint => f.write_str("state maint"),
            Act::Ready => f.write_str("state ready"),
            Act::Addr(address) => write!(f, "addr {} port {}", address.ip(), address.port()),
            Act::Weight(weight) => write!(f, "weight {weight}"),
        }
    }
}

impl Command {
    /// What HAProxy's answer means.
    pub(super) fn understand(&self, reply: &str) -> Result<(), Refusal> {
        let reply = reply.trim();
        let accepted = match self.act {
            Act::Maint | Act::Ready | Act::Weight(_) => reply.is_empty(),
            Act::Addr(_) => {
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
        } else {
            Err(Refusal::Other(reply.chars().take(200).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(act: Act) -> Command {
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
            command(Act::Addr(v6)).to_string(),
            "set server web_1/slot_3 addr 2001:db8::1 port 80"
        );
        assert_eq!(command(Act::Weight(0)).to_string(), "set server web_1/slot_3 weight 0");
        assert_eq!(command(Act::Maint).to_string(), "set server web_1/slot_3 state maint");
    }

    #[test]
    fn answers_of_haproxy_2_6_to_3_4() {
        let addr = command(Act::Addr("10.0.0.1:80".parse().unwrap()));
        for good in [
            "IP changed from '127.0.0.1' to '10.0.0.1', port changed from '1' to '80' by 'stats socket command'\n",
            "no need to change the addr, port changed from '1' to '80' by 'stats socket command'",
            "no need to change the addr, no need to change the port by 'stats socket command'",
            "nothing changed\n",
        ] {
            assert_eq!(addr.understand(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Invalid addr 'x'",
            "No such server.\n",
            "IP changed from 'a' to 'b', problem converting port 'abc' to an int",
        ] {
            assert!(addr.understand(bad).is_err(), "{bad}");
        }
        assert_eq!(command(Act::Ready).understand("\n"), Ok(()));
        assert_eq!(
            command(Act::Ready).understand("No such server.\n\n"),
            Err(Refusal::Other("No such server.".into()))
        );
        let fixed = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n";
        assert_eq!(command(Act::Weight(5)).understand(fixed), Err(Refusal::StaticBalance));
    }
}
