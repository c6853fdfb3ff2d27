//! Conditions on a server's own statistics, by name.

use std::collections::BTreeMap;

/// Conditions by the name of a statistic; all must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions(Vec<(String, Condition)>);

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// One of these words.
    OneOf(Vec<String>),
    /// None of these words.
    NoneOf(Vec<String>),
    Less(f64),
    AtMost(f64),
    More(f64),
    AtLeast(f64),
}

impl Condition {
    /// `leader|follower`, `!read-only`, `< 10`, `<= 10`, `> 10` or `>= 10`.
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        let words = |text: &str| {
            let words: Vec<_> = text.split('|').map(|word| word.trim().to_owned()).collect();
            words.iter().all(|word| !word.is_empty()).then_some(words)
        };
        let text = text.trim();
        // The longer sign first: `<` begins `<=` too.
        if let Some(bound) = text.strip_prefix("<=") {
            number(bound).map(Self::AtMost)
        } else if let Some(bound) = text.strip_prefix('<') {
            number(bound).map(Self::Less)
        } else if let Some(bound) = text.strip_prefix(">=") {
            number(bound).map(Self::AtLeast)
        } else if let Some(bound) = text.strip_prefix('>') {
            number(bound).map(Self::More)
        } else if let Some(rest) = text.strip_prefix('!') {
            words(rest).map(Self::NoneOf)
        } else {
            words(text).map(Self::OneOf)
        }
    }

    fn holds(&self, value: &str) -> bool {
        let compare = |holds: fn(&f64, &f64) -> bool, bound| value.parse().is_ok_and(|value| holds(&value, bound));
        match self {
            Self::OneOf(words) => words.iter().any(|word| word == value),
            Self::NoneOf(words) => words.iter().all(|word| word != value),
            Self::Less(bound) => compare(f64::lt, bound),
            Self::AtMost(bound) => compare(f64::le, bound),
            Self::More(bound) => compare(f64::gt, bound),
            Self::AtLeast(bound) => compare(f64::ge, bound),
        }
    }
}

impl Conditions {
    /// Reads a map of name to condition; on failure the name whose condition makes no sense.
    pub fn parse(map: BTreeMap<String, String>) -> Result<Self, String> {
        map.into_iter()
            .map(|(name, text)| match Condition::parse(&text) {
                Some(condition) => Ok((name, condition)),
                None => Err(name),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values that were checked, or the first that does not meet its condition.
    pub fn judge(&self, statistics: &BTreeMap<String, String>) -> Result<String, String> {
        let mut seen = Vec::new();
        for (name, condition) in &self.0 {
            let Some(value) = statistics.get(name) else {
                return Err(format!("it has no `{name}`"));
            };
            if !condition.holds(value) {
                return Err(format!("{name} is {value}"));
            }
            seen.push(format!("{name} {value}"));
        }
        Ok(seen.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(condition: &str, value: &str) -> bool {
        let map = |value: &str| BTreeMap::from([("x".to_owned(), value.to_owned())]);
        let conditions = Conditions::parse(map(condition)).expect("a condition");
        conditions.judge(&map(value)).is_ok()
    }

    #[test]
    fn conditions_are_words_or_bounds() {
        assert!(judge("leader|follower", "follower") && !judge("leader | follower", "observer"));
        assert!(judge("!read-only", "leader") && !judge("!read-only", "read-only"));
        assert!(judge("< 10", "9.5") && !judge("<10", "10") && judge("<= 10", "10"));
        assert!(judge("> -1", "0") && !judge(">0", "0") && judge(">= 0", "0"));
        assert!(!judge("< 10", "many"));
    }

    #[test]
    fn a_missing_statistic_fails() {
        let map = BTreeMap::from([("x".to_owned(), "1".to_owned())]);
        let conditions = Conditions::parse(map).expect("a condition");
        assert_eq!(conditions.judge(&BTreeMap::new()), Err("it has no `x`".to_owned()));
        for wrong in ["", "!", "< few", "a||b", "> NaN"] {
            let map = BTreeMap::from([("x".to_owned(), wrong.to_owned())]);
            assert_eq!(Conditions::parse(map), Err("x".to_owned()), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_word_and_its_opposite_never_agree(word in "[a-z]{1,3}", value in "[a-z]{1,3}") {
            prop_assert_ne!(judge(&word, &value), judge(&format!("!{word}"), &value));
        }
    }
}
