//! The ledger on a PostgreSQL that is reached over TLS.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::postgres::Server;
use support::tls::Authority;
use tachograph::ledger::{
    Columns, Disposition, Event, Ledger, LedgerConfig, LedgerState, OpenError, Reached, Record,
    Unreached, reach,
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
const PASSWORD: &str = "hush-hush";

/// A server whose role `guarded` is let in over TLS only, with a password; the certificate is
/// for `localhost`.
async fn server(authority: &Authority) -> Option<Server> {
    let server = Server::start(&["fsync=off"])?;
    for sql in [
        &format!("CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'"),
        "CREATE DATABASE ledger OWNER guarded",
        "DO $$ BEGIN EXECUTE format('COPY (VALUES \
         (''hostssl all guarded 127.0.0.1/32 scram-sha-256''), \
         (''host all tachograph 127.0.0.1/32 trust'')) TO %L', current_setting('hba_file')); \
         END $$",
    ] {
        server.execute("postgres", sql).await;
    }
    let (certificate, key) = authority.sign("localhost");
    server.secure(&certificate, &key).await;
    Some(server)
}

fn url(server: &Server, host: &str, parameters: &str) -> String {
    let url = server.url("ledger").replace(
        "tachograph@127.0.0.1",
        &format!("guarded:{PASSWORD}@{host}"),
    );
    format!("{url}?{parameters}")
}

fn config(url: &str) -> LedgerConfig {
    LedgerConfig {
        retry_interval: Duration::from_millis(20),
        ..LedgerConfig::new(url)
    }
}

async fn commit(ledger: &Ledger) -> Vec<Disposition> {
    let record = Record {
        id: Uuid::now_v7(),
        signal: "workflow.run",
        event: Event::End,
        time_us: 1_700_000_000_000_000,
        first_us: i64::MAX,
        duration: Some(1.5),
        parent: None,
        fields: "{}".to_owned(),
        context: "{}".to_owned(),
        columns: Columns::default(),
    };
    let receipt = ledger.submit(vec![record], |_| {}).unwrap();
    receipt.committed().await.unwrap()
}

async fn looked(url: &str) -> Result<Reached, Unreached> {
    reach(&config(url), PATIENCE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_its_authority_and_its_name() {
    let (ours, others) = (Authority::new(), Authority::new());
    let Some(server) = server(&ours).await else {
        return;
    };
    let (right, wrong) = (
        ours.file("ca.pem", &ours.pem),
        others.file("ca.pem", &others.pem),
    );
    let trusted = url(
        &server,
        "localhost",
        &format!("sslmode=verify-full&sslrootcert={right}"),
    );
    let ledger = Ledger::open(config(&trusted)).await.unwrap();
    assert_eq!(ledger.health().state, LedgerState::Ready);
    assert_eq!(commit(&ledger).await, [Disposition::Accepted]);
    // What commits and what asks, both.
    assert_eq!(
        ledger.totals().await.unwrap(),
        [("workflow.run".to_owned(), 1)]
    );
    let encrypted = "DO $$ BEGIN ASSERT (SELECT COUNT(*) >= 2 AND bool_and(ssl) FROM pg_stat_ssl \
                     JOIN pg_stat_activity USING (pid) WHERE usename = 'guarded'); END $$";
    server.execute("ledger", encrypted).await;
    assert!(looked(&trusted).await.is_ok());

    for (host, parameters, parts) in [
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={wrong}"),
            ["authority", "`sslrootcert=FILE`"],
        ),
        (
            "localhost",
            format!("sslmode=verify-ca&sslrootcert={wrong}"),
            ["authority", "`sslrootcert=FILE`"],
        ),
        (
            "localhost",
            "sslmode=verify-full".to_owned(),
            ["authority", "`sslrootcert=FILE`"],
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={right}"),
            ["host `127.0.0.1`", "localhost"],
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={right}.gone"),
            ["`sslrootcert`", "cannot be read"],
        ),
        // The server lets nobody in who does not encrypt.
        (
            "localhost",
            "sslmode=disable".to_owned(),
            ["guarded", "no encryption"],
        ),
    ] {
        let url = url(&server, host, &parameters);
        let error = Ledger::open(config(&url)).await.unwrap_err();
        assert!(matches!(error, OpenError::Server { .. }), "{error}");
        let said = looked(&url).await.unwrap_err().said;
        for message in [error.to_string(), said] {
            for part in parts {
                assert!(message.contains(part), "{parameters}: {message}");
            }
            assert!(!message.contains(PASSWORD), "{message}");
        }
    }
    let any_name = format!("sslmode=verify-ca&sslrootcert={right}");
    for (host, parameters) in [
        ("127.0.0.1", any_name.as_str()),
        ("127.0.0.1", "sslmode=require"),
    ] {
        let ledger = Ledger::open(config(&url(&server, host, parameters))).await;
        assert_eq!(commit(&ledger.unwrap()).await, [Disposition::Accepted]);
    }

    // A certificate of somebody else's under a running service, and the right one again.
    let (certificate, key) = others.sign("localhost");
    server.secure(&certificate, &key).await;
    cut(&server).await;
    let start = Instant::now();
    let reason = loop {
        if let LedgerState::Away { reason } = ledger.health().state
            && reason.contains("sslrootcert")
        {
            break reason;
        }
        assert!(start.elapsed() < PATIENCE, "{:?}", ledger.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(!reason.contains(PASSWORD), "{reason}");
    let (certificate, key) = ours.sign("localhost");
    server.secure(&certificate, &key).await;
    while ledger.health().state != LedgerState::Ready {
        assert!(start.elapsed() < PATIENCE, "{:?}", ledger.health());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(commit(&ledger).await, [Disposition::Accepted]);
}

async fn cut(server: &Server) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guarded'";
    server.execute("postgres", sql).await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let Some(server) = Server::shared() else {
        return;
    };
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{}?sslmode={mode}", server.database().await)
            .replace("tachograph@", &format!("tachograph:{PASSWORD}@"));
        let error = Ledger::open(config(&url)).await.unwrap_err().to_string();
        for part in ["does not support TLS", "`ssl = on`", "`sslmode`"] {
            assert!(error.contains(part), "{mode}: {error}");
        }
        assert!(!error.contains(PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn a_misspelt_parameter_is_refused_and_its_value_not_shown() {
    for (parameters, part) in [
        ("sslmode=verify_full", "verify-full"),
        ("pasword=hush-hush", "password"),
        ("sslrootcerts=/hush-hush.pem", "sslrootcert"),
        ("sslmode=require&target_session_attrs=hush-hush", "sslmode"),
    ] {
        let url = format!("postgres://a:hush-hush@127.0.0.1:1/b?{parameters}");
        let error = Ledger::open(config(&url)).await.unwrap_err();
        assert!(matches!(error, OpenError::Url { .. }), "{error}");
        let said = looked(&url).await.unwrap_err().said;
        for message in [error.to_string(), said] {
            assert!(message.contains(part), "{parameters}: {message}");
            assert!(!message.contains(PASSWORD), "{message}");
        }
    }
}
