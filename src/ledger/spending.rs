//! What was spent on models, out of the columns of records.

use super::read::{Kind, Param, Query};
use super::{Ledger, QueryError};

/// Which records to add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpendingFilter {
    /// Ended at this time or later, microseconds since 1970-01-01T00:00:00Z.
    pub from_us: i64,
    /// Ended before this time.
    pub until_us: i64,
    /// Of this provider.
    pub provider: Option<String>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this model, as it was asked for.
    pub model: Option<String>,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// Cost, micro-dollars.
    pub micros: i64,
    /// Requests of unknown cost; those that failed and were answered cost nothing.
    pub unpriced: i64,
    /// The last record that was looked at, in the order in which they were committed.
    pub last: i64,
}

impl Ledger {
    /// Adds up records that were committed after the record `after`; 0: all.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read, or not in time.
    pub async fn spending(
        &self,
        filter: &SpendingFilter,
        after: i64,
    ) -> Result<Spending, QueryError> {
        let last = self.reader.fetch(Query {
            sql: "SELECT MAX(seq) FROM records".to_owned(),
            params: Vec::new(),
            kinds: &[Kind::Int],
        });
        let first = |rows: &[Vec<super::read::Value>], at: usize| {
            rows.first().and_then(|row| row.get(at)?.int())
        };
        let last = first(&last.await?, 0).unwrap_or(after);
        let mut sql = "SELECT CAST(SUM(cost_micros) AS BIGINT), \
             CAST(SUM(CASE WHEN cost_micros IS NULL AND (failed IS NULL OR NOT failed \
             OR status = 'timeout') THEN 1 ELSE 0 END) AS BIGINT) \
             FROM records WHERE billable AND time_us >= $1 AND time_us < $2 \
             AND seq > $3 AND seq <= $4"
            .to_owned();
        let mut params = vec![
            Param::Int(filter.from_us),
            Param::Int(filter.until_us),
            Param::Int(after),
            Param::Int(last),
        ];
        for (column, wanted) in [
            ("provider", &filter.provider),
            ("agent", &filter.agent),
            ("model", &filter.model),
        ] {
            if let Some(wanted) = wanted {
                params.push(Param::Text(wanted.clone()));
                sql.push_str(&format!(" AND {column} = ${}", params.len()));
            }
        }
        let rows = self.reader.fetch(Query {
            sql,
            params,
            kinds: &[Kind::Int, Kind::Int],
        });
        let rows = rows.await?;
        Ok(Spending {
            micros: first(&rows, 0).unwrap_or(0),
            unpriced: first(&rows, 1).unwrap_or(0),
            last,
        })
    }
}
