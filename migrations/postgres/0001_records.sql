-- What agents did, append-only: rows are inserted and removed, never changed.
-- `seq` grows with the order in which records were committed, nearly; it does not depend on any
-- clock. Times are microseconds since 1970-01-01T00:00:00Z. NULL is unknown, never zero.
-- `billable`: the signal declares a cost, so that a row without one is of unknown cost.
-- fields and context are TEXT: JSONB refuses texts that JSON allows.
CREATE TABLE records (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    signal TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    duration DOUBLE PRECISION,
    fields TEXT NOT NULL,
    context TEXT NOT NULL,
    received_us BIGINT NOT NULL,
    parent UUID,
    session TEXT,
    correlation TEXT,
    agent TEXT,
    name TEXT,
    provider TEXT,
    model TEXT,
    status TEXT,
    failed BOOLEAN,
    error TEXT,
    billable BOOLEAN,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    reasoning_tokens BIGINT,
    cost_micros BIGINT,
    price_version TEXT
);

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

-- `number` is the order in which sessions were first seen.
CREATE TABLE sessions (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    id UUID PRIMARY KEY,
    signal TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    expires_us BIGINT NOT NULL,
    parent UUID,
    session TEXT,
    fields TEXT NOT NULL,
    context TEXT NOT NULL,
    owner TEXT NOT NULL
);
CREATE INDEX open_operations_session ON open_operations (session) WHERE session IS NOT NULL;

-- When services that own open operations were last seen.
CREATE TABLE services (
    owner TEXT PRIMARY KEY,
    seen_us BIGINT NOT NULL
);

-- Which transaction each process committed last: after a lost connection it asks for its own.
CREATE TABLE writers (
    writer UUID PRIMARY KEY,
    committed UUID NOT NULL,
    seen_us BIGINT NOT NULL
);

-- Records that ended before the horizon are removed and no longer accepted; it never goes back.
CREATE TABLE retention (
    one SMALLINT PRIMARY KEY CHECK (one = 1),
    horizon_us BIGINT NOT NULL,
    set_us BIGINT NOT NULL
);
INSERT INTO retention (one, horizon_us, set_us) VALUES (1, -9000000000000000000, 0);
