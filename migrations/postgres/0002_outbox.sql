-- Accepted records that are to be published, copied in the transaction that inserts them and
-- removed once the broker has them; they stay when retention removes the record.
-- `seq` is the order in which they are published, nearly. `bytes` is what a row counts for the
-- limit.
CREATE TABLE outbox (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL,
    signal TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    duration DOUBLE PRECISION,
    parent UUID,
    fields TEXT NOT NULL,
    context TEXT NOT NULL,
    received_us BIGINT NOT NULL,
    bytes BIGINT NOT NULL
);

-- What is in the outbox, changed with it. Several services on one database each use a shard of
-- their own most of the time.
CREATE TABLE outbox_totals (
    shard SMALLINT PRIMARY KEY,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL
);
