//! The keys of `sql`.

use std::time::Duration;

use common::config::{Secret, Section};
use common::tls::TlsOptions;

use crate::config::data_source::Fields;
use crate::config::data_source::sql::{self as dsn, Driver, Encryption, Target};
use crate::config::{CheckKind, LOOPBACK, authority};

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlConfig {
    /// Which database.
    pub driver: Driver,
    /// Its port, unless the data source has another.
    pub port: u16,
    /// A data source with Go-Nerve's templates; the other keys when `None`.
    pub datasource: Option<Secret>,
    /// The query.
    pub request: String,
    /// The user.
    pub username: String,
    /// `None` is the empty one.
    pub password: Option<Secret>,
    /// `None` is the server's default.
    pub database: Option<String>,
    /// TLS, in addition to the data source's options.
    pub tls: Option<TlsOptions>,
    /// What is probed, for people.
    pub shown: String,
}

pub(super) fn read(section: &mut Section<'_>, host: Option<&str>, service_port: u16) -> Option<CheckKind> {
    let drivers = [("mysql", Driver::Mysql), ("postgres", Driver::Postgres)];
    let driver = section.choice_or("driver", "mysql", &drivers)?;
    // The service's port is hardly the database's: only the check's own counts.
    let own_port = section.integer("port", 1..=65535).map(|_| service_port);
    let mut config = SqlConfig {
        driver,
        port: own_port.unwrap_or(driver.port()),
        datasource: section.secret("datasource"),
        request: section.text_or("request", "SELECT 1"),
        username: section.text_or("username", "root"),
        password: section.secret("password"),
        database: section.text("database").filter(|database| !database.is_empty()),
        tls: TlsOptions::of(section, "tls"),
        shown: String::new(),
    };
    if config.tls.as_ref().is_some_and(|tls| tls.server_name.is_some()) {
        section.problem(
            "tls",
            "names a server, which the database drivers can't check",
            "connect by the name that is in the certificate",
        );
    }
    if !cfg!(feature = "sql") {
        section.problem(
            "type",
            "`sql` is not in this nerve",
            "build it with the feature `sql`, which is on by default",
        );
        return None;
    }
    let loopback = LOOPBACK.to_string();
    let host = host.unwrap_or(&loopback);
    let written = config.datasource.as_ref().and_then(Secret::literal);
    if config.datasource.is_some() && written.is_none() {
        "the data source".clone_into(&mut config.shown);
        return Some(CheckKind::Sql(config));
    }
    match config.target(host, Duration::ZERO, written, "password") {
        Ok(target) => config.shown = shown(&target),
        Err(what) => {
            section.problem(
                "datasource",
                what,
                "e.g. `user:password@tcp(127.0.0.1:3306)/database` or `postgres://user:password@127.0.0.1/database`",
            );
            return None;
        }
    }
    Some(CheckKind::Sql(config))
}

fn shown(target: &Target) -> String {
    let place = match &target.socket {
        Some(socket) => socket.display().to_string(),
        None => authority(&target.host, target.port),
    };
    let driver = match target.driver {
        Driver::Mysql => "mysql",
        Driver::Postgres => "postgres",
    };
    format!("{driver} {place}")
}

impl SqlConfig {
    /// Where to connect: `datasource` with its templates rendered, or else the keys beside it.
    pub(crate) fn target(
        &self,
        host: &str,
        timeout: Duration,
        datasource: Option<&str>,
        password: &str,
    ) -> Result<Target, &'static str> {
        let mut target = match datasource {
            None => Target {
                host: host.to_owned(),
                port: self.port,
                username: self.username.clone(),
                password: password.to_owned(),
                database: self.database.clone(),
                ..Target::new(self.driver)
            },
            Some(datasource) => {
                let fields = Fields::new([
                    ("Username", self.username.clone()),
                    ("Password", password.to_owned()),
                    ("Host", host.to_owned()),
                    ("Port", self.port.to_string()),
                    ("Request", self.request.clone()),
                    ("TimeoutInMilli", timeout.as_millis().to_string()),
                ]);
                dsn::parse(self.driver, &fields.render(datasource)?)?
            }
        };
        if let Some(tls) = &self.tls {
            target.encryption = if tls.insecure_skip_verify {
                Encryption::Require
            } else {
                Encryption::Verify
            };
        }
        Ok(target)
    }
}
