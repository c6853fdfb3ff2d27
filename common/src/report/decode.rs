//! Decodes Go-Nerve's and Airbnb nerve's reports. Pure.

use super::fields::{self, Fields, missing};
use super::{DecodeError, MAX_WEIGHT, Report};

impl Report {
    /// Reads a report in the Go or the Airbnb dialect. Never panics on any bytes.
    ///
    /// A null key counts as absent, unknown keys are skipped, the last one of a repeated key counts.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::of(Fields(&fields::object(bytes)?))
    }

    pub(super) fn of(fields: Fields<'_>) -> Result<Self, DecodeError> {
        let available = fields.flag("available")?.unwrap_or(true);
        let weight = fields.number("weight", 0..=MAX_WEIGHT)?;
        Ok(Self {
            available,
            unavailable_reason: fields.text_or_empty("unavailable_reason"),
            host: fields.host("host")?,
            port: fields.port("port")?.ok_or_else(|| missing("port"))?,
            name: fields.name("name")?,
            haproxy_server_options: fields.text_or_empty("haproxy_server_options"),
            weight: if available { weight } else { Some(0) },
            labels: fields.labels("labels")?,
        })
    }
}
