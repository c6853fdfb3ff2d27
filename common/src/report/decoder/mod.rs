//! Decodes a node in a format that the operator chooses or that is recognised. Pure.

use super::fields::{self, Fields};
use super::{DecodeError, MAX_BYTES, Report, encoded, foreign};

/// The format of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decoder {
    /// The format.
    pub method: Method,
    /// The endpoint in the `additionalEndpoints` of a server set's member; its `serviceEndpoint` when absent.
    pub endpoint_name: Option<String>,
}

/// The format of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Recognised for each node.
    #[default]
    Auto,
    /// Go-Nerve's and Airbnb nerve's.
    Nerve,
    /// A server set's.
    ServerSet,
    /// Curator's discovery, with Spring Cloud's additions.
    Curator,
    /// Registrator's.
    Registrator,
    /// `host:port`.
    Plain,
}

impl Decoder {
    /// Reads the node called `name`. Never panics on any content.
    pub fn decode(&self, name: &str, data: &[u8]) -> Result<Report, DecodeError> {
        if data.len() > MAX_BYTES {
            return Err(DecodeError::TooLong(data.len()));
        }
        if let Some(report) = self.decode_name(name) {
            return Ok(report);
        }
        let is_object = data.trim_ascii_start().starts_with(b"{");
        match self.method {
            Method::Nerve => Report::decode(data),
            Method::ServerSet => self.server_set(name, Fields(&fields::object(data)?)),
            Method::Curator => foreign::curator(Fields(&fields::object(data)?)),
            Method::Registrator if is_object => foreign::registrator(Fields(&fields::object(data)?)),
            Method::Auto if is_object => self.recognise(name, Fields(&fields::object(data)?)),
            Method::Registrator | Method::Plain | Method::Auto => foreign::plain(name, data),
        }
    }

    /// Returns whether the name alone determines the result of [`Decoder::decode`], so that the node need not be read.
    pub fn name_encodes_data(&self, name: &str) -> bool {
        self.decode_name(name).is_some()
    }

    /// Decodes the report in an encoded name. If that is invalid, the data counts, as in Airbnb's synapse.
    fn decode_name(&self, name: &str) -> Option<Report> {
        let may_be = matches!(self.method, Method::Auto | Method::Nerve);
        let content = may_be.then(|| encoded::decode(name)).flatten()?;
        Report::decode(&content).ok()
    }

    /// Recognises the writer by its own key for the address.
    fn recognise(&self, name: &str, fields: Fields<'_>) -> Result<Report, DecodeError> {
        if fields.has("serviceEndpoint") {
            self.server_set(name, fields)
        } else if fields.has("address") && !fields.has("host") {
            foreign::curator(fields)
        } else if fields.has("IP") && !fields.has("host") {
            foreign::registrator(fields)
        } else {
            Report::of(fields)
        }
    }

    fn server_set(&self, name: &str, fields: Fields<'_>) -> Result<Report, DecodeError> {
        foreign::server_set(name, fields, self.endpoint_name.as_deref())
    }
}

#[cfg(test)]
mod tests;
