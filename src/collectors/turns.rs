//! Whose turn it is to read what several processes share.

use std::future::{Future, pending};

#[cfg(feature = "service")]
pub use self::postgres::PostgresTurns;

/// Decides which of several processes reads something: never two at once.
pub trait Turns: Send + 'static {
    /// Whether there is anybody to share with.
    const SHARED: bool = true;

    /// Waits until it is this process's turn.
    fn take(&mut self) -> impl Future<Output = ()> + Send;

    /// Waits until it may be another's turn, and says so before another one's
    /// [`take`](Self::take) returns. It is polled while the collector reads, which therefore
    /// does not block.
    fn lost(&mut self) -> impl Future<Output = ()> + Send;
}

/// It is always this process's turn: nothing is shared.
#[derive(Clone, Copy, Debug)]
pub struct Always;

impl Turns for Always {
    const SHARED: bool = false;

    async fn take(&mut self) {}

    async fn lost(&mut self) {
        pending().await
    }
}

#[cfg(feature = "service")]
mod postgres {
    use std::time::Duration;

    use sha2::{Digest as _, Sha256};
    use sqlx::postgres::{PgConnectOptions, PgConnection};
    use sqlx::{ConnectOptions as _, Connection as _};
    use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

    use super::Turns;
    use crate::ledger::is_postgres;

    /// How long a holder is believed without being asked.
    const LEASE: Duration = Duration::from_secs(6);

    /// Turns by an advisory lock of PostgreSQL, held by a connection of its own.
    ///
    /// The server frees the lock as soon as it knows that the connection is gone, which the
    /// holder may learn later. So the holder asks three times in a lease whether it still holds
    /// the lock, and gives up when a lease has passed since it last asked and was told so. Who
    /// takes the lock waits one and a half leases before it reads: the one before has given up
    /// by then. A holder that the server does not hear of for four leases loses the connection.
    ///
    /// Through a pooler that gives a connection away between statements nobody would hold the
    /// lock for long, and nobody would read.
    #[derive(Debug)]
    pub struct PostgresTurns {
        options: PgConnectOptions,
        key: i64,
        lease: Duration,
        connection: Option<PgConnection>,
        /// When the last question was sent that was answered with yes.
        confirmed: Instant,
        /// Whether the log has a line on the server being away.
        said: bool,
    }

    impl PostgresTurns {
        /// Turns in reading what is called `name`, among the processes that share a database.
        ///
        /// # Errors
        /// When the URL is none of PostgreSQL's.
        pub fn new(url: &str, name: &str) -> Result<Self, String> {
            let options: PgConnectOptions = url
                .parse()
                .map_err(|error: sqlx::Error| error.to_string())?;
            let digest = Sha256::digest(format!("tachograph collector {name}"));
            let mut key = [0; 8];
            key.copy_from_slice(&digest[..8]);
            Ok(Self {
                options: options
                    .application_name("tachograph-turns")
                    .disable_statement_logging(),
                key: i64::from_be_bytes(key),
                lease: LEASE,
                connection: None,
                confirmed: Instant::now(),
                said: false,
            })
        }

        /// The same where `url` is PostgreSQL's; `None`: nothing is shared there.
        ///
        /// # Errors
        /// When such a URL cannot be read.
        pub fn if_shared(url: &str, name: &str) -> Result<Option<Self>, String> {
            is_postgres(url).then(|| Self::new(url, name)).transpose()
        }

        /// With another lease, such as a longer one where the network stalls for seconds.
        #[must_use]
        pub fn lease(mut self, lease: Duration) -> Self {
            self.lease = lease;
            self
        }

        /// Tries to take the lock.
        async fn attempt(&mut self) -> Result<bool, sqlx::Error> {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let taken = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(self.key)
                .fetch_one(&mut connection)
                .await?;
            self.connection = Some(connection);
            Ok(taken)
        }

        /// A connection that the server ends when it does not hear of it.
        async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            let seconds = self.lease.as_secs().max(1).to_string();
            let silent = format!("{}ms", self.lease.saturating_mul(4).as_millis());
            for (setting, value) in [
                ("tcp_keepalives_idle", &*seconds),
                ("tcp_keepalives_interval", &*seconds),
                ("tcp_keepalives_count", "3"),
                ("idle_session_timeout", &*silent),
            ] {
                // An older server does not know all of them.
                let set = "SELECT set_config(name, $2, false) FROM pg_settings WHERE name = $1";
                sqlx::query(set)
                    .bind(setting)
                    .bind(value)
                    .execute(&mut connection)
                    .await?;
            }
            Ok(connection)
        }

        /// Whether the connection still holds the lock.
        async fn holds(&mut self) -> Result<bool, sqlx::Error> {
            let Some(connection) = &mut self.connection else {
                return Ok(false);
            };
            // The key as PostgreSQL shows it: its halves (documentation, `pg_locks`).
            let halves = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' \
                          AND pid = pg_backend_pid() AND granted AND objsubid = 1 \
                          AND (classid::bigint << 32 | objid::bigint) = $1)";
            sqlx::query_scalar(halves)
                .bind(self.key)
                .fetch_one(connection)
                .await
        }

        /// Asks until the lock is not held, or nobody answered in time.
        async fn keep(&mut self) {
            loop {
                sleep_until(self.confirmed + self.lease / 3).await;
                let (asked, end) = (Instant::now(), self.confirmed + self.lease);
                if asked >= end {
                    break;
                }
                match timeout_at(end, self.holds()).await {
                    Ok(Ok(true)) => self.confirmed = asked,
                    Ok(Ok(false) | Err(_)) | Err(_) => break,
                }
            }
            // Dropped, not closed: there may be nobody to say goodbye to.
            self.connection = None;
        }
    }

    impl Turns for PostgresTurns {
        async fn take(&mut self) {
            loop {
                let asked = Instant::now();
                match timeout(self.lease, self.attempt()).await {
                    Ok(Ok(true)) => {
                        self.said = false;
                        self.confirmed = asked;
                        let others = Instant::now() + self.lease.mul_f64(1.5);
                        if timeout_at(others, self.keep()).await.is_err() {
                            return;
                        }
                    }
                    Ok(Ok(false)) => self.said = false,
                    failed => {
                        self.connection = None;
                        if !std::mem::replace(&mut self.said, true) {
                            let error = match failed {
                                Ok(Err(error)) => error.to_string(),
                                _ => format!("no answer within {:?}", self.lease),
                            };
                            tracing::warn!(error, "whose turn it is cannot be asked");
                        }
                    }
                }
                sleep(self.lease.mul_f64(0.2 + 0.2 * fastrand::f64())).await;
            }
        }

        async fn lost(&mut self) {
            self.keep().await;
        }
    }
}
