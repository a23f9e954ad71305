//! The records API end to end: records per second over HTTP, validated, durable in SQLite,
//! counted, with the clients in the same process.
//!
//! `cargo bench --bench records_api -- [records] [batch] [clients] [none|v4|v7] [directory]`

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use actix_web::{App, HttpServer};
use opentelemetry_sdk::Resource;
use tachograph::ingest::records::{RecordsApi, RecordsConfig, configure};
use tachograph::ledger::{Ledger, LedgerConfig};
use tachograph::pipeline::metrics::install;
use tachograph::signals::CATALOG;
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let number = |index: usize, default: usize| {
        args.get(index)
            .map_or(default, |arg| arg.parse().unwrap_or(default))
    };
    let (total, batch, clients) = (number(0, 1_000_000), number(1, 500), number(2, 4));
    let id: fn() -> Option<Uuid> = match args.get(3).map(String::as_str) {
        Some("v4") => || Some(Uuid::new_v4()),
        Some("none") => || None,
        _ => || Some(Uuid::now_v7()),
    };
    let dir = match args.get(4) {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    install(Resource::builder().build(), CATALOG, true)?;
    actix_web::rt::System::new().block_on(async {
        let path = dir.path().join("ledger.db").display().to_string();
        let ledger = Ledger::open(LedgerConfig::new(path)).await?;
        let api = RecordsApi::new(ledger.clone(), RecordsConfig::default());
        let server = HttpServer::new(move || {
            let api = api.clone();
            App::new().configure(move |service| configure(service, api))
        })
        .workers(1)
        .bind(("127.0.0.1", 0))?;
        let address = server.addrs()[0];
        actix_web::rt::spawn(server.run());

        let start = Instant::now();
        let threads: Vec<_> = (0..clients)
            .map(|_| std::thread::spawn(move || client(address, total / clients / batch, batch, id)))
            .collect();
        for thread in threads {
            let joined = actix_web::rt::task::spawn_blocking(move || thread.join()).await?;
            joined.map_err(|_| "a client panicked")??;
        }
        let seconds = start.elapsed().as_secs_f64();
        let count: u64 = ledger.totals().await?.iter().map(|total| total.1).sum();
        println!(
            "{count} records in {seconds:.2} s: {:.0} records/s ({clients} clients, {batch} a request)",
            count as f64 / seconds
        );
        Ok(())
    })
}

/// Sends batches one after the other on one connection, each once the last is acknowledged.
fn client(
    address: SocketAddr,
    requests: usize,
    batch: usize,
    id: fn() -> Option<Uuid>,
) -> Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let (mut body, mut line, mut answer) = (String::new(), String::new(), Vec::new());
    for _ in 0..requests {
        body.clear();
        for _ in 0..batch {
            body.push_str(r#"{"signal":"workflow.run","#);
            if let Some(id) = id() {
                write!(body, r#""id":"{id}","#)?;
            }
            body.push_str(r#""time":"2026-01-02T03:04:05.678Z","duration":1.5,"#);
            body.push_str(r#""fields":{"workflow_type":"code_review","status":"success"},"#);
            body.push_str(
                r#""context":{"correlation_id":"01890a5d-ac96-774b-bcce-b302099a8057"}}"#,
            );
            body.push('\n');
        }
        write!(
            writer,
            "POST /api/v1/records HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        writer.write_all(body.as_bytes())?;
        let mut length = 0;
        let mut status = None;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let text = line.trim_end().to_ascii_lowercase();
            if status.is_none() {
                status = Some(text.contains(" 200 "));
            } else if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            } else if text.is_empty() {
                break;
            }
        }
        answer.resize(length, 0);
        reader.read_exact(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        if status != Some(true) || !answer.contains(&format!("\"accepted\":{batch},")) {
            return Err(format!("not all were accepted: {answer}").into());
        }
    }
    Ok(())
}
