//! Who called what: records in the order in which they began, nested.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::cursor::Cursor;
use super::{ENTRY, Entry, Page, QueryError, Sql, shown};
use crate::ledger::Ledger;
use crate::ledger::read::{Kind, Param, Value};

/// What is nested deeper is shown at this depth.
const MAX_DEPTH: usize = 64;

/// Open operations shown with a session.
const MAX_OPEN: i64 = 1_000;

/// What the records have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The session.
    Session(String),
    /// The correlation id.
    Correlation(String),
}

/// A record and what happened within it.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// The record.
    #[serde(flatten)]
    pub entry: Entry,
    /// Whether it has begun and not ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Why it is within the other: `parent`, as it was said, or `time`; absent at the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested_by: Option<&'static str>,
    /// What happened within it, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Node>,
}

/// A page of what happened, in the order in which it began. What belongs to something on an
/// earlier page stands at the top and names its parent.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    /// What is at the top.
    pub items: Vec<Node>,
    /// Leads to the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Ledger {
    /// What happened in a session or under a correlation id. The first page of a session has
    /// its open operations too.
    ///
    /// # Errors
    /// [`QueryError`](super::QueryError).
    pub async fn timeline(&self, which: &Which, page: &Page) -> Result<Timeline, QueryError> {
        let (kind, column, value) = match which {
            Which::Session(id) => ("timeline", "session", id),
            Which::Correlation(id) => ("correlation", "correlation", id),
        };
        let after = match &page.cursor {
            Some(text) => Some(Cursor::decode(text, kind)?),
            None => None,
        };
        // What is committed from here on is on no page.
        let last = match &after {
            Some(cursor) => cursor.int(0)?,
            None => self.last_seq().await?,
        };
        let started = "(time_us - CAST(round(COALESCE(duration, 0) * 1000000) AS BIGINT))";
        let mut sql = Sql::default()
            .add(&format!("SELECT {ENTRY} FROM records WHERE {column} = "))
            .param(Param::Text(value.clone()))
            .add(" AND seq <= ")
            .int(last);
        if let Some(cursor) = &after {
            let (from, to, seq) = (cursor.int(1)?, cursor.int(2)?, cursor.int(3)?);
            sql = sql
                .add(&format!(" AND ({started}, -time_us, seq) > ("))
                .int(from)
                .add(", ")
                .int(to.saturating_neg())
                .add(", ")
                .int(seq)
                .add(")");
        }
        let sql = sql.add(&format!(" ORDER BY {started}, -time_us, seq"));
        let rows = self
            .entries(sql, page.limit, |end| {
                Cursor::new(kind)
                    .with_int(last)
                    .with_int(end.started_us())
                    .with_int(end.time_us)
                    .with_int(end.seq)
            })
            .await?;
        let mut entries = rows.items;
        if let (None, Which::Session(id)) = (&after, which) {
            entries.extend(self.open_in(id).await?);
            entries.sort_by_key(|entry| (entry.started_us(), -entry.time_us, entry.seq));
        }
        Ok(Timeline {
            items: nest(entries),
            next: rows.next,
        })
    }

    async fn last_seq(&self) -> Result<i64, QueryError> {
        let sql = Sql::default().add("SELECT COALESCE(MAX(seq), 0) FROM records");
        let rows = self.reader.fetch(sql.query(&[Kind::Int])).await?;
        let first = rows.first().and_then(|row| row.first()?.int());
        Ok(first.unwrap_or(0))
    }

    async fn open_in(&self, session: &str) -> Result<Vec<Entry>, QueryError> {
        let sql = Sql::default()
            .add("SELECT id, signal, time_us, parent, fields, context FROM open_operations ")
            .add("WHERE session = ")
            .param(Param::Text(session.to_owned()))
            .add(" ORDER BY time_us LIMIT ")
            .int(MAX_OPEN);
        let kinds = &[
            Kind::Id,
            Kind::Text,
            Kind::Int,
            Kind::Id,
            Kind::Text,
            Kind::Text,
        ];
        let rows = self.reader.fetch(sql.query(kinds)).await?;
        let entry = |row: &Vec<Value>| {
            let started_us = row.get(2)?.int()?;
            let json = |at: usize| {
                let text = row.get(at)?.text()?;
                RawValue::from_string(text.to_owned()).ok()
            };
            Some(Entry {
                seq: -1,
                time_us: started_us,
                id: row.first()?.id()?,
                signal: row.get(1)?.text()?.to_owned(),
                started: shown(started_us),
                ended: None,
                duration: None,
                parent: row.get(3)?.id(),
                session: Some(session.to_owned()),
                correlation: None,
                agent: None,
                name: None,
                provider: None,
                model: None,
                status: None,
                failed: None,
                error: None,
                input_tokens: None,
                output_tokens: None,
                cache_read_tokens: None,
                cache_write_tokens: None,
                reasoning_tokens: None,
                cost_micros: None,
                price_version: None,
                fields: json(4),
                context: json(5),
            })
        };
        Ok(rows.iter().filter_map(entry).collect())
    }
}

/// Nests entries, which are in the order in which they began: under the parent that they name,
/// if it is there; those that name none under the innermost operation that lasted around them.
fn nest(entries: Vec<Entry>) -> Vec<Node> {
    let by_id: HashMap<Uuid, usize> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (entry.id, at))
        .collect();
    let mut parents: Vec<Option<(usize, &'static str)>> = vec![None; entries.len()];
    let mut around: Vec<usize> = Vec::new();
    let ends = |entry: &Entry| match entry.ended {
        Some(_) => entry.time_us,
        None => i64::MAX,
    };
    for (at, entry) in entries.iter().enumerate() {
        around.retain(|&other| ends(&entries[other]) >= entry.started_us());
        if let Some(parent) = entry.parent {
            let found = by_id.get(&parent).filter(|&&other| other != at);
            parents[at] = found.map(|&other| (other, "parent"));
        } else {
            let inner = around.iter().rev();
            let mut inner = inner.filter(|&&other| ends(&entries[other]) >= ends(entry));
            parents[at] = inner.next().map(|&other| (other, "time"));
        }
        if entry.duration.is_some() || entry.ended.is_none() {
            around.push(at);
        }
    }
    // Parents that name each other are at the top.
    for at in 0..parents.len() {
        let (mut up, mut steps) = (parents[at], 0);
        while let Some((other, _)) = up {
            steps += 1;
            if other == at || steps > parents.len() {
                parents[at] = None;
                break;
            }
            up = parents[other];
        }
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut top = Vec::new();
    for (at, parent) in parents.iter().enumerate() {
        // Bounds what is written, which is written recursively.
        let mut holder = parent.map(|(other, _)| other);
        let mut chain = Vec::new();
        while let Some(other) = holder {
            chain.push(other);
            holder = parents[other].map(|(above, _)| above);
        }
        match chain.len() {
            0 => top.push(at),
            depth if depth < MAX_DEPTH => children[chain[0]].push(at),
            depth => children[chain[depth - MAX_DEPTH + 1]].push(at),
        }
    }
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    assemble(&top, &children, &parents, &mut entries)
}

fn assemble(
    places: &[usize],
    children: &[Vec<usize>],
    parents: &[Option<(usize, &'static str)>],
    entries: &mut [Option<Entry>],
) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(places.len());
    for &at in places {
        let Some(entry) = entries[at].take() else {
            continue;
        };
        nodes.push(Node {
            open: entry.ended.is_none(),
            nested_by: parents[at].map(|(_, by)| by),
            children: assemble(&children[at], children, parents, entries),
            entry,
        });
    }
    nodes
}
