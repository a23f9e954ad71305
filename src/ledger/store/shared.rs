//! Statements that are the same on both databases.

/// Generates them for a connection type.
macro_rules! statements {
    () => {
        /// Inserts a start unless its operation is open or has ended; whether it did.
        pub(super) async fn insert_start(
            connection: &mut Connected,
            record: &$crate::ledger::Record,
            owner: &str,
        ) -> Result<bool, sqlx::Error> {
            let $crate::ledger::Event::Start { expires_us } = record.event else {
                return Ok(false);
            };
            let inserted = sqlx::query(
                "INSERT INTO open_operations \
                 (id, signal, time_us, expires_us, parent, session, fields, context, owner) \
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 \
                 WHERE NOT EXISTS (SELECT 1 FROM records WHERE id = $1) \
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(record.id)
            .bind(record.signal)
            .bind(record.time_us)
            .bind(expires_us)
            .bind(record.parent)
            .bind(record.columns.session.as_deref())
            .bind(record.fields.as_str())
            .bind(record.context.as_str())
            .bind(owner)
            .execute(connection)
            .await?;
            Ok(inserted.rows_affected() > 0)
        }

        /// Adds inserted records to the totals, in this shard, and to their sessions.
        pub(super) async fn add_up(
            connection: &mut Connected,
            tally: &$crate::ledger::store::group::Tally,
            shard: i16,
            received_us: i64,
        ) -> Result<(), sqlx::Error> {
            for (signal, (records, bytes)) in &tally.totals {
                sqlx::query(
                    "INSERT INTO totals AS t (signal, shard, records, kept, kept_bytes) \
                     VALUES ($1, $2, $3, $3, $4) ON CONFLICT (signal, shard) DO UPDATE SET \
                     records = t.records + excluded.records, kept = t.kept + excluded.kept, \
                     kept_bytes = t.kept_bytes + excluded.kept_bytes",
                )
                .bind(*signal)
                .bind(shard)
                .bind(records)
                .bind(bytes)
                .execute(&mut *connection)
                .await?;
            }
            for (name, session) in &tally.sessions {
                sqlx::query(
                    "INSERT INTO sessions AS s (session, first_us, last_us, received_us, \
                     records, failed, input_tokens, output_tokens, cost_micros, unpriced) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                     ON CONFLICT (session) DO UPDATE SET \
                     first_us = CASE WHEN excluded.first_us < s.first_us \
                     THEN excluded.first_us ELSE s.first_us END, \
                     last_us = CASE WHEN excluded.last_us > s.last_us \
                     THEN excluded.last_us ELSE s.last_us END, \
                     received_us = CASE WHEN excluded.received_us > s.received_us \
                     THEN excluded.received_us ELSE s.received_us END, \
                     records = s.records + excluded.records, \
                     failed = s.failed + excluded.failed, \
                     input_tokens = s.input_tokens + excluded.input_tokens, \
                     output_tokens = s.output_tokens + excluded.output_tokens, \
                     cost_micros = s.cost_micros + excluded.cost_micros, \
                     unpriced = s.unpriced + excluded.unpriced",
                )
                .bind(&**name)
                .bind(session.first_us)
                .bind(session.last_us)
                .bind(received_us)
                .bind(session.records)
                .bind(session.failed)
                .bind(session.input_tokens)
                .bind(session.output_tokens)
                .bind(session.cost_micros)
                .bind(session.unpriced)
                .execute(&mut *connection)
                .await?;
            }
            Ok(())
        }
    };
}
pub(super) use statements;
