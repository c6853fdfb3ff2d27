//! `show stat`: what HAProxy counts of its servers. Pure; bytes never panic it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

/// What HAProxy counts, by backend and server.
pub(in super::super) type Statistics = HashMap<Arc<str>, HashMap<Arc<str>, ServerStatistics>>;

/// What HAProxy counts of one server, since its worker began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatistics {
    /// In HAProxy's words: `UP`, `UP 1/2`, `DOWN`, `MAINT`, `no check` …
    pub status: String,
    /// What the last check found, in HAProxy's words (`L4OK`, `L7STS` …); empty without checks.
    pub check: String,
    /// Seconds since the status changed.
    pub last_change_secs: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Requests that wait for it alone.
    pub queued: u64,
    /// Sessions in all.
    pub total_sessions: u64,
    /// Connections that failed.
    pub connection_errors: u64,
    /// Connections that broke, and answers that made no sense.
    pub response_errors: u64,
}

/// `show stat -1 4 -1`; a line that is not in the format is left out.
pub(in super::super) fn statistics(text: &str) -> Statistics {
    let mut found = Statistics::new();
    let mut lines = text.lines();
    let Some(head) = lines.next().and_then(|line| line.strip_prefix("# ")) else {
        return found;
    };
    // All of it stands before the free text of the last check, in which there may be commas.
    let columns: HashMap<&str, usize> = head.split(',').enumerate().map(|(index, name)| (name, index)).collect();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name| fields.get(*columns.get(name)?).copied();
        let number = |name| field(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (Some(backend), Some(server), Some(status)) = (field("pxname"), field("svname"), field("status")) else {
            continue;
        };
        let check = field("check_status").unwrap_or_default();
        let counted = ServerStatistics {
            status: status.to_owned(),
            check: check.trim_start_matches("* ").to_owned(),
            last_change_secs: number("lastchg"),
            sessions: number("scur"),
            queued: number("qcur"),
            total_sessions: number("stot"),
            connection_errors: number("econ"),
            response_errors: number("eresp"),
        };
        found.entry(backend.into()).or_default().insert(server.into(), counted);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_columns_are_found_by_their_names() {
        let text = "# pxname,svname,qcur,scur,stot,econ,eresp,status,lastchg,check_status,last_chk,\n\
                    web_1,slot_2,1,2,3,4,5,UP 1/2,6,* L4CON,\"refused, twice\",\n\
                    web_1,slot_3,0,0,0,,,no check,7,,,\n\
                    web_1\n";
        let found = statistics(text);
        let web = &found["web_1"];
        assert_eq!(
            web["slot_2"],
            ServerStatistics {
                status: "UP 1/2".into(),
                check: "L4CON".into(),
                last_change_secs: 6,
                sessions: 2,
                queued: 1,
                total_sessions: 3,
                connection_errors: 4,
                response_errors: 5,
            }
        );
        assert_eq!((web.len(), web["slot_3"].status.as_str()), (2, "no check"));
        assert!(statistics("Unknown command\n").is_empty());
    }

    proptest! {
        #[test]
        fn nothing_panics_it(text in "(# pxname,svname,status\n)?.{0,200}") {
            statistics(&text);
        }
    }
}
