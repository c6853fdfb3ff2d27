//! The keys of `tcp`.

use common::config::Section;

use crate::config::CheckKind;

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpConfig {
    /// How far it goes.
    pub mode: TcpMode,
}

/// How far a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpMode {
    /// The handshake is reset before it is finished; the listening program never accepts it.
    HalfOpen,
    /// A whole connection.
    Connect {
        /// Sent first.
        send: Option<String>,
        /// A text that must be in the answer; never empty.
        expect: Option<String>,
    },
}

pub(super) fn read(section: &mut Section<'_>, _host: Option<&str>, _port: u16) -> Option<CheckKind> {
    let send = section.text("send").filter(|text| !text.is_empty());
    let expect = section.text("expect").filter(|text| !text.is_empty());
    let talks = send.is_some() || expect.is_some();
    let half_open = section.choice_or("mode", "half_open", &[("half_open", true), ("connect", false)])?;
    if half_open && talks && section.has("mode") {
        section.problem("mode", "is `half_open`, which can neither send nor expect", "`connect`");
    }
    let mode = if half_open && !talks {
        TcpMode::HalfOpen
    } else {
        TcpMode::Connect { send, expect }
    };
    Some(CheckKind::Tcp(TcpConfig { mode }))
}
