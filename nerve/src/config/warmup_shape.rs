//! The growth of the weight during a warm-up. Pure.

/// The steps of a ramp, the full weight included.
const STEPS: u32 = 13;
/// A warm-up lasts this many intervals: the steps, then ten at full weight in which the stability command still runs.
pub const INTERVALS: u32 = 23;

/// How the weight grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As Go-Nerve's: each step is the sum of the two before.
    Fibonacci,
    /// By the same amount at each step.
    Linear,
    /// Twofold at each step: the latest to take much.
    Exponential,
}

impl Shape {
    /// The share of the full weight at `step`, as a fraction.
    fn share(self, step: u32) -> (u32, u32) {
        const FIBONACCI: [u32; STEPS as usize] = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233];
        const LAST: u32 = STEPS - 1;
        let step = step.min(LAST);
        match self {
            Self::Fibonacci => {
                let share = usize::try_from(step).ok().and_then(|step| FIBONACCI.get(step));
                (share.copied().unwrap_or(233), 233)
            }
            Self::Linear => (step, LAST),
            Self::Exponential => (1 << step, 1 << LAST),
        }
    }

    /// The weight at `step`, of a service whose full weight is `full`: at least 1, never falling, and `full` at the end.
    pub fn weight(self, step: u32, full: u8) -> u8 {
        let (share, of) = self.share(step);
        let weight = (share * u32::from(full)).div_ceil(of).max(1);
        u8::try_from(weight).unwrap_or(full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ramp(shape: Shape) -> Vec<u8> {
        (0..STEPS).map(|step| shape.weight(step, 255)).collect()
    }

    #[test]
    fn the_ramps_to_255() {
        let originals = [1, 2, 3, 4, 6, 9, 15, 23, 38, 61, 98, 158, 255];
        assert_eq!(ramp(Shape::Fibonacci), originals);
        let linear = [1, 22, 43, 64, 85, 107, 128, 149, 170, 192, 213, 234, 255];
        assert_eq!(ramp(Shape::Linear), linear);
        let exponential = [1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64, 128, 255];
        assert_eq!(ramp(Shape::Exponential), exponential);
    }

    proptest! {
        #[test]
        fn a_ramp_never_falls_and_ends_at_the_weight(
            full in 1_u8..=255,
            shape in prop_oneof![Just(Shape::Fibonacci), Just(Shape::Linear), Just(Shape::Exponential)],
        ) {
            let ramp: Vec<_> = (0..40).map(|step| shape.weight(step, full)).collect();
            prop_assert!(ramp.is_sorted());
            prop_assert_eq!(ramp[0], 1);
            prop_assert!(ramp[12..].iter().all(|&weight| weight == full));
            prop_assert_eq!(shape.weight(u32::MAX, full), full);
        }
    }
}
