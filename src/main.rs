//! The `tachograph` binary.
fn main() {}
