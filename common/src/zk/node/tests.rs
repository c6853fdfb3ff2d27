use proptest::prelude::*;

use super::*;

fn node(name: NodeName, kind: NodeKind) -> NodeConfig {
    NodeConfig {
        name,
        kind,
        ..NodeConfig::ephemeral("/services/web/x")
    }
}

fn shared(encoded: bool) -> NodeName {
    NodeName::Shared {
        prefix: "host7_".to_owned(),
        encoded,
        host: "10.0.0.4".to_owned(),
        port: 80,
    }
}

const OURS: &[u8] = br#"{"host":"10.0.0.4","port":80,"name":"host7"}"#;
const THEIRS: &[u8] = br#"{"host":"10.0.0.4","port":81,"name":"host7"}"#;

#[test]
fn an_own_name_determines_the_ownership() {
    let fixed = NodeConfig::ephemeral("/services/web/one_10.0.0.4:80");
    assert_eq!(
        (fixed.directory.as_str(), fixed.only_name()),
        ("/services/web", Some("one_10.0.0.4:80"))
    );
    assert_eq!(fixed.ownership("one_10.0.0.4:80"), Ownership::Ours);
    assert_eq!(fixed.ownership("one_10.0.0.4:8000000000000"), Ownership::Others);
    let numbered = node(
        NodeName::Own("one_10.0.0.4_c_ab".to_owned()),
        NodeKind::EphemeralSequential,
    );
    assert_eq!(numbered.only_name(), None);
    for ours in ["0000000007", "2147483648", "-2147483648", "0000000002147483648"] {
        assert_eq!(
            numbered.ownership(&format!("one_10.0.0.4_c_ab{ours}")),
            Ownership::Ours,
            "{ours}"
        );
    }
    for other in ["", "000000007", "000000000x", "c0000000007", "--00000000"] {
        assert_eq!(
            numbered.ownership(&format!("one_10.0.0.4_c_ab{other}")),
            Ownership::Others,
            "{other}"
        );
    }
}

#[test]
fn a_shared_name_needs_the_content() {
    let numbered = node(shared(false), NodeKind::EphemeralSequential);
    assert_eq!(numbered.ownership("host7_0000000001"), Ownership::CheckContent);
    assert_eq!(numbered.ownership("host70_0000000001"), Ownership::Others);
    assert!(numbered.content_is_ours(OURS) && !numbered.content_is_ours(THEIRS) && !numbered.content_is_ours(b"\xff{"));
    let member = br#"{"serviceEndpoint":{"host":"10.0.0.4","port":80},"additionalEndpoints":{},"status":"ALIVE"}"#;
    assert!(numbered.content_is_ours(member));
    assert!(numbered.content_is_ours(br#"{"name":"a","id":"b","address":"10.0.0.4","port":80}"#));
}

#[test]
fn two_nodes_clash_when_one_would_be_taken_for_the_other() {
    let (fixed, numbered) = (NodeKind::Ephemeral, NodeKind::EphemeralSequential);
    let at = |prefix: &str, encoded, port| NodeName::Shared {
        prefix: prefix.to_owned(),
        encoded,
        host: "10.0.0.4".to_owned(),
        port,
    };
    let own = |name: &str| NodeName::Own(name.to_owned());
    let cases = [
        ((own("a"), fixed), (own("a"), NodeKind::Persistent), true),
        ((own("a"), fixed), (own("b"), fixed), false),
        ((own("a"), fixed), (own("a"), numbered), false),
        ((own("a_"), fixed), (at("a_", false, 80), fixed), false),
        // One name for all contents.
        ((at("a_", false, 80), fixed), (at("a_", false, 81), fixed), true),
        ((at("a_", false, 80), fixed), (at("b_", false, 80), fixed), false),
        // ZooKeeper numbers them: the address decides.
        ((at("a_", false, 80), numbered), (at("a_", false, 81), numbered), false),
        ((at("a_", false, 80), numbered), (at("a_", false, 80), numbered), true),
        ((at("a_", false, 80), numbered), (at("b_", false, 80), numbered), false),
        // The content is the name, or its address is looked at.
        ((at("a_", true, 80), fixed), (at("a_", true, 81), fixed), false),
        ((at("a_", true, 80), fixed), (at("b_", true, 80), fixed), true),
        ((at("a_", true, 80), fixed), (at("a_", false, 80), fixed), true),
        ((at("a_", true, 80), fixed), (at("a_", false, 81), fixed), false),
    ];
    for ((one, one_kind), (two, two_kind), clash) in cases {
        let (one, two) = (node(one, one_kind), node(two, two_kind));
        assert_eq!(one.clashes(&two), clash, "{one:?} and {two:?}");
        assert_eq!(two.clashes(&one), clash, "{two:?} and {one:?}");
    }
}

#[test]
fn an_encoded_name_is_airbnbs() {
    let named = node(shared(true), NodeKind::EphemeralSequential);
    let content = br#"{"host":"127.0.0.1","port":25002,"name":"host-a.example","labels":{"az":"us-east-1a"}}"#;
    let name = "base64_116_eyJob3N0IjoiMTI3LjAuMC4xIiwicG9ydCI6MjUwMDIsIm5hbWUiOiJob3N0LWEuZXhhbXBsZSIsImxhYmVscyI6eyJheiI6InVzLWVhc3QtMWEifX0=_";
    assert_eq!(named.base(content), name);
    assert_eq!(
        encoded::decode(&format!("{name}0000000000")).as_deref(),
        Some(content.as_slice())
    );
    assert_eq!(named.ownership(&format!("{name}0000000000")), Ownership::Others);
    assert_eq!(
        named.ownership(&format!("{}0000000012", named.base(OURS))),
        Ownership::Ours
    );
    assert_eq!(
        named.ownership(&format!("{}0000000012", named.base(THEIRS))),
        Ownership::Others
    );
    // Content too long for a name gives a plain name, and the content decides.
    let long = vec![b'x'; 49_153];
    assert_eq!(named.base(&long), "host7_");
    assert!(named.base(&long[..49_152]).starts_with("base64_65536_"));
    assert_eq!(named.ownership("host7_0000000001"), Ownership::CheckContent);
}

#[test]
fn a_list_is_written_as_for_zkcli() {
    let list = Access::parse("world:anyone:r, digest:web:TsJJ2+=:cdrwa,ip:10.0.0.0/8:rw").expect("a list");
    let shown: Vec<_> = list
        .entries()
        .iter()
        .map(|acl| (acl.scheme(), acl.id(), acl.permission()))
        .collect();
    assert_eq!(
        shown,
        [
            ("world", "anyone", Permission::READ),
            ("digest", "web:TsJJ2+=", Permission::ALL),
            ("ip", "10.0.0.0/8", Permission::READ | Permission::WRITE),
        ]
    );
    for bad in [
        "",
        "world",
        "world:anyone",
        "world:anyone:",
        "world:anyone:x",
        "digest::r",
        "world:anyone:r,",
    ] {
        assert_eq!(Access::parse(bad), None, "{bad}");
    }
    assert!(Access::parse("auth::cdrwa").expect("a list").needs_authentication());
    assert!(Access::creator_all_world_read().needs_authentication() && !list.needs_authentication());
}

#[test]
fn a_token_is_stable_and_of_its_words_alone() {
    assert_eq!(token(&["web", "10.0.0.4", "80"]), token(&["web", "10.0.0.4", "80"]));
    assert_eq!(token(&["a"]), "86f7e437faa5a7fce15d1ddcb9eaeaea");
    assert_ne!(token(&["ab", "c"]), token(&["a", "bc"]));
}

proptest! {
    #[test]
    fn any_name_is_somebodys(name in "(base64_[0-9]{0,6}_)?.{0,40}") {
        node(shared(true), NodeKind::EphemeralSequential).ownership(&name);
    }
}
