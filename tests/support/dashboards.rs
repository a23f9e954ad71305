//! The committed dashboards.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Every dashboard with its file's name, by name.
pub fn all() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut all: Vec<(String, Value)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(all.len() >= 10, "{}", all.len());
    all
}

/// Every panel, those of collapsed rows included; rows are none.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let items = dashboard["panels"].as_array().unwrap();
    items
        .iter()
        .flat_map(|item| {
            let inside = item["panels"].as_array().into_iter().flatten();
            std::iter::once(item).chain(inside)
        })
        .filter(|item| item["type"] != "row")
        .collect()
}
