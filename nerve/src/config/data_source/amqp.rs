//! `amqp://NAME:PASSWORD@HOST:PORT/VHOST` (<https://www.rabbitmq.com/docs/uri-spec>).

use std::fmt;

use super::{percent_decode, url};

/// Address and credentials. The password is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// `amqps`.
    pub tls: bool,
    /// An address or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The user.
    pub username: String,
    /// May be empty.
    pub password: String,
    /// The virtual host.
    pub vhost: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (&self.host, self.port);
        f.debug_struct("Target")
            .field("host", host)
            .field("port", &port)
            .finish_non_exhaustive()
    }
}

/// Reads an AMQP URI; an error contains none of its text.
pub fn parse(text: &str) -> Result<Target, &'static str> {
    let url = url(text)?;
    let (tls, port) = match url.scheme() {
        "amqp" => (false, 5672),
        "amqps" => (true, 5671),
        _ => return Err("is no `amqp://` or `amqps://` URL"),
    };
    if url.query().is_some() {
        return Err("has parameters, which are not supported");
    }
    let decode = |text: &str| percent_decode(text).ok_or("is no UTF-8");
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("has no host")?;
    let (username, password) = match (url.username(), url.password()) {
        ("", None) => ("guest".to_owned(), "guest".to_owned()),
        (username, password) => (decode(username)?, decode(password.unwrap_or_default())?),
    };
    let vhost = decode(url.path().strip_prefix('/').unwrap_or_default())?;
    Ok(Target {
        tls,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(port),
        username,
        password,
        vhost: if vhost.is_empty() { "/".to_owned() } else { vhost },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_every_part() {
        let target = parse("amqps://me:p%40ss@[::1]:1/shop").expect("a target");
        assert_eq!((target.host.as_str(), target.port, target.tls), ("::1", 1, true));
        assert_eq!((target.username.as_str(), target.password.as_str()), ("me", "p@ss"));
        assert_eq!(target.vhost, "shop");
        let target = parse("amqp://h").expect("a target");
        assert_eq!(
            (target.port, target.username.as_str(), target.vhost.as_str()),
            (5672, "guest", "/")
        );
        let nameless = parse("amqp://:p@h").expect("a target");
        assert_eq!((nameless.username.as_str(), nameless.password.as_str()), ("", "p"));
        assert_eq!(parse("amqp://h/%2f").expect("a target").vhost, "/");
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        for text in [
            "http://me:secret@h",
            "me:secret@h",
            "amqp://me:secret@:1",
            "amqp://me:secret@h/?x=1",
            "amqp://me:1#secret@h",
            "amqp://me:secret@h:0",
        ] {
            let what = parse(text).expect_err("a problem");
            assert!(!what.contains("secret"), "{what}");
        }
    }
}
