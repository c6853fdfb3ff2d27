//! The failures of one call, by the caller's reaction.
//!
//! A lost connection has many faces in the client: `ConnectionLoss`, an I/O error or "no response" wrapped in `Custom`,
//! an unreadable reply. They all mean the same: it is unknown whether the request took effect.

use zookeeper_client::Error as ClientError;

/// A call's failure, by the caller's reaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection was lost or the reply timed out: the request may have taken effect. Observe, then retry.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// There is no connection now; nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// This session is over; wait for the next.
    #[error("the session is over: {0}")]
    SessionLost(String),
    /// ZooKeeper's answer.
    #[error("{}", described(.0))]
    Answer(ClientError),
}

/// Describes an answer with advice for the operator.
fn described(answer: &ClientError) -> String {
    let advice = match answer {
        ClientError::NoAuth => {
            ": an ACL does not allow it; check `auth`, and the node and its parents with `zkCli getAcl`"
        }
        ClientError::InvalidAcl => {
            ": it names an identity that this session does not have, or a scheme that the server does not know; check \
             `acl` and `auth`"
        }
        _ => "",
    };
    format!("{answer}{advice}")
}

/// Classifies a client error. Anything that is not certainly an answer is an unknown outcome, which is always safe to assume.
pub(super) fn classify(error: ClientError) -> CallError {
    use ClientError as E;
    match error {
        E::SessionExpired | E::ClientClosed | E::AuthFailed => CallError::SessionLost(error.to_string()),
        E::NoNode
        | E::NodeExists
        | E::BadVersion
        | E::NotEmpty
        | E::NoAuth
        | E::InvalidAcl
        | E::NoChildrenForEphemerals
        | E::BadArguments(_)
        | E::QuotaExceeded
        | E::Unimplemented
        | E::NotReadOnly
        | E::MarshallingError
        | E::NoWatcher => CallError::Answer(error),
        // `SessionMoved` belongs here: the request was refused by a server that we have left or are about to leave.
        other => CallError::Unknown(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_an_unknown_outcome() {
        for lost in [
            ClientError::ConnectionLoss,
            ClientError::Timeout,
            ClientError::Throttled,
            ClientError::SessionMoved,
            ClientError::UnexpectedError("xid".to_owned()),
        ] {
            assert!(matches!(classify(lost), CallError::Unknown(_)));
        }
    }

    #[test]
    fn an_answer_stays_what_it_is() {
        assert_eq!(classify(ClientError::NoNode), CallError::Answer(ClientError::NoNode));
    }

    #[test]
    fn a_dead_client_is_a_lost_session() {
        assert!(matches!(
            classify(ClientError::SessionExpired),
            CallError::SessionLost(_)
        ));
    }
}
