-- Accepted records that are to be published, copied in the transaction that inserts them and
-- removed once the broker has them; they stay when retention removes the record.
-- `seq` is the order in which they are published. `bytes` is what a row counts for the limit.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL,
    signal TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    duration DOUBLE PRECISION,
    parent BLOB,
    fields TEXT NOT NULL,
    context TEXT NOT NULL,
    received_us BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);

-- What is in the outbox, changed with it.
CREATE TABLE outbox_totals (
    shard SMALLINT PRIMARY KEY NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL
);
