//! Converts hyper's request to ours.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::access::{self, Peer};
use super::{Method, Reply, Request};

/// Greatest size of a body.
const MAX_BODY: usize = 64 * 1024;

/// Reads a complete request; an invalid or refused one gives the reply to it.
pub(super) async fn read(request: hyper::Request<Incoming>, peer: Peer, limit: Duration) -> Result<Request, Reply> {
    let (head, body) = request.into_parts();
    let method = match head.method {
        hyper::Method::GET | hyper::Method::HEAD => Method::Get,
        hyper::Method::PUT => Method::Put,
        hyper::Method::POST => Method::Post,
        hyper::Method::DELETE => Method::Delete,
        _ => return Err(Reply::method_not_allowed("GET, HEAD, PUT, POST, DELETE")),
    };
    let refusal = access::refusal(peer, &head.headers);
    if method != Method::Get
        && let Some(refusal) = refusal
    {
        return Err(refusal.reply());
    }
    let path = path(head.uri.path());
    let query = query(head.uri.query().unwrap_or_default());
    let (Some(path), Some(query)) = (path, query) else {
        return Err(Reply::problem(
            400,
            "Bad request",
            "The path or the query is not UTF-8 or has a `%` that two hexadecimal digits do not follow.",
        ));
    };
    Ok(Request {
        method,
        path,
        query,
        body: read_body(body, limit).await?,
        refusal,
    })
}

async fn read_body(body: Incoming, limit: Duration) -> Result<Bytes, Reply> {
    let too_long = || {
        let detail = format!("The body of a request has at most {MAX_BODY} bytes.");
        Reply::problem(413, "Content too large", detail)
    };
    // A declared length is refused without reading the body.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_long());
    }
    match timeout(limit, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(Reply::problem(400, "Bad request", error.to_string())),
        Err(_) => {
            let detail = format!("The body of the request did not come within {limit:?}.");
            Err(Reply::problem(408, "Request timeout", detail))
        }
    }
}

fn path(text: &str) -> Option<Vec<String>> {
    let segments = text.split('/').filter(|segment| !segment.is_empty());
    segments.map(decode).collect()
}

fn query(text: &str) -> Option<BTreeMap<String, String>> {
    // A plus is a space, as in forms.
    let decode = |text: &str| decode(&text.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn segments_are_decoded_and_empty_ones_dropped() {
        let segments = |text| path(text).unwrap();
        assert!(segments("/").is_empty());
        assert_eq!(segments("//hooks/pre-stop/"), ["hooks", "pre-stop"]);
        assert_eq!(segments("/services/a%2Fb%20c/+"), ["services", "a/b c", "+"]);
        for bad in ["/%", "/%4", "/%zz", "/%+1", "/%ff"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_of_a_repeated_key_holds() {
        let pairs = query("force=true&&x&name=a+b%26&force=no").unwrap();
        let expected = [("force", "no"), ("name", "a b&"), ("x", "")];
        assert!(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected));
        assert_eq!(query("a=%g0"), None);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in ".*") {
            let encoded: Vec<_> = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode(&encoded.concat()), Some(text));
        }

        #[test]
        fn no_text_breaks_the_reading(text in "[%0-9a-fG&=+/é]*") {
            path(&text);
            query(&text);
        }
    }
}
