//! What the ledger is asked: sessions and what happened in them, costs, the slowest, the
//! failing. Every answer is a page; its cursor leads to the next one, and records that arrive
//! meanwhile neither shift nor repeat what is still to come.

mod cursor;
mod timeline;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::read::{Kind, Param, Query, Value};
use super::{Ledger, QueryError};
use cursor::Cursor;

pub use timeline::{Node, Timeline, Which};

/// Which part of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Rows at most.
    pub limit: usize,
    /// The cursor of the page before; none for the first one.
    pub cursor: Option<String>,
}

/// A time, from its beginning to before its end, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct During {
    /// Its beginning.
    pub from_us: i64,
    /// Its end.
    pub to_us: i64,
}

/// Rows of an answer.
#[derive(Clone, Debug, Serialize)]
pub struct Rows<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Leads to the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A record. What is unknown is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    #[serde(skip)]
    seq: i64,
    #[serde(skip)]
    time_us: i64,
    /// Its id.
    pub id: Uuid,
    /// Its signal.
    pub signal: String,
    /// When it began, RFC 3339; of a measure when it was taken.
    pub started: String,
    /// When it ended, RFC 3339; `null` while it is open.
    pub ended: Option<String>,
    /// How long it took, in seconds.
    pub duration: Option<f64>,
    /// Id of the operation that it belongs to.
    pub parent: Option<Uuid>,
    /// Session or conversation.
    pub session: Option<String>,
    /// Id shared by everything that belongs to one request or task.
    pub correlation: Option<String>,
    /// Agent.
    pub agent: Option<String>,
    /// What was done: tool, type of workflow or task, and the like.
    pub name: Option<String>,
    /// Provider of the model.
    pub provider: Option<String>,
    /// Model that was asked for.
    pub model: Option<String>,
    /// How it ended.
    pub status: Option<String>,
    /// Whether that is a failure.
    pub failed: Option<bool>,
    /// Kind of error.
    pub error: Option<String>,
    /// Tokens of input, cached ones included.
    pub input_tokens: Option<i64>,
    /// Tokens of output, reasoning included.
    pub output_tokens: Option<i64>,
    /// Tokens of input read from the provider's cache.
    pub cache_read_tokens: Option<i64>,
    /// Tokens of input written to the provider's cache.
    pub cache_write_tokens: Option<i64>,
    /// Tokens of output spent on reasoning.
    pub reasoning_tokens: Option<i64>,
    /// Cost in millionths of a US dollar.
    pub cost_micros: Option<i64>,
    /// Version of the prices that the cost was computed with; `null` if it was reported.
    pub price_version: Option<String>,
    /// The declared fields as they were sent.
    pub fields: Option<Box<RawValue>>,
    /// The context as it was sent.
    pub context: Option<Box<RawValue>>,
}

const ENTRY: &str = "seq, id, signal, time_us, duration, parent, session, correlation, agent, \
     name, provider, model, status, failed, error, input_tokens, output_tokens, \
     cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_micros, price_version, \
     fields, context";

const ENTRY_KINDS: &[Kind] = &[
    Kind::Int,
    Kind::Id,
    Kind::Text,
    Kind::Int,
    Kind::Real,
    Kind::Id,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Bool,
    Kind::Text,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Int,
    Kind::Text,
    Kind::Text,
    Kind::Text,
];

impl Entry {
    fn read(row: &[Value]) -> Option<Self> {
        let text = |at: usize| row.get(at).and_then(Value::text).map(str::to_owned);
        let int = |at: usize| row.get(at).and_then(Value::int);
        let json = |at: usize| text(at).and_then(|text| RawValue::from_string(text).ok());
        let (time_us, duration) = (int(3)?, row.get(4).and_then(Value::real));
        Some(Self {
            seq: int(0)?,
            time_us,
            id: row.get(1)?.id()?,
            signal: text(2)?,
            started: shown(started_us(time_us, duration)),
            ended: Some(shown(time_us)),
            duration,
            parent: row.get(5).and_then(Value::id),
            session: text(6),
            correlation: text(7),
            agent: text(8),
            name: text(9),
            provider: text(10),
            model: text(11),
            status: text(12),
            failed: row.get(13).and_then(Value::bool),
            error: text(14),
            input_tokens: int(15),
            output_tokens: int(16),
            cache_read_tokens: int(17),
            cache_write_tokens: int(18),
            reasoning_tokens: int(19),
            cost_micros: int(20),
            price_version: text(21),
            fields: json(22),
            context: json(23),
        })
    }

    fn started_us(&self) -> i64 {
        started_us(self.time_us, self.duration)
    }
}

/// As the statements compute it.
fn started_us(time_us: i64, duration: Option<f64>) -> i64 {
    time_us.saturating_sub(duration.map_or(0, |seconds| (seconds * 1e6).round() as i64))
}

fn shown(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us)
        .map_or_else(|_| time_us.to_string(), |time| time.to_string())
}

/// A statement under construction, whose parameters are numbered as they come.
#[derive(Default)]
struct Sql {
    text: String,
    params: Vec<Param>,
}

impl Sql {
    fn add(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    fn param(mut self, param: Param) -> Self {
        self.params.push(param);
        self.text.push('$');
        self.text.push_str(&self.params.len().to_string());
        self
    }

    fn int(self, value: i64) -> Self {
        self.param(Param::Int(value))
    }

    fn query(self, kinds: &'static [Kind]) -> Query {
        Query {
            sql: self.text,
            params: self.params,
            kinds,
        }
    }
}

/// One row more than a page has tells whether there is another page.
fn more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1
}

/// Cuts the row off that is one too many; `cursor` names the last one that stays.
fn paged<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> Cursor) -> Rows<T> {
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(|last| cursor(last).encode())
    } else {
        None
    };
    Rows { items, next }
}

/// A session and what it adds up to, also what has been removed of it.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    #[serde(skip)]
    number: i64,
    /// Its id.
    pub session: String,
    /// When its first operation began, RFC 3339.
    pub first: String,
    /// When its last record ended, RFC 3339.
    pub last: String,
    /// Its records.
    pub records: i64,
    /// Those of them that failed.
    pub failed: i64,
    /// Tokens of input that were reported.
    pub input_tokens: i64,
    /// Tokens of output that were reported.
    pub output_tokens: i64,
    /// What is known to have been spent, in millionths of a US dollar.
    pub cost_micros: i64,
    /// Requests to models of unknown cost.
    pub unpriced: i64,
}

/// What costs are added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostsBy {
    /// Day, UTC.
    Day,
    /// Agent.
    Agent,
    /// Model.
    Model,
    /// Provider.
    Provider,
    /// Session.
    Session,
}

/// What requests to models add up to. Tokens and costs are those that are known; `null` if
/// none is.
#[derive(Clone, Debug, Serialize)]
pub struct Costs {
    #[serde(skip)]
    cursor: Cursor,
    /// The day, agent, model, provider or session; `null` for requests that name none.
    pub key: Option<String>,
    /// Requests.
    pub requests: i64,
    /// Those of unknown cost.
    pub unpriced: i64,
    /// Those of unknown usage.
    pub unmetered: i64,
    /// Tokens of input, cached ones included.
    pub input_tokens: Option<i64>,
    /// Tokens of output, reasoning included.
    pub output_tokens: Option<i64>,
    /// Tokens of input read from the provider's cache.
    pub cache_read_tokens: Option<i64>,
    /// Tokens of input written to the provider's cache.
    pub cache_write_tokens: Option<i64>,
    /// Tokens of output spent on reasoning.
    pub reasoning_tokens: Option<i64>,
    /// Cost in millionths of a US dollar.
    pub cost_micros: Option<i64>,
}

const SESSION_KINDS: &[Kind] = &numbers_and_text_at(1);
const COSTS_KINDS: &[Kind] = &numbers_and_text_at(0);

const fn numbers_and_text_at(at: usize) -> [Kind; 10] {
    let mut kinds = [Kind::Int; 10];
    kinds[at] = Kind::Text;
    kinds
}

const DAY_US: i64 = 86_400_000_000;

impl Ledger {
    /// The sessions, those seen first last.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn sessions(&self, page: &Page) -> Result<Rows<Session>, QueryError> {
        let before = match &page.cursor {
            Some(text) => Cursor::decode(text, "sessions")?.int(0)?,
            None => i64::MAX,
        };
        let sql = Sql::default()
            .add(
                "SELECT number, session, first_us, last_us, records, failed, input_tokens, \
                 output_tokens, cost_micros, unpriced FROM sessions WHERE number < ",
            )
            .int(before)
            .add(" ORDER BY number DESC LIMIT ")
            .int(more(page.limit));
        let rows = self.reader.fetch(sql.query(SESSION_KINDS)).await?;
        let read = |row: &Vec<Value>| {
            let int = |at: usize| row.get(at).and_then(Value::int);
            Some(Session {
                number: int(0)?,
                session: row.get(1)?.text()?.to_owned(),
                first: shown(int(2)?),
                last: shown(int(3)?),
                records: int(4)?,
                failed: int(5)?,
                input_tokens: int(6)?,
                output_tokens: int(7)?,
                cost_micros: int(8)?,
                unpriced: int(9)?,
            })
        };
        let sessions = rows.iter().filter_map(read).collect();
        Ok(paged(sessions, page.limit, |last: &Session| {
            Cursor::new("sessions").with_int(last.number)
        }))
    }

    /// What requests to models that ended at this time add up to, in order of the key.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn costs(
        &self,
        by: CostsBy,
        during: During,
        page: &Page,
    ) -> Result<Rows<Costs>, QueryError> {
        let (kind, key) = match by {
            CostsBy::Day => ("costs.day", "CAST(time_us / 86400000000 AS TEXT)"),
            CostsBy::Agent => ("costs.agent", "COALESCE(agent, '')"),
            CostsBy::Model => ("costs.model", "COALESCE(model, '')"),
            CostsBy::Provider => ("costs.provider", "COALESCE(provider, '')"),
            CostsBy::Session => ("costs.session", "COALESCE(session, '')"),
        };
        let mut sql = Sql::default()
            .add(&format!(
                "SELECT {key} AS k, COUNT(*), COUNT(*) - COUNT(cost_micros), \
                 COUNT(*) - COUNT(COALESCE(input_tokens, output_tokens)), \
                 CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), \
                 CAST(SUM(cache_read_tokens) AS BIGINT), \
                 CAST(SUM(cache_write_tokens) AS BIGINT), \
                 CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cost_micros) AS BIGINT) \
                 FROM records WHERE billable AND time_us >= "
            ))
            .int(during.from_us)
            .add(" AND time_us < ")
            .int(during.to_us);
        if let Some(text) = &page.cursor {
            let after = Cursor::decode(text, kind)?.text(0)?;
            sql = sql.add(&format!(" AND {key} > ")).param(Param::Text(after));
        }
        let sql = sql
            .add(&format!(" GROUP BY {key} ORDER BY {key} LIMIT "))
            .int(more(page.limit));
        let rows = self.reader.fetch(sql.query(COSTS_KINDS)).await?;
        let read = |row: &Vec<Value>| {
            let int = |at: usize| row.get(at).and_then(Value::int);
            let key = row.first()?.text()?;
            let shown = match by {
                CostsBy::Day => {
                    let day: i64 = key.parse().ok()?;
                    Some(shown(day * DAY_US).chars().take(10).collect())
                }
                _ => (!key.is_empty()).then(|| key.to_owned()),
            };
            Some(Costs {
                cursor: Cursor::new(kind).with_text(key),
                key: shown,
                requests: int(1)?,
                unpriced: int(2)?,
                unmetered: int(3)?,
                input_tokens: int(4),
                output_tokens: int(5),
                cache_read_tokens: int(6),
                cache_write_tokens: int(7),
                reasoning_tokens: int(8),
                cost_micros: int(9),
            })
        };
        let costs = rows.iter().filter_map(read).collect();
        Ok(paged(costs, page.limit, |last: &Costs| last.cursor.clone()))
    }

    /// The operations of a signal that took longest, of those that ended at this time.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn slowest(
        &self,
        signal: &str,
        during: During,
        page: &Page,
    ) -> Result<Rows<Entry>, QueryError> {
        let mut sql = Sql::default()
            .add(&format!("SELECT {ENTRY} FROM records WHERE signal = "))
            .param(Param::Text(signal.to_owned()))
            .add(" AND duration IS NOT NULL AND time_us >= ")
            .int(during.from_us)
            .add(" AND time_us < ")
            .int(during.to_us);
        if let Some(text) = &page.cursor {
            let cursor = Cursor::decode(text, "slowest")?;
            let (duration, seq) = (cursor.real(0)?, cursor.int(1)?);
            sql = sql
                .add(" AND (duration, seq) < (")
                .param(Param::Real(duration))
                .add(", ")
                .int(seq)
                .add(")");
        }
        let sql = sql.add(" ORDER BY duration DESC, seq DESC");
        self.entries(sql, page.limit, |last| {
            Cursor::new("slowest")
                .with_real(last.duration.unwrap_or_default())
                .with_int(last.seq)
        })
        .await
    }

    /// What failed at this time, the latest first.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn failing(
        &self,
        signal: Option<&str>,
        during: During,
        page: &Page,
    ) -> Result<Rows<Entry>, QueryError> {
        let mut sql = Sql::default()
            .add(&format!(
                "SELECT {ENTRY} FROM records WHERE failed AND time_us >= "
            ))
            .int(during.from_us)
            .add(" AND time_us < ")
            .int(during.to_us);
        if let Some(signal) = signal {
            sql = sql
                .add(" AND signal = ")
                .param(Param::Text(signal.to_owned()));
        }
        if let Some(text) = &page.cursor {
            let cursor = Cursor::decode(text, "failing")?;
            let (time_us, seq) = (cursor.int(0)?, cursor.int(1)?);
            sql = sql
                .add(" AND (time_us, seq) < (")
                .int(time_us)
                .add(", ")
                .int(seq)
                .add(")");
        }
        let sql = sql.add(" ORDER BY time_us DESC, seq DESC");
        self.entries(sql, page.limit, |last| {
            Cursor::new("failing")
                .with_int(last.time_us)
                .with_int(last.seq)
        })
        .await
    }

    /// A page of the records that a statement selects in order.
    async fn entries(
        &self,
        sql: Sql,
        limit: usize,
        cursor: impl Fn(&Entry) -> Cursor,
    ) -> Result<Rows<Entry>, QueryError> {
        let sql = sql.add(" LIMIT ").int(more(limit));
        let rows = self.reader.fetch(sql.query(ENTRY_KINDS)).await?;
        let entries = rows.iter().filter_map(|row| Entry::read(row)).collect();
        Ok(paged(entries, limit, cursor))
    }
}
