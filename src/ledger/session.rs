//! What a session holds, counted from its records.

use std::collections::HashMap;

use uuid::Uuid;

use super::read::{Kind, Param, Query};
use super::{Ledger, QueryError};

impl Ledger {
    /// How many records of a signal each operation of a session has directly below it.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read, or not in time.
    pub async fn children_of_session(
        &self,
        session: &str,
        signal: &str,
    ) -> Result<HashMap<Uuid, u64>, QueryError> {
        let rows = self.reader.fetch(Query {
            sql: "SELECT parent, COUNT(*) FROM records \
                  WHERE session = $1 AND signal = $2 AND parent IS NOT NULL GROUP BY parent"
                .to_owned(),
            params: [session, signal]
                .map(|text| Param::Text(text.to_owned()))
                .into(),
            kinds: &[Kind::Id, Kind::Int],
        });
        let rows = rows.await?;
        let counted = rows.iter().filter_map(|row| {
            let count = row.get(1)?.int()?;
            Some((row.first()?.id()?, u64::try_from(count).ok()?))
        });
        Ok(counted.collect())
    }

    /// The fields, a JSON object each, of a session's records of a signal that ended at `since`
    /// or later, in microseconds since 1970-01-01T00:00:00Z; `most` at most.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read, or not in time.
    pub async fn fields_of_session(
        &self,
        session: &str,
        signal: &str,
        since: i64,
        most: usize,
    ) -> Result<Vec<String>, QueryError> {
        let rows = self.reader.fetch(Query {
            sql: "SELECT fields FROM records \
                  WHERE session = $1 AND signal = $2 AND time_us >= $3 LIMIT $4"
                .to_owned(),
            params: vec![
                Param::Text(session.to_owned()),
                Param::Text(signal.to_owned()),
                Param::Int(since),
                Param::Int(i64::try_from(most).unwrap_or(i64::MAX)),
            ],
            kinds: &[Kind::Text],
        });
        let rows = rows.await?;
        let fields = rows.iter().filter_map(|row| row.first()?.text());
        Ok(fields.map(str::to_owned).collect())
    }
}
