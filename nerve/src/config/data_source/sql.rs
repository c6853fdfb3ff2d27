//! Data sources of databases: Go's for MySQL (`user:password@tcp(host:port)/database?tls=true`), libpq's for PostgreSQL
//! (`host=... user=...`), and URLs (`mysql://`, `postgres://`).
//!
//! Sources: <https://github.com/go-sql-driver/mysql#dsn-data-source-name>,
//! <https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING>. An error contains none of the text, because
//! there is a password in it.

use std::fmt;
use std::path::PathBuf;

use super::{percent_decode, port_number};

/// The databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// MySQL and MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgres,
}

impl Driver {
    /// The default port.
    pub fn port(self) -> u16 {
        match self {
            Self::Mysql => 3306,
            Self::Postgres => 5432,
        }
    }
}

/// How far TLS goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// None.
    Off,
    /// When the server offers it.
    Prefer,
    /// Always, without verification.
    Require,
    /// Always, with a certificate of a trusted authority.
    VerifyAuthority,
    /// Always, with a certificate of a trusted authority and of the host's name.
    Verify,
}

/// Address and credentials. The password is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Which database.
    pub driver: Driver,
    /// An address or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// A Unix socket instead of both.
    pub socket: Option<PathBuf>,
    /// The user.
    pub username: String,
    /// May be empty.
    pub password: String,
    /// The server's default for the user when `None`.
    pub database: Option<String>,
    /// How far TLS goes.
    pub encryption: Encryption,
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

const UNSUPPORTED: &str = "has a parameter that is not supported; certificates belong in `tls`";
const NO_ENCRYPTION: &str = "requests a kind of TLS that does not exist";

/// What a data source that is a URL begins with; `://` may stand in a password of another.
const SCHEMES: [(&str, Driver); 4] = [
    ("mysql://", Driver::Mysql),
    ("mariadb://", Driver::Mysql),
    ("postgres://", Driver::Postgres),
    ("postgresql://", Driver::Postgres),
];

/// Reads a data source in any form that `driver` accepts.
pub fn parse(driver: Driver, text: &str) -> Result<Target, &'static str> {
    let starts_with = |scheme: &str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let scheme = SCHEMES.iter().find(|(scheme, _)| starts_with(scheme));
    match (scheme, driver) {
        (Some((_, of)), driver) if *of == driver => url(driver, text),
        (Some(_), _) => Err("is a URL of another database than `driver`"),
        (None, Driver::Mysql) => go_mysql(text),
        (None, Driver::Postgres) => key_values(text),
    }
}

impl Target {
    pub(crate) fn new(driver: Driver) -> Self {
        Self {
            driver,
            host: "127.0.0.1".to_owned(),
            port: driver.port(),
            socket: None,
            username: "root".to_owned(),
            password: String::new(),
            database: None,
            encryption: match driver {
                Driver::Mysql => Encryption::Off,
                Driver::Postgres => Encryption::Prefer,
            },
        }
    }

    /// `host`, `host:port` or `[host]:port`; a port that is absent stays as it is.
    fn set_place(&mut self, text: &str) -> Result<(), &'static str> {
        let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match text.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        if let Some(port) = port {
            self.port = port_number(port)?;
        }
        self.set_host(host);
        Ok(())
    }

    /// An empty one is the default, as in the drivers of both.
    fn set_host(&mut self, host: &str) {
        if !host.is_empty() {
            host.clone_into(&mut self.host);
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match (self.driver, name) {
            (Driver::Mysql, "tls") => self.encryption = go_tls(value)?,
            (Driver::Mysql, "ssl-mode" | "sslmode") | (Driver::Postgres, "sslmode") => {
                self.encryption = sslmode(value)?;
            }
            (Driver::Postgres, "host") if value.starts_with('/') => self.socket = Some(PathBuf::from(value)),
            (Driver::Postgres, "host") => self.set_host(value),
            (Driver::Postgres, "port") => self.port = port_number(value)?,
            (Driver::Postgres, "user") => value.clone_into(&mut self.username),
            (Driver::Postgres, "password") => value.clone_into(&mut self.password),
            (Driver::Postgres, "dbname") => self.database = Some(value.to_owned()),
            (Driver::Mysql, name) if WITHOUT_EFFECT_MYSQL.contains(&name) => {}
            (Driver::Postgres, name) if WITHOUT_EFFECT_POSTGRES.contains(&name) => {}
            _ => return Err(UNSUPPORTED),
        }
        Ok(())
    }
}

/// How Go's driver hands rows to its program, and deadlines: the check has its own.
const WITHOUT_EFFECT_MYSQL: [&str; 16] = [
    "allowAllFiles",
    "allowNativePasswords",
    "allowOldPasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "columnsWithAlias",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
    "readTimeout",
    "timeout",
    "writeTimeout",
];
const WITHOUT_EFFECT_POSTGRES: [&str; 5] = [
    "application_name",
    "binary_parameters",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
];

fn go_tls(value: &str) -> Result<Encryption, &'static str> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(Encryption::Verify),
        "0" | "false" => Ok(Encryption::Off),
        "skip-verify" => Ok(Encryption::Require),
        "preferred" => Ok(Encryption::Prefer),
        _ => Err(NO_ENCRYPTION),
    }
}

fn sslmode(value: &str) -> Result<Encryption, &'static str> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => Ok(Encryption::Off),
        "allow" | "prefer" | "preferred" => Ok(Encryption::Prefer),
        "require" | "required" => Ok(Encryption::Require),
        "verify-ca" => Ok(Encryption::VerifyAuthority),
        "verify-full" | "verify-identity" => Ok(Encryption::Verify),
        _ => Err(NO_ENCRYPTION),
    }
}

/// `[user[:password]@][network[(address)]]/database[?name=value&...]`, read from its last `/`.
fn go_mysql(text: &str) -> Result<Target, &'static str> {
    let mut target = Target::new(Driver::Mysql);
    let (front, back) = text.rsplit_once('/').ok_or("has no `/` before the database")?;
    let (database, parameters) = back.split_once('?').unwrap_or((back, ""));
    target.database = decoded(database)?;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or("has a parameter without `=`")?;
        target.set(name, &percent_decode(value).ok_or("is no UTF-8")?)?;
    }
    let address = match front.rsplit_once('@') {
        Some((login, address)) => {
            let (username, password) = login.split_once(':').unwrap_or((login, ""));
            username.clone_into(&mut target.username);
            password.clone_into(&mut target.password);
            address
        }
        None => front,
    };
    let (network, address) = match address.split_once('(') {
        Some((network, address)) => (
            network,
            address.strip_suffix(')').ok_or("has no `)` after the address")?,
        ),
        None => (address, ""),
    };
    match (network, address) {
        ("unix", "") => return Err("has no path of a socket"),
        ("unix", path) => target.socket = Some(PathBuf::from(path)),
        ("" | "tcp" | "tcp6", "") => {}
        ("" | "tcp" | "tcp6", place) => target.set_place(place)?,
        _ => return Err("has a network other than `tcp` and `unix`"),
    }
    Ok(target)
}

/// `name=value` separated by spaces; a value in `'` may hold any character, `\` takes the next one as it is.
fn key_values(text: &str) -> Result<Target, &'static str> {
    let mut target = Target::new(Driver::Postgres);
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("has a word without `=`")?;
        let (value, after) = value(after.trim_start())?;
        target.set(name.trim_end(), &value)?;
        rest = after.trim_start();
    }
    Ok(target)
}

fn value(text: &str) -> Result<(String, &str), &'static str> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next() {
            Some('\'') if quoted => return Ok((value, characters.as_str())),
            Some(c) if !quoted && c.is_whitespace() => return Ok((value, characters.as_str())),
            Some('\\') => value.extend(characters.next()),
            Some(c) => value.push(c),
            None if quoted => return Err("has a `'` that does not end"),
            None => return Ok((value, "")),
        }
    }
}

fn url(driver: Driver, text: &str) -> Result<Target, &'static str> {
    let url = super::url(text)?;
    let mut target = Target::new(driver);
    if let Some(host) = decoded(url.host_str().unwrap_or_default().trim_matches(['[', ']']))? {
        match driver {
            Driver::Mysql => target.host = host,
            // May be the directory of a socket.
            Driver::Postgres => target.set("host", &host)?,
        }
    }
    target.port = url.port().unwrap_or(target.port);
    if let Some(username) = decoded(url.username())? {
        target.username = username;
    }
    target.password = decoded(url.password().unwrap_or_default())?.unwrap_or_default();
    target.database = decoded(url.path().strip_prefix('/').unwrap_or_default())?;
    for (name, value) in url.query_pairs() {
        target.set(&name, &value)?;
    }
    Ok(target)
}

/// Percent signs undone; nothing when empty.
fn decoded(text: &str) -> Result<Option<String>, &'static str> {
    let text = percent_decode(text).ok_or("is no UTF-8")?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good(driver: Driver, text: &str) -> Target {
        parse(driver, text).unwrap_or_else(|what| panic!("{text}: {what}"))
    }

    /// user, password, host, port, database, encryption
    fn shown(target: &Target) -> String {
        let Target {
            username,
            password,
            host,
            port,
            encryption,
            ..
        } = target;
        let database = target.database.as_deref().unwrap_or("-");
        format!("{username} {password} {host} {port} {database} {encryption:?}")
    }

    #[test]
    fn go_data_sources_of_mysql() {
        let cases = [
            (
                "root:@tcp([127.0.0.1]:3307)/?timeout=1000ms",
                "root  127.0.0.1 3307 - Off",
            ),
            (
                "u:p:a@ss/w@tcp(db:1)/shop?tls=skip-verify&parseTime=true",
                "u p:a@ss/w db 1 shop Require",
            ),
            ("u@tcp([::1])/", "u  ::1 3306 - Off"),
            ("u:p@/x?tls=true", "u p 127.0.0.1 3306 x Verify"),
            ("/", "root  127.0.0.1 3306 - Off"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(&good(Driver::Mysql, text)), expected, "{text}");
        }
        let socket = good(Driver::Mysql, "u:p@unix(/run/my.sock)/x").socket;
        assert_eq!(socket, Some(PathBuf::from("/run/my.sock")));
    }

    #[test]
    fn libpq_data_sources_of_postgres() {
        let text = r"user=me password='a b\'c' host=db port = 1 dbname=x sslmode=require connect_timeout=1";
        assert_eq!(shown(&good(Driver::Postgres, text)), "me a b'c db 1 x Require");
        assert_eq!(shown(&good(Driver::Postgres, "")), "root  127.0.0.1 5432 - Prefer");
        let socket = good(Driver::Postgres, "host=/run/postgresql user=x").socket;
        assert_eq!(socket, Some(PathBuf::from("/run/postgresql")));
    }

    #[test]
    fn urls() {
        let text = "postgres://me:p%40ss@[::1]:1/x?sslmode=verify-full";
        assert_eq!(shown(&good(Driver::Postgres, text)), "me p@ss ::1 1 x Verify");
        assert_eq!(shown(&good(Driver::Mysql, "MySQL://db")), "root  db 3306 - Off");
        let socket = good(Driver::Postgres, "postgres://%2Frun%2Fpostgresql/x").socket;
        assert_eq!(socket, Some(PathBuf::from("/run/postgresql")));
    }

    #[test]
    fn a_password_may_look_like_a_url() {
        let go = good(Driver::Mysql, "me:a://b@tcp(db:1)/x");
        assert_eq!((go.password.as_str(), go.host.as_str()), ("a://b", "db"));
        assert_eq!(good(Driver::Postgres, "host=db password=a://b").password, "a://b");
    }

    #[test]
    fn no_host_is_the_default_one() {
        assert_eq!(shown(&good(Driver::Mysql, "u@tcp(:3307)/")), "u  127.0.0.1 3307 - Off");
        assert_eq!(
            shown(&good(Driver::Postgres, "host='' user=u")),
            "u  127.0.0.1 5432 - Prefer"
        );
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        let cases = [
            (Driver::Mysql, "me:secret@tcp(db:1)"),
            (Driver::Mysql, "me:secret@tcp(db:1)/?sql_mode=x"),
            (Driver::Mysql, "me:secret@tcp(db:1)/?tls=custom"),
            (Driver::Mysql, "me:secret@tcp(db:1/"),
            (Driver::Mysql, "me:secret@udp(db:1)/"),
            (Driver::Mysql, "postgres://me:secret@db"),
            (Driver::Mysql, "me:secret@tcp(db:0)/"),
            (Driver::Mysql, "me:secret@unix()/"),
            (Driver::Mysql, "mysql://me:secret@db:0"),
            (Driver::Postgres, "postgres://me:1#secret@db"),
            (Driver::Postgres, "password=secret port=0"),
            (Driver::Postgres, "password=secret port=x"),
            (Driver::Postgres, "password='secret"),
            (Driver::Postgres, "password secret"),
            (Driver::Postgres, "password=secret sslrootcert=/x"),
        ];
        for (driver, text) in cases {
            let what = parse(driver, text).err().unwrap_or_else(|| panic!("{text} is good"));
            assert!(!what.contains("secret"), "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_data_source_or_none(text in ".{0,80}", go in "[a-z:@()/?&=\\[\\]]{0,40}") {
            for driver in [Driver::Mysql, Driver::Postgres] {
                parse(driver, &text).ok();
                parse(driver, &go).ok();
            }
        }

        #[test]
        fn any_password_of_go_is_taken_as_it_is(password in "[^/]{0,20}") {
            let target = good(Driver::Mysql, &format!("me:{password}@tcp(db:1)/x"));
            prop_assert_eq!(target.password, password);
        }
    }
}
