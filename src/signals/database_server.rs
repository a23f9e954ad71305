//! What a database says of itself: its size, and what goes on in it.

use crate::catalog::{Alert, Condition, Panel, Runbook, Severity, View};
use crate::{closed_label, signal};

pub use super::database::DbSystem;

closed_label! {
    /// What a connection to a server does.
    pub enum SessionState {
        /// It runs a statement.
        Active = "active",
        /// It waits for its client, outside of a transaction.
        Idle = "idle",
        /// It waits for its client, and holds what its transaction locked.
        IdleInTransaction = "idle_in_transaction",
        /// Anything else, or not told to this user.
        Other = "other",
    }
}

closed_label! {
    /// How a transaction ended.
    pub enum TransactionEnd {
        /// It was committed.
        Commit = "commit",
        /// It was rolled back.
        Rollback = "rollback",
    }
}

closed_label! {
    /// Where a block was found.
    pub enum BlockSource {
        /// In the server's own memory.
        Cache = "cache",
        /// It was read from the operating system.
        Disk = "disk",
    }
}

signal! {
    /// Size of a database; of SQLite with its write-ahead log.
    pub gauge ServerSize = "database.server.size" => "database.server.size" "By" {
        labels {
            /// Kind of database.
            system as "db.system.name": closed(DbSystem),
            /// Name of the database; of SQLite its file.
            namespace as "db.namespace": open(8),
        }
        panels [
            Panel::new("Database size", View::Value("database.server.size"), "Size of each database that is looked at.")
                .by(&["db.system.name", "db.namespace"])
                .section("Servers")
                .headline(),
        ]
        no_alert "the disk it is on is watched as a whole"
    }
}

signal! {
    /// Connections of clients to a database.
    pub gauge ServerConnections = "database.server.connection" => "database.server.connections" "{connection}" {
        labels {
            /// Name of the database.
            namespace as "db.namespace": open(8),
            /// What they do.
            state: closed(SessionState),
        }
        panels [
            Panel::new("Connections at the server", View::Value("database.server.connections"), "Connections of all clients to the database, by what they do.")
                .by(&["db.namespace", "state"])
                .section("Servers"),
        ]
        no_alert "clients that get no connection are watched at their pools"
    }
}

signal! {
    /// Transactions that ended in a database.
    pub counter ServerTransactions = "database.server.transaction" => "database.server.transactions" "{transaction}" {
        labels {
            /// Name of the database.
            namespace as "db.namespace": open(8),
            /// How they ended.
            end: closed(TransactionEnd),
        }
        panels [
            Panel::new("Transactions", View::Rate("database.server.transactions"), "Transactions of all clients, a second, by how they ended.")
                .by(&["db.namespace", "end"])
                .section("Servers"),
        ]
        no_alert "statements that fail are watched at their clients"
    }
}

signal! {
    /// Deadlocks that a server resolved by cancelling one of those involved.
    pub counter ServerDeadlocks = "database.server.deadlock" => "database.server.deadlocks" "{deadlock}" {
        labels {
            /// Name of the database.
            namespace as "db.namespace": open(8),
        }
        panels [
            Panel::new("Deadlocks", View::Total("database.server.deadlocks"), "Deadlocks over the range shown.")
                .by(&["db.namespace"])
                .section("Servers"),
        ]
        alerts [
            Alert::new(
                "DatabaseDeadlocks",
                Severity::Warning,
                Condition::IncreaseAbove { metric: "database.server.deadlocks", amount: 3.0 },
                "Transactions of a database lock each other out",
                Runbook {
                    meaning: "The server cancelled several transactions within an hour, since each waited for what another had locked. Their work was not done unless their clients tried again.",
                    causes: &["Transactions take locks on the same rows in different orders", "Transactions that stay open hold locks for long", "A migration locks tables under load"],
                    actions: &["Read the server's log: it names both statements of each deadlock", "Have the transactions take their locks in one order", "Let clients try again when the error's class is `transaction_rollback`"],
                },
            )
            .over_minutes(60)
            .by(&["db.namespace"]),
        ]
    }
}

signal! {
    /// Blocks that were read in a database.
    pub counter ServerBlocks = "database.server.block" => "database.server.blocks" "{block}" {
        labels {
            /// Name of the database.
            namespace as "db.namespace": open(8),
            /// Where they were found.
            source: closed(BlockSource),
        }
        panels [
            Panel::new("Blocks read", View::Rate("database.server.blocks"), "Blocks, a second, that were found in the server's memory, and that were not.")
                .by(&["db.namespace", "source"])
                .section("Servers"),
        ]
        no_alert "what a cold cache costs shows as latency, which is watched"
    }
}

signal! {
    /// How long the oldest transaction that is open has been; 0 if none is.
    pub gauge OldestTransaction = "database.server.transaction.oldest" => "database.server.transaction.oldest" "s" {
        labels {
            /// Name of the database.
            namespace as "db.namespace": open(8),
        }
        panels [
            Panel::new("Oldest transaction", View::Value("database.server.transaction.oldest"), "How long the oldest transaction that is open has been.")
                .by(&["db.namespace"])
                .section("Servers"),
        ]
        alerts [
            Alert::new(
                "DatabaseTransactionOpen",
                Severity::Warning,
                Condition::ValueAbove { metric: "database.server.transaction.oldest", threshold: 900.0 },
                "A transaction has been open for more than 15 minutes",
                Runbook {
                    meaning: "One transaction keeps its locks, and keeps the server from removing row versions that nobody else needs. Tables grow and statements slow down until it ends.",
                    causes: &["A client waits for something else inside its transaction, or hangs", "A report or a backup runs for long", "A prepared transaction was forgotten"],
                    actions: &["Find it in `pg_stat_activity` by `xact_start`, with its client and last statement", "End it with `pg_terminate_backend` if its client is gone", "Set `idle_in_transaction_session_timeout`"],
                },
            )
            .by(&["db.namespace"]),
        ]
    }
}
