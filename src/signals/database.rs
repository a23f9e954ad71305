//! SQL databases as their clients see them: statements, and the connections of pools.
//!
//! Names after the OpenTelemetry semantic conventions for database clients (v1.41.0), where
//! they have one.

use crate::catalog::{Alert, Condition, DB, Panel, ROWS, Runbook, Severity, View};
use crate::{closed_label, signal};

closed_label! {
    /// Kind of database, as `db.system.name` has it.
    pub enum DbSystem {
        /// PostgreSQL
        Postgresql = "postgresql",
        /// SQLite
        Sqlite = "sqlite",
        /// MySQL
        Mysql = "mysql",
        /// MariaDB
        Mariadb = "mariadb",
        /// Microsoft SQL Server
        SqlServer = "microsoft.sql_server",
        /// Another one that speaks SQL.
        Other = "other_sql",
    }
}

closed_label! {
    /// How an operation of a database ended.
    pub enum DbStatus {
        /// It did what was asked.
        Success = "success",
        /// It did not.
        Failed = "failed" error,
        /// It was cancelled by a deadline, of the server or of a lock.
        Timeout = "timeout" error,
        /// It ended, and whoever saw that was not told how.
        Unknown = "unknown",
        /// Nobody waited for its end, or for the last of its rows.
        Abandoned = "abandoned" abandoned,
    }
}

closed_label! {
    /// What a connection of a pool does.
    pub enum ConnectionState {
        /// It waits to be used.
        Idle = "idle",
        /// It is in use.
        Used = "used",
    }
}

closed_label! {
    /// How waiting for a connection ended.
    pub enum AcquireStatus {
        /// There was one.
        Success = "success",
        /// There was none in time.
        Timeout = "timeout" error,
        /// None could be made.
        Failed = "failed" error,
        /// Nobody waited any longer.
        Abandoned = "abandoned" abandoned,
    }
}

signal! {
    /// One operation of a database client, such as a statement.
    pub operation DbOperation => DbOperationEnd = "db.client.operation" span client {
        labels {
            /// Kind of database.
            system as "db.system.name": closed(DbSystem),
            /// What is done, such as `SELECT`.
            operation as "db.operation.name": open(64),
            /// The table it is about, the first if there are several.
            collection as "db.collection.name": optional(100),
        }
        outcome {
            /// How it ended.
            status: closed(DbStatus),
            /// What went wrong: the class of the error; absent if nothing.
            error as "error.type": optional(64),
        }
        values {
            /// Rows that it returned.
            rows as "db.response.returned_rows",
            /// Rows that it inserted, changed or deleted.
            affected as "db.response.affected_rows",
        }
        context {
            /// The statement, without its literals.
            QUERY_TEXT = "db.query.text",
            /// Name of the database.
            NAMESPACE = "db.namespace",
            /// The database's own code of the error, such as a SQLSTATE.
            STATUS_CODE = "db.response.status_code",
            /// Id shared by everything that belongs to one request or task.
            CORRELATION_ID = "correlation_id",
        }
        metrics {
            /// Operations of database clients that ended.
            "db.client.operations" = counter "{operation}" count by [system, operation, collection, status, error];
            /// Duration of database client operations.
            "db.client.operation.duration" = histogram "s" duration by [system, operation, collection, error] buckets (DB);
            /// Rows that operations returned.
            "db.client.response.returned_rows" = histogram "{row}" of(rows) by [system, operation, collection] buckets (ROWS)
                no_alert "how many rows a statement should return is its author's to say";
            /// Rows that operations inserted, changed or deleted.
            "db.client.response.affected_rows" = counter "{row}" of(affected) by [system, operation, collection]
                no_alert "how much should be written is not known here";
        }
        panels [
            Panel::new("Statements", View::Rate("db.client.operations"), "Operations that clients had a database do, a second, by kind of database and of operation.")
                .by(&["db.system.name", "db.operation.name"])
                .section("Statements")
                .headline(),
            Panel::new("Failing statements", View::ErrorRatio("db.client.operations"), "Share of operations that failed or ran out of time, by kind of operation. Operations whose end nobody was told are in the whole.")
                .by(&["db.system.name", "db.operation.name"])
                .section("Statements")
                .headline(),
            Panel::new("Statement latency", View::Quantiles("db.client.operation.duration"), "The 95th percentile of the time that operations take, waiting for a connection apart.")
                .by(&["db.system.name", "db.operation.name"])
                .section("Statements")
                .headline(),
            Panel::new("Errors by class", View::Errors("db.client.operations"), "Operations that failed, a second, by the class of the error.")
                .by(&["db.system.name", "error.type"])
                .section("Statements"),
            Panel::new("Statements by table", View::Rate("db.client.operations"), "Operations, a second, by table.")
                .by(&["db.collection.name"])
                .section("Tables"),
            Panel::new("Latency by table", View::Quantiles("db.client.operation.duration"), "The 95th percentile of the time that operations on a table take.")
                .by(&["db.collection.name"])
                .section("Tables"),
            Panel::new("Rows returned", View::Mean("db.client.response.returned_rows"), "Mean number of rows that an operation on a table returns. One that grows with the table lacks a limit.")
                .by(&["db.collection.name"])
                .section("Tables"),
            Panel::new("Rows written", View::Rate("db.client.response.affected_rows"), "Rows inserted, changed or deleted, a second, by table.")
                .by(&["db.collection.name", "db.operation.name"])
                .section("Tables"),
            Panel::new("Statement latency by bucket", View::Heatmap("db.client.operation.duration"), "Distribution of the time that operations take; exemplars link to traces.")
                .section("Statements"),
        ]
        alerts [
            Alert::new(
                "DatabaseErrors",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "db.client.operations", ratio: 0.05, floor: 50 },
                "More than 5 % of the statements of a database fail",
                Runbook {
                    meaning: "Clients are refused, cut off or run out of time at this kind of database. What they were asked to do was not done.",
                    causes: &["The server is away, restarts, or refuses connections", "Statements wait for locks until their deadline", "A release and the database's schema do not fit", "Input breaks constraints that nobody checks before"],
                    actions: &["Split by `error_type`: the class tells a lost connection from a lock and from a constraint", "Read the server's log of the same minutes", "Open a failing trace: its span carries the statement and the database's code"],
                },
            )
            .over_minutes(10)
            .by(&["db.system.name"]),
            Alert::new(
                "DatabaseStatementsSlow",
                Severity::Warning,
                Condition::QuantileAbove { metric: "db.client.operation.duration", quantile: 0.95, threshold: 1.0, floor: 20 },
                "The 95th percentile of a kind of statement is above one second",
                Runbook {
                    meaning: "One statement in twenty of this kind takes longer than a second, waiting for a connection apart. Requests wait for it.",
                    causes: &["An index is missing, or the plan has changed", "Statements wait for locks of others", "The server lacks CPU, memory or disk bandwidth", "A statement reads many more rows than before"],
                    actions: &["Split by table, and compare the rows returned with before", "Open an exemplar's trace and explain its statement on the server", "Look for transactions that stay open and hold locks"],
                },
            )
            .over_minutes(15)
            .by(&["db.system.name", "db.operation.name"]),
        ]
    }
}

signal! {
    /// Operations that took longer than the threshold of slow ones.
    pub counter DbSlowOperation = "db.client.slow_operation" => "db.client.slow_operations" "{operation}" {
        labels {
            /// Kind of database.
            system as "db.system.name": closed(DbSystem),
            /// What is done, such as `SELECT`.
            operation as "db.operation.name": open(64),
            /// The table it is about, the first if there are several.
            collection as "db.collection.name": optional(100),
        }
        panels [
            Panel::new("Slow statements", View::Total("db.client.slow_operations"), "Operations over the range shown that took longer than the threshold, which is one second unless it was set, by table.")
                .by(&["db.operation.name", "db.collection.name"])
                .section("Tables")
                .headline(),
        ]
        no_alert "the durations they are part of are watched: db.client.operation.duration"
    }
}

signal! {
    /// Connections of a pool.
    pub gauge DbConnections = "db.client.connection" => "db.client.connection.count" "{connection}" {
        labels {
            /// The pool.
            pool as "db.client.connection.pool.name": open(20),
            /// What they do.
            state as "db.client.connection.state": closed(ConnectionState),
        }
        panels [
            Panel::new("Connections", View::Value("db.client.connection.count"), "Connections of each pool, in use and idle.")
                .by(&["db.client.connection.pool.name", "db.client.connection.state"])
                .section("Connection pools")
                .headline(),
        ]
        no_alert "their share of the maximum is watched: db.client.connection.saturation"
    }
}

signal! {
    /// Connections that a pool may have at most.
    pub gauge DbConnectionsMax = "db.client.connection.max" => "db.client.connection.max" "{connection}" {
        labels {
            /// The pool.
            pool as "db.client.connection.pool.name": open(20),
        }
        panels [
            Panel::new("Most connections", View::Value("db.client.connection.max"), "Connections that each pool may have at most.")
                .by(&["db.client.connection.pool.name"])
                .section("Connection pools"),
        ]
        no_alert "a setting, not a state"
    }
}

signal! {
    /// Share of the connections a pool may have that are in use, 0 to 1.
    pub gauge DbPoolSaturation = "db.client.connection.saturation" => "db.client.connection.saturation" "1" {
        labels {
            /// The pool.
            pool as "db.client.connection.pool.name": open(20),
        }
        panels [
            Panel::new("Pool saturation", View::Value("db.client.connection.saturation"), "Share of the connections a pool may have that are in use. At 1 the next one waits.")
                .by(&["db.client.connection.pool.name"])
                .section("Connection pools")
                .headline(),
        ]
        alerts [
            Alert::new(
                "DatabasePoolNearlyExhausted",
                Severity::Warning,
                Condition::ValueAbove { metric: "db.client.connection.saturation", threshold: 0.9 },
                "More than 90 % of a pool's connections are in use",
                Runbook {
                    meaning: "The pool has been at its end for minutes: requests begin to wait for a connection, and fail when none comes in time.",
                    causes: &["Statements have become slow and hold their connections longer", "Code keeps a connection or a transaction while it waits for something else", "There is more work at once than the pool was made for"],
                    actions: &["Compare the latency of statements with before: slow ones come first", "Look for transactions that stay open on the server", "Raise the pool's maximum only if the server's own limit leaves room"],
                },
            )
            .by(&["db.client.connection.pool.name"]),
        ]
    }
}

signal! {
    /// Waiting for a connection of a pool.
    pub operation DbAcquire => DbAcquireEnd = "db.client.connection.acquire" {
        labels {
            /// The pool.
            pool as "db.client.connection.pool.name": open(20),
        }
        outcome {
            /// How it ended.
            status: closed(AcquireStatus),
        }
        metrics {
            /// Waits for a connection that ended.
            "db.client.connection.acquires" = counter "{request}" count by [pool, status];
            /// Time it took to obtain an open connection from the pool.
            "db.client.connection.wait_time" = histogram "s" duration by [pool] buckets (DB);
            /// Waits for a connection under way now.
            "db.client.connection.pending_requests" = in_flight "{request}" active by [pool]
                no_alert "how long they wait is watched: db.client.connection.wait_time";
        }
        panels [
            Panel::new("Waiting for a connection", View::Quantiles("db.client.connection.wait_time"), "The 95th percentile of the time it takes to obtain a connection from the pool.")
                .by(&["db.client.connection.pool.name"])
                .section("Connection pools")
                .headline(),
            Panel::new("Pending requests", View::Value("db.client.connection.pending_requests"), "Requests that wait for a connection now, by pool.")
                .by(&["db.client.connection.pool.name"])
                .section("Connection pools"),
            Panel::new("Connections not obtained", View::ErrorRatio("db.client.connection.acquires"), "Share of the requests for a connection that got none, by pool.")
                .by(&["db.client.connection.pool.name"])
                .section("Connection pools"),
        ]
        alerts [
            Alert::new(
                "DatabasePoolWaits",
                Severity::Warning,
                Condition::QuantileAbove { metric: "db.client.connection.wait_time", quantile: 0.95, threshold: 0.5, floor: 20 },
                "One request in twenty waits more than half a second for a connection",
                Runbook {
                    meaning: "Work queues in front of the pool. The time is added to every request that needs the database.",
                    causes: &["All connections are in use", "New connections take long to be made: the server is slow to answer, or far away", "A burst of requests"],
                    actions: &["Look at the pool's saturation: at 1 its maximum is the limit, below that connecting is", "Compare the latency of statements with before", "Keep connections warm with a minimum if bursts are usual"],
                },
            )
            .over_minutes(10)
            .by(&["db.client.connection.pool.name"]),
            Alert::new(
                "DatabaseConnectionsRefused",
                Severity::Critical,
                Condition::ErrorRatioAbove { metric: "db.client.connection.acquires", ratio: 0.1, floor: 10 },
                "More than 10 % of the requests for a connection get none",
                Runbook {
                    meaning: "Requests fail before their first statement: the pool is exhausted, or its server cannot be reached.",
                    causes: &["The server is away or refuses connections", "Every connection is held by something that does not end", "The server's own limit of connections is reached"],
                    actions: &["Connect by hand from the same host with the same credentials", "Compare timeouts with failures: only the former point to the pool's size", "Look on the server for connections that are idle in a transaction"],
                },
            )
            .by(&["db.client.connection.pool.name"]),
        ]
    }
}

signal! {
    /// Requests for a connection that timed out.
    pub counter DbConnectionTimeout = "db.client.connection.timeout" => "db.client.connection.timeouts" "{timeout}" {
        labels {
            /// The pool.
            pool as "db.client.connection.pool.name": open(20),
        }
        panels [
            Panel::new("Timeouts", View::Rate("db.client.connection.timeouts"), "Requests for a connection that got none in time, a second, by pool.")
                .by(&["db.client.connection.pool.name"])
                .section("Connection pools"),
        ]
        no_alert "the requests they are part of are watched: db.client.connection.acquires"
    }
}

signal! {
    /// Time between borrowing a connection and returning it to the pool.
    pub distribution DbConnectionUse = "db.client.connection.use" => "db.client.connection.use_time" "s" {
        labels {
            /// The pool.
            pool as "db.client.connection.pool.name": open(20),
        }
        buckets (DB)
        panels [
            Panel::new("Time in use", View::Quantiles("db.client.connection.use_time"), "The 95th percentile of the time for which a connection is borrowed.")
                .by(&["db.client.connection.pool.name"])
                .section("Connection pools"),
        ]
        no_alert "what holds connections too long shows as a saturated pool"
    }
}
