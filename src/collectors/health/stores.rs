//! Checks of Redis and of databases.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, cmd,
};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::config::TargetConfig;
use super::probe::{Answer, Failure, Fault};
use crate::collectors::redis::client;
use crate::instrumentation::redis::address::is_tls;

/// `PING`, answered by anything but an error.
pub(super) struct RedisPing {
    client: Client,
    timeout: Duration,
}

impl RedisPing {
    pub(super) fn new(config: &TargetConfig) -> Result<Self, String> {
        let client = client(&config.url, config.ca_file.as_deref());
        let client = client.map_err(|(field, problem)| match field {
            "url" => problem,
            _ => format!("{field} {problem}"),
        })?;
        Ok(Self {
            client,
            timeout: config.timeout,
        })
    }

    pub(super) fn server(&self) -> Option<(String, u16)> {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some((host.clone(), *port))
            }
            _ => None,
        }
    }

    pub(super) async fn ask(&self) -> Result<Answer, Failure> {
        // The check as a whole has its time; the client's own, which are shorter, would cut it.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.map_err(of_redis)?;
        let asked = cmd("PING").exec_async(&mut connection).await;
        asked.map_err(of_redis)?;
        Ok(Answer::default())
    }
}

fn of_redis(error: RedisError) -> Failure {
    let fault = match error.kind() {
        _ if error.code().is_some() => Fault::Answer,
        ErrorKind::AuthenticationFailed => Fault::Answer,
        _ if is_tls(&error) => Fault::Tls,
        _ if error.is_timeout() => Fault::Timeout,
        _ if error.is_connection_refusal() => Fault::Refused,
        _ => Fault::Connection,
    };
    Failure::new(fault, error.to_string())
}

/// A query that PostgreSQL answers without looking at any table.
pub(super) struct Postgres(PgConnectOptions);

impl Postgres {
    pub(super) fn new(config: &TargetConfig) -> Result<Self, String> {
        let options: PgConnectOptions = config
            .url
            .parse()
            .map_err(|error: sqlx::Error| error.to_string())?;
        let options = options.application_name("tachograph-health");
        Ok(Self(options.disable_statement_logging()))
    }

    pub(super) fn server(&self) -> Option<(String, u16)> {
        let host = self.0.get_host();
        let socket = self.0.get_socket().is_some() || host.starts_with('/');
        (!socket).then(|| (host.to_owned(), self.0.get_port()))
    }

    pub(super) async fn ask(&self) -> Result<Answer, Failure> {
        let mut connection = self.0.connect().await.map_err(of_sql)?;
        let asked = sqlx::query("SELECT 1").execute(&mut connection).await;
        asked.map_err(of_sql)?;
        // The server would log one that just goes away.
        connection.close().await.map_err(of_sql)?;
        Ok(Answer::default())
    }
}

/// A query that reads SQLite's file.
pub(super) struct Sqlite(SqliteConnectOptions);

impl Sqlite {
    pub(super) fn new(config: &TargetConfig) -> Result<Self, String> {
        let options: SqliteConnectOptions = config
            .url
            .parse()
            .map_err(|error: sqlx::Error| error.to_string())?;
        let options = options
            .read_only(true)
            .create_if_missing(false)
            // Shorter than the check, so that no thread waits on for one that was given up.
            .busy_timeout(config.timeout.mul_f64(0.9))
            .pragma("query_only", "ON")
            .pragma("trusted_schema", "OFF")
            .thread_name(|_| "tachograph-health".to_owned());
        Ok(Self(options.disable_statement_logging()))
    }

    fn file(&self) -> &Path {
        self.0.get_filename()
    }

    pub(super) async fn ask(&self) -> Result<Answer, Failure> {
        let asked = async {
            let mut connection = self.0.connect().await?;
            // Unlike `SELECT 1` it opens the file.
            sqlx::query("SELECT count(*) FROM sqlite_schema")
                .execute(&mut connection)
                .await?;
            connection.close().await
        };
        asked.await.map_err(|error| {
            let failure = of_sql(error);
            Failure::new(
                failure.fault,
                format!("{}: {}", self.file().display(), failure.reason),
            )
        })?;
        Ok(Answer::default())
    }
}

/// SQLite's code where others have the file locked (SQLite documentation, "Result Codes").
const BUSY: &str = "5";

fn of_sql(error: sqlx::Error) -> Failure {
    let fault = match &error {
        sqlx::Error::Database(error) if error.code().is_some_and(|code| code == BUSY) => {
            Fault::Timeout
        }
        sqlx::Error::Database(_) => Fault::Answer,
        sqlx::Error::Tls(_) => Fault::Tls,
        error => Fault::of(error as &(dyn Error + 'static)),
    };
    Failure::new(fault, error.to_string())
}
