//! `tachograph record`.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::client::{Client, Sent, Target};
use super::{Failure, print};
use crate::catalog::Signal;
use crate::signals::CATALOG;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Name of the signal, such as workflow.run.
    signal: String,
    /// Labels and values of the signal.
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    fields: Vec<(String, String)>,
    /// How long it took, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<f64>,
    /// Context for the ledger, never a label.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
    /// Id of the record; one that was sent before is not counted again.
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// It begins now: it is in flight until its end is recorded under the same --id.
    #[arg(long, conflicts_with_all = ["end", "duration"])]
    start: bool,
    /// It ends: what is not given is taken from its start, and the duration too.
    #[arg(long, requires = "id")]
    end: bool,
    /// With --start: after how many seconds it is given up, a day unless given.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "start")]
    expires_in: Option<f64>,
    /// Id of the operation that it belongs to.
    #[arg(long, value_name = "UUID")]
    parent: Option<Uuid>,
    /// When it happened (RFC 3339), such as 2026-01-31T12:00:00Z; now unless given.
    #[arg(long, value_name = "TIME")]
    time: Option<jiff::Timestamp>,
    #[command(flatten)]
    target: Target,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "accepted: KEY=VALUE".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| "accepted: seconds, such as 1.5".to_owned())
}

/// A value field as a number, everything else as text; what the catalog here does not know
/// is for the service to judge.
fn typed(signal: Option<&Signal>, key: &str, value: &str) -> Value {
    let is_value = signal.is_some_and(|signal| signal.values.iter().any(|field| field.key == key));
    match value.parse::<serde_json::Number>() {
        Ok(number) if is_value => Value::Number(number),
        _ => Value::from(value),
    }
}

impl Arguments {
    fn record(&self, id: Uuid) -> Result<Value, Failure> {
        let signal = CATALOG
            .iter()
            .map(|recorder| recorder.signal())
            .find(|signal| signal.name == self.signal);
        let mut fields = Map::new();
        for (key, value) in &self.fields {
            let value = typed(signal, key, value);
            if fields.insert(key.clone(), value).is_some() {
                return Err(Failure::Usage(format!("{key}: given twice")));
            }
        }
        let context: Map<String, Value> = self
            .context
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.clone())))
            .collect();
        let mut record = json!({"signal": self.signal, "id": id, "fields": fields});
        if let Some(record) = record.as_object_mut() {
            if let Some(duration) = self.duration {
                record.insert("duration".to_owned(), duration.into());
            }
            let event = match (self.start, self.end) {
                (true, _) => Some("start"),
                (_, true) => Some("end"),
                _ => None,
            };
            if let Some(event) = event {
                record.insert("event".to_owned(), event.into());
            }
            if let Some(seconds) = self.expires_in {
                record.insert("expires_in".to_owned(), seconds.into());
            }
            if let Some(parent) = self.parent {
                record.insert("parent".to_owned(), parent.to_string().into());
            }
            if let Some(time) = self.time {
                record.insert("time".to_owned(), time.to_string().into());
            }
            if !context.is_empty() {
                record.insert("context".to_owned(), context.into());
            }
        }
        Ok(record)
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // An id of our own, so that the record can be sent again whatever becomes of the answer.
    let id = arguments.id.unwrap_or_else(Uuid::now_v7);
    let record = arguments.record(id)?;
    let client = Client::new(&arguments.target)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("runtime: {error}")))?;
    let outcome = match runtime.block_on(client.send(&record))? {
        Sent::Done(outcome) => outcome,
        Sent::Later { wait, reason } => {
            return Err(Failure::Failed(format!(
                "not taken now, {reason}; send it again with `--id {id}` in {} s",
                wait.as_secs()
            )));
        }
    };
    if let Some(rejected) = outcome.rejected.first() {
        let field = rejected.field.as_deref();
        let field = field.map_or_else(String::new, |field| format!("{field}: "));
        return Err(Failure::Failed(format!(
            "{} was rejected: {field}{}",
            arguments.signal, rejected.reason
        )));
    }
    let what = match (outcome.accepted, outcome.duplicates) {
        (0, 0) => {
            return Err(Failure::Failed(
                "the service says nothing of the record".to_owned(),
            ));
        }
        (0, _) => "duplicate, not counted again",
        _ => "accepted",
    };
    print(&format!("{} {id}: {what}\n", arguments.signal))
}
