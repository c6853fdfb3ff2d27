use proptest::prelude::*;

use super::*;

fn metadata(reason: &str, expires: Option<u64>) -> Metadata {
    Metadata::new(reason, "", 0, expires)
}

/// Returns the intent and weight in force at `now`.
fn effective(overrides: &mut Overrides, now: u64) -> (Intent, Option<u8>) {
    overrides.refresh(Vec::new(), now);
    let effective = overrides.effective();
    (effective.intent, effective.weight)
}

#[test]
fn an_override_holds_until_it_is_removed() {
    let mut overrides = Overrides::default();
    assert_eq!(effective(&mut overrides, 0), (Intent::Enabled, None));
    overrides.apply(Action::Disable { shutdown: false }, metadata("deploy", None));
    overrides.apply(Action::Weight(Some(7)), metadata("", None));
    assert_eq!(effective(&mut overrides, 0), (Intent::Disabled, Some(7)));
    overrides.apply(Action::Force, metadata("", None));
    assert_eq!(effective(&mut overrides, 0), (Intent::Forced, Some(7)));
    overrides.apply(Action::Enable, metadata("", None));
    overrides.apply(Action::Weight(None), metadata("", None));
    assert_eq!(overrides.persisted, PersistedOverrides::default());
}

#[test]
fn an_override_expires_at_its_time() {
    let mut overrides = Overrides::default();
    overrides.apply(Action::Disable { shutdown: false }, metadata("deploy", Some(10)));
    overrides.apply(Action::Weight(Some(7)), metadata("", Some(20)));
    assert!(!overrides.refresh(Vec::new(), 9));
    assert_eq!(effective(&mut overrides, 9), (Intent::Disabled, Some(7)));
    assert!(overrides.refresh(Vec::new(), 10));
    assert_eq!(effective(&mut overrides, 10), (Intent::Enabled, Some(7)));
    assert!(overrides.refresh(Vec::new(), 21) && !overrides.refresh(Vec::new(), 21));
    assert_eq!(overrides.persisted, PersistedOverrides::default());
}

#[test]
fn the_shutdown_command_runs_for_a_stop_a_hook_and_on_request() {
    let shutdown = |edit: fn(&mut Overrides)| {
        let mut overrides = Overrides::default();
        edit(&mut overrides);
        overrides.refresh(Vec::new(), 0);
        overrides.effective().shutdown
    };
    let disable = |set: &mut Overrides, shutdown| set.apply(Action::Disable { shutdown }, Metadata::default());
    assert!(shutdown(|set| set.apply(Action::Leave, Metadata::default())));
    assert!(shutdown(|set| set.stop(1)));
    for requested in [true, false] {
        let mut set = Overrides::default();
        disable(&mut set, requested);
        set.refresh(Vec::new(), 0);
        assert_eq!(set.effective().shutdown, requested);
        set.apply(Action::Enable, Metadata::default());
        set.refresh(Vec::new(), 0);
        assert!(!set.effective().shutdown);
    }
}

#[test]
fn the_saved_format_is_stable() {
    let mut overrides = Overrides::default();
    let deploy = Metadata::new("deploy", "ann", 1, Some(2));
    overrides.apply(Action::Disable { shutdown: true }, deploy);
    overrides.apply(Action::Weight(Some(7)), metadata("", None));
    let json = serde_json::to_string(&overrides.persisted).expect("it is JSON");
    let expected = concat!(
        r#"{"standing":["disabled",{"reason":"deploy","author":"ann","since":1,"expires":2}],"#,
        r#""weight":[7,{"reason":"","author":"","since":0,"expires":null}]}"#
    );
    assert_eq!(json, expected);
    let read: PersistedOverrides = serde_json::from_str(&json).expect("it is read");
    assert_eq!(read, overrides.persisted);
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
        metadata: metadata(&reason, None),
    })
}

proptest! {
    #[test]
    fn any_override_that_is_down_wins(in_force in proptest::collection::vec(entry(), 0..6)) {
        let any = |kind| in_force.iter().any(|entry| entry.kind == kind);
        let (is_down, is_forced) = (any(OverrideKind::Down), any(OverrideKind::Forced));
        let has_weight = in_force.iter().any(|entry| matches!(entry.kind, OverrideKind::Weight(_)));
        let effective = Overrides { in_force, ..Overrides::default() }.effective();
        let expected = match (is_down, is_forced) {
            (true, _) => Intent::Disabled,
            (false, true) => Intent::Forced,
            (false, false) => Intent::Enabled,
        };
        prop_assert_eq!(effective.intent, expected);
        prop_assert!(is_down || effective.reason.is_empty());
        prop_assert!(is_down || !effective.shutdown);
        prop_assert_eq!(effective.weight.is_some(), has_weight);
    }

    #[test]
    fn an_override_holds_before_its_end_and_not_after(at in 1..100_u64, now in 0..100_u64) {
        let mut overrides = Overrides::default();
        overrides.apply(Action::Force, metadata("", Some(at)));
        prop_assert_eq!(overrides.refresh(Vec::new(), now), now >= at);
        prop_assert_eq!(overrides.in_force.len(), usize::from(now < at));
    }
}
