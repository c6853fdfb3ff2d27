//! The files of hacheck's spool, as `hadown` writes them.
//!
//! A file of the name `svc`, `svc:port`, `svc:host:port` or `all` takes the services it names down. It holds
//! `{"reason", "expiration", "creation"}` (times in seconds since the Unix epoch) or just the reason.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Metadata, Override, OverrideKind, Source};
use crate::config::ServiceConfig;

/// The metadata of the spool's files, by file name.
pub type Spool = BTreeMap<String, Metadata>;

/// Parses a file's content. Any content means down. `since` is the modification time, used when the content has no
/// `creation`.
pub fn parse(content: &[u8], since: u64) -> Metadata {
    if let Ok(Value::Object(file)) = serde_json::from_slice(content) {
        let reason = file.get("reason").and_then(Value::as_str).unwrap_or_default();
        let time = |key| file.get(key).and_then(millis);
        return Metadata::new(reason, "", time("creation").unwrap_or(since), time("expiration"));
    }
    Metadata::new(&String::from_utf8_lossy(content), "", since, None)
}

/// Converts seconds, with or without a fraction, to milliseconds.
fn millis(seconds: &Value) -> Option<u64> {
    let since = Duration::try_from_secs_f64(seconds.as_f64()?).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// Returns the overrides of a service, under its name or its name in the report.
pub fn overrides(spool: &Spool, service: &ServiceConfig, now: u64) -> Vec<Override> {
    if spool.is_empty() {
        return Vec::new();
    }
    let (host, port) = (&service.host, service.port);
    let forms = |name: &str| {
        [
            name.to_owned(),
            format!("{name}:{port}"),
            format!("{name}:{host}:{port}"),
        ]
    };
    let mut names = vec!["all".to_owned()];
    names.extend(forms(&service.name));
    names.extend(forms(&service.report_name));
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| spool.get_key_value(&name))
        .filter(|(_, metadata)| metadata.holds(now))
        .map(|(name, metadata)| Override {
            source: Source::Hacheck(name.clone()),
            kind: OverrideKind::Down,
            metadata: metadata.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::testing;

    #[test]
    fn a_file_is_json_or_a_plain_reason() {
        let json = parse(
            br#"{"service":"web","reason":"deploy","expiration":20.5,"creation":10}"#,
            1,
        );
        assert_eq!(json, Metadata::new("deploy", "", 10_000, Some(20_500)));
        let null = parse(br#"{"reason":"deploy","expiration":null}"#, 1);
        assert_eq!(null, Metadata::new("deploy", "", 1, None));
        assert_eq!(parse(b"by hand\n", 1), Metadata::new("by hand", "", 1, None));
        assert_eq!(parse(b"", 1), Metadata::new("", "", 1, None));
    }

    #[test]
    fn a_file_matches_all_or_either_name_with_port_and_host() {
        let service = testing::service("{ name: web-1, reporterServiceName: web, host: 10.0.0.1, port: 80 }");
        let names = [
            "all",
            "web",
            "web:80",
            "web:10.0.0.1:80",
            "web-1",
            "web-1:80",
            "web-1:10.0.0.1:80",
        ];
        let matches = |name: &str| {
            let spool = [(name.to_owned(), Metadata::new("x", "", 0, Some(10)))].into();
            overrides(&spool, &service, 9).len()
        };
        for name in names {
            assert_eq!(matches(name), 1, "{name}");
        }
        for name in ["we", "web:81", "web:10.0.0.2:80", "api", ""] {
            assert_eq!(matches(name), 0, "{name}");
        }
        let expired = [("all".to_owned(), Metadata::new("x", "", 0, Some(9)))].into();
        assert_eq!(overrides(&expired, &service, 9), []);
    }

    proptest! {
        #[test]
        fn any_content_means_down(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(&content, 7).holds(7));
        }
    }
}
