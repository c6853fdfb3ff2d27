//! Parts of a whole, exact to a thousandth. Pure.

/// A part of a whole: 1 to 1000 thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMille(u16);

impl PerMille {
    /// The whole.
    pub const WHOLE: Self = Self(1000);

    /// Converts a percentage; above 100 it is the whole.
    pub const fn from_percent(percent: u8) -> Self {
        Self(if percent < 100 { percent as u16 * 10 } else { 1000 })
    }

    /// Parses `0.5` or `50%`, rounded to the nearest thousandth; `None` outside 0.001 to 1.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, scale) = match text.trim().strip_suffix('%') {
            Some(percent) => (percent.trim_end(), 10.0),
            None => (text.trim(), 1000.0),
        };
        Self::from_whole((number.parse::<f64>().ok()? * scale).round())
    }

    /// Parses a factor such as `0.5`, rounded up; `None` unless it is above 0 and at most 1.
    pub fn parse_factor(factor: &str) -> Option<Self> {
        Self::from_whole((factor.trim().parse::<f64>().ok()? * 1000.0).ceil())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the result is used only where it is a whole number from 1 to 1000"
    )]
    fn from_whole(thousandths: f64) -> Option<Self> {
        (1.0..=1000.0)
            .contains(&thousandths)
            .then_some(Self(thousandths as u16))
    }

    /// Returns the thousandths.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns the product of both parts, rounded up.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let product = (u32::from(self.0) * u32::from(other.0)).div_ceil(1000);
        Self(u16::try_from(product).unwrap_or(self.0))
    }

    /// Returns this part of `number`, rounded up: 0 only for 0.
    pub fn of(self, number: u8) -> u8 {
        let part = (u32::from(self.0) * u32::from(number)).div_ceil(1000);
        u8::try_from(part).unwrap_or(number)
    }

    /// Returns whether `part` is more than this part of `whole`.
    pub fn is_less_than(self, part: usize, whole: usize) -> bool {
        part.saturating_mul(1000) > whole.saturating_mul(self.0.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_factor_is_above_0_and_at_most_1() {
        assert_eq!(PerMille::parse_factor("0.5"), Some(PerMille(500)));
        assert_eq!(PerMille::parse_factor("1"), Some(PerMille::WHOLE));
        assert_eq!(PerMille::parse_factor("0.00001"), Some(PerMille(1)));
        for text in ["0", "-1", "1.1", "1.00001", "NaN", "inf", "", "half"] {
            assert_eq!(PerMille::parse_factor(text), None, "{text}");
        }
    }

    #[test]
    fn a_share_is_a_fraction_or_a_percentage() {
        assert_eq!(PerMille::parse("0.333"), PerMille::parse("33.3 %"));
        assert_eq!(PerMille::parse("50%"), Some(PerMille::from_percent(50)));
        assert_eq!(PerMille::from_percent(200), PerMille::WHOLE);
        for text in ["0", "0.0001", "101%", "NaN", "%"] {
            assert_eq!(PerMille::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_part_of_a_weight_is_at_least_1_and_at_most_the_weight(part in 1..=1000_u16, weight in 1..=255_u8) {
            prop_assert!((1..=weight).contains(&PerMille(part).of(weight)));
            prop_assert_eq!(PerMille::WHOLE.of(weight), weight);
            prop_assert!(PerMille(part).times(PerMille(part)).0 <= part);
        }
    }
}
