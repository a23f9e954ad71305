//! What the ledger has taken, kept beside the records.

use super::read::{Kind, Query};
use super::{Ledger, QueryError};

impl Ledger {
    /// How many records of each signal the ledger has taken, by name: exact, also across
    /// restarts, and whatever was removed since.
    ///
    /// # Errors
    /// [`QueryError::Away`] when the database cannot be read.
    pub async fn totals(&self) -> Result<Vec<(String, u64)>, QueryError> {
        let sql = "SELECT signal, CAST(SUM(records) AS BIGINT) FROM totals \
                   GROUP BY signal ORDER BY signal";
        let rows = self.reader.fetch(Query {
            sql: sql.to_owned(),
            params: Vec::new(),
            kinds: &[Kind::Text, Kind::Int],
        });
        let rows = rows.await?;
        let total = rows.iter().map(|row| {
            let signal = row[0].text().unwrap_or_default().to_owned();
            (
                signal,
                u64::try_from(row[1].int().unwrap_or(0)).unwrap_or(0),
            )
        });
        Ok(total.collect())
    }
}
