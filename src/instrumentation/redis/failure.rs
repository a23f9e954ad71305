//! What went wrong, in the words of the metrics, and whose doing it was.

use std::io;

use deadpool_redis::redis::{ErrorKind, RedisError, RedisResult, ServerError, Value};
use deadpool_redis::{PoolError, TimeoutType};

use super::address::is_tls;
use crate::signals::redis::RedisStatus;

/// `error.type` where the circuit breaker refused.
pub(super) const CIRCUIT_OPEN: &str = "circuit_open";
/// `error.type` where there was no answer by the deadline.
const TIMEOUT: &str = "timeout";
/// `error.type` where no connection was free in time.
const POOL_TIMEOUT: &str = "pool_timeout";

/// Codes by which a server says that it cannot serve anybody now (Redis 7.0, `server.c`); all
/// others concern one command.
const UNAVAILABLE: [&str; 5] = ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"];

/// What an end says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It answers, perhaps with an error that is the caller's.
    Answers,
    /// It does not, or says that it cannot.
    Fails,
    /// Nothing: it was not asked.
    Unknown,
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: RedisStatus,
    /// Empty if nothing went wrong.
    pub(super) error: String,
    pub(super) health: Health,
}

impl Verdict {
    fn success() -> Self {
        Self {
            status: RedisStatus::Success,
            error: String::new(),
            health: Health::Answers,
        }
    }

    fn failed(error: &str, health: Health) -> Self {
        Self {
            status: RedisStatus::Failed,
            error: error.to_owned(),
            health,
        }
    }

    pub(super) fn timeout() -> Self {
        Self {
            status: RedisStatus::Timeout,
            error: TIMEOUT.to_owned(),
            health: Health::Fails,
        }
    }

    pub(super) fn rejected() -> Self {
        Self {
            status: RedisStatus::Rejected,
            error: CIRCUIT_OPEN.to_owned(),
            health: Health::Unknown,
        }
    }

    fn code(code: &str) -> Self {
        let health = match UNAVAILABLE.contains(&code) {
            true => Health::Fails,
            false => Health::Answers,
        };
        Self::failed(code, health)
    }

    /// Of an error that redis-rs gave.
    pub(super) fn of_error(error: &RedisError) -> Self {
        if let Some(code) = error.code() {
            return Self::code(code);
        }
        if error.is_timeout() {
            return Self::timeout();
        }
        match error.kind() {
            ErrorKind::Io if error.is_connection_refusal() => {
                Self::failed("connection_refused", Health::Fails)
            }
            ErrorKind::Io if error.is_connection_dropped() => {
                Self::failed("connection_lost", Health::Fails)
            }
            _ if is_tls(error) => Self::failed("tls", Health::Fails),
            ErrorKind::Io => Self::failed("io", Health::Fails),
            ErrorKind::Parse => Self::failed("protocol", Health::Fails),
            ErrorKind::AuthenticationFailed => Self::failed("authentication", Health::Fails),
            _ => Self::failed("client", Health::Unknown),
        }
    }

    /// Of an answer: errors may stand in it as values.
    pub(super) fn of_answer(answer: &RedisResult<Value>) -> Self {
        match answer {
            Err(error) => Self::of_error(error),
            Ok(value) => first_error(value).map_or_else(Self::success, |e| Self::code(e.code())),
        }
    }

    /// Of the answers to a pipeline: the first error counts for all.
    pub(super) fn of_answers(answers: &RedisResult<Vec<Value>>) -> Self {
        match answers {
            Err(error) => Self::of_error(error),
            Ok(values) => {
                let error = values.iter().find_map(|value| match value {
                    // A transaction's answers stand in one.
                    Value::Array(inner) => inner.iter().find_map(first_error),
                    value => first_error(value),
                });
                error.map_or_else(Self::success, |e| Self::code(e.code()))
            }
        }
    }

    /// Of an attempt to get a connection.
    pub(super) fn of_pool<T>(result: &Result<T, PoolError>) -> Self {
        match result {
            // A stalled server still takes connections: only its answer to a command counts.
            Ok(_) => Self {
                health: Health::Unknown,
                ..Self::success()
            },
            Err(PoolError::Timeout(TimeoutType::Wait)) => Self {
                status: RedisStatus::Timeout,
                error: POOL_TIMEOUT.to_owned(),
                health: Health::Unknown,
            },
            Err(PoolError::Timeout(_)) => Self::timeout(),
            Err(PoolError::Backend(error)) => Self::of_error(error),
            Err(PoolError::Closed) => Self::failed("pool_closed", Health::Unknown),
            Err(_) => Self::failed("client", Health::Unknown),
        }
    }
}

fn first_error(value: &Value) -> Option<&ServerError> {
    match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

/// The circuit breaker refused.
pub(super) fn circuit_open() -> RedisError {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the circuit breaker is open: Redis failed several times in a row",
    )
    .into()
}

/// There was no answer by the deadline.
pub(super) fn no_answer() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "no answer by the deadline").into()
}

/// A pool's error as redis-rs has them.
pub(super) fn of_pool(error: PoolError) -> RedisError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(TimeoutType::Wait) => io::Error::new(
            io::ErrorKind::TimedOut,
            "no connection of the pool was free in time",
        )
        .into(),
        PoolError::Timeout(_) => no_answer(),
        other => io::Error::other(other.to_string()).into(),
    }
}

/// Whether a connection is of no further use after an error.
pub(super) fn is_lost(answer: &RedisError) -> bool {
    answer.kind() == ErrorKind::Io && !answer.is_timeout() || answer.kind() == ErrorKind::Parse
}

#[cfg(test)]
mod tests {
    use deadpool_redis::redis::parse_redis_value;

    use super::*;

    fn answer(reply: &str) -> RedisResult<Value> {
        parse_redis_value(reply.as_bytes())
    }

    #[test]
    fn errors_of_the_caller_are_failures_and_say_that_redis_answers() {
        for (reply, error, health) in [
            ("+OK\r\n", "", Health::Answers),
            ("-WRONGTYPE no list\r\n", "WRONGTYPE", Health::Answers),
            ("-OOM no room\r\n", "OOM", Health::Answers),
            ("-ERR unknown command\r\n", "ERR", Health::Answers),
            ("-LOADING from disk\r\n", "LOADING", Health::Fails),
            ("-BUSY with a script\r\n", "BUSY", Health::Fails),
        ] {
            let verdict = Verdict::of_answer(&answer(reply));
            assert_eq!(
                (&*verdict.error, verdict.health),
                (error, health),
                "{reply}"
            );
            let success = verdict.status == RedisStatus::Success;
            assert_eq!(success, error.is_empty(), "{reply}");
        }
    }

    #[test]
    fn the_first_error_counts_for_a_pipeline_and_a_transaction() {
        let pipeline = Ok(vec![
            answer("+OK\r\n").unwrap(),
            answer("-WRONGTYPE no list\r\n").unwrap(),
        ]);
        assert_eq!(Verdict::of_answers(&pipeline).error, "WRONGTYPE");
        let transaction = Ok(vec![answer("*2\r\n+OK\r\n-OOM no room\r\n").unwrap()]);
        assert_eq!(Verdict::of_answers(&transaction).error, "OOM");
    }

    #[test]
    fn a_pool_that_is_used_up_says_nothing_about_redis() {
        let full: Result<(), _> = Err(PoolError::Timeout(TimeoutType::Wait));
        let verdict = Verdict::of_pool(&full);
        assert_eq!(
            (&*verdict.error, verdict.health),
            ("pool_timeout", Health::Unknown)
        );
        let away: Result<(), _> = Err(PoolError::Timeout(TimeoutType::Create));
        assert_eq!(Verdict::of_pool(&away).health, Health::Fails);
    }
}
