use proptest::prelude::*;

use super::persisted::PersistedOverrides;
use super::*;

fn note(reason: &str, expires: Option<u64>) -> Metadata {
    Metadata::new(reason, "", 0, expires)
}

fn decision(words: &PersistedOverrides) -> (Intent, Option<u8>) {
    let overrides: Vec<_> = words.overrides().collect();
    let decision = decide(&overrides);
    (decision.intent, decision.weight)
}

#[test]
fn a_word_holds_until_it_is_taken_back() {
    let mut words = PersistedOverrides::default();
    assert_eq!(decision(&words), (Intent::Enabled, None));
    words.disable(note("deploy", None));
    words.weigh(Some((7, note("", None))));
    assert_eq!(decision(&words), (Intent::Disabled, Some(7)));
    words.force(note("", None));
    assert_eq!(decision(&words), (Intent::Forced, Some(7)));
    words.enable();
    words.weigh(None);
    assert_eq!(words, PersistedOverrides::default());
}

#[test]
fn a_word_ends_at_its_time() {
    let mut words = PersistedOverrides::default();
    words.disable(note("deploy", Some(10)));
    words.weigh(Some((7, note("", Some(20)))));
    assert!(!words.expire(9));
    assert_eq!(decision(&words), (Intent::Disabled, Some(7)));
    assert!(words.expire(10));
    assert_eq!(decision(&words), (Intent::Enabled, Some(7)));
    assert!(words.expire(21) && !words.expire(21));
    assert_eq!(words, PersistedOverrides::default());
}

fn entry() -> impl Strategy<Value = Override> {
    let source = prop_oneof![
        Just(Source::Operator),
        Just(Source::Hacheck("all".to_owned())),
        Just(Source::Hook),
        Just(Source::Stop)
    ];
    let kind = prop_oneof![
        Just(OverrideKind::Down),
        Just(OverrideKind::Forced),
        (1..=255_u8).prop_map(OverrideKind::Weight)
    ];
    (source, kind, "[a-z]{0,3}").prop_map(|(source, kind, reason)| Override {
        source,
        kind,
        note: note(&reason, None),
    })
}

proptest! {
    #[test]
    fn any_voice_that_says_down_wins(overrides in proptest::collection::vec(entry(), 0..6)) {
        let decision = decide(&overrides);
        let any = |kind| overrides.iter().any(|entry| entry.kind == kind);
        let expected = match (any(OverrideKind::Down), any(OverrideKind::Forced)) {
            (true, _) => Intent::Disabled,
            (false, true) => Intent::Forced,
            (false, false) => Intent::Enabled,
        };
        prop_assert_eq!(decision.intent, expected);
        prop_assert!(decision.why.is_empty() || any(OverrideKind::Down));
        prop_assert_eq!(decision.weight.is_some(), overrides.iter().any(|entry| matches!(entry.kind, OverrideKind::Weight(_))));
    }

    #[test]
    fn what_expires_is_gone_from_then_on_and_not_before(at in 1..100_u64, now in 0..100_u64) {
        let mut words = PersistedOverrides::default();
        words.force(note("", Some(at)));
        prop_assert_eq!(words.expire(now), now >= at);
        prop_assert_eq!(words.overrides().count(), usize::from(now < at));
    }
}
