//! `sql`.

use e2e::authority::Authority;
use e2e::servers::{PASSWORD, mariadb, postgres};
use nerve::health::verdict::FailureKind;

use crate::{fails, follows, identity, passes, verifies};

#[tokio::test]
async fn mariadb_answers_queries() {
    let mut server = mariadb(None);
    let port = server.port;
    let keys = format!("type: sql, port: {port}, username: probe, password: {PASSWORD}");
    passes(port, &keys).await;
    for source in [
        format!("probe:{PASSWORD}@tcp([127.0.0.1]:{port})/?timeout=1000ms"),
        format!("mysql://probe:{PASSWORD}@127.0.0.1:{port}"),
    ] {
        passes(port, &format!("type: sql, datasource: '{source}'")).await;
    }
    let templated = "datasource: '{{.Username}}:{{.Password}}@tcp([{{.Host}}]:{{.Port}})/'";
    passes(port, &format!("{keys}, {templated}")).await;
    let wrong = format!("type: sql, port: {port}, username: probe, password: wrong");
    fails(port, &wrong, FailureKind::Answer, "Access denied").await;
    let table = format!("{keys}, request: SELECT 1 FROM no_such_table");
    fails(port, &table, FailureKind::Answer, "No database selected").await;
    let database = format!("{keys}, database: nowhere");
    fails(port, &database, FailureKind::Answer, "nowhere").await;
    let encrypted = format!("{keys}, tls: {{ insecureSkipVerify: true }}");
    fails(port, &encrypted, FailureKind::Connection, "TLS").await;
    // It answers, but not this query.
    let slow = format!("{keys}, request: SELECT SLEEP(60), timeoutInMilli: 300");
    fails(port, &slow, FailureKind::Timeout, "300ms").await;
    let nowhere = format!("{keys}, host: no-such-host.invalid, timeoutInMilli: 20000");
    fails(port, &nowhere, FailureKind::Unresolved, "no-such-host").await;
    follows(&mut server, &keys).await;
}

#[tokio::test]
async fn postgres_answers_queries() {
    let mut server = postgres(None);
    let port = server.port;
    let keys = format!("type: sql, driver: postgres, port: {port}, username: probe, password: {PASSWORD}");
    let keys = format!("{keys}, database: postgres");
    passes(port, &keys).await;
    for source in [
        format!("postgres://probe:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable"),
        format!("host=127.0.0.1 port={port} user=probe password={PASSWORD} dbname=postgres"),
    ] {
        passes(port, &format!("type: sql, driver: postgres, datasource: '{source}'")).await;
    }
    let wrong = format!("type: sql, driver: postgres, port: {port}, username: probe, password: wrong");
    fails(port, &wrong, FailureKind::Answer, "password authentication failed").await;
    let table = format!("{keys}, request: SELECT 1 FROM no_such_table");
    fails(port, &table, FailureKind::Answer, "no_such_table").await;
    let slow = format!("{keys}, request: SELECT pg_sleep(60), timeoutInMilli: 300");
    fails(port, &slow, FailureKind::Timeout, "300ms").await;
    follows(&mut server, &keys).await;
}

#[tokio::test]
async fn mariadb_is_verified_and_verifies_over_tls() {
    let authority = Authority::new();
    let mut server = mariadb(Some(&authority));
    let port = server.port;
    let keys = format!("type: sql, port: {port}, username: probe, password: {PASSWORD}");
    verifies(port, &keys, &authority).await;
    fails(port, &keys, FailureKind::Answer, "Access denied").await;
    let tls = identity(&authority);
    let source = format!("type: sql, datasource: 'mysql://probe:{PASSWORD}@localhost:{port}', {tls}");
    passes(port, &source).await;
    follows(&mut server, &format!("{keys}, {tls}")).await;
}

#[tokio::test]
async fn postgres_is_verified_and_verifies_over_tls() {
    let authority = Authority::new();
    let mut server = postgres(Some(&authority));
    let port = server.port;
    let keys = format!("type: sql, driver: postgres, port: {port}, username: probe, password: {PASSWORD}");
    let keys = format!("{keys}, database: postgres");
    verifies(port, &keys, &authority).await;
    fails(port, &keys, FailureKind::Answer, "client certificate").await;
    let tls = identity(&authority);
    let source = format!("host=localhost port={port} user=probe password={PASSWORD} dbname=postgres");
    passes(
        port,
        &format!("type: sql, driver: postgres, datasource: '{source}', {tls}"),
    )
    .await;
    follows(&mut server, &format!("{keys}, {tls}")).await;
}
