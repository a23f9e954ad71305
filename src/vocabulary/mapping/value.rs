//! Reading what is made of the series: the value of a family, and its bounds.

use toml_edit::TableLike;

use super::{Labels, Sources, filters, known_key, valid_label};
use crate::catalog::Instrument;
use crate::vocabulary::model::{Filter, Kind, LabelFrom, ValueRule};
use crate::vocabulary::read::{Reader, duration};

/// What is made of the series that map to one label set.
pub(super) fn value(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    kind: Kind,
    sources: &Sources,
    labels: &mut Labels,
    filters: &[Filter],
) -> Option<ValueRule> {
    let source = sources.instrument()?;
    let summed = matches!(source, Instrument::Counter | Instrument::FloatCounter);
    let counts = summed || source == Instrument::Histogram;
    let special = [
        "share",
        "distinct",
        "combine",
        "above",
        "since_start",
        "percent",
    ]
    .into_iter()
    .filter(|key| table.get(key).is_some())
    .collect::<Vec<_>>();
    if let [first, second, ..] = special[..] {
        let line = reader.line_of(table, second);
        reader.fault(
            line,
            format!("{place}`{first}` and `{second}` exclude each other; take one away"),
        );
        return None;
    }
    let special = special.first().copied();
    let line = |reader: &Reader| reader.line_of(table, special.unwrap_or("type"));
    match (kind, special) {
        (Kind::Gauge, Some("share")) if counts => share(reader, table, place, sources, labels),
        (Kind::Gauge, Some("distinct")) if source != Instrument::Gauge => {
            let key = reader.optional(table, "distinct", place)?;
            let line = line(reader);
            known_key(reader, line, place, sources, &key).then_some(ValueRule::Distinct(key))
        }
        (Kind::Gauge, Some("combine"))
            if matches!(source, Instrument::Gauge | Instrument::InFlight) =>
        {
            combine(reader, table, place)
        }
        (Kind::Gauge, Some("since_start")) if counts => since_start(reader, table, place, source),
        (Kind::Gauge, None) if source == Instrument::InFlight => Some(ValueRule::Sum),
        (Kind::Gauge, None | Some("percent")) if source == Instrument::Gauge => {
            let merged = merged(sources, labels, filters);
            if merged.is_empty() {
                return match special {
                    Some(_) => percent(reader, table, place, sources),
                    None => Some(ValueRule::Sum),
                };
            }
            let line = reader.line_of(table, "source");
            reader.fault(
                line,
                format!(
                    "{place}values of several series fall together because of {}, and nothing \
                     says what becomes of them; accepted: `combine` with sum, max or min",
                    merged.join(", ")
                ),
            );
            None
        }
        (Kind::Counter, None) if summed => Some(ValueRule::Sum),
        (Kind::Counter, None | Some("above")) if source == Instrument::Histogram => {
            above(reader, table, place, sources).map(|above| ValueRule::Observations { above })
        }
        (Kind::Histogram, None) if source == Instrument::Histogram => Some(ValueRule::Sum),
        (Kind::Info, None) if source == Instrument::Gauge => Some(ValueRule::One),
        (_, Some(special)) => {
            let line = line(reader);
            let accepted = match special {
                "share" => "for gauges from counters and histograms",
                "distinct" => "for gauges from anything but gauges",
                "combine" | "percent" => "for gauges from gauges",
                "since_start" => "for gauges from counters and histograms",
                _ => "for counters from histograms",
            };
            reader.fault(
                line,
                format!("{place}`{special}` does not fit here; accepted: {accepted}"),
            );
            None
        }
        (_, None) => {
            let line = reader.line_of(table, "type");
            let accepted = match source {
                Instrument::Counter | Instrument::FloatCounter => {
                    "counter; gauge with `share`, `distinct` or `since_start`"
                }
                Instrument::Histogram => {
                    "histogram; counter for its observations; gauge with `share`, `distinct` or \
                     `since_start`"
                }
                Instrument::InFlight => "gauge",
                Instrument::Gauge => "gauge, info",
            };
            reader.fault(
                line,
                format!(
                    "{place}a {kind} cannot be made from `{}`; accepted: {accepted}",
                    sources.names.join("`, `")
                ),
            );
            None
        }
    }
}

/// Why several series of a gauge can fall together.
fn merged(sources: &Sources, labels: &Labels, filters: &[Filter]) -> Vec<String> {
    let mut why: Vec<String> = sources
        .all_keys()
        .into_iter()
        .filter(|key| {
            let used = labels.values().any(|from| match from {
                LabelFrom::Keys { keys, .. } => keys.iter().any(|k| k == key),
                LabelFrom::Constant(_) | LabelFrom::Reading(_) | LabelFrom::Window => false,
            });
            let pinned = filters.iter().any(|filter| {
                filter.key == *key
                    && filter.keep
                    && filter.values.len() == 1
                    && !filter.values[0].ends_with('*')
            });
            !used && !pinned
        })
        .map(|key| format!("`{key}`, which is left out"))
        .collect();
    for (name, from) in labels {
        if let LabelFrom::Keys { keys, words } = from
            && (keys.len() > 1 || !words.is_empty())
        {
            why.push(format!("`{name}`, which takes other words"));
        }
    }
    if sources.names.len() > 1 {
        why.push("several sources".to_owned());
    }
    why
}

fn combine(reader: &mut Reader, table: &dyn TableLike, place: &str) -> Option<ValueRule> {
    let text = reader.optional(table, "combine", place)?;
    match text.as_str() {
        "sum" => Some(ValueRule::Sum),
        "max" => Some(ValueRule::Max),
        "min" => Some(ValueRule::Min),
        _ => {
            let line = reader.line_of(table, "combine");
            reader.fault(
                line,
                format!("{place}combine `{text}` is not known; accepted: sum, max, min"),
            );
            None
        }
    }
}

/// A share as percent.
fn percent(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    sources: &Sources,
) -> Option<ValueRule> {
    let shares = sources.metrics.iter().all(|(_, metric)| metric.unit == "1");
    match table.get("percent").and_then(|item| item.as_bool()) {
        Some(true) if shares => return Some(ValueRule::Percent),
        Some(false) => return Some(ValueRule::Sum),
        _ => {}
    }
    let line = reader.line_of(table, "percent");
    reader.fault(
        line,
        format!("{place}`percent` does not fit here; accepted: true, for a source in the unit `1`"),
    );
    None
}

fn since_start(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    source: Instrument,
) -> Option<ValueRule> {
    let text = reader.optional(table, "since_start", place)?;
    match (text.as_str(), source) {
        ("total", _) => Some(ValueRule::Total),
        ("mean", Instrument::Histogram) => Some(ValueRule::Mean),
        (_, source) => {
            let line = reader.line_of(table, "since_start");
            let accepted = match source {
                Instrument::Histogram => "total, mean",
                _ => "total; mean for histograms",
            };
            reader.fault(
                line,
                format!("{place}since_start `{text}` does not fit here; accepted: {accepted}"),
            );
            None
        }
    }
}

fn above(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    sources: &Sources,
) -> Option<Option<f64>> {
    if table.get("above").is_none() {
        return Some(None);
    }
    let above = reader.number(table, "above", place)?;
    if sources.bounds().contains(&above) {
        return Some(Some(above));
    }
    let line = reader.line_of(table, "above");
    reader.fault(line, no_bound(place, sources, above));
    None
}

fn no_bound(place: &str, sources: &Sources, bound: f64) -> String {
    let known: Vec<String> = sources.bounds().iter().map(f64::to_string).collect();
    format!(
        "{place}`{}` has no bound {bound}; accepted: {}",
        sources.names.join("`, `"),
        known.join(", ")
    )
}

pub(super) fn bounds(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    kind: Kind,
    sources: &Sources,
) -> Vec<f64> {
    let given = reader.numbers(table, "bounds", place);
    let Some(given) = given else {
        return match kind {
            Kind::Histogram => sources.bounds().to_vec(),
            _ => Vec::new(),
        };
    };
    let line = reader.line_of(table, "bounds");
    if kind != Kind::Histogram {
        reader.fault(
            line,
            format!("{place}a {kind} has no bounds; take `bounds` away"),
        );
        return Vec::new();
    }
    if given.is_empty() {
        reader.fault(
            line,
            format!("{place}`bounds` is empty; accepted: some of the source's, or none at all for all of them"),
        );
    }
    if given.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        reader.fault(line, format!("{place}`bounds` do not rise"));
    }
    for (bound, line) in &given {
        if !sources.bounds().contains(bound) && !sources.bounds().is_empty() {
            reader.fault(*line, no_bound(place, sources, *bound));
        }
    }
    given.into_iter().map(|(bound, _)| bound).collect()
}

fn share(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
    sources: &Sources,
    labels: &mut Labels,
) -> Option<ValueRule> {
    let given = reader.table(table, "share", place)?;
    let place = &format!("{place}share: ");
    reader.known(
        given,
        place,
        &["where", "unless", "windows", "label", "percent"],
    );
    let line = reader.line_of(table, "share");
    let part = filters(reader, given, place, sources);
    if part.is_empty() {
        reader.fault(
            line,
            format!("{place}nothing says which events are the part; accepted: `where`, `unless`"),
        );
    }
    let texts = match given.get("windows") {
        Some(_) => reader.texts(given, "windows", place)?,
        None => {
            reader.fault(
                line,
                format!("{place}`windows` is missing; accepted: \"5m\", or a list such as [\"5m\", \"1h\"]"),
            );
            return None;
        }
    };
    let line = reader.line_of(given, "windows");
    let mut windows = Vec::new();
    for text in texts {
        match duration(&text) {
            Some(window) => windows.push((text, window)),
            None => reader.fault(
                line,
                format!("{place}`{text}` is no window; accepted: 1s to 7d, as 30s, 5m, 1h, 1d"),
            ),
        }
    }
    match reader.optional(given, "label", place) {
        Some(label) => {
            let line = reader.line_of(given, "label");
            if valid_label(reader, line, place, &label, labels) {
                labels.insert(label, LabelFrom::Window);
            }
        }
        None if windows.len() > 1 => reader.fault(
            line,
            format!("{place}several windows need a `label` that tells them apart"),
        ),
        None => {}
    }
    let percent = match given.get("percent") {
        None => false,
        Some(item) => match item.as_bool() {
            Some(percent) => percent,
            None => {
                let line = reader.line_of(given, "percent");
                reader.fault(
                    line,
                    format!(
                        "{place}`percent` is {}; accepted: true, false",
                        item.type_name()
                    ),
                );
                false
            }
        },
    };
    Some(ValueRule::Share {
        part,
        windows,
        scale: if percent { 100.0 } else { 1.0 },
    })
}
