//! Operations that began and have not ended.

use uuid::Uuid;

use super::read::{Kind, Param, Query, Value};
use super::{Ledger, QueryError};

/// Ids asked for in one query.
const CHUNK: usize = 500;

/// An operation that began and has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOperation {
    /// The id of its start, which is to be that of its end.
    pub id: Uuid,
    /// Name of the signal, which need not be declared any more.
    pub signal: String,
    /// When it began, in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// When it is given up, in microseconds since 1970-01-01T00:00:00Z.
    pub expires_us: i64,
    /// Id of the operation that it belongs to.
    pub parent: Option<Uuid>,
    /// The fields of the start, a JSON object.
    pub fields: String,
    /// The context of the start, a JSON object.
    pub context: String,
}

const COLUMNS: &str = "id, signal, time_us, expires_us, parent, fields, context";
const KINDS: &[Kind] = &[
    Kind::Id,
    Kind::Text,
    Kind::Int,
    Kind::Int,
    Kind::Id,
    Kind::Text,
    Kind::Text,
];

fn operation(row: &[Value]) -> Option<OpenOperation> {
    let text = |at: usize| row.get(at).and_then(Value::text).map(str::to_owned);
    Some(OpenOperation {
        id: row.first()?.id()?,
        signal: text(1)?,
        time_us: row.get(2)?.int()?,
        expires_us: row.get(3)?.int()?,
        parent: row.get(4)?.id(),
        fields: text(5)?,
        context: text(6)?,
    })
}

impl Ledger {
    /// The open operations among these ids, whichever service was told of them.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read.
    pub async fn open_among(&self, ids: &[Uuid]) -> Result<Vec<OpenOperation>, QueryError> {
        let mut found = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let places: Vec<String> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT {COLUMNS} FROM open_operations WHERE id IN ({})",
                places.join(",")
            );
            let params = chunk.iter().map(|id| Param::Id(*id)).collect();
            let kinds = KINDS;
            let rows = self.reader.fetch(Query { sql, params, kinds }).await?;
            found.extend(rows.iter().filter_map(|row| operation(row)));
        }
        Ok(found)
    }

    /// The open operations of a session, the oldest first, 10,000 at most; whichever service was
    /// told of them.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read.
    pub async fn open_of_session(&self, session: &str) -> Result<Vec<OpenOperation>, QueryError> {
        let rows = self.reader.fetch(Query {
            sql: format!(
                "SELECT {COLUMNS} FROM open_operations WHERE session = $1 \
                 ORDER BY time_us, id LIMIT 10000"
            ),
            params: vec![Param::Text(session.to_owned())],
            kinds: KINDS,
        });
        Ok(rows
            .await?
            .iter()
            .filter_map(|row| operation(row))
            .collect())
    }

    /// Those of these ids that have a record.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read.
    pub async fn recorded_among(&self, ids: &[Uuid]) -> Result<Vec<Uuid>, QueryError> {
        let mut found = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let places: Vec<String> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
            let rows = self.reader.fetch(Query {
                sql: format!("SELECT id FROM records WHERE id IN ({})", places.join(",")),
                params: chunk.iter().map(|id| Param::Id(*id)).collect(),
                kinds: &[Kind::Id],
            });
            found.extend(rows.await?.iter().filter_map(|row| row.first()?.id()));
        }
        Ok(found)
    }

    /// Id and expiry of each open operation that this service counts in flight.
    ///
    /// # Errors
    /// [`QueryError`] when the database cannot be read.
    pub async fn open_here(&self) -> Result<Vec<(Uuid, i64)>, QueryError> {
        let rows = self.reader.fetch(Query {
            sql: "SELECT id, expires_us FROM open_operations WHERE owner = $1".to_owned(),
            params: vec![Param::Text(self.owner().to_owned())],
            kinds: &[Kind::Id, Kind::Int],
        });
        let rows = rows.await?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((row.first()?.id()?, row.get(1)?.int()?)))
            .collect())
    }
}
