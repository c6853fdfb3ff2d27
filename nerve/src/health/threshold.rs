//! Rise and fall: a check changes its mind only after several results in a row.
//!
//! The first result decides at once, so that a start does not wait for `rise` intervals.

/// The hysteresis of one check.
#[derive(Debug, Clone)]
pub struct Threshold {
    rise: u32,
    fall: u32,
    up: Option<bool>,
    against: u32,
}

impl Threshold {
    /// A check without results. `rise` and `fall` are at least 1.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            up: None,
            against: 0,
        }
    }

    /// Adds a result; returns whether the check's state changed.
    pub fn observe(&mut self, passed: bool) -> bool {
        let Some(up) = self.up else {
            self.up = Some(passed);
            return true;
        };
        if passed == up {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if passed { self.rise } else { self.fall };
        if self.against < needed {
            return false;
        }
        self.against = 0;
        self.up = Some(passed);
        true
    }

    /// The check's word; `None` before the first result.
    pub fn up(&self) -> Option<bool> {
        self.up
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_result_decides_at_once() {
        for first in [true, false] {
            let mut threshold = Threshold::new(3, 2);
            assert_eq!(threshold.up(), None);
            assert!(threshold.observe(first));
            assert_eq!(threshold.up(), Some(first));
        }
    }

    #[test]
    fn falls_after_fall_and_rises_after_rise() {
        let mut threshold = Threshold::new(3, 2);
        let words: Vec<_> = [true, false, true, false, false, true, true, true]
            .map(|passed| {
                threshold.observe(passed);
                threshold.up().expect("has results")
            })
            .into();
        assert_eq!(words, [true, true, true, true, false, false, false, true]);
    }

    #[test]
    fn a_long_run_is_as_in_airbnbs_nerve() {
        let mut threshold = Threshold::new(3, 2);
        let words = "1000111011".chars().map(|result| {
            threshold.observe(result == '1');
            if threshold.up() == Some(true) { '1' } else { '0' }
        });
        assert_eq!(words.collect::<String>(), "1100001111");
    }

    proptest! {
        #[test]
        fn the_word_changes_only_after_that_many_in_a_row(
            rise in 1_u32..6, fall in 1_u32..6, results in proptest::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut threshold = Threshold::new(rise, fall);
            for (index, &passed) in results.iter().enumerate() {
                let before = threshold.up();
                let flipped = threshold.observe(passed);
                prop_assert_eq!(flipped, threshold.up() != before);
                let needed = if passed { rise } else { fall } as usize;
                let streak = results[..=index].iter().rev().take_while(|&&other| other == passed).count();
                if flipped && index > 0 {
                    prop_assert_eq!(threshold.up(), Some(passed));
                    prop_assert!(streak >= needed);
                }
                // And it does change then: a streak that long always decides.
                if streak >= needed {
                    prop_assert_eq!(threshold.up(), Some(passed));
                }
            }
        }
    }
}
