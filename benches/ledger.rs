//! The ledger's writer alone: records per second, durable, from concurrent submitters.
//!
//! `cargo bench --bench ledger -- [records] [batch] [submitters] [v4|v7] [directory]`

use std::time::Instant;

use tachograph::ledger::{Columns, Event, Ledger, LedgerConfig, Record};
use uuid::Uuid;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let number = |index: usize, default: usize| {
        args.get(index)
            .map_or(default, |arg| arg.parse().unwrap_or(default))
    };
    let (total, batch, submitters) = (number(0, 1_000_000), number(1, 500), number(2, 8));
    let id = match args.get(3).map(String::as_str) {
        Some("v7") => Uuid::now_v7,
        _ => Uuid::new_v4,
    };
    let dir = match args.get(4) {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .unwrap_or_else(|error| panic!("no directory for the database: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    runtime.block_on(async {
        let path = dir.path().join("ledger.db");
        let ledger = match Ledger::open(LedgerConfig::new(path.display().to_string())).await {
            Ok(ledger) => ledger,
            Err(error) => panic!("{error}"),
        };
        let start = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..submitters {
            let ledger = ledger.clone();
            tasks.push(tokio::spawn(async move {
                for _ in 0..total / submitters / batch {
                    let records = (0..batch).map(|_| record(id())).collect();
                    let receipt = match ledger.submit(records, |_| {}) {
                        Ok(receipt) => receipt,
                        Err(error) => panic!("{error}"),
                    };
                    if let Err(error) = receipt.committed().await {
                        panic!("{error}");
                    }
                }
            }));
        }
        for task in tasks {
            if let Err(error) = task.await {
                panic!("{error}");
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let count: u64 = match ledger.totals().await {
            Ok(totals) => totals.iter().map(|total| total.1).sum(),
            Err(error) => panic!("{error}"),
        };
        println!(
            "{count} records in {seconds:.2} s: {:.0} records/s ({submitters} submitters, {batch} a batch)",
            count as f64 / seconds
        );
    });
}

fn record(id: Uuid) -> Record {
    Record {
        id,
        signal: "workflow.run",
        event: Event::End,
        time_us: 1_700_000_000_000_000,
        first_us: i64::MAX,
        duration: Some(1.5),
        parent: None,
        fields: r#"{"workflow_type":"code_review","status":"success"}"#.to_owned(),
        context: r#"{"correlation_id":"01890a5d-ac96-774b-bcce-b302099a8057"}"#.to_owned(),
        columns: Columns {
            correlation: Some("01890a5d-ac96-774b-bcce-b302099a8057".into()),
            name: Some("code_review".into()),
            status: Some("success".into()),
            failed: Some(false),
            ..Columns::default()
        },
    }
}
