//! Licences, sources, bans and advisories of everything that is built, as `deny.toml` has them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use semver::{Version, VersionReq};
use serde_json::Value;
use toml_edit::{ImDocument, Item};

fn policy() -> ImDocument<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml");
    ImDocument::parse(std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(item: &Item) -> Vec<String> {
    let items = item.as_array().unwrap().iter();
    items
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

/// What cargo says of every package of `Cargo.lock`, those of tests and of other systems too.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages() -> Vec<Value> {
    metadata()["packages"].as_array().unwrap().clone()
}

fn name(package: &Value) -> String {
    let part = |key: &str| package[key].as_str().unwrap_or_default();
    format!("{} {}", part("name"), part("version"))
}

#[test]
fn every_licence_is_accepted() {
    let policy = policy();
    let accepted: Vec<spdx::Licensee> = list(&policy["licenses"]["allow"])
        .iter()
        .map(|id| spdx::Licensee::parse(id).unwrap())
        .collect();
    let mut used = BTreeSet::new();
    let mut refused = Vec::new();
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        // Older packages write `/` for `OR`.
        let Ok(expression) = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX) else {
            refused.push(format!("{}: `{licence}` is no expression", name(&package)));
            continue;
        };
        let met = expression.minimized_requirements(accepted.iter());
        match met {
            Ok(met) => used.extend(met.iter().map(ToString::to_string)),
            Err(_) => refused.push(format!("{}: {licence}", name(&package))),
        }
    }
    assert!(
        refused.is_empty(),
        "not accepted by deny.toml: {refused:#?}"
    );
    let idle: Vec<String> = list(&policy["licenses"]["allow"])
        .into_iter()
        .filter(|id| !used.contains(id))
        .collect();
    assert!(
        idle.is_empty(),
        "accepted by deny.toml, and needed by nothing: {idle:?}"
    );
}

#[test]
fn everything_comes_from_the_registry_or_from_here() {
    let strange: Vec<String> = packages()
        .iter()
        .filter(|package| match package["source"].as_str() {
            Some(source) => {
                !source.starts_with("registry+") || !source.ends_with("/crates.io-index")
            }
            None => package["name"] != env!("CARGO_PKG_NAME"),
        })
        .map(name)
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn nothing_is_banned_and_duplicates_are_said() {
    let policy = policy();
    let bans = policy["bans"]["deny"].as_array().unwrap().iter();
    // Crates that are refused, and those that may have them all the same.
    let bans: BTreeMap<&str, Vec<&str>> = bans
        .map(|ban| {
            let ban = ban.as_inline_table().unwrap();
            let wrappers = ban.get("wrappers").and_then(|list| list.as_array());
            let wrappers = wrappers.into_iter().flatten();
            (
                ban.get("crate").unwrap().as_str().unwrap(),
                wrappers.map(|one| one.as_str().unwrap()).collect(),
            )
        })
        .collect();
    for known in ["openssl-sys", "aws-lc-sys"] {
        assert!(bans.contains_key(known), "{bans:?}");
    }
    let whole = metadata();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for package in whole["packages"].as_array().unwrap() {
        let of = |key: &str| package[key].as_str().unwrap().to_owned();
        versions.entry(of("name")).or_default().push(of("version"));
        names.insert(of("id"), of("name"));
    }
    let mut found = Vec::new();
    for node in whole["resolve"]["nodes"].as_array().unwrap() {
        let by = &*names[node["id"].as_str().unwrap()];
        for needed in node["dependencies"].as_array().unwrap() {
            let needed = &*names[needed.as_str().unwrap()];
            if bans
                .get(needed)
                .is_some_and(|wrappers| !wrappers.contains(&by))
            {
                found.push(format!("{needed} by {by}"));
            }
        }
    }
    assert!(found.is_empty(), "banned by deny.toml: {found:?}");
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        println!("warning: {name} is there as {}", versions.join(", "));
    }
}

/// One line of `tests/dependencies/advisories.tsv`.
struct Advisory {
    id: String,
    package: String,
    kind: String,
    /// Ranges that the advisory does not speak of: repaired, or never touched.
    sound: Vec<VersionReq>,
}

/// The advisories, and of which day they are.
fn advisories() -> (String, Vec<Advisory>) {
    let text = include_str!("dependencies/advisories.tsv");
    let mut lines = text.lines();
    let day = lines.next().unwrap().split([',', ';']).nth(1).unwrap();
    assert_eq!(
        lines.next().unwrap(),
        "id\tpackage\tkind\tpatched\tunaffected"
    );
    let rows = lines.map(|line| {
        let row: Vec<&str> = line.split('\t').collect();
        let ranges = row[3].split(';').chain(row[4].split(';'));
        Advisory {
            id: row[0].to_owned(),
            package: row[1].to_owned(),
            kind: row[2].to_owned(),
            sound: ranges
                .filter(|range| !range.is_empty())
                .map(|range| VersionReq::parse(range).unwrap())
                .collect(),
        }
    });
    (day.trim().to_owned(), rows.collect())
}

/// Advisories that speak of this version of this package.
fn speaking_of<'a>(
    advisories: &'a [Advisory],
    package: &str,
    version: &Version,
) -> impl Iterator<Item = &'a Advisory> {
    advisories.iter().filter(move |advisory| {
        advisory.package == package && !advisory.sound.iter().any(|range| range.matches(version))
    })
}

#[test]
fn no_advisory_speaks_of_a_dependency_but_those_looked_at() {
    let (day, advisories) = advisories();
    println!("{} advisories as of {day}", advisories.len());
    let policy = policy();
    let ignored = policy["advisories"]["ignore"].as_array().unwrap();
    let mut ignored: BTreeSet<String> = ignored
        .iter()
        .map(|ignored| {
            let ignored = ignored.as_inline_table().unwrap();
            assert!(ignored.get("reason").is_some(), "{ignored}: say why");
            ignored.get("id").unwrap().as_str().unwrap().to_owned()
        })
        .collect();
    let mut open = Vec::new();
    for package in packages() {
        let of = |key: &str| package[key].as_str().unwrap();
        let version = Version::parse(of("version")).unwrap();
        for advisory in speaking_of(&advisories, of("name"), &version) {
            if !ignored.remove(&advisory.id) {
                open.push(format!(
                    "{}: {} ({})",
                    name(&package),
                    advisory.id,
                    advisory.kind
                ));
            }
        }
    }
    assert!(open.is_empty(), "{open:#?}");
    assert!(
        ignored.is_empty(),
        "deny.toml ignores advisories that speak of nothing here: {ignored:?}"
    );
}

#[test]
fn an_advisory_is_found_by_its_version_ranges() {
    let (_, advisories) = advisories();
    let of = |version: &str| -> Vec<&str> {
        let version = Version::parse(version).unwrap();
        speaking_of(&advisories, "time", &version)
            .map(|advisory| advisory.id.as_str())
            .collect()
    };
    // The segmentation fault of `localtime_r`: from 0.1 on, repaired in 0.2.23.
    assert!(of("0.2.22").contains(&"RUSTSEC-2020-0071"));
    assert!(!of("0.2.23").contains(&"RUSTSEC-2020-0071"));
}
