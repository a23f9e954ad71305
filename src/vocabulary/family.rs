//! Reading a vocabulary: the file, and what is common to all families.

use std::collections::BTreeMap;

use toml_edit::{ImDocument, Item, TableLike};

use super::mapping;
use super::model::{Family, Fault, Kind, Origin, Vocabulary};
use super::read::{Reader, meant};
use crate::catalog::Signal;

/// Keys of a family.
const KEYS: [&str; 19] = [
    "name",
    "type",
    "help",
    "source",
    "labels",
    "constant",
    "attributes",
    "readings",
    "values",
    "where",
    "unless",
    "bounds",
    "above",
    "combine",
    "since_start",
    "percent",
    "share",
    "distinct",
    "waits",
];

/// Maps of words that several families share, by name.
pub(super) type Words = BTreeMap<String, Vec<(String, String)>>;

impl Vocabulary {
    /// Reads a vocabulary and holds it against the signals it maps.
    ///
    /// # Errors
    /// Everything that is not accepted, in order of lines.
    pub fn parse(text: &str, signals: &[&'static Signal]) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::new(text);
        let document = match ImDocument::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let line = reader.line(error.span());
                return Err(vec![Fault {
                    line,
                    message: error.message().trim().replace('\n', "; "),
                }]);
            }
        };
        let vocabulary = read(&mut reader, document.as_table(), signals);
        let mut faults = reader.faults;
        faults.sort_by_key(|fault| fault.line);
        match vocabulary {
            Some(vocabulary) if faults.is_empty() => Ok(vocabulary),
            _ => Err(faults),
        }
    }
}

fn read(
    reader: &mut Reader,
    root: &dyn TableLike,
    signals: &[&'static Signal],
) -> Option<Vocabulary> {
    reader.known(root, "", &["name", "title", "words", "family"]);
    let name = reader.text(root, "name", "", 1);
    if let Some(name) = &name
        && !is_vocabulary_name(name)
    {
        let line = reader.line_of(root, "name");
        reader.fault(
            line,
            format!(
                "`name` is `{name}`; accepted: lower-case letters, digits and `-`, a letter first"
            ),
        );
    }
    let title = reader.text(root, "title", "", 1);
    let words = words(reader, root);
    let mut families: Vec<Family> = Vec::new();
    match root
        .get("family")
        .map(|item| (item, item.as_array_of_tables()))
    {
        Some((_, Some(tables))) => {
            for table in tables {
                let line = reader.line(table.span());
                if let Some(family) = family(reader, table, line, &words, signals) {
                    families.push(family);
                }
            }
        }
        Some((_, None)) => {
            let line = reader.line_of(root, "family");
            reader.fault(
                line,
                "`family` is not a list of tables; accepted: [[family]]",
            );
        }
        None => reader.fault(1, "there is no family; accepted: one [[family]] or more"),
    }
    clashes(reader, &families);
    Some(Vocabulary {
        name: name?,
        title: title?,
        families,
    })
}

fn words(reader: &mut Reader, root: &dyn TableLike) -> Words {
    let mut words = Words::new();
    let Some(table) = reader.table(root, "words", "") else {
        return words;
    };
    for (name, item) in table.iter() {
        let place = format!("words `{name}`: ");
        match item.as_table_like() {
            Some(map) => {
                words.insert(name.to_owned(), pairs(reader, map, &place));
            }
            None => {
                let line = reader.line_of(table, name);
                reader.fault(
                    line,
                    format!("{place}accepted: a table from our word to theirs"),
                );
            }
        }
    }
    words
}

/// A table of texts.
pub(super) fn pairs(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
) -> Vec<(String, String)> {
    table
        .iter()
        .filter_map(|(key, item)| match item.as_str() {
            Some(text) => Some((key.to_owned(), text.to_owned())),
            None => {
                let line = reader.line_of(table, key);
                reader.fault(
                    line,
                    format!(
                        "{place}`{key}` is {}; accepted: text in quotes",
                        item.type_name()
                    ),
                );
                None
            }
        })
        .collect()
}

fn family(
    reader: &mut Reader,
    table: &dyn TableLike,
    line: usize,
    words: &Words,
    signals: &[&'static Signal],
) -> Option<Family> {
    let place = match table.get("name").and_then(Item::as_str) {
        Some(name) => format!("`{name}`: "),
        None => "family: ".to_owned(),
    };
    reader.known(table, &place, &KEYS);
    let name = reader.text(table, "name", &place, line);
    let kind = kind(reader, table, &place, line);
    let help = reader.text(table, "help", &place, line);
    if let (Some(name), Some(kind)) = (&name, kind) {
        let at = reader.line_of(table, "name");
        if let Some(message) = name_fault(name, kind) {
            reader.fault(at, message);
        }
    }
    let (origin, labels, bounds) = if table.get("waits").is_some() {
        waiting(reader, table, &place)?
    } else if table.get("source").is_some() {
        let found = mapping::read(reader, table, &place, kind?, words, signals)?;
        let labels = found.mapping.labels.iter().map(|l| l.name.clone());
        (
            Origin::Mapped(found.mapping.clone()),
            labels.collect(),
            found.bounds,
        )
    } else {
        reader.fault(
            line,
            format!(
                "{place}neither `source` nor `waits`; accepted: the metric it is computed from, \
                 or what it waits for"
            ),
        );
        return None;
    };
    Some(Family {
        name: name?,
        kind: kind?,
        help: help?,
        labels,
        bounds,
        line,
        origin,
    })
}

fn kind(reader: &mut Reader, table: &dyn TableLike, place: &str, line: usize) -> Option<Kind> {
    let text = reader.text(table, "type", place, line)?;
    let kind = Kind::parse(&text);
    if kind.is_none() {
        let line = reader.line_of(table, "type");
        let near = meant(&text, Kind::NAMES.into_iter());
        reader.fault(
            line,
            format!(
                "{place}type `{text}` is not known;{near} accepted: {}",
                Kind::NAMES.join(", ")
            ),
        );
    }
    kind
}

/// A family that nothing feeds yet.
fn waiting(
    reader: &mut Reader,
    table: &dyn TableLike,
    place: &str,
) -> Option<(Origin, Vec<String>, Vec<f64>)> {
    for key in KEYS {
        if !["name", "type", "help", "labels", "bounds", "waits"].contains(&key)
            && table.get(key).is_some()
        {
            let line = reader.line_of(table, key);
            reader.fault(
                line,
                format!("{place}it waits, so `{key}` means nothing; take one of both away"),
            );
        }
    }
    let line = reader.line_of(table, "waits");
    let waits = reader.text(table, "waits", place, line);
    let mut labels = match table.get("labels") {
        Some(item) if item.as_array().is_some_and(toml_edit::Array::is_empty) => Vec::new(),
        Some(_) => reader.texts(table, "labels", place)?,
        None => Vec::new(),
    };
    labels.sort();
    let bounds = match table.get("bounds") {
        Some(_) => reader.numbers(table, "bounds", place)?,
        None => Vec::new(),
    };
    Some((
        Origin::Waits(waits?),
        labels,
        bounds.into_iter().map(|(bound, _)| bound).collect(),
    ))
}

/// Two families of one file that cannot stand on one page.
fn clashes(reader: &mut Reader, families: &[Family]) {
    let mut taken: BTreeMap<String, &Family> = BTreeMap::new();
    for family in families {
        let claims: Vec<String> = super::set::claims(family.base(), family.kind).collect();
        if let Some(first) = claims.iter().find_map(|claim| taken.get(claim)) {
            reader.fault(
                family.line,
                if first.name == family.name {
                    format!(
                        "`{}`: a second family of this name; the first is on line {}",
                        family.name, first.line
                    )
                } else {
                    format!(
                        "`{}`: its samples would be taken for those of `{}` on line {}",
                        family.name, first.name, first.line
                    )
                },
            );
            continue;
        }
        for claim in claims {
            taken.insert(claim, family);
        }
    }
}

/// `[a-z][a-z0-9-]*`, 64 characters at most.
fn is_vocabulary_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*` (Prometheus data model), and the suffix of the type.
fn name_fault(name: &str, kind: Kind) -> Option<String> {
    let valid = !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    if !valid {
        return Some(format!(
            "`{name}` is no name of a family; accepted: letters, digits, `_` and `:`, no digit first"
        ));
    }
    if matches!(name, "target" | "target_info") {
        return Some(format!(
            "`{name}` is kept for the resource (OpenMetrics 1.0, \"Supporting target metadata\"); \
             choose another name"
        ));
    }
    if !name.ends_with(kind.suffix()) || name == kind.suffix() {
        return Some(format!(
            "`{name}`: a {kind} is named `…{suffix}`; accepted: `{name}{suffix}`",
            suffix = kind.suffix()
        ));
    }
    None
}
