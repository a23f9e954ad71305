//! Errors of databases as words of few values.

use sqlx::Error;

use crate::signals::database::{DbStatus, DbSystem};

/// What an error is on metrics and spans.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) status: DbStatus,
    /// `error.type`
    pub(super) name: &'static str,
    /// The database's own code: a SQLSTATE, or SQLite's extended result code.
    pub(super) code: Option<String>,
}

pub(super) fn class(error: &Error, system: DbSystem) -> Class {
    let Error::Database(told) = error else {
        return Class {
            status: match error {
                Error::PoolTimedOut => DbStatus::Timeout,
                _ => DbStatus::Failed,
            },
            name: of_client(error),
            code: None,
        };
    };
    let code = told.code().map(|code| code.into_owned());
    let text = code.as_deref().unwrap_or_default();
    let (status, name) = match system {
        DbSystem::Sqlite => of_sqlite(text),
        _ => of_sqlstate(text),
    };
    Class { status, name, code }
}

/// Errors that the database did not tell.
fn of_client(error: &Error) -> &'static str {
    match error {
        Error::Io(_) => "io",
        Error::Tls(_) => "tls",
        Error::Protocol(_) => "protocol",
        Error::PoolTimedOut => "pool_timed_out",
        Error::PoolClosed => "pool_closed",
        Error::WorkerCrashed => "worker_crashed",
        Error::Configuration(_) | Error::InvalidArgument(_) => "configuration",
        Error::Encode(_) => "encode",
        Error::Decode(_)
        | Error::ColumnDecode { .. }
        | Error::ColumnNotFound(_)
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::TypeNotFound { .. } => "decode",
        _ => "other",
    }
}

/// The class of a SQLSTATE, by its name in the PostgreSQL documentation, appendix A; those that
/// come of a deadline by their own.
fn of_sqlstate(code: &str) -> (DbStatus, &'static str) {
    match code {
        "57014" => return (DbStatus::Timeout, "query_canceled"),
        "55P03" => return (DbStatus::Timeout, "lock_not_available"),
        "25P03" => return (DbStatus::Timeout, "idle_in_transaction_session_timeout"),
        _ => {}
    }
    let class = match code.get(..2).unwrap_or_default() {
        "08" => "connection_exception",
        "09" => "triggered_action_exception",
        "0A" => "feature_not_supported",
        "0B" => "invalid_transaction_initiation",
        "0L" => "invalid_grantor",
        "0P" => "invalid_role_specification",
        "20" => "case_not_found",
        "21" => "cardinality_violation",
        "22" => "data_exception",
        "23" => "integrity_constraint_violation",
        "24" => "invalid_cursor_state",
        "25" => "invalid_transaction_state",
        "26" => "invalid_sql_statement_name",
        "27" => "triggered_data_change_violation",
        "28" => "invalid_authorization_specification",
        "2B" => "dependent_privilege_descriptors_still_exist",
        "2D" => "invalid_transaction_termination",
        "2F" => "sql_routine_exception",
        "34" => "invalid_cursor_name",
        "38" => "external_routine_exception",
        "39" => "external_routine_invocation_exception",
        "3B" => "savepoint_exception",
        "3D" => "invalid_catalog_name",
        "3F" => "invalid_schema_name",
        "40" => "transaction_rollback",
        "42" => "syntax_error_or_access_rule_violation",
        "44" => "with_check_option_violation",
        "53" => "insufficient_resources",
        "54" => "program_limit_exceeded",
        "55" => "object_not_in_prerequisite_state",
        "57" => "operator_intervention",
        "58" => "system_error",
        "HV" => "foreign_data_wrapper_error",
        "P0" => "plpgsql_error",
        "XX" => "internal_error",
        _ => "other",
    };
    (DbStatus::Failed, class)
}

/// The primary result code of SQLite that an extended one belongs to, by its name in
/// `sqlite.org/rescode.html`. Busy is it once the busy timeout has passed.
fn of_sqlite(code: &str) -> (DbStatus, &'static str) {
    let name = match code.parse::<i32>().map(|code| code & 0xff) {
        Ok(1) => "sqlite_error",
        Ok(3) => "sqlite_perm",
        Ok(4) => "sqlite_abort",
        Ok(5) => return (DbStatus::Timeout, "sqlite_busy"),
        Ok(6) => "sqlite_locked",
        Ok(7) => "sqlite_nomem",
        Ok(8) => "sqlite_readonly",
        Ok(9) => "sqlite_interrupt",
        Ok(10) => "sqlite_ioerr",
        Ok(11) => "sqlite_corrupt",
        Ok(13) => "sqlite_full",
        Ok(14) => "sqlite_cantopen",
        Ok(17) => "sqlite_schema",
        Ok(18) => "sqlite_toobig",
        Ok(19) => "sqlite_constraint",
        Ok(20) => "sqlite_mismatch",
        Ok(21) => "sqlite_misuse",
        Ok(23) => "sqlite_auth",
        Ok(26) => "sqlite_notadb",
        _ => "other",
    };
    (DbStatus::Failed, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_belong_to_their_class() {
        let failed = |name| (DbStatus::Failed, name);
        assert_eq!(
            of_sqlstate("23505"),
            failed("integrity_constraint_violation")
        );
        assert_eq!(of_sqlstate("57P01"), failed("operator_intervention"));
        assert_eq!(of_sqlstate("57014"), (DbStatus::Timeout, "query_canceled"));
        assert_eq!(of_sqlstate("é"), failed("other"));
        // SQLITE_CONSTRAINT_UNIQUE, SQLITE_BUSY_SNAPSHOT
        assert_eq!(of_sqlite("2067"), failed("sqlite_constraint"));
        assert_eq!(of_sqlite("517"), (DbStatus::Timeout, "sqlite_busy"));
        assert_eq!(of_sqlite(""), failed("other"));
    }

    #[test]
    fn a_wait_without_end_is_a_timeout() {
        let told = class(&Error::PoolTimedOut, DbSystem::Postgresql);
        assert_eq!(
            (told.status, told.name),
            (DbStatus::Timeout, "pool_timed_out")
        );
    }
}
