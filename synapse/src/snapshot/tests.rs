use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn instances() -> impl Strategy<Value = Vec<Instance>> {
    let instance = (
        ".*",
        any::<SocketAddr>(),
        any::<Option<u16>>(),
        ".*",
        btree_map(".*", ".*", 0..3),
        any::<(i64, i64)>(),
    );
    let instance = instance.prop_map(|(text, address, weight, options, labels, (created, czxid))| Instance {
        node: Arc::from(format!("node {text}")),
        name: text,
        address: without_flow(address),
        weight,
        options,
        labels,
        created,
        czxid,
    });
    vec(instance, 0..5)
}

/// A flow label is no part of an address's text.
fn without_flow(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn contents() -> impl Strategy<Value = Content> {
    let remembered = (any::<u64>(), instances()).prop_map(|(at, instances)| Remembered { at, instances });
    btree_map(".*", remembered, 0..4).prop_map(|sources| Content { sources })
}

fn with_body(version: &str, body: &str) -> Vec<u8> {
    format!("{MAGIC} {version} {}\n{body}", sha1_hex(body.as_bytes())).into_bytes()
}

#[test]
fn what_is_no_snapshot_is_refused_with_its_reason() {
    assert_eq!(decode(b""), Err(Refused::Foreign));
    assert_eq!(decode(b"# haproxy\nglobal\n"), Err(Refused::Foreign));
    assert_eq!(decode(b"synapse-snapshot 1\n{}"), Err(Refused::Foreign));
    assert_eq!(decode(b"\xff\n{}"), Err(Refused::Foreign));
    assert_eq!(
        decode(&with_body("2", "{\"sources\":{}}")),
        Err(Refused::Version("2".to_owned()))
    );
    assert_eq!(decode(b"synapse-snapshot 1 00\n{\"sources\":{}}"), Err(Refused::Torn));
    assert!(matches!(decode(&with_body("1", "[]")), Err(Refused::Nonsense(_))));
    let bad = r#"{"sources":{"s":{"at":1,"instances":[{"node":"n","address":"server.example:80"}]}}}"#;
    assert!(matches!(decode(&with_body("1", bad)), Err(Refused::Nonsense(_))));
    let deep = "[".repeat(100_000);
    assert!(matches!(decode(&with_body("1", &deep)), Err(Refused::Nonsense(_))));
}

#[test]
fn a_clock_that_went_back_makes_nothing_younger_than_now() {
    let remembered = Remembered {
        at: 2_000,
        instances: Vec::new(),
    };
    let now = Instant::now();
    let since = |unix_millis| remembered.state(now, unix_millis).freshness;
    assert_eq!(since(1_000), Freshness::Stale { since: now });
    let earlier = now.checked_sub(Duration::from_secs(1)).expect("the clock has begun");
    assert_eq!(since(3_000), Freshness::Stale { since: earlier });
}

proptest! {
    #[test]
    fn what_is_written_is_read(content in contents()) {
        prop_assert_eq!(decode(&encode(&content)), Ok(content));
    }

    #[test]
    fn a_changed_byte_is_noticed(content in contents(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&content);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn a_torn_file_is_noticed(content in contents(), at in any::<prop::sample::Index>()) {
        let bytes = encode(&content);
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300), body in ".{0,200}") {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode(&with_body("1", &body)).is_err());
    }

    #[test]
    fn an_instance_comes_back_as_it_was(instances in instances()) {
        let now = Instant::now();
        let state = Remembered { at: 5, instances }.state(now, 5);
        let again = Remembered::of(&state, now, 5).expect("it is known");
        prop_assert_eq!(again.state(now, 5), state);
    }
}
