//! Answers.

/// An answer: status, content type, body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// The `Allow` of a 405: the methods that the path has, e.g. `GET, HEAD`.
    pub allow: Option<&'static str>,
}

impl Reply {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into().into_bytes(),
            allow: None,
        }
    }

    /// JSON; a value that can't be serialised (there is none in our views) becomes a 500.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self {
                status,
                content_type: "application/json",
                body,
                allow: None,
            },
            Err(error) => Self::text(500, error.to_string()),
        }
    }

    /// An error as RFC 9457 problem+json: what failed and what to do.
    pub fn problem(status: u16, title: &str, detail: impl Into<String>) -> Self {
        let mut reply = Self::json(
            status,
            &serde_json::json!({ "type": "about:blank", "title": title, "status": status, "detail": detail.into() }),
        );
        reply.content_type = "application/problem+json";
        reply
    }

    /// A path that is there, asked with a method that it does not have; `allow` names those it has.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("This path takes {allow}.");
        Self {
            allow: Some(allow),
            ..Self::problem(405, "Method not allowed", detail)
        }
    }
}
