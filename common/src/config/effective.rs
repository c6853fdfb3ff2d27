//! The configuration in effect: every key that the code reads, with the file's value or the default.
//!
//! It is shown to people, so it has nothing in it that could be a secret.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::excerpt::is_secret;
use super::value::Value;
use super::yaml::Node;

/// Replacement of a secret.
const HIDDEN: &str = "[redacted]";

/// The keys of the sections read so far, by the steps to each section.
#[derive(Debug, Default)]
pub(super) struct Effective(BTreeMap<Vec<usize>, Map<String, Json>>);

impl Effective {
    /// Adds the keys of the section at `steps`: name, default as the reference prints it, and value.
    pub(super) fn add_section<'k>(
        &mut self,
        steps: &[usize],
        read: impl Iterator<Item = (&'k str, &'k str, Option<Value<'k>>)>,
    ) {
        let mut keys = Map::new();
        for (key, default, value) in read {
            let json = match value {
                Some(value) => self.shown(key, value.node, &value.at.steps),
                None => default_of(default),
            };
            keys.insert(key.to_owned(), json);
        }
        self.0.insert(steps.to_vec(), keys);
    }

    /// Returns the root section.
    pub(super) fn into_json(mut self) -> Json {
        self.0.remove([].as_slice()).map_or(Json::Null, Json::Object)
    }

    /// Converts a value; a map that was read as a section has that section's keys. Nested sections end before the outer one.
    fn shown(&mut self, key: &str, node: &Node, steps: &[usize]) -> Json {
        if is_secret(key) && *node != Node::Null {
            return Json::from(HIDDEN);
        }
        match node {
            Node::Null => Json::Null,
            Node::Bool(flag) => Json::from(*flag),
            Node::Integer(number) => i64::try_from(*number).map_or_else(|_| Json::from(number.to_string()), Json::from),
            Node::Float(number) => Json::from(*number),
            // `--password=x` in a command, `Authorization: x` in a header.
            Node::Text(text) if is_secret(text) && text.contains(['=', ':', ' ']) => Json::from(HIDDEN),
            Node::Text(text) => Json::from(without_credentials(text)),
            Node::List(nodes) => {
                let element = |(index, node)| self.shown(key, node, &[steps, &[index]].concat());
                nodes.iter().enumerate().map(element).collect()
            }
            Node::Map(entries) => {
                if let Some(section) = self.0.remove(steps) {
                    return Json::Object(section);
                }
                let entry = |(index, (key, node)): (usize, &(String, Node))| {
                    (key.clone(), self.shown(key, node, &[steps, &[index]].concat()))
                };
                Json::Object(entries.iter().enumerate().map(entry).collect())
            }
        }
    }
}

/// Converts a default as the reference prints it; null when there is none, or when it comes from elsewhere.
fn default_of(printed: &str) -> Json {
    match printed {
        "-" | "required" => Json::Null,
        _ => serde_json::from_str(printed)
            .ok()
            .filter(|json| matches!(json, Json::Bool(_) | Json::Number(_)))
            .unwrap_or_else(|| Json::from(printed)),
    }
}

/// Hides the user and password of a `scheme://user:password@host`.
fn without_credentials(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{before}://{HIDDEN}@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value as Json, json};

    use super::super::{Document, UnknownKeys};

    #[test]
    fn every_key_is_there_with_its_value_or_its_default_and_no_secret() {
        let text = "
APIPORT: 80
password: hunter2
url: amqp://me:hunter2@host/x
labels: { az: b, token: hunter2 }
command: [check, --password=hunter2, 'Authorization: hunter2', /run/secrets/x]
checks: [{ type: tcp }, { type: tcp, port: 81.0, secrets: [hunter2] }]
";
        let document = Document::parse("x.yaml", text.to_owned()).expect("it parses");
        let loaded = document.resolve(UnknownKeys::Refuse, |root| {
            root.integer_or("apiPort", 3454, 1..=65535);
            root.text_or("logLevel", "info");
            root.duration_or("shutdownTimeout", Duration::from_secs(90));
            root.text("password");
            root.text("url");
            root.text("missing");
            root.text_map("labels");
            root.texts("command");
            for mut check in root.sections("checks", "check") {
                check.required_text("type");
                check.integer("port", 1..=65535);
                check.texts("secrets");
                check.flag_or("advisory", false);
            }
            Some(())
        });
        let expected = json!({
            "apiPort": 80,
            "logLevel": "info",
            "shutdownTimeout": "1m 30s",
            "password": "[redacted]",
            "url": "amqp://[redacted]@host/x",
            "missing": null,
            "strict": false,
            "labels": { "az": "b", "token": "[redacted]" },
            "command": ["check", "[redacted]", "[redacted]", "/run/secrets/x"],
            "checks": [
                { "type": "tcp", "port": null, "secrets": null, "advisory": false },
                { "type": "tcp", "port": 81.0, "secrets": "[redacted]", "advisory": false },
            ],
        });
        let found: Json = serde_json::from_str(&loaded.expect("it is good").effective).expect("JSON");
        assert_eq!(found, expected);
    }
}
