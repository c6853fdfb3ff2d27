//! The word that was probably meant.

/// The candidate nearest to `word`, without regard to case, when it is near enough to be a slip of the hand: a few
/// letters off, or the beginning of the candidate.
pub(super) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&word, &candidate.to_ascii_lowercase())?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How far apart, or `None` when too far.
fn distance(word: &str, candidate: &str) -> Option<usize> {
    let letters = strsim::osa_distance(word, candidate);
    if letters <= (word.chars().count() / 3).max(1) {
        return Some(letters);
    }
    // `timeout` for `timeoutInMilli`: after every word that is only misspelt.
    (word.len() >= 4 && candidate.starts_with(word)).then_some(letters + 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let keys = ["port", "path", "timeoutInMilli", "checkIntervalInMilli"];
        for (word, meant) in [
            ("prot", Some("port")),
            ("PORTS", Some("port")),
            ("pth", Some("path")),
            ("timeout", Some("timeoutInMilli")),
            ("timeoutInMili", Some("timeoutInMilli")),
            ("check_interval_in_milli", Some("checkIntervalInMilli")),
            ("x", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}
