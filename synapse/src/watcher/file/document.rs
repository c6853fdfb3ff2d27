//! The registrations in a document: JSON or YAML, a list of them or a single one. Pure.
//!
//! Each is in the words of any writer, or `host:port`; so a report of nerve's file reporter is one, and so is the list that
//! Airbnb's synapse writes for each service. An empty document has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::report::Decoder;
use serde_json::Value;

use crate::watcher::reader::Nodes;

/// The nodes of the document `file`, or why it is none.
pub(super) fn nodes(file: &str, text: &str) -> Result<Nodes, String> {
    let entries = match common::config::data(text)? {
        Value::Null => Vec::new(),
        Value::Array(entries) => entries,
        entry @ (Value::Object(_) | Value::String(_)) => vec![entry],
        Value::Bool(_) | Value::Number(_) => {
            return Err("it is neither a registration nor a list of them".to_owned());
        }
    };
    let mut nodes = BTreeMap::new();
    for (number, entry) in (1..).zip(entries) {
        let data = data(entry);
        let mut name = name(file, &data, number);
        if nodes.contains_key(name.as_str()) {
            // A copied line.
            name = format!("{name}#{number}");
        }
        nodes.insert(Arc::from(name), data);
    }
    Ok(nodes)
}

/// What a node of ZooKeeper would hold. A registration without a name is called by its address.
fn data(mut entry: Value) -> Bytes {
    if let Value::Object(fields) = &mut entry
        && !fields.contains_key("name")
        && let (Some(Value::String(host)), Some(port)) = (fields.get("host"), fields.get("port"))
    {
        let port = port.as_str().map_or_else(|| port.to_string(), str::to_owned);
        let name = format!("{host}:{port}");
        fields.insert("name".to_owned(), name.into());
    }
    match entry {
        Value::String(address) => address.into(),
        other => other.to_string().into(),
    }
}

/// A name that an entry keeps wherever it stands in its file; one that makes no sense is called by its place.
fn name(file: &str, data: &[u8], number: usize) -> String {
    match Decoder::default().decode("", data) {
        Ok(report) => format!("{file}/{}@{}:{}", report.name, report.host, report.port),
        Err(_) => format!("{file}#{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports_of(text: &str) -> Vec<String> {
        let nodes = nodes("web", text).expect(text);
        nodes
            .iter()
            .map(|(name, data)| format!("{name} {}", String::from_utf8_lossy(data)))
            .collect()
    }

    #[test]
    fn lists_and_single_registrations_in_json_and_yaml() {
        assert_eq!(reports_of(""), Vec::<String>::new());
        assert_eq!(reports_of("[]"), Vec::<String>::new());
        let nerve = r#"{"available":true,"host":"10.0.0.1","name":"a","port":80,"weight":255}"#;
        assert_eq!(
            reports_of(&format!("{nerve}\n")),
            [format!("web/a@10.0.0.1:80 {nerve}")]
        );
        assert_eq!(
            reports_of(r#"[{"host":"10.0.0.1","port":80},{"host":"10.0.0.2","port":"80"}]"#),
            [
                r#"web/10.0.0.1:80@10.0.0.1:80 {"host":"10.0.0.1","name":"10.0.0.1:80","port":80}"#,
                r#"web/10.0.0.2:80@10.0.0.2:80 {"host":"10.0.0.2","name":"10.0.0.2:80","port":"80"}"#,
            ]
        );
        assert_eq!(
            reports_of("- 10.0.0.2:80\n- {host: db.example, port: 5432, name: b, labels: {az: x}}\n"),
            [
                "web/10.0.0.2:80@10.0.0.2:80 10.0.0.2:80",
                r#"web/b@db.example:5432 {"host":"db.example","labels":{"az":"x"},"name":"b","port":5432}"#,
            ]
        );
    }

    #[test]
    fn an_entry_keeps_its_name_wherever_it_stands() {
        assert_eq!(
            reports_of("[a:1, b:2, a:1, 7]"),
            ["web#4 7", "web/a:1@a:1 a:1", "web/a:1@a:1#3 a:1", "web/b:2@b:2 b:2"]
        );
        assert_eq!(reports_of("[b:2, a:1]"), ["web/a:1@a:1 a:1", "web/b:2@b:2 b:2"]);
    }

    #[test]
    fn two_hundred_thousand_maps_in_each_other_are_refused() {
        let error = nodes("web", &"{a: ".repeat(200_000)).expect_err("too deep");
        assert_eq!(
            error,
            "line 1, column 4001: lists and maps lie deeper than 1000 in each other here"
        );
    }

    #[test]
    fn an_invalid_document_is_an_error() {
        for text in ["7", "true", "[", "{a: 1, a: 2}", "\u{0}"] {
            let error = nodes("web", text).expect_err(text);
            assert!(!error.is_empty());
        }
    }
}
