//! A report from whatever bytes a znode holds.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{DecodeError, MAX_BYTES, Report};

/// HAProxy's largest weight.
const MAX_WEIGHT: u16 = 256;

/// The longest DNS name.
const MAX_HOST: usize = 253;

/// The longest name: more is no name of a server.
const MAX_NAME: usize = 255;

impl Report {
    /// Reads a report in the Go or the Airbnb dialect. Never panics, whatever the bytes.
    ///
    /// A key that is null counts as absent, unknown keys are passed over, of a repeated key the last one counts.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_BYTES {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let fields = match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Fields(fields),
            Ok(other) => return Err(DecodeError::NotJson(format!("it is {}", kind(&other)))),
            Err(error) => return Err(DecodeError::NotJson(error.to_string())),
        };
        let available = fields.available()?;
        let weight = fields.number("weight", 0..=MAX_WEIGHT)?;
        Ok(Self {
            available,
            unavailable_reason: fields.text_or_empty("unavailable_reason"),
            host: fields.host()?,
            port: fields.number("port", 1..=u16::MAX)?.ok_or_else(|| missing("port"))?,
            name: fields.name()?,
            haproxy_server_options: fields.text_or_empty("haproxy_server_options"),
            weight: if available { weight } else { Some(0) },
            labels: fields.labels()?,
        })
    }
}

/// The JSON object of a report.
struct Fields(Map<String, Value>);

impl Fields {
    /// The value, when it is there and not null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn available(&self) -> Result<bool, DecodeError> {
        match self.get("available") {
            None => Ok(true),
            Some(Value::Bool(available)) => Ok(*available),
            Some(other) => Err(bad("available", format!("must be true or false, not {}", kind(other)))),
        }
    }

    fn host(&self) -> Result<String, DecodeError> {
        let host = self.required_text("host", MAX_HOST)?;
        if host.chars().any(char::is_whitespace) {
            return Err(bad("host", "has white space in it"));
        }
        Ok(host)
    }

    fn name(&self) -> Result<String, DecodeError> {
        self.required_text("name", MAX_NAME)
    }

    fn required_text(&self, field: &'static str, longest: usize) -> Result<String, DecodeError> {
        match self.get(field) {
            None => Err(missing(field)),
            Some(Value::String(text)) if text.is_empty() => Err(bad(field, "is empty")),
            Some(Value::String(text)) if text.len() > longest => {
                Err(bad(field, format!("has {} bytes, more than {longest}", text.len())))
            }
            Some(Value::String(text)) if text.chars().any(char::is_control) => {
                Err(bad(field, "has a control character in it"))
            }
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(bad(field, format!("must be text, not {}", kind(other)))),
        }
    }

    /// Text that is no part of an instance's identity: of another type it is as good as absent.
    fn text_or_empty(&self, field: &str) -> String {
        self.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A whole number, as a number or, as Airbnb's nerve passes it on from its file, as text.
    fn number(&self, field: &'static str, range: RangeInclusive<u16>) -> Result<Option<u16>, DecodeError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(whole)),
            Value::String(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        };
        let number = number
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let found = if value.is_number() {
                value.to_string()
            } else {
                kind(value).to_owned()
            };
            bad(
                field,
                format!(
                    "must be a whole number from {} to {}, not {found}",
                    range.start(),
                    range.end()
                ),
            )
        })
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, DecodeError> {
        let labels = match self.get("labels") {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(labels)) => labels,
            Some(other) => return Err(bad("labels", format!("must be an object, not {}", kind(other)))),
        };
        let label = |(label, value): (&String, &Value)| match value {
            Value::Null => None,
            Value::String(text) => Some((label.clone(), text.clone())),
            other => Some((label.clone(), other.to_string())),
        };
        Ok(labels.iter().filter_map(label).collect())
    }
}

/// The whole number that a float is.
fn whole(number: f64) -> Option<u64> {
    if number.fract() == 0.0 {
        format!("{number:.0}").parse().ok()
    } else {
        None
    }
}

fn missing(field: &'static str) -> DecodeError {
    bad(field, "is missing")
}

fn bad(field: &'static str, what: impl Into<String>) -> DecodeError {
    DecodeError::Field {
        field,
        what: what.into(),
    }
}

/// What a value is, without a word of what it says: the bytes are a stranger's.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
