use proptest::prelude::*;

use super::words::Words;
use super::*;

fn note(reason: &str, expires: Option<u64>) -> Note {
    Note::new(reason, "", 0, expires)
}

fn decision(words: &Words) -> (Intent, Option<u8>) {
    let voices: Vec<_> = words.voices().collect();
    let decision = decide(&voices);
    (decision.intent, decision.weight)
}

#[test]
fn a_word_holds_until_it_is_taken_back() {
    let mut words = Words::default();
    assert_eq!(decision(&words), (Intent::Enabled, None));
    words.disable(note("deploy", None));
    words.weigh(Some((7, note("", None))));
    assert_eq!(decision(&words), (Intent::Disabled, Some(7)));
    words.force(note("", None));
    assert_eq!(decision(&words), (Intent::Forced, Some(7)));
    words.enable();
    words.weigh(None);
    assert_eq!(words, Words::default());
}

#[test]
fn a_word_ends_at_its_time() {
    let mut words = Words::default();
    words.disable(note("deploy", Some(10)));
    words.weigh(Some((7, note("", Some(20)))));
    assert!(!words.expire(9));
    assert_eq!(decision(&words), (Intent::Disabled, Some(7)));
    assert!(words.expire(10));
    assert_eq!(decision(&words), (Intent::Enabled, Some(7)));
    assert!(words.expire(21) && !words.expire(21));
    assert_eq!(words, Words::default());
}

fn voice() -> impl Strategy<Value = Voice> {
    let source = prop_oneof![
        Just(Source::Operator),
        Just(Source::Hacheck("all".to_owned())),
        Just(Source::Hook),
        Just(Source::Stop)
    ];
    let says = prop_oneof![
        Just(Says::Down),
        Just(Says::Forced),
        (1..=255_u8).prop_map(Says::Weight)
    ];
    (source, says, "[a-z]{0,3}").prop_map(|(source, says, reason)| Voice {
        source,
        says,
        note: note(&reason, None),
    })
}

proptest! {
    #[test]
    fn any_voice_that_says_down_wins(voices in proptest::collection::vec(voice(), 0..6)) {
        let decision = decide(&voices);
        let any = |says| voices.iter().any(|voice| voice.says == says);
        let expected = match (any(Says::Down), any(Says::Forced)) {
            (true, _) => Intent::Disabled,
            (false, true) => Intent::Forced,
            (false, false) => Intent::Enabled,
        };
        prop_assert_eq!(decision.intent, expected);
        prop_assert!(decision.why.is_empty() || any(Says::Down));
        prop_assert_eq!(decision.weight.is_some(), voices.iter().any(|voice| matches!(voice.says, Says::Weight(_))));
    }

    #[test]
    fn what_expires_is_gone_from_then_on_and_not_before(at in 1..100_u64, now in 0..100_u64) {
        let mut words = Words::default();
        words.force(note("", Some(at)));
        prop_assert_eq!(words.expire(now), now >= at);
        prop_assert_eq!(words.voices().count(), usize::from(now < at));
    }
}
