//! A record as it is published.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ledger::OutboxRow;

/// Name and version of the document; a field that is added leaves the version as it is.
pub(super) const SCHEMA: &str = "tachograph.record/1";

/// Media type of the document.
pub(super) const CONTENT_TYPE: &str = "application/json";

#[derive(Serialize)]
struct Document<'r> {
    schema: &'static str,
    id: Uuid,
    signal: &'r str,
    time: Option<String>,
    received: Option<String>,
    duration: Option<f64>,
    parent: Option<Uuid>,
    fields: &'r RawValue,
    context: &'r RawValue,
}

/// The document of a row: JSON, with times in RFC 3339 and durations in seconds. What is not
/// known is `null`.
///
/// # Errors
/// A row that somebody else has written: its fields or its context are no JSON.
pub(super) fn document(row: &OutboxRow) -> Result<String, String> {
    let raw = |text| serde_json::from_str::<&RawValue>(text).map_err(|error| error.to_string());
    let time = |us| Timestamp::from_microsecond(us).ok().map(|t| t.to_string());
    let document = Document {
        schema: SCHEMA,
        id: row.id,
        signal: &row.signal,
        time: time(row.time_us),
        received: time(row.received_us),
        duration: row.duration,
        parent: row.parent,
        fields: raw(&row.fields)?,
        context: raw(&row.context)?,
    };
    serde_json::to_string(&document).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn row(fields: &str, context: &str) -> OutboxRow {
        OutboxRow {
            seq: 1,
            id: Uuid::nil(),
            signal: "action.log".to_owned(),
            time_us: 1_780_000_000_500_000,
            duration: None,
            parent: None,
            fields: fields.to_owned(),
            context: context.to_owned(),
            received_us: i64::MAX,
        }
    }

    #[test]
    fn a_record_is_published_as_it_was_taken_and_what_is_unknown_is_null() {
        let text = document(&row(r#"{"action.type":"decision"}"#, r#"{"a":"é"}"#)).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "schema": "tachograph.record/1",
            "id": "00000000-0000-0000-0000-000000000000",
            "signal": "action.log",
            "time": "2026-05-28T20:26:40.5Z",
            "received": null,
            "duration": null,
            "parent": null,
            "fields": {"action.type": "decision"},
            "context": {"a": "é"},
        });
        assert_eq!(read, expected);
        document(&row("{", "{}")).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_text_in_it_stays_what_it_was(text: String, time_us: i64, seconds: f64) {
            let context = json!({"text": text}).to_string();
            let mut row = row("{}", &context);
            (row.time_us, row.duration) = (time_us, Some(seconds));
            let read: Value = serde_json::from_str(&document(&row).unwrap()).unwrap();
            prop_assert_eq!(&read["context"]["text"], &Value::from(text));
        }
    }
}
