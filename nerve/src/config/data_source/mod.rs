//! Data sources: what a check that logs in needs, in one text, with Go-Nerve's templates in it.

pub mod amqp;
pub mod sql;

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use common::template::render;
use url::Url;

/// What a template may name, beside the check's own keys.
#[derive(Debug)]
pub(crate) struct Fields<'a>(BTreeMap<&'a str, String>);

impl<'a> Fields<'a> {
    pub(crate) fn new(fields: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        Self(fields.into_iter().collect())
    }

    /// The text with its templates rendered. An error does not contain the text, because there is a password in it.
    pub(crate) fn render(&self, text: &str) -> Result<String, &'static str> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let fields = self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let rendered = render(text, &fields.collect()).map_err(|_| "is no Go template")?;
        if rendered.contains("<no value>") {
            return Err("names a field that there is not");
        }
        Ok(rendered)
    }
}

/// The error for an invalid port.
const NO_PORT: &str = "has no port from 1 to 65535";

/// A port from 1 to 65535.
fn port_number(text: &str) -> Result<u16, &'static str> {
    text.parse::<NonZeroU16>().map(NonZeroU16::get).map_err(|_| NO_PORT)
}

/// A URL. A `#` that is not written as `%23` would end it: the half of a password before it would be taken for a port.
fn url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is no URL")?;
    if url.fragment().is_some() {
        return Err("has a `#` in it, which a URL writes as `%23`");
    }
    if url.port() == Some(0) {
        return Err(NO_PORT);
    }
    Ok(url)
}

/// `%41` is `A`; `None` for what is no UTF-8 then.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after
            .split_at_checked(2)
            .filter(|_| byte == b'%')
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            });
        let (byte, after) = escaped.unwrap_or((byte, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_name_fields() {
        let fields = Fields::new([("Username", "me".to_owned()), ("Port", "1".to_owned())]);
        assert_eq!(fields.render("{{.Username}}@x:{{ .Port }}"), Ok("me@x:1".to_owned()));
        assert!(fields.render("{{.Nothing}}").is_err() && fields.render("{{").is_err());
    }

    #[test]
    fn percent_signs_are_undone() {
        assert_eq!(percent_decode("a%2Fb%25%zz%4"), Some("a/b%%zz%4".to_owned()));
        assert_eq!(percent_decode("%ff"), None);
    }
}
