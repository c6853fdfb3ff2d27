//! The keys of `amqp`.

use std::time::Duration;

use common::config::{Secret, Section};
use common::tls::TlsOptions;

use crate::config::data_source::Fields;
use crate::config::data_source::amqp::{self as uri, Target};
use crate::config::{CheckKind, LOOPBACK, authority};

/// A login and a message's way through a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpConfig {
    /// An AMQP URI, with Go-Nerve's templates; the other keys when `None`.
    pub datasource: Option<Secret>,
    /// The user.
    pub username: String,
    /// The user's.
    pub password: Secret,
    /// The virtual host.
    pub vhost: String,
    /// The queue; `None` only logs in.
    pub queue: Option<String>,
    /// Trusted authorities and client certificate, for `amqps`.
    pub tls: Option<TlsOptions>,
    /// What is probed, for people.
    pub shown: String,
}

pub(super) fn read(section: &mut Section<'_>, host: Option<&str>, port: u16) -> Option<CheckKind> {
    let vhost = section.text_or("vhost", "/");
    let queue = section.text("queue").unwrap_or_else(|| "nerve".to_owned());
    for (key, text) in [("vhost", &vhost), ("queue", &queue)] {
        if text.len() > 255 {
            section.problem(key, "is longer than 255 bytes", "AMQP has no room for more");
        }
    }
    let mut config = AmqpConfig {
        datasource: section.secret("datasource"),
        username: section.text_or("username", "guest"),
        password: section.secret("password").unwrap_or_else(|| Secret::parse("guest")),
        vhost,
        queue: Some(queue).filter(|queue| !queue.is_empty()),
        tls: TlsOptions::of(section, "tls"),
        shown: String::new(),
    };
    let loopback = LOOPBACK.to_string();
    let place = (host.unwrap_or(&loopback), port);
    let written = config.datasource.as_ref().and_then(Secret::literal);
    if config.datasource.is_some() && written.is_none() {
        "the data source".clone_into(&mut config.shown);
        return Some(CheckKind::Amqp(config));
    }
    match config.target(place, Duration::ZERO, written, "password") {
        Ok(target) => config.shown = format!("{}{}", authority(&target.host, target.port), shown_vhost(&target.vhost)),
        Err(what) => {
            section.problem("datasource", what, "e.g. `amqp://guest:guest@127.0.0.1:5672/vhost`");
            return None;
        }
    }
    Some(CheckKind::Amqp(config))
}

fn shown_vhost(vhost: &str) -> String {
    if vhost == "/" {
        String::new()
    } else {
        format!(" {vhost}")
    }
}

impl AmqpConfig {
    /// Where to log in: `datasource` with its templates rendered, or else the keys beside it.
    pub(crate) fn target(
        &self,
        (host, port): (&str, u16),
        timeout: Duration,
        datasource: Option<&str>,
        password: &str,
    ) -> Result<Target, &'static str> {
        let Some(datasource) = datasource else {
            return Ok(Target {
                tls: self.tls.is_some(),
                host: host.to_owned(),
                port,
                username: self.username.clone(),
                password: password.to_owned(),
                vhost: self.vhost.clone(),
            });
        };
        let fields = Fields::new([
            ("Username", self.username.clone()),
            ("Password", password.to_owned()),
            ("Host", host.to_owned()),
            ("Port", port.to_string()),
            ("Vhost", self.vhost.clone()),
            ("Queue", self.queue.clone().unwrap_or_default()),
            ("TimeoutInMilli", timeout.as_millis().to_string()),
        ]);
        uri::parse(&fields.render(datasource)?)
    }
}
