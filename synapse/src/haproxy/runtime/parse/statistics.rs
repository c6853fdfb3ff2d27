//! `show stat`: what HAProxy counts of its servers. Pure; bytes never panic it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::haproxy::runtime::interner::Interner;

/// What HAProxy counts, by backend and server; of one that nobody ever sat in there is nothing to tell.
pub(crate) type Statistics = HashMap<Arc<str>, HashMap<Arc<str>, Arc<ServerStatistics>>>;

/// The status of a slot that nobody sits in.
const SPARE: &str = "MAINT";

/// What HAProxy counts of one server, since its worker began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatistics {
    /// In HAProxy's words: `UP`, `UP 1/2`, `DOWN`, `MAINT`, `no check` …
    pub status: Arc<str>,
    /// What the last check found, in HAProxy's words (`L4OK`, `L7STS` …); empty without checks.
    pub check: Arc<str>,
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

/// Reads `show stat -1 4 -1` line by line; a line that is not in the format is left out.
#[derive(Debug, Default)]
pub(crate) struct StatisticsReader {
    /// By name, where a column is; `None` before the first line. All of it stands before the free text of the last
    /// check, in which there may be commas.
    columns: Option<HashMap<Box<str>, usize>>,
    words: Interner,
    found: Statistics,
}

impl StatisticsReader {
    /// Takes the next line.
    pub(crate) fn line(&mut self, line: &str) {
        let Some(columns) = &self.columns else {
            let names = line.strip_prefix("# ").unwrap_or_default().split(',').enumerate();
            self.columns = Some(names.map(|(index, name)| (name.into(), index)).collect());
            return;
        };
        let fields: Vec<&str> = line.split(',').collect();
        let field = |name| fields.get(*columns.get(name)?).copied();
        let number = |name| field(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (Some(backend), Some(server), Some(status)) = (field("pxname"), field("svname"), field("status")) else {
            return;
        };
        let total_sessions = number("stot");
        if status == SPARE && total_sessions == 0 {
            return;
        }
        let check = field("check_status").unwrap_or_default();
        let counted = ServerStatistics {
            status: self.words.intern(status),
            check: self.words.intern(check.trim_start_matches("* ")),
            last_change_secs: number("lastchg"),
            sessions: number("scur"),
            queued: number("qcur"),
            total_sessions,
            connection_errors: number("econ"),
            response_errors: number("eresp"),
        };
        let backend = self.found.entry(self.words.intern(backend)).or_default();
        backend.insert(self.words.intern(server), Arc::new(counted));
    }

    /// All of it.
    pub(crate) fn finish(self) -> Statistics {
        self.found
    }
}

/// The whole reply.
#[cfg(any(test, fuzzing))]
pub(crate) fn statistics(text: &str) -> Statistics {
    let mut read = StatisticsReader::default();
    text.lines().for_each(|line| read.line(line));
    read.finish()
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
            "slot_4 was nobody's yet"
        );
        assert!(statistics("Unknown command\n").is_empty());
    }

    proptest! {
        #[test]
        fn nothing_panics_it(text in "(# pxname,svname,status\n)?.{0,200}") {
            statistics(&text);
        }
    }
}
