-- What agents did, append-only: rows are inserted and never changed.
-- `seq` is the order in which records were committed; it does not depend on any clock.
-- Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    signal TEXT NOT NULL,
    time_us BIGINT NOT NULL,
    duration DOUBLE PRECISION,
    fields TEXT NOT NULL,
    context TEXT NOT NULL,
    received_us BIGINT NOT NULL
);
