//! The configuration in effect: every key that was asked for, with what the file says or the default.
//!
//! It is for people who want to know what a daemon runs with, so nothing that could be a secret is in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::diagnostics::NodePath;
use super::excerpt::is_secret;
use super::value::Value;
use super::yaml::Node;

/// What stands for a secret.
const HIDDEN: &str = "[redacted]";

/// What the sections read so far have found, by their places.
#[derive(Debug, Default)]
pub(super) struct Effective(BTreeMap<NodePath, Map<String, Json>>);

impl Effective {
    /// Takes in the keys of the section at `place`: name, default as the reference prints it, and value.
    pub(super) fn take_in<'k>(
        &mut self,
        place: &NodePath,
        asked: impl Iterator<Item = (&'k str, &'k str, Option<Value<'k>>)>,
    ) {
        let mut keys = Map::new();
        for (key, default, value) in asked {
            let json = match value {
                Some(value) => self.shown(key, value.node, &value.place),
                None => default_of(default),
            };
            keys.insert(key.to_owned(), json);
        }
        self.0.insert(place.clone(), keys);
    }

    /// The root.
    pub(super) fn into_json(mut self) -> Json {
        self.0.remove(&NodePath(Vec::new())).map_or(Json::Null, Json::Object)
    }

    /// A value; a map that was read as a section stands there as that section has it. Sections within one end before it.
    fn shown(&mut self, key: &str, node: &Node, place: &NodePath) -> Json {
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
                let mut elements = Vec::new();
                for (index, node) in nodes.iter().enumerate() {
                    elements.push(self.shown(key, node, &place.child(index)));
                }
                Json::Array(elements)
            }
            Node::Map(entries) => {
                if let Some(section) = self.0.remove(place) {
                    return Json::Object(section);
                }
                let mut map = Map::new();
                for (index, (key, node)) in entries.iter().enumerate() {
                    map.insert(key.clone(), self.shown(key, node, &place.child(index)));
                }
                Json::Object(map)
            }
        }
    }
}

/// A default as the reference prints it; null when there is none, or when it comes from elsewhere.
fn default_of(printed: &str) -> Json {
    match printed {
        "-" | "required" => Json::Null,
        _ => serde_json::from_str(printed)
            .ok()
            .filter(|json| matches!(json, Json::Bool(_) | Json::Number(_)))
            .unwrap_or_else(|| Json::from(printed)),
    }
}

/// A text without the user and password of a `scheme://user:password@host` in it.
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
