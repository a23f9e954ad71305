//! The outbox: accepted records that are to be published, the same on both databases.

/// Generates its statements for a connection type.
macro_rules! outbox {
    () => {
        /// Adds to what is in the outbox, in this shard.
        async fn add_outbox(
            connection: &mut Connected,
            shard: i16,
            rows: i64,
            bytes: i64,
        ) -> Result<(), sqlx::Error> {
            sqlx::query(
                "INSERT INTO outbox_totals AS t (shard, kept, kept_bytes) VALUES ($1, $2, $3) \
                 ON CONFLICT (shard) DO UPDATE SET kept = t.kept + excluded.kept, \
                 kept_bytes = t.kept_bytes + excluded.kept_bytes",
            )
            .bind(shard)
            .bind(rows)
            .bind(bytes)
            .execute(connection)
            .await?;
            Ok(())
        }

        /// Counts rows that were copied into the outbox, and removes the oldest of it where there
        /// is no room for them; how many it removed.
        pub(super) async fn keep_outbox(
            connection: &mut Connected,
            limits: &$crate::ledger::OutboxConfig,
            shard: i16,
            copied: &[i64],
        ) -> Result<u64, sqlx::Error> {
            if copied.is_empty() {
                return Ok(0);
            }
            let rows = i64::try_from(copied.len()).unwrap_or(i64::MAX);
            add_outbox(&mut *connection, shard, rows, copied.iter().sum()).await?;
            let most = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
            let (most_rows, most_bytes) = (most(limits.max_rows), most(limits.max_bytes));
            let mut dropped = 0;
            loop {
                let (kept, bytes): (i64, i64) = sqlx::query_as(
                    "SELECT CAST(COALESCE(SUM(kept), 0) AS BIGINT), \
                     CAST(COALESCE(SUM(kept_bytes), 0) AS BIGINT) FROM outbox_totals",
                )
                .fetch_one(&mut *connection)
                .await?;
                // Of bytes, as many rows as they would be of the mean size; at least one.
                let mean = (bytes / kept.max(1)).max(1);
                let over = (kept - most_rows).max((bytes - most_bytes).div_euclid(mean));
                let over = match bytes > most_bytes {
                    true => over.max(1),
                    false => over,
                };
                if over < 1 {
                    return Ok(dropped);
                }
                let removed: Vec<i64> = sqlx::query_scalar(
                    "DELETE FROM outbox WHERE seq IN \
                     (SELECT seq FROM outbox ORDER BY seq LIMIT $1) RETURNING bytes",
                )
                .bind(over)
                .fetch_all(&mut *connection)
                .await?;
                if removed.is_empty() {
                    // What another transaction counts is not to be seen yet.
                    return Ok(dropped);
                }
                let rows = i64::try_from(removed.len()).unwrap_or(i64::MAX);
                let bytes: i64 = removed.iter().sum();
                add_outbox(&mut *connection, shard, -rows, -bytes).await?;
                dropped += removed.len() as u64;
            }
        }

        /// Removes rows that were published; how many were there.
        pub(super) async fn remove_outbox(
            transaction: &mut Connected,
            seqs: &[i64],
            shard: i16,
        ) -> Result<u64, sqlx::Error> {
            let removed = delete_outbox(&mut *transaction, seqs).await?;
            let rows = i64::try_from(removed.len()).unwrap_or(i64::MAX);
            add_outbox(transaction, shard, -rows, -removed.iter().sum::<i64>()).await?;
            Ok(removed.len() as u64)
        }
    };
}
pub(super) use outbox;
