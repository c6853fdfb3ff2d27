//! The fields of an untrusted JSON object, each with its type and bounds. Pure.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{DecodeError, MAX_BYTES};

/// Greatest length of a DNS name.
pub(super) const MAX_HOST: usize = 253;

/// Greatest length of a name: longer is no name of a server.
pub(super) const MAX_NAME: usize = 255;

/// Parses an object.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(DecodeError::NotJson(format!("it is {}", kind(&other)))),
        Err(error) => Err(DecodeError::NotJson(error.to_string())),
    }
}

/// A JSON object.
#[derive(Clone, Copy)]
pub(super) struct Fields<'j>(pub(super) &'j Map<String, Value>);

impl<'j> Fields<'j> {
    /// Returns the value when it is present and not null.
    fn get(self, field: &str) -> Option<&'j Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn has(self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// Returns the value that `convert` accepts.
    fn typed<T>(
        self,
        field: &'static str,
        expected: &str,
        convert: impl Fn(&'j Value) -> Option<T>,
    ) -> Result<Option<T>, DecodeError> {
        let wrong = |value| bad(field, format!("must be {expected}, not {}", kind(value)));
        let value = self.get(field);
        value
            .map(|value| convert(value).ok_or_else(|| wrong(value)))
            .transpose()
    }

    pub(super) fn flag(self, field: &'static str) -> Result<Option<bool>, DecodeError> {
        self.typed(field, "true or false", Value::as_bool)
    }

    /// A nested object.
    pub(super) fn object(self, field: &'static str) -> Result<Option<Fields<'j>>, DecodeError> {
        self.typed(field, "an object", |value| value.as_object().map(Fields))
    }

    /// Returns the object under a name that the operator chose; another type counts as absent.
    pub(super) fn object_named(self, name: &str) -> Option<Fields<'j>> {
        self.get(name).and_then(Value::as_object).map(Fields)
    }

    pub(super) fn host(self, field: &'static str) -> Result<String, DecodeError> {
        let host = self.required_text(field, MAX_HOST)?;
        if host.chars().any(char::is_whitespace) {
            return Err(bad(field, "has white space in it"));
        }
        Ok(host)
    }

    pub(super) fn port(self, field: &'static str) -> Result<Option<u16>, DecodeError> {
        self.number(field, 1..=u16::MAX)
    }

    pub(super) fn name(self, field: &'static str) -> Result<String, DecodeError> {
        self.required_text(field, MAX_NAME)
    }

    fn required_text(self, field: &'static str, max: usize) -> Result<String, DecodeError> {
        let text = self.typed(field, "text", Value::as_str)?;
        let text = text.ok_or_else(|| missing(field))?;
        if text.is_empty() {
            Err(bad(field, "is empty"))
        } else if text.len() > max {
            Err(bad(field, format!("has {} bytes, more than {max}", text.len())))
        } else if text.chars().any(char::is_control) {
            Err(bad(field, "has a control character in it"))
        } else {
            Ok(text.to_owned())
        }
    }

    /// Returns text that is no part of an instance's identity: another type counts as absent.
    pub(super) fn text_or_empty(self, field: &str) -> String {
        self.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// A whole number, as a number or, as Airbnb's nerve passes it on from its file, as text.
    pub(super) fn number(self, field: &'static str, range: RangeInclusive<u16>) -> Result<Option<u16>, DecodeError> {
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

    /// Free pairs of key and value.
    pub(super) fn labels(self, field: &'static str) -> Result<BTreeMap<String, String>, DecodeError> {
        Ok(self.object(field)?.map(Fields::as_labels).unwrap_or_default())
    }

    /// Returns all fields as labels; a value that is not text as its JSON.
    pub(super) fn as_labels(self) -> BTreeMap<String, String> {
        let label = |(label, value): (&String, &Value)| match value {
            Value::Null => None,
            Value::String(text) => Some((label.clone(), text.clone())),
            other => Some((label.clone(), other.to_string())),
        };
        self.0.iter().filter_map(label).collect()
    }
}

/// Converts a float without a fraction.
fn whole(number: f64) -> Option<u64> {
    if number.fract() == 0.0 {
        format!("{number:.0}").parse().ok()
    } else {
        None
    }
}

pub(super) fn missing(field: &'static str) -> DecodeError {
    bad(field, "is missing")
}

pub(super) fn bad(field: &'static str, what: impl Into<String>) -> DecodeError {
    DecodeError::Field {
        field,
        what: what.into(),
    }
}

/// Returns the type of a value without its content, which is untrusted.
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
