//! Each family that another system's dashboards ask for, and what really records its figures.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::docs;
use tachograph::catalog::Signal;
use tachograph::vocabulary::{Family, LabelFrom, builtin, declared};

/// A row of `vocabularies/sources.txt`.
struct Row {
    vocabulary: &'static str,
    family: &'static str,
    signals: Vec<&'static str>,
    ways: Vec<&'static str>,
    page: &'static str,
}

fn rows() -> Vec<Row> {
    let text = include_str!("vocabularies/sources.txt");
    let rows = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let row = |line: &'static str| match *line.split(' ').collect::<Vec<_>>() {
        [vocabulary, family, signals, ways, page] => Row {
            vocabulary,
            family,
            signals: signals.split(',').collect(),
            ways: ways.split(',').collect(),
            page,
        },
        _ => panic!("five words: {line}"),
    };
    rows.map(row).collect()
}

/// Families of the built-in vocabularies.
fn families() -> Vec<(&'static str, Family)> {
    let signals = declared();
    let each = |name: &&'static str| {
        let vocabulary = builtin::load(name, &signals).unwrap().unwrap();
        let families = vocabulary.families.into_iter();
        families.map(|family| (*name, family)).collect::<Vec<_>>()
    };
    builtin::NAMES.iter().flat_map(each).collect()
}

/// The signal that declares a metric.
fn of(metric: &str) -> &'static Signal {
    let declares = |signal: &&Signal| signal.metrics.iter().any(|m| m.name == metric);
    declared().into_iter().find(declares).unwrap()
}

/// The type that records a signal, as its declaration names it.
fn recorder(signal: &str, folder: &Path) -> Option<String> {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = recorder(signal, &path) {
                return Some(found);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let named = format!("= \"{signal}\"");
        let declares = |line: &&str| line.starts_with("    pub ") && line.contains(&named);
        if let Some(line) = text.lines().find(declares) {
            return line.split_whitespace().nth(2).map(str::to_owned);
        }
    }
    None
}

/// Whether a text has a word, not as part of another.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !part(before.chars().next_back()) && !part(after.chars().next())
    })
}

#[test]
fn every_family_has_a_source() {
    let listed: Vec<_> = rows().iter().map(|r| (r.vocabulary, r.family)).collect();
    let families = families();
    let expected: Vec<_> = families.iter().map(|(v, f)| (*v, &*f.name)).collect();
    assert_eq!(listed, expected);
}

#[test]
fn sources_are_the_signals_that_the_vocabulary_reads() {
    for (row, (_, family)) in rows().iter().zip(families()) {
        let Some(mapping) = family.mapping() else {
            continue;
        };
        let mut metrics: Vec<&str> = mapping.sources.iter().map(String::as_str).collect();
        metrics.extend(mapping.labels.iter().filter_map(|label| match &label.from {
            LabelFrom::Reading(metric) => Some(metric.as_str()),
            _ => None,
        }));
        let read: BTreeSet<&str> = metrics.into_iter().map(|metric| of(metric).name).collect();
        let listed: BTreeSet<&str> = row.signals.iter().copied().collect();
        assert_eq!(listed, read, "{}", row.family);
    }
}

#[test]
fn ways_are_real() {
    let waits: Vec<_> = families()
        .into_iter()
        .filter(|(_, family)| family.mapping().is_none())
        .map(|(_, family)| family.name)
        .collect();
    for row in rows() {
        let family = row.family;
        if waits.iter().any(|name| name == family) {
            continue;
        }
        let signals = declared();
        let signals: Vec<_> = signals
            .iter()
            .filter(|signal| row.signals.contains(&signal.name))
            .collect();
        assert_eq!(signals.len(), row.signals.len(), "{family}");
        let reported = signals.iter().all(|signal| signal.reportable);
        assert_eq!(row.ways.contains(&"records"), reported, "{family}");
        for way in &row.ways {
            if ["records", "recorder"].contains(way) {
                continue;
            }
            let text = docs::page(way);
            for signal in &signals {
                let recorder = recorder(signal.name, &docs::root().join("src/signals")).unwrap();
                let named = text.contains(&format!("\"{}\"", signal.name));
                assert!(
                    named || has_word(&text, &recorder),
                    "{family}: {way} does not record {} ({recorder})",
                    signal.name
                );
            }
        }
    }
}

#[test]
fn each_source_is_explained() {
    let waits: Vec<_> = families()
        .into_iter()
        .filter(|(_, family)| family.mapping().is_none())
        .map(|(_, family)| family.name)
        .collect();
    for row in rows() {
        if !waits.iter().any(|name| name == row.family) {
            assert_eq!(docs::broken("README.md", row.page), None, "{}", row.family);
        }
    }
}
