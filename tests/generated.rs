//! The committed renderings are those of the catalog.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tachograph::generate;
use tachograph::signals::CATALOG;

/// Rewrites what drifted, so that a look at the difference is all that is left to do; under
/// `CI=true` nothing is written.
#[test]
fn files_are_as_rendered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = generate::files(&generate::signals(CATALOG), &generate::Links::default());
    let drift = if std::env::var("CI").as_deref() == Ok("true") {
        generate::drift(root, &files).unwrap()
    } else {
        generate::write(root, &files).unwrap()
    };
    assert!(
        drift.is_empty(),
        "rendered anew; commit the result of `tachograph generate`: {drift:#?}"
    );
}
