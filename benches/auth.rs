//! What a credential costs: requests one after the other on a kept connection to the service,
//! open and with each kind of credential, answered by the route for records without touching the
//! ledger (405, as it is `GET`).
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use common::{Contender, measure};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");
const TOKEN: &str = "a-token-of-the-benchmark-alone";
const SECRET: &str = "a-secret-of-32-bytes-or-more-as-HS256-wants";

/// A service of its own; killed when dropped.
struct Service(Child, String);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, config: &str) -> Service {
    std::fs::create_dir(dir).unwrap();
    let config = format!("listen = \"127.0.0.1:0\"\n{config}");
    std::fs::write(dir.join("tachograph.toml"), config).unwrap();
    let mut command = Command::new(BINARY);
    command.current_dir(dir).env_clear().stdin(Stdio::null());
    command.args(["serve", "--config", "tachograph.toml"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let listen = loop {
        let line = lines.next().unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        let listen = line.pointer("/listen").or(line.pointer("/fields/listen"));
        if let Some(listen) = listen.and_then(Value::as_str) {
            break listen.to_owned();
        }
    };
    // What is not read would stop the service when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    Service(process, listen)
}

/// Asks again and again on one connection.
fn asker(address: &str, credential: Option<&str>) -> impl FnMut(usize) + use<> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let shown = credential.map(|credential| format!("authorization: {credential}\r\n"));
    let shown = shown.unwrap_or_default();
    let request = format!("GET /api/v1/records HTTP/1.1\r\nhost: localhost\r\n{shown}\r\n");
    let (mut line, mut body) = (String::new(), Vec::new());
    move |requests| {
        for _ in 0..requests {
            writer.write_all(request.as_bytes()).unwrap();
            let (mut first, mut length) = (true, 0);
            loop {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let text = line.trim_end();
                if std::mem::take(&mut first) {
                    assert!(text.ends_with("405 Method Not Allowed"), "{text}");
                } else if let Some(value) = text.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                } else if text.is_empty() {
                    break;
                }
            }
            body.resize(length, 0);
            reader.read_exact(&mut body).unwrap();
        }
    }
}

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let requests = numbers.next().unwrap_or(5_000);
    let dir = tempfile::tempdir().unwrap();
    let open = start(&dir.path().join("open"), "");
    let keys = dir.path().join("keys.toml");
    let mut create = Command::new(BINARY);
    create
        .args(["keys", "create", "bench", "--file"])
        .arg(&keys);
    let key = create.output().unwrap();
    assert!(
        key.status.success(),
        "{}",
        String::from_utf8_lossy(&key.stderr)
    );
    let key = String::from_utf8(key.stdout).unwrap();
    let closed = format!(
        "[auth]\ntokens = [\"{TOKEN}\"]\nkeys_file = \"{}\"\n[auth.jwt]\nalgorithm = \
         \"HS256\"\nsecrets = [\"{SECRET}\"]\nissuer = \"bench\"\naudience = \"tachograph\"\n",
        keys.display()
    );
    let closed = start(&dir.path().join("closed"), &closed);

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let claims = json!({"sub": "bench", "iss": "bench", "aud": "tachograph",
        "exp": now.unwrap().as_secs() + 3_600});
    let signing = EncodingKey::from_secret(SECRET.as_bytes());
    let jwt = encode(&Header::new(Algorithm::HS256), &claims, &signing).unwrap();
    let bearer = |token: &str| format!("Bearer {}", token.trim());
    let results = measure(
        &mut [
            Contender::new("open", asker(&open.1, None)),
            Contender::new("token", asker(&closed.1, Some(&bearer(TOKEN)))),
            Contender::new("API key", asker(&closed.1, Some(&bearer(&key)))),
            Contender::new("JSON Web Token", asker(&closed.1, Some(&bearer(&jwt)))),
        ],
        9,
        requests,
    );
    results.print("request", "µs", 1_000.0);
    for credential in ["token", "API key", "JSON Web Token"] {
        let ratio = results.ratio(credential, "open");
        println!("  {credential} / open: {ratio:.3}");
    }
}
