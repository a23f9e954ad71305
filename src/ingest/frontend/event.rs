//! One event of a page: what it says, and which signal that is.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::catalog::{ClosedLabel, OTHER};
use crate::signals::frontend::{
    ErrorKind, FrontendApiCall, FrontendApiCallEnd, FrontendError, FrontendPageLoad, LayoutShift,
    Method, Navigation, Vital, WebVital,
};

/// Longest time of one event, seconds: an hour.
const MAX_SECONDS: f64 = 3600.0;
/// Largest layout shift of one page view.
const MAX_SCORE: f64 = 1000.0;
/// Longest route, bytes.
const MAX_ROUTE: usize = 256;
/// Parts of a route at most.
const MAX_PARTS: usize = 12;
/// Longest name of an error, bytes.
const MAX_NAME: usize = 40;

/// Why an event is not counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: &'static str,
    pub(super) reason: String,
}

fn fault(field: &'static str, reason: impl Into<String>) -> Fault {
    let reason = reason.into();
    Fault { field, reason }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// The events of a body, at most so many.
pub(super) fn split(body: &[u8], most: usize) -> Option<Vec<&RawValue>> {
    let Body { events } = serde_json::from_slice(body).ok()?;
    (events.len() <= most).then_some(events)
}

/// Counts an event.
pub(super) fn record(raw: &RawValue) -> Result<(), Fault> {
    let event: Map<String, Value> = serde_json::from_str(raw.get())
        .map_err(|_| fault("", "accepted is an object that is an event"))?;
    match text(&event, "type")? {
        "page_load" => {
            known(&event, &["route", "navigation", "seconds"])?;
            let (route, seconds) = (route(&event)?, seconds(&event)?);
            let navigation = one_of(&event, "navigation", Navigation::parse)?;
            let route = &*route;
            FrontendPageLoad { route, navigation }.record(seconds);
        }
        "web_vital" => {
            known(&event, &["route", "name", "seconds"])?;
            let (route, seconds) = (route(&event)?, seconds(&event)?);
            let vital = one_of(&event, "name", Vital::parse)?;
            let route = &*route;
            WebVital { vital, route }.record(seconds);
        }
        "layout_shift" => {
            known(&event, &["route", "score"])?;
            let (route, score) = (route(&event)?, number(&event, "score", MAX_SCORE)?);
            LayoutShift { route: &route }.record(score);
        }
        "api_call" => {
            known(&event, &["route", "method", "status", "error", "seconds"])?;
            let (route, seconds) = (route(&event)?, seconds(&event)?);
            let method = Method::from_name(text(&event, "method")?);
            let status = status(&event)?;
            let error = match (&*status, given(&event, "error")) {
                (_, Some(_)) => name(text(&event, "error")?),
                ("", None) => {
                    let accepted = "missing; accepted is one of `status` and `error`";
                    return Err(fault("status", accepted));
                }
                // As HTTP clients have it in the semantic conventions: from 400 on.
                (status, None) if status >= "400" => status,
                _ => "",
            };
            let end = FrontendApiCallEnd {
                status: &status,
                error,
            };
            let route = &*route;
            FrontendApiCall { method, route }.record(end, Duration::from_secs_f64(seconds));
        }
        "error" => {
            known(&event, &["route", "kind", "name"])?;
            let route = route(&event)?;
            let kind = one_of(&event, "kind", ErrorKind::parse)?;
            let error = match given(&event, "name") {
                Some(_) => name(text(&event, "name")?),
                None => "",
            };
            let route = &*route;
            FrontendError { kind, error, route }.add(1);
        }
        _ => {
            return Err(fault(
                "type",
                "accepted are page_load, web_vital, layout_shift, api_call, error",
            ));
        }
    }
    Ok(())
}

/// A field that is there and not null.
fn given<'e>(event: &'e Map<String, Value>, field: &str) -> Option<&'e Value> {
    event.get(field).filter(|value| !value.is_null())
}

fn known(event: &Map<String, Value>, fields: &[&'static str]) -> Result<(), Fault> {
    let unknown = |key: &&String| *key != "type" && !fields.contains(&key.as_str());
    match event.keys().find(unknown) {
        None => Ok(()),
        Some(key) => {
            let key: String = key.chars().filter(|c| !c.is_control()).take(40).collect();
            let accepted = fields.join(", ");
            Err(fault(
                "",
                format!("`{key}` is not a field of it; accepted are type, {accepted}"),
            ))
        }
    }
}

fn text<'e>(event: &'e Map<String, Value>, field: &'static str) -> Result<&'e str, Fault> {
    match given(event, field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(fault(field, "accepted is text")),
        None => Err(fault(field, "missing; accepted is text")),
    }
}

fn number(event: &Map<String, Value>, field: &'static str, most: f64) -> Result<f64, Fault> {
    match given(event, field).and_then(Value::as_f64) {
        Some(number) if (0.0..=most).contains(&number) => Ok(number),
        _ => Err(fault(
            field,
            format!("accepted are numbers from 0 to {most}"),
        )),
    }
}

fn seconds(event: &Map<String, Value>) -> Result<f64, Fault> {
    number(event, "seconds", MAX_SECONDS)
}

fn one_of<T: ClosedLabel>(
    event: &Map<String, Value>,
    field: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, Fault> {
    parse(text(event, field)?)
        .ok_or_else(|| fault(field, format!("accepted are {}", T::VALUES.join(", "))))
}

/// A status code as text; empty: there is none.
fn status(event: &Map<String, Value>) -> Result<String, Fault> {
    match given(event, "status") {
        None => Ok(String::new()),
        Some(value) => match value.as_u64() {
            Some(status @ 100..=599) => Ok(status.to_string()),
            _ => Err(fault(
                "status",
                "accepted are whole numbers from 100 to 599",
            )),
        },
    }
}

/// The name of an error; what is no name, such as a message, is not looked at.
fn name(text: &str) -> &str {
    let named = text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if named { text } else { OTHER }
}

/// The template of a path.
fn route(event: &Map<String, Value>) -> Result<String, Fault> {
    let given = text(event, "route")?;
    let refuse = |what: &str| {
        Err(fault(
            "route",
            format!(
                "{what}; accepted is the template of a path, such as `/orders/{{id}}`, of up to \
                 {MAX_ROUTE} bytes and {MAX_PARTS} parts"
            ),
        ))
    };
    if given.len() > MAX_ROUTE || given.split('/').count() > MAX_PARTS + 1 {
        return refuse("too long");
    }
    if !given.starts_with('/') || given.starts_with("//") {
        return refuse("does not begin with one `/`");
    }
    if given.contains(|c: char| c.is_control() || c.is_whitespace() || "?#\\".contains(c)) {
        return refuse("has a query, a fragment, or what no path has");
    }
    let parts = given
        .split('/')
        .map(|part| if is_id(part) { "{id}" } else { part });
    Ok(parts.collect::<Vec<_>>().join("/"))
}

/// Whether a part of a path looks like an id, or like what somebody typed, rather than a word.
fn is_id(part: &str) -> bool {
    if part.starts_with('{') && part.ends_with('}') || part.starts_with(':') {
        return false;
    }
    let digits = part.chars().filter(char::is_ascii_digit).count();
    let hex = part.len() >= 8 && part.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
    digits >= 4
        || digits > 0 && (hex || digits == part.len())
        || part.len() > 40
        || !part.chars().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(text: &str) -> Result<String, Fault> {
        let mut event = Map::new();
        event.insert("route".to_owned(), text.into());
        route(&event)
    }

    #[test]
    fn ids_in_routes_become_one() {
        for (given, template) in [
            ("/", "/"),
            ("/orders", "/orders"),
            ("/orders/{id}/items", "/orders/{id}/items"),
            ("/orders/:id", "/orders/:id"),
            ("/api/v1/orders/17", "/api/v1/orders/{id}"),
            ("/o/550e8400-e29b-41d4-a716-446655440000", "/o/{id}"),
            ("/o/order-12345", "/o/{id}"),
            ("/u/jane@example.com", "/u/{id}"),
            ("/u/J%C3%BCrgen", "/u/{id}"),
            ("/feedback", "/feedback"),
            ("/t/deadbeef01", "/t/{id}"),
        ] {
            assert_eq!(routed(given).unwrap(), template, "{given}");
        }
    }

    #[test]
    fn addresses_are_no_routes() {
        let long = "/a".repeat(200);
        let deep = "/a".repeat(13);
        for given in [
            "",
            "orders",
            "https://a.example/x",
            "//a.example/x",
            "/x?token=1",
            "/x#y",
            "/a b",
            "/a\u{0}",
            &long,
            &deep,
        ] {
            assert_eq!(routed(given).unwrap_err().field, "route", "{given}");
        }
    }

    #[test]
    fn messages_are_no_names() {
        assert_eq!(name("TypeError"), "TypeError");
        for text in [
            "",
            "a b",
            "Cannot read x of undefined",
            "1a",
            &"a".repeat(41),
        ] {
            assert_eq!(name(text), OTHER, "{text}");
        }
    }
}
