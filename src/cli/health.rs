//! `tachograph health`.

use super::Failure;
use super::client::{Target, ready};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("runtime: {error}")))?;
    runtime.block_on(ready(&arguments.target))
}
