//! How large a set was within a span of time. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The sizes of one set, each with the moment from which it held.
#[derive(Debug, Default)]
pub(crate) struct SlidingMax(VecDeque<(Instant, usize)>);

impl SlidingMax {
    /// The set has `size` from `now` on.
    pub(crate) fn note(&mut self, now: Instant, size: usize) {
        let mut since = now;
        // A smaller one before it is the largest of no span that ends later, and this one may as well take its place.
        while let Some((began, _)) = self.0.pop_back_if(|(_, before)| *before <= size) {
            since = began;
        }
        self.0.push_back((since, size));
    }

    /// The largest size between `window` ago and `now`, and what was before is forgotten. 0 when nothing was noted.
    pub(crate) fn largest(&mut self, now: Instant, window: Duration) -> usize {
        // The size that held when the span began counts, so the first goes only when the second is as old.
        while self
            .0
            .get(1)
            .is_some_and(|(since, _)| now.saturating_duration_since(*since) >= window)
        {
            self.0.pop_front();
        }
        self.0.front().map_or(0, |(_, size)| *size)
    }

    /// Removes `count` that left for a confirmed reason, as if they had never been in the set.
    pub(crate) fn discount(&mut self, count: usize) {
        for (_, size) in &mut self.0 {
            *size = size.saturating_sub(count);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_held_when_the_window_began_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut sizes = SlidingMax::default();
        sizes.note(start, 10);
        sizes.note(at(100), 4);
        let window = Duration::from_secs(30);
        assert_eq!(sizes.largest(at(129), window), 10);
        assert_eq!(sizes.largest(at(130), window), 4);
        sizes.note(at(131), 7);
        sizes.note(at(132), 2);
        sizes.discount(1);
        assert_eq!(sizes.largest(at(133), window), 6);
        sizes.clear();
        assert_eq!(sizes.largest(at(133), window), 0);
    }

    proptest! {
        #[test]
        fn it_equals_a_list_of_everything(steps in proptest::collection::vec((0_u64..10, 0_usize..10), 1..40)) {
            let (mut now, window) = (Instant::now(), Duration::from_secs(15));
            let (mut sizes, mut all) = (SlidingMax::default(), Vec::<(Instant, usize)>::new());
            for (passed, size) in steps {
                now += Duration::from_secs(passed);
                sizes.note(now, size);
                all.push((now, size));
                let last_before = all.iter().rposition(|(since, _)| now.duration_since(*since) >= window);
                let expected = all[last_before.unwrap_or(0)..].iter().map(|(_, size)| *size).max();
                prop_assert_eq!(Some(sizes.largest(now, window)), expected);
            }
        }
    }
}
