//! The pages of documentation: their snippets, headings and links.

use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The page and the line of the fence.
    pub place: String,
    /// What stands behind the fence.
    pub kind: String,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a page, named from the root of the repository.
pub fn page(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of a page.
pub fn blocks(name: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page(name).lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text += line;
                block.text.push('\n');
            }
            (None, Some(kind)) => {
                open = Some(Block {
                    place: format!("{name}:{}", number + 1),
                    kind: kind.to_owned(),
                    text: String::new(),
                });
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{name}: a fence is not closed");
    blocks
}

/// A page's lines outside of fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// What may stand behind `#` in a link to a page: its headings as GitHub writes them.
pub fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

/// Where a page's links lead, but for those to other hosts.
pub fn links(name: &str) -> Vec<String> {
    let text = prose(&page(name));
    let mut found = Vec::new();
    for part in text.split("](").skip(1) {
        let target = part.split(')').next().unwrap_or_default();
        if !target.contains("://") && !target.starts_with("mailto:") {
            found.push(target.to_owned());
        }
    }
    found
}

/// What is wrong with a link of a page.
pub fn broken(from: &str, link: &str) -> Option<String> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let path = match file {
        "" => PathBuf::from(from),
        file => folder.join(file),
    };
    let full = root().join(&path);
    if !full.exists() {
        return Some(format!("{from}: {link} leads nowhere"));
    }
    if anchor.is_empty() || full.extension().is_none_or(|found| found != "md") {
        return None;
    }
    let text = std::fs::read_to_string(&full).unwrap_or_default();
    let known = anchors(&text).iter().any(|found| found == anchor);
    (!known).then(|| format!("{from}: {link}: the page has no such heading"))
}

/// The pages of a folder and those below it, from the root of the repository.
pub fn pages(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if path.is_dir() {
            found.extend(pages(&name));
        } else if name.ends_with(".md") {
            found.push(name);
        }
    }
    found.sort();
    found
}
