//! Removing what is too old, the same on both databases.

use std::time::Duration;

use super::super::Retention;

/// Rows looked at in one step.
pub(super) const STEP: i64 = 2_000;

/// A record that was received less than this ago is never removed.
const YOUNGEST_US: i64 = 600 * 1_000_000;

/// What a step of removal begins with.
pub(super) struct Kept {
    pub(super) horizon_us: i64,
    pub(super) records: i64,
    pub(super) bytes: i64,
}

/// Where the horizon is to be, as far as that is known.
pub(super) enum Wanted {
    /// Records from before this time are to go.
    Before(i64),
    /// So many of the oldest are to go.
    Oldest(i64),
    Nothing,
}

/// The horizon of age, if it has moved on enough to be written down.
pub(super) fn by_age(kept: &Kept, retention: Retention, now_us: i64) -> Wanted {
    let Some(age) = retention.max_age else {
        return Wanted::Nothing;
    };
    let wanted = now_us - micros(age).max(YOUNGEST_US);
    let grain = (micros(age) / 100).clamp(1_000_000, 3_600_000_000);
    if wanted >= kept.horizon_us.saturating_add(grain) {
        Wanted::Before(wanted)
    } else {
        Wanted::Nothing
    }
}

/// How many of the oldest records are to go for the rest to have room, with a twentieth to
/// spare.
pub(super) fn by_size(kept: &Kept, retention: Retention) -> Wanted {
    let Some(bytes) = retention.max_bytes else {
        return Wanted::Nothing;
    };
    let most = i64::try_from(bytes).unwrap_or(i64::MAX);
    if kept.bytes <= most || kept.records < 1 {
        return Wanted::Nothing;
    }
    let excess = kept.bytes - most / 20 * 19;
    let mean = (kept.bytes / kept.records).max(1);
    Wanted::Oldest((excess / mean + 1).min(kept.records).min(STEP * 10))
}

/// The latest horizon that may be.
pub(super) fn latest(now_us: i64) -> i64 {
    now_us - YOUNGEST_US
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// Generates the removal for a connection type: the statements are the same.
macro_rules! removal {
    () => {
        /// Moves the horizon and removes some of what is beyond it; whether there is more.
        pub(super) async fn remove(
            connection: &mut Connected,
            retention: $crate::ledger::Retention,
            now_us: i64,
            grace_us: i64,
            shard: i16,
        ) -> Result<bool, sqlx::Error> {
            use $crate::ledger::store::upkeep::{Kept, STEP, Wanted, by_age, by_size, latest};
            let (horizon_us, set_us): (i64, i64) =
                sqlx::query_as("SELECT horizon_us, set_us FROM retention")
                    .fetch_one(&mut *connection)
                    .await?;
            // Not moved again meanwhile: it would never be old enough.
            if now_us < set_us.saturating_add(grace_us) {
                return Ok(false);
            }
            let mut wanted = horizon_us;
            let behind: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM (SELECT time_us, received_us FROM records \
                 ORDER BY seq LIMIT $1) AS oldest WHERE time_us < $2 AND received_us < $2)",
            )
            .bind(STEP)
            .bind(horizon_us)
            .fetch_one(&mut *connection)
            .await?;
            if !behind {
                let (records, bytes): (i64, i64) = sqlx::query_as(
                    "SELECT CAST(COALESCE(SUM(kept), 0) AS BIGINT), \
                     CAST(COALESCE(SUM(kept_bytes), 0) AS BIGINT) FROM totals",
                )
                .fetch_one(&mut *connection)
                .await?;
                let kept = Kept {
                    horizon_us,
                    records,
                    bytes,
                };
                if let Wanted::Before(time_us) = by_age(&kept, retention, now_us) {
                    wanted = wanted.max(time_us);
                }
                if let Wanted::Oldest(count) = by_size(&kept, retention) {
                    let reached: Option<i64> = sqlx::query_scalar(
                        "SELECT received_us FROM records ORDER BY seq LIMIT 1 OFFSET $1",
                    )
                    .bind(count - 1)
                    .fetch_optional(&mut *connection)
                    .await?;
                    if let Some(time_us) = reached {
                        wanted = wanted.max(time_us.saturating_add(1).min(latest(now_us)));
                    }
                }
            }
            if wanted > horizon_us {
                sqlx::query(
                    "UPDATE retention SET horizon_us = $1, set_us = $2 WHERE horizon_us < $1",
                )
                .bind(wanted)
                .bind(now_us)
                .execute(&mut *connection)
                .await?;
                if grace_us > 0 {
                    return Ok(false);
                }
            }
            let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
            let removed: Vec<(String, i64)> = sqlx::query_as(
                "DELETE FROM records WHERE seq IN (SELECT seq FROM \
                 (SELECT seq, time_us, received_us FROM records ORDER BY seq LIMIT $1) AS oldest \
                 WHERE time_us < $2 AND received_us < $2) RETURNING signal, \
                 CAST(octet_length(fields) + octet_length(context) + 256 AS BIGINT)",
            )
            .bind(STEP)
            .bind(wanted)
            .fetch_all(&mut *transaction)
            .await?;
            let more = !removed.is_empty();
            let mut by_signal = std::collections::BTreeMap::<String, (i64, i64)>::new();
            for (signal, bytes) in removed {
                let total = by_signal.entry(signal).or_default();
                total.0 += 1;
                total.1 += bytes;
            }
            for (signal, (records, bytes)) in by_signal {
                sqlx::query(
                    "INSERT INTO totals (signal, shard, records, kept, kept_bytes) \
                     VALUES ($1, $2, 0, -$3, -$4) ON CONFLICT (signal, shard) DO UPDATE SET \
                     kept = totals.kept + excluded.kept, \
                     kept_bytes = totals.kept_bytes + excluded.kept_bytes",
                )
                .bind(signal)
                .bind(shard)
                .bind(records)
                .bind(bytes)
                .execute(&mut *transaction)
                .await?;
            }
            sqlx::query(
                "DELETE FROM sessions WHERE number IN (SELECT number FROM \
                 (SELECT number, received_us FROM sessions ORDER BY number LIMIT $1) AS oldest \
                 WHERE received_us < $2)",
            )
            .bind(STEP / 4)
            .bind(wanted)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(more)
        }
    };
}
pub(super) use removal;
