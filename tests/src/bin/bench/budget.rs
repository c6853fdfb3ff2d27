//! What a scenario may cost. Pure.

use std::collections::BTreeMap;

use crate::load::Second;

/// A span in which a client's own HAProxy is away, so that its requests may fail. In milliseconds of the Unix era.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) client: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What a scenario did cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) requests: u64,
    pub(crate) failed: usize,
    /// In milliseconds; `None` when nothing was answered.
    pub(crate) p99: Option<u64>,
    /// From the first to the last failure within an outage, the longest of all, in milliseconds.
    pub(crate) outage: u64,
    /// What is beyond the budget.
    pub(crate) problems: Vec<String>,
}

/// Adds up the clients' reports, against the outages that were to be expected.
pub(crate) fn cost(clients: &BTreeMap<&'static str, Vec<Second>>, outages: &[Outage]) -> Cost {
    let mut cost = Cost::default();
    let mut took = BTreeMap::<u64, u64>::new();
    for (client, seconds) in clients {
        let requests: u64 = seconds.iter().map(|second| second.requests).sum();
        if requests == 0 {
            cost.problems.push(format!("{client} sent nothing"));
        }
        cost.requests += requests;
        for (millis, count) in seconds.iter().flat_map(|second| &second.took) {
            *took.entry(*millis).or_default() += count;
        }
        let failed: Vec<u64> = seconds
            .iter()
            .flat_map(|second| second.failed.iter().copied())
            .collect();
        cost.failed += failed.len();
        let within = |outage: &&Outage, at: u64| outage.client == *client && (outage.from..=outage.to).contains(&at);
        let lost = failed
            .iter()
            .filter(|at| !outages.iter().any(|outage| within(&outage, **at)))
            .count();
        if lost > 0 {
            let first = seconds.iter().flat_map(|second| &second.failures).next();
            let first = first.map_or_else(String::new, |first| format!(", the first {first}"));
            cost.problems.push(format!("{client} lost {lost} requests{first}"));
        }
        for outage in outages {
            let mut inside = failed.iter().copied().filter(|at| within(&outage, *at));
            let end = inside.clone().max().unwrap_or(0);
            let begin = inside.next().unwrap_or(0);
            cost.outage = cost.outage.max(end - begin.min(end));
        }
    }
    cost.p99 = percentile(&took, 99);
    cost
}

/// The least value that `percent` of all are not above.
fn percentile(counts: &BTreeMap<u64, u64>, percent: u64) -> Option<u64> {
    let all: u64 = counts.values().sum();
    let mut seen = 0;
    counts.iter().find_map(|(value, count)| {
        seen += count;
        (seen * 100 >= all * percent).then_some(*value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(failed: &[u64]) -> Vec<Second> {
        vec![Second {
            at: 1000,
            requests: 100,
            failed: failed.to_vec(),
            failures: failed.iter().map(|at| format!("at {at}: status 503")).collect(),
            took: BTreeMap::from([(1, 98), (7, 1), (90, 1)]),
        }]
    }

    #[test]
    fn a_failure_is_forgiven_in_its_clients_outage_alone() {
        let outage = Outage {
            client: "one",
            from: 100,
            to: 200,
        };
        let cost =
            |client, failed: &[u64]| cost(&BTreeMap::from([(client, said(failed))]), std::slice::from_ref(&outage));
        assert!(cost("one", &[]).problems.is_empty());
        let kept = cost("one", &[110, 190]);
        assert_eq!((kept.failed, kept.outage, kept.problems.len()), (2, 80, 0));
        for (client, failed) in [("one", 201), ("one", 99), ("two", 150)] {
            let cost = cost(client, &[failed]);
            assert!(
                cost.problems[0].contains("lost 1 requests, the first at"),
                "{client} {failed}: {cost:?}"
            );
        }
    }

    #[test]
    fn a_load_that_sent_nothing_proves_nothing() {
        assert_eq!(
            cost(&BTreeMap::from([("one", Vec::new())]), &[]).problems,
            ["one sent nothing"]
        );
    }

    #[test]
    fn the_percentile_is_the_least_that_so_many_do_not_exceed() {
        assert_eq!(cost(&BTreeMap::from([("one", said(&[]))]), &[]).p99, Some(7));
        assert_eq!(percentile(&BTreeMap::new(), 99), None);
        assert_eq!(percentile(&BTreeMap::from([(5, 1)]), 99), Some(5));
    }
}
