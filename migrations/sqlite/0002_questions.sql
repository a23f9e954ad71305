-- What is asked of a record, in columns of its own, taken from the record when it was
-- written; rows from before have none. NULL is unknown, never zero. `billable`: the signal
-- declares a cost, so that a row without one is of unknown cost.
ALTER TABLE records ADD COLUMN parent BLOB;
ALTER TABLE records ADD COLUMN session TEXT;
ALTER TABLE records ADD COLUMN correlation TEXT;
ALTER TABLE records ADD COLUMN agent TEXT;
ALTER TABLE records ADD COLUMN name TEXT;
ALTER TABLE records ADD COLUMN provider TEXT;
ALTER TABLE records ADD COLUMN model TEXT;
ALTER TABLE records ADD COLUMN status TEXT;
ALTER TABLE records ADD COLUMN failed BOOLEAN;
ALTER TABLE records ADD COLUMN error TEXT;
ALTER TABLE records ADD COLUMN billable BOOLEAN;
ALTER TABLE records ADD COLUMN input_tokens BIGINT;
ALTER TABLE records ADD COLUMN output_tokens BIGINT;
ALTER TABLE records ADD COLUMN cache_read_tokens BIGINT;
ALTER TABLE records ADD COLUMN cache_write_tokens BIGINT;
ALTER TABLE records ADD COLUMN reasoning_tokens BIGINT;
ALTER TABLE records ADD COLUMN cost_micros BIGINT;
ALTER TABLE records ADD COLUMN price_version TEXT;

-- A row is in those that it has something to say in.
CREATE INDEX records_session ON records (session) WHERE session IS NOT NULL;
CREATE INDEX records_correlation ON records (correlation) WHERE correlation IS NOT NULL;
CREATE INDEX records_failed ON records (time_us) WHERE failed;
CREATE INDEX records_billable ON records (time_us) WHERE billable;
CREATE INDEX records_duration ON records (signal, time_us, duration) WHERE duration IS NOT NULL;

-- Changed in the transaction that inserts or removes records: `records` counts every record
-- ever accepted, `kept` and `kept_bytes` those still there. Several services on one database
-- each use a shard of their own most of the time.
CREATE TABLE totals (
    signal TEXT NOT NULL,
    shard SMALLINT NOT NULL,
    records BIGINT NOT NULL,
    kept BIGINT NOT NULL,
    kept_bytes BIGINT NOT NULL,
    PRIMARY KEY (signal, shard)
);
INSERT INTO totals (signal, shard, records, kept, kept_bytes)
SELECT signal, 0, COUNT(*), COUNT(*), SUM(octet_length(fields) + octet_length(context) + 256)
FROM records GROUP BY signal;

-- `number` is the order in which sessions were first seen.
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL UNIQUE,
    first_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL,
    received_us BIGINT NOT NULL,
    records BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_micros BIGINT NOT NULL,
    unpriced BIGINT NOT NULL
);

-- Operations that began and have not ended. `owner` is the service that counts it in flight.
CREATE TABLE open_operations (
    id BLOB PRIMARY KEY NOT NULL,
    signal TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    expires_us BIGINT NOT NULL,
    parent BLOB,
    session TEXT,
    fields TEXT NOT NULL,
    context TEXT NOT NULL,
    owner TEXT NOT NULL
);
CREATE INDEX open_operations_session ON open_operations (session) WHERE session IS NOT NULL;

-- When services that own open operations were last seen.
CREATE TABLE services (
    owner TEXT PRIMARY KEY NOT NULL,
    seen_us BIGINT NOT NULL
);

-- Records that ended before the horizon are removed and no longer accepted; it never goes back.
CREATE TABLE retention (
    one SMALLINT PRIMARY KEY NOT NULL CHECK (one = 1),
    horizon_us BIGINT NOT NULL,
    set_us BIGINT NOT NULL
);
INSERT INTO retention (one, horizon_us, set_us) VALUES (1, -9000000000000000000, 0);
