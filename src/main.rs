//! The `tachograph` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tachograph::cli::main()
}
