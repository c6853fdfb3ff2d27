//! Sets of HTTP status codes.

/// A set of HTTP status codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// Reads `200-399` or `200, 204, 301-302`, codes and ranges within 100 to 599; or `not-5xx`, Go-Nerve's idea of health.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim().eq_ignore_ascii_case("not-5xx") {
            return Some(Self(vec![(0, 499), (600, 999)]));
        }
        text.split(',')
            .map(|part| {
                let (low, high) = part.split_once('-').unwrap_or((part, part));
                let low: u16 = low.trim().parse().ok()?;
                let high: u16 = high.trim().parse().ok()?;
                (100 <= low && low <= high && high <= 599).then_some((low, high))
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    /// Whether `code` is in it.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|&(low, high)| low <= code && code <= high)
    }
}
