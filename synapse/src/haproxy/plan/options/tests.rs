use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Parsed {
    super::parse(text, OptionsPolicy::Strict)
}

#[test]
fn usual_options_are_taken() {
    let parsed =
        parse("check inter 2000 rise 3 fall 2 backup cookie host7 maxconn 50 on-marked-down shutdown-sessions");
    assert_eq!(
        parsed.options,
        "check inter 2000 rise 3 fall 2 backup cookie host7 maxconn 50 on-marked-down shutdown-sessions"
    );
    assert_eq!(parsed.ignored, Vec::<String>::new());
    assert_eq!(parse("  check\t inter  1s ").options, "check inter 1s");
}

#[test]
fn other_options_are_left_out() {
    for (text, options, ignored) in [
        (
            "check\nprogram evil\n command /bin/x",
            "",
            &["check\\nprogram", "evil", "command", "/bin/x"][..],
        ),
        ("check redir /x backup", "check backup", &["redir /x"]),
        ("id 12 weight 50 check", "check", &["id 12", "weight 50"]),
        ("ca-file check", "", &["ca-file check"]),
        ("inter 0", "", &["inter 0"]),
        ("inter 25h", "", &["inter 25h"]),
        ("inter 5us", "", &["inter 5us"]),
        ("port 70000 rise -1 fall +2", "", &["port 70000", "rise -1", "fall +2"]),
        ("inter", "", &["inter"]),
        ("check check", "check", &["check"]),
        ("cookie a;b", "", &["cookie a;b"]),
        ("cookie \"a", "", &["cookie \\\"a"]),
        ("backup # check", "backup check", &["#"]),
        ("disabled", "", &["disabled"]),
        ("check\u{a0}backup", "", &["check\\u{a0}backup"]),
    ] {
        let parsed = parse(text);
        assert_eq!(
            (parsed.options.as_str(), parsed.ignored),
            (options, ignored.iter().map(ToString::to_string).collect()),
            "{text:?}"
        );
    }
    assert_eq!(parse(&"check ".repeat(1000)).options, "");
}

#[test]
fn names_are_made_safe() {
    assert_eq!(safe_name("web-1.prod:a_b"), "web-1.prod:a_b");
    assert_eq!(safe_name("pretty<&>\n\u{e9}#"), "pretty______");
    assert_eq!(safe_name(""), "server");
    assert_eq!(safe_name(&"x".repeat(500)).len(), 60);
}

#[test]
fn operator_options_stay_the_same_at_each_step() {
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    let mut fixed = OperatorOptions::new(" check  inter 1s ").unwrap();
    assert_eq!(&*fixed.of("web", address).unwrap(), "check inter 1s");
    assert_eq!(fixed.spare().map(|spare| &**spare), Some("check inter 1s"));
    let mut own = OperatorOptions::new("cookie {{ .Name }}-{{ randString 8 }}").unwrap();
    assert_eq!(own.spare(), None);
    let first = own.of("web", address).unwrap();
    assert!(first.starts_with("cookie web-"));
    assert_eq!(own.of("web", address).unwrap(), first);
    assert!(OperatorOptions::new("check\nprogram x").unwrap_err().contains("\\n"));
    assert!(OperatorOptions::new("{{ nonsense }}").is_err());
}

#[test]
fn the_legacy_policy_takes_more_but_not_all() {
    for (text, options, ignored) in [
        (
            "ssl verify none sni req.hdr(host) alpn h2,http/1.1",
            "ssl verify none sni req.hdr(host) alpn h2,http/1.1",
            &[][..],
        ),
        (
            "id 12 check  weight 50\tdisabled track a/b",
            "check track a/b",
            &["id 12", "weight 50", "disabled"],
        ),
        ("check weight", "check", &["weight "]),
        ("check\nprogram evil", "", &["check\\nprogram evil"]),
        ("check # backup", "", &["check # backup"]),
        ("check $HOME", "", &["check $HOME"]),
        ("check \"a b\"", "", &["check \\\"a b\\\""]),
        ("check \\n", "", &["check \\\\n"]),
        ("sni \u{e9}", "", &["sni \u{e9}"]),
    ] {
        let parsed = super::parse(text, OptionsPolicy::Legacy);
        let ignored: Vec<String> = ignored.iter().map(ToString::to_string).collect();
        assert_eq!(
            (parsed.options.as_str(), parsed.ignored),
            (options, ignored),
            "{text:?}"
        );
    }
    let many = "check ".repeat(MAX_WORDS + 1);
    assert_eq!(super::parse(&many, OptionsPolicy::Legacy).options, "");
    let ignored = super::parse("check", OptionsPolicy::Ignore);
    assert_eq!((ignored.options.as_str(), ignored.ignored.len()), ("", 1));
    assert_eq!(super::parse(" ", OptionsPolicy::Ignore), Parsed::default());
}

/// The second value is Airbnb's own, measured.
#[test]
fn a_cookie_identifies_an_instance_not_a_slot() {
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    let mut named = OperatorOptions::with_cookie("check", Some(CookieValue::Name)).unwrap();
    assert_eq!(&*named.of("web", address).unwrap(), "cookie web_10.0.0.1:80 check");
    assert_eq!(named.spare(), None);
    let mut hashed = OperatorOptions::with_cookie("", Some(CookieValue::Hash)).unwrap();
    let hash = |name: &str| common::template::render(&format!("{{{{sha1String \"{name}\"}}}}"), &BTreeMap::new());
    assert_eq!(
        hash("somehost:5555").unwrap(),
        "9e736eef2f5a1d441e34ade3d2a8eb1e3abb1c92"
    );
    assert_eq!(
        *hashed.of("web", address).unwrap(),
        *format!("cookie {}", hash("web_10.0.0.1:80").unwrap())
    );
    assert!(OperatorOptions::with_cookie("check", None).unwrap().spare().is_some());
}

proptest! {
    #[test]
    fn legacy_options_stay_on_their_line(text in ".{0,200}") {
        let parsed = super::parse(&text, OptionsPolicy::Legacy);
        prop_assert!(parsed.options.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{}", parsed.options);
        prop_assert!(!parsed.options.contains(['"', '\'', '\\', '#', '$', ';']));
        let words = || parsed.options.split(' ');
        prop_assert!(!RESERVED.iter().any(|(reserved, _)| words().any(|word| word == *reserved)));
        prop_assert!(parsed.ignored.iter().all(|word| !word.contains(char::is_control)));
    }

    #[test]
    fn strict_options_are_plain_words(text in ".{0,200}") {
        let parsed = parse(&text);
        prop_assert!(parsed.options.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.- ".contains(&byte)), "{}", parsed.options);
        prop_assert_eq!(parse(&parsed.options), Parsed { options: parsed.options.clone(), ignored: Vec::new() });
        prop_assert!(parsed.ignored.iter().all(|word| !word.contains(char::is_control)));
        prop_assert!(safe_name(&text).bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte)));
    }

    #[test]
    fn known_words_in_any_order_are_safe(words in proptest::collection::vec(prop_oneof![
        Just("check"), Just("inter"), Just("1s"), Just("backup"), Just("track"), Just("a/b"), Just("port"), Just("8080"), Just("\n"), Just("weight"), Just("\u{2028}")
    ], 0..60)) {
        let parsed = parse(&words.join(" "));
        prop_assert!(parsed.options.split(' ').count() <= MAX_WORDS);
        prop_assert!(!parsed.options.contains("track") && !parsed.options.contains("weight"));
        prop_assert_eq!(&parse(&parsed.options).options, &parsed.options);
    }
}
