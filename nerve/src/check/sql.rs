//! A query of a database: one connection per probe, closed in order when the query was answered.
//!
//! The rows are read and let go; that they come without an error is what counts.

use common::tls::TlsOptions;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error};

use super::login::{hide, read};
use crate::config::data_source::sql::{Driver, Encryption, Target};
use crate::config::{CheckConfig, SqlConfig};
use crate::health::verdict::{Failure, FailureKind};

pub(super) async fn probe(config: &SqlConfig, check: &CheckConfig) -> Result<String, Failure> {
    let password = config.password.as_ref().map(read).transpose()?.unwrap_or_default();
    let datasource = config.datasource.as_ref().map(read).transpose()?;
    let target = config
        .target(&check.host, check.timeout, datasource.as_deref(), &password)
        .map_err(|what| Failure::new(FailureKind::Secret, format!("datasource {what}")))?;
    if target.socket.is_none() {
        // The drivers resolve by themselves, but do not distinguish that failure from others.
        super::connect::Connector::to(&target.host, target.port, check.prefer_ipv4)
            .addresses()
            .await?;
    }
    let tls = config.tls.as_ref();
    let asked = match target.driver {
        Driver::Mysql => query(&mysql(&target, tls), &config.request).await,
        Driver::Postgres => query(&postgres(&target, tls), &config.request).await,
    };
    asked
        .map(|()| "the query was answered".to_owned())
        .map_err(|error| hide(hide(failure(&error), &target.password), &password))
}

fn mysql(target: &Target, tls: Option<&TlsOptions>) -> MySqlConnectOptions {
    let mut options = MySqlConnectOptions::new()
        .host(&target.host)
        .port(target.port)
        .username(&target.username)
        .password(&target.password)
        .ssl_mode(match target.encryption {
            Encryption::Off => MySqlSslMode::Disabled,
            Encryption::Prefer => MySqlSslMode::Preferred,
            Encryption::Require => MySqlSslMode::Required,
            Encryption::VerifyAuthority => MySqlSslMode::VerifyCa,
            Encryption::Verify => MySqlSslMode::VerifyIdentity,
        })
        // The session stays as the server makes it: one query less, and proxies differ in what they allow.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging();
    if let Some(socket) = &target.socket {
        options = options.socket(socket);
    }
    if let Some(database) = &target.database {
        options = options.database(database);
    }
    if let Some(ca) = tls.and_then(|tls| tls.ca.as_ref()) {
        options = options.ssl_ca(ca);
    }
    if let Some(identity) = tls.and_then(|tls| tls.identity.as_ref()) {
        options = options.ssl_client_cert(&identity.cert).ssl_client_key(&identity.key);
    }
    options
}

fn postgres(target: &Target, tls: Option<&TlsOptions>) -> PgConnectOptions {
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&target.host)
        .port(target.port)
        .username(&target.username)
        .password(&target.password)
        .database(target.database.as_ref().unwrap_or(&target.username))
        .application_name("nerve")
        .ssl_mode(match target.encryption {
            Encryption::Off => PgSslMode::Disable,
            Encryption::Prefer => PgSslMode::Prefer,
            Encryption::Require => PgSslMode::Require,
            Encryption::VerifyAuthority => PgSslMode::VerifyCa,
            Encryption::Verify => PgSslMode::VerifyFull,
        })
        .disable_statement_logging();
    if let Some(socket) = &target.socket {
        options = options.socket(socket);
    }
    if let Some(ca) = tls.and_then(|tls| tls.ca.as_ref()) {
        options = options.ssl_root_cert(ca);
    }
    if let Some(identity) = tls.and_then(|tls| tls.identity.as_ref()) {
        options = options.ssl_client_cert(&identity.cert).ssl_client_key(&identity.key);
    }
    options
}

async fn query<O>(options: &O, request: &str) -> Result<(), Error>
where
    O: ConnectOptions<Connection: Sized>,
    for<'c> &'c mut O::Connection: sqlx::Executor<'c, Database = <O::Connection as Connection>::Database>,
{
    let mut connection = options.connect().await?;
    // The operator's own text, from the configuration.
    let request = sqlx::raw_sql(AssertSqlSafe(request));
    request.execute(&mut connection).await?;
    connection.close().await
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Database(error) => Failure::new(FailureKind::Answer, error.message()),
        Error::Io(error) => Failure::new(FailureKind::Connection, error.to_string()),
        Error::Tls(error) => Failure::new(FailureKind::Connection, format!("TLS: {error}")),
        other => Failure::new(FailureKind::Answer, other.to_string()),
    }
}
