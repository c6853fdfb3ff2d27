//! Durations as people write them: `1m 30s`, `500ms`.

use std::time::Duration;

/// Longest duration of a key, 30 days: far beyond any use, far below any overflow.
pub(super) const MAX_DURATION: Duration = Duration::from_hours(30 * 24);

/// Parses a duration longer than 0 and no longer than 30 days (`1m 30s`, `500ms`); the error is for the operator.
pub fn parse(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("is not a duration: {error}"))?;
    if duration.is_zero() {
        return Err("must be longer than 0".to_owned());
    }
    if duration > MAX_DURATION {
        return Err("must not be longer than 30days".to_owned());
    }
    Ok(duration)
}

/// Formats a duration as [`parse`] reads it.
pub(super) fn print(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_forms() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(print(Duration::from_secs(90)), "1m 30s");
    }

    #[test]
    fn errors_name_the_problem() {
        let error = |text: &str| parse(text).expect_err("not a duration");
        let texts = ["", "30", "30 parsecs", "-1s", "soon", "0s", "31days"];
        let errors = texts.map(|text| format!("{text:?} {}", error(text))).join("\n");
        insta::assert_snapshot!(errors);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(seconds in 0..MAX_DURATION.as_secs(), nanoseconds in 1_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanoseconds);
            prop_assert_eq!(parse(&print(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _outcome = parse(&text);
        }
    }
}
