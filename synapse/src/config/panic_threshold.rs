//! `panic` of a service.

use common::ratio::PerMille;

/// What becomes of requests while too few servers of a service are healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PanicThreshold {
    /// `below`.
    pub below: Below,
    /// `then`.
    pub then: Then,
}

/// How few are too few. Never more than there are: while all are healthy, nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// Fewer than this part of those that count.
    Share(PerMille),
    /// Fewer than so many, at least 1, and not all that count.
    Count(u32),
}

/// What is done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// All servers get requests, regardless of their checks.
    UseAll,
    /// No server does: each request is answered with 503 at once, each TCP connection closed.
    FailFast,
}

impl Below {
    /// `50%` or `0.5`, or a whole number of servers.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().filter(|count| *count >= 1).map(Self::Count);
        }
        PerMille::parse(text).map(Self::Share)
    }

    /// Whether `healthy` of `all` servers are too few: the rule that HAProxy is given.
    pub fn is_reached(self, healthy: usize, all: usize) -> bool {
        match self {
            Self::Share(share) => healthy.saturating_mul(1000) < all.saturating_mul(share.get().into()),
            Self::Count(count) => healthy < all && u32::try_from(healthy).is_ok_and(|healthy| healthy < count),
        }
    }
}

impl PanicThreshold {
    /// The name of the backend in which the servers that count stand without their checks; `id` is the service's.
    pub fn shadow_backend(id: &str) -> String {
        format!("{id}_all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_share_or_a_number() {
        let share = |percent| Some(Below::Share(PerMille::from_percent(percent)));
        for (text, is) in [
            ("50%", share(50)),
            (" 0.5 ", share(50)),
            ("100%", share(100)),
            ("1", Some(Below::Count(1))),
            ("3", Some(Below::Count(3))),
            ("0", None),
            ("0%", None),
            ("101%", None),
            ("", None),
            ("many", None),
            ("-1", None),
            ("99999999999", None),
        ] {
            assert_eq!(Below::parse(text), is, "{text}");
        }
    }

    #[test]
    fn too_few_are_never_all() {
        let half = Below::Share(PerMille::from_percent(50));
        for (below, healthy, all, reached) in [
            (half, 2, 5, true),
            (half, 3, 5, false),
            (half, 2, 4, false),
            (half, 0, 1, true),
            (half, 0, 0, false),
            (Below::Share(PerMille::from_percent(100)), 4, 5, true),
            (Below::Share(PerMille::from_percent(100)), 5, 5, false),
            (Below::Count(3), 2, 5, true),
            (Below::Count(3), 3, 5, false),
            (Below::Count(3), 2, 2, false),
            (Below::Count(3), 1, 2, true),
            (Below::Count(3), 0, 0, false),
        ] {
            assert_eq!(below.is_reached(healthy, all), reached, "{below:?} {healthy}/{all}");
        }
    }
}
