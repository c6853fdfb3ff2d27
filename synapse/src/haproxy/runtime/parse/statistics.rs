//! `show stat`: HAProxy's counters of its servers. Pure; no bytes panic it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::columns::Columns;
use crate::haproxy::runtime::interner::Interner;
use crate::name::{BackendName, ServerName};

/// Counters by backend and server, without servers that have never had an instance.
pub(crate) type Statistics = HashMap<BackendName, HashMap<ServerName, Arc<ServerStatistics>>>;

/// The status of a slot without an instance.
const MAINT: &str = "MAINT";

/// HAProxy's counters of one server since its worker started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatistics {
    /// HAProxy's status: `UP`, `UP 1/2`, `DOWN`, `MAINT`, `no check` …
    pub status: Arc<str>,
    /// Result of the last check (`L4OK`, `L7STS` …); empty without checks.
    pub check: Arc<str>,
    /// Seconds since the status changed.
    pub last_change_secs: u64,
    /// Current sessions.
    pub sessions: u64,
    /// Requests that wait for it alone.
    pub queued: u64,
    /// Sessions in all.
    pub total_sessions: u64,
    /// Connections that failed.
    pub connection_errors: u64,
    /// Connections that broke, and invalid responses.
    pub response_errors: u64,
}

/// Reads `show stat -1 4 -1` line by line; a line that is not in the format is skipped.
#[derive(Debug, Default)]
pub(crate) struct StatisticsReader {
    /// `None` before the first line. All columns in use come before the free text of the last check, which may have commas.
    columns: Option<Columns>,
    interner: Interner,
    found: Statistics,
}

impl StatisticsReader {
    /// Takes the next line.
    pub(crate) fn line(&mut self, line: &str) {
        let Some(columns) = &self.columns else {
            self.columns = Some(Columns::new(line.strip_prefix("# ").unwrap_or_default().split(',')));
            return;
        };
        let row = columns.row(line.split(','));
        let number = |name| row.parse(name).unwrap_or(0);
        let (Some(backend), Some(server), Some(status)) = (row.get("pxname"), row.get("svname"), row.get("status"))
        else {
            return;
        };
        let total_sessions = number("stot");
        if status == MAINT && total_sessions == 0 {
            return;
        }
        let check = row.get("check_status").unwrap_or_default();
        let counters = ServerStatistics {
            status: self.interner.intern(status),
            check: self.interner.intern(check.trim_start_matches("* ")),
            last_change_secs: number("lastchg"),
            sessions: number("scur"),
            queued: number("qcur"),
            total_sessions,
            connection_errors: number("econ"),
            response_errors: number("eresp"),
        };
        let backend = self.found.entry(self.interner.intern(backend).into()).or_default();
        backend.insert(self.interner.intern(server).into(), Arc::new(counters));
    }

    /// Returns all counters.
    pub(crate) fn finish(self) -> Statistics {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::haproxy::fuzz::statistics;

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "# pxname,svname,qcur,scur,stot,econ,eresp,status,lastchg,check_status,last_chk,\n\
                    web_1,slot_2,1,2,3,4,5,UP 1/2,6,* L4CON,\"refused, twice\",\n\
                    web_1,slot_3,0,0,0,,,no check,7,,,\n\
                    web_1,slot_4,0,0,0,0,0,MAINT,7,,,\n\
                    web_1\n";
        let found = statistics(text);
        let web = &found["web_1"];
        assert_eq!(
            *web["slot_2"],
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
        assert_eq!(
            (web.len(), &*web["slot_3"].status),
            (2, "no check"),
            "slot_4 has never had an instance"
        );
        assert!(statistics("Unknown command\n").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(# pxname,svname,status\n)?.{0,200}") {
            statistics(&text);
        }
    }
}
