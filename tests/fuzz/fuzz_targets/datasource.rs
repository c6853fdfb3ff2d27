//! Any text as a data source of MySQL, PostgreSQL and AMQP: what is read of it can be connected to, is read again from a
//! text with the same content, and is shown without its password.
#![no_main]

use std::fmt::Write;

use libfuzzer_sys::fuzz_target;
use nerve::config::data_source::sql::{Driver, Encryption, Target};
use nerve::config::data_source::{amqp, sql};

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").expect("room");
        encoded
    })
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// In libpq's form, which can express everything.
fn libpq(target: &Target) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mode = match target.encryption {
        Encryption::Off => "disable",
        Encryption::Prefer => "prefer",
        Encryption::Require => "require",
        Encryption::VerifyAuthority => "verify-ca",
        Encryption::Verify => "verify-full",
    };
    let mut text = format!("host={} port={} sslmode={mode}", quoted(&target.host), target.port);
    for (name, value) in [
        ("user", Some(&target.username)),
        ("password", Some(&target.password)),
        ("dbname", target.database.as_ref()),
    ] {
        if let Some(value) = value {
            write!(text, " {name}={}", quoted(value)).expect("room");
        }
    }
    if let Some(socket) = &target.socket {
        write!(text, " host={}", quoted(socket.to_str().expect("UTF-8"))).expect("room");
    }
    text
}

/// As Go's driver has it; `None` when a name or an address has a character in it that has a meaning there.
fn go(target: &Target) -> Option<String> {
    let Target {
        username,
        password,
        host,
        port,
        ..
    } = target;
    let socket = target.socket.as_ref().map(|path| path.to_str().expect("UTF-8"));
    let address = socket.map_or_else(|| format!("tcp([{host}]:{port})"), |path| format!("unix({path})"));
    let place = socket.unwrap_or(host);
    let special = username.contains(':') || place.contains('@') || socket.is_none() && host.contains(['[', ']']);
    let mode = match target.encryption {
        Encryption::Off => "tls=false",
        Encryption::Prefer => "tls=preferred",
        Encryption::Require => "tls=skip-verify",
        Encryption::VerifyAuthority => "sslmode=verify-ca",
        Encryption::Verify => "tls=true",
    };
    let database = percent(target.database.as_deref().unwrap_or_default());
    let text = format!("{username}:{password}@{address}/{database}?{mode}");
    let is_url = ["mysql://", "mariadb://", "postgres://", "postgresql://"]
        .iter()
        .any(|scheme| text.to_ascii_lowercase().starts_with(scheme));
    (!special && !is_url).then_some(text)
}

fuzz_target!(|text: &str| {
    for driver in [Driver::Mysql, Driver::Postgres] {
        let Ok(target) = sql::parse(driver, text) else { continue };
        assert!(target.port != 0 && !target.host.is_empty());
        assert!(target.socket.as_ref().is_none_or(|path| path.as_os_str() != ""));
        let written = match driver {
            Driver::Mysql => go(&target),
            Driver::Postgres => Some(libpq(&target)),
        };
        if let Some(written) = written {
            assert!(sql::parse(driver, &written).as_ref() == Ok(&target), "{written}");
        }
    }
    if let Ok(target) = amqp::parse(text) {
        assert!(target.port != 0 && !target.host.is_empty());
        let amqp::Target {
            tls,
            host,
            port,
            username,
            password,
            vhost,
        } = &target;
        let scheme = if *tls { "amqps" } else { "amqp" };
        let login = format!("{}:{}", percent(username), percent(password));
        let written = format!("{scheme}://{login}@{}:{port}/{}", bracketed(host), percent(vhost));
        assert!(amqp::parse(&written).as_ref() == Ok(&target), "{written}");
    }
});
