//! Who is let in: the real service with API keys and JSON Web Tokens, and what it counts.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_tachograph");
const PATIENCE: Duration = Duration::from_secs(20);
const RECORDS: &str = "/api/v1/records";
const METRICS: &str = "/api/monitoring/metrics";
/// For reading the metrics, whatever else is accepted.
const TOKEN: &str = "a-token-for-the-test-alone";

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(dir).env_clear().args(arguments);
    command.stdin(Stdio::null());
    command
}

fn keys(dir: &Path, arguments: &[&str]) -> Output {
    let arguments = [&["keys"], arguments].concat();
    command(dir, &arguments).output().unwrap()
}

/// The text of a command that succeeds.
fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A running service; killed when dropped.
struct Service {
    process: Child,
    url: String,
    client: Client,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Service {
    fn start(dir: &Path, config: &str) -> Self {
        let common = format!(
            "listen = \"127.0.0.1:0\"\n[auth.monitoring]\ntokens = [\"{TOKEN}\"]\n{config}"
        );
        std::fs::write(dir.join("tachograph.toml"), common).unwrap();
        let mut process = command(dir, &["serve", "--config", "tachograph.toml"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listen = loop {
            let line = lines.next().unwrap().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            let listen = line.pointer("/listen").or(line.pointer("/fields/listen"));
            if let Some(listen) = listen.and_then(Value::as_str) {
                break listen.to_owned();
            }
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        // What is not read would stop the service when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            url: format!("http://{listen}"),
            client: Client::new(),
        }
    }

    fn ask(&self, path: &str, token: Option<&str>) -> Response {
        let url = format!("{}{path}", self.url);
        let mut request = match path {
            RECORDS => {
                let record = json!({"signal": "tool.call", "fields": {"gen_ai.tool.name": "grep", "status": "success"}, "duration": 1});
                self.client.post(url).json(&record)
            }
            _ => self.client.get(url),
        };
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().unwrap()
    }

    fn status(&self, path: &str, token: &str) -> u16 {
        self.ask(path, Some(token)).status().as_u16()
    }

    /// What was refused, by what was shown and why.
    fn refusals(&self) -> BTreeMap<(String, String), u64> {
        let page = self.ask(METRICS, Some(TOKEN)).text().unwrap();
        let label = |line: &str, key: &str| {
            let rest = line.split_once(&format!("{key}=\""));
            let value = rest.and_then(|(_, rest)| rest.split_once('"'));
            value.map_or_else(String::new, |(value, _)| value.to_owned())
        };
        page.lines()
            .filter(|line| line.starts_with("auth_refusals_total{"))
            .map(|line| {
                let value = line.rsplit_once(' ').unwrap().1.parse().unwrap();
                ((label(line, "auth_type"), label(line, "reason")), value)
            })
            .filter(|(_, value)| *value > 0)
            .collect()
    }
}

fn refused(entries: &[(&str, &str, u64)]) -> BTreeMap<(String, String), u64> {
    let entry = |(shown, reason, count): &(&str, &str, u64)| {
        (((*shown).to_owned(), (*reason).to_owned()), *count)
    };
    entries.iter().map(entry).collect()
}

#[test]
fn a_key_opens_its_routes_until_it_is_revoked_while_the_service_runs() {
    let dir = TempDir::new().unwrap();
    let sender = said(&keys(dir.path(), &["create", "ci", "--routes", "records"]));
    let both = said(&keys(dir.path(), &["create", "me", "--expires-in", "90d"]));
    let short = said(&keys(
        dir.path(),
        &["create", "short", "--expires-in", "1ms"],
    ));
    let file = dir.path().join("keys.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for key in [&sender, &both, &short] {
        assert!(key.starts_with("tgk_") && !text.contains(&**key), "{key}");
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let service = Service::start(dir.path(), "[auth]\nkeys_file = \"keys.toml\"\n");
    assert_eq!(service.status(RECORDS, &sender), 200);
    assert_eq!(service.status(METRICS, &sender), 403);
    assert_eq!(service.status(RECORDS, &both), 200);
    assert_eq!(service.status(METRICS, &both), 200);
    assert_eq!(service.status(RECORDS, &short), 401);
    assert_eq!(service.status(RECORDS, &format!("{sender}x")), 401);
    assert_eq!(service.ask(RECORDS, None).status(), 401);
    assert_eq!(
        service.status(RECORDS, TOKEN),
        401,
        "a token of the other routes"
    );

    let revoked = said(&keys(dir.path(), &["revoke", "ci"]));
    assert!(revoked.starts_with("revoked "), "{revoked}");
    let start = Instant::now();
    let mut passed = 0;
    while service.status(RECORDS, &sender) == 200 {
        passed += 1;
        assert!(start.elapsed() < PATIENCE, "{passed}");
    }
    let added = said(&keys(dir.path(), &["create", "new"]));
    let start = Instant::now();
    let mut tries = 0;
    while service.status(RECORDS, &added) != 200 {
        tries += 1;
        assert!(start.elapsed() < PATIENCE && tries < 15, "{tries}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let expected = [
        ("api_key", "forbidden", 1),
        ("api_key", "expired", 1),
        ("api_key", "unknown", 2 + tries),
        ("none", "missing", 1),
        ("api_key", "revoked", 1),
    ];
    assert_eq!(service.refusals(), refused(&expected));
    let page = service.ask(METRICS, Some(TOKEN)).text().unwrap();
    let of_keys = |line: &&str| {
        line.starts_with("http_server_requests_total{")
            && line.contains("auth_type=\"api_key\"")
            && line.contains(RECORDS)
    };
    let count = page
        .lines()
        .find(of_keys)
        .unwrap()
        .rsplit_once(' ')
        .unwrap()
        .1;
    assert_eq!(count.parse::<u64>().unwrap(), 2 + passed + 1);

    // What is no file of keys leaves the keys that there were.
    std::fs::write(&file, "[[key]]\nname = 1\n").unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(service.status(RECORDS, &both), 200);
    let listed = keys(dir.path(), &["list"]);
    assert_eq!(listed.status.code(), Some(1));
    let error = String::from_utf8_lossy(&listed.stderr);
    assert!(
        error.contains("keys.toml") && error.contains("name"),
        "{error}"
    );
}

#[test]
fn keys_are_listed_with_their_states_and_nothing_is_revoked_twice() {
    let dir = TempDir::new().unwrap();
    for arguments in [
        &["create", "a"][..],
        &["create", "b", "--expires-in", "1ms"],
        &["create", "c", "--expires-in", "1h"],
        &["create", "a", "--routes", "monitoring"],
    ] {
        said(&keys(dir.path(), arguments));
    }
    let file = dir.path().join("keys.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("# ours\n{text}")).unwrap();
    said(&keys(dir.path(), &["revoke", "a"]));
    let list = said(&keys(dir.path(), &["list"]));
    let states: Vec<(&str, bool)> = list
        .lines()
        .skip(1)
        .zip(["revoked", "expired", "good until", "revoked"])
        .map(|(line, state)| (state, line.contains(state)))
        .collect();
    assert_eq!(states.len(), 4, "{list}");
    assert!(states.iter().all(|(_, there)| *there), "{list}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# ours\n"), "{text}");
    for wrong in [&["revoke", "a"][..], &["revoke", "nobody"]] {
        let output = keys(dir.path(), wrong);
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

/// A token with these claims, changed.
fn token(header: &Header, key: &EncodingKey, change: impl FnOnce(&mut Value)) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let mut claims = json!({
        "iss": "https://issuer.test", "aud": "tachograph", "sub": "somebody",
        "exp": now + 600, "iat": now, "scope": "openid records",
    });
    change(&mut claims);
    encode(header, &claims, key).unwrap()
}

#[test]
fn tokens_are_accepted_for_what_their_issuer_says_and_no_longer() {
    let dir = TempDir::new().unwrap();
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let old = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    std::fs::write(dir.path().join("old.pem"), old.public_key_pem()).unwrap();
    std::fs::write(dir.path().join("new.pem"), pair.public_key_pem()).unwrap();
    let service = Service::start(
        dir.path(),
        "[auth.jwt]\nalgorithm = \"ES256\"\npublic_key_files = [\"old.pem\", \"new.pem\"]\n\
         issuer = \"https://issuer.test\"\naudience = \"tachograph\"\nleeway = \"5s\"\n\
         records_scope = \"records\"\nmonitoring_scope = \"monitoring\"\n\
         [auth.lockout]\nfailures = 0\n",
    );
    let key = |pair: &KeyPair| EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let header = Header::new(Algorithm::ES256);
    let good = token(&header, &key(&pair), |_| {});
    assert_eq!(service.status(RECORDS, &good), 200);
    assert_eq!(service.status(METRICS, &good), 403);
    assert_eq!(
        service.status(RECORDS, &token(&header, &key(&old), |_| {})),
        200
    );
    let changed =
        |change: fn(&mut Value)| service.status(RECORDS, &token(&header, &key(&pair), change));
    assert_eq!(changed(|c| c["exp"] = json!(1_700_000_000)), 401);
    assert_eq!(changed(|c| c["nbf"] = json!(99_999_999_999_u64)), 401);
    assert_eq!(changed(|c| c["iss"] = json!("https://other.test")), 401);
    assert_eq!(changed(|c| c["aud"] = json!("another")), 401);
    assert_eq!(
        changed(|c| drop(c.as_object_mut().unwrap().remove("exp"))),
        401
    );
    assert_eq!(changed(|c| c["scope"] = json!("recordsx")), 403);
    let stranger = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    assert_eq!(
        service.status(RECORDS, &token(&header, &key(&stranger), |_| {})),
        401
    );
    // The public key as a shared secret: the oldest trick.
    let confused = EncodingKey::from_secret(pair.public_key_pem().as_bytes());
    let confused = token(&Header::new(Algorithm::HS256), &confused, |_| {});
    assert_eq!(service.status(RECORDS, &confused), 401);
    let parts: Vec<&str> = good.split('.').collect();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    assert_eq!(service.status(RECORDS, &unsigned), 401);
    assert_eq!(
        service.refusals(),
        refused(&[
            ("jwt", "forbidden", 2),
            ("jwt", "expired", 1),
            ("jwt", "not_yet_valid", 1),
            ("jwt", "claims", 3),
            ("jwt", "signature", 2),
            ("api_key", "unknown", 1),
        ])
    );
}

#[test]
fn an_address_that_guesses_is_locked_out() {
    let dir = TempDir::new().unwrap();
    let key = said(&keys(dir.path(), &["create", "ci"]));
    let config = "[auth]\nkeys_file = \"keys.toml\"\n[auth.lockout]\nfailures = 3\nwindow = \"1m\"\nperiod = \"1s\"\n";
    let service = Service::start(dir.path(), config);
    for _ in 0..3 {
        assert_eq!(service.status(RECORDS, "wrong-wrong-wrong"), 401);
    }
    let locked = service.ask(RECORDS, Some(&key));
    assert_eq!(locked.status(), 429);
    assert_eq!(locked.headers()["retry-after"], "1");
    let start = Instant::now();
    while service.status(RECORDS, &key) != 200 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    let page = service.ask(METRICS, Some(TOKEN)).text().unwrap();
    assert!(page.contains("\nauth_lockouts_total 1\n"), "{page}");
}

#[test]
fn what_is_wrong_with_the_configuration_is_named() {
    let dir = TempDir::new().unwrap();
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    std::fs::write(dir.path().join("ed.pem"), pair.public_key_pem()).unwrap();
    std::fs::write(dir.path().join("bad.toml"), "[[key]]\nid = 3\n").unwrap();
    let jwt = "issuer = \"a\"\naudience = \"b\"\n";
    for (config, parts) in [
        (
            "[auth]\nkeys_file = \"none.toml\"\n".to_owned(),
            ["auth.keys_file", "tachograph keys create"],
        ),
        (
            "[auth]\nkeys_file = \"bad.toml\"\n".to_owned(),
            ["auth.keys_file", "bad.toml"],
        ),
        (
            format!("[auth.jwt]\n{jwt}"),
            ["auth.jwt.algorithm", "ES256"],
        ),
        (
            format!("[auth.jwt]\nalgorithm = \"HS256\"\nsecrets = [\"short-secret\"]\n{jwt}"),
            ["auth.jwt.secrets", "32 bytes"],
        ),
        (
            format!("[auth.jwt]\nalgorithm = \"none\"\n{jwt}"),
            ["auth.jwt.algorithm", "none"],
        ),
        (
            format!("[auth.jwt]\nalgorithm = \"ES256\"\npublic_key_files = [\"ed.pem\"]\n{jwt}"),
            ["auth.jwt.public_key_files", "ed.pem"],
        ),
        (
            "[auth.jwt]\nalgorithm = \"EdDSA\"\npublic_key_files = [\"ed.pem\"]\n".to_owned(),
            ["auth.jwt.issuer", "auth.jwt.audience"],
        ),
        (
            "[auth.lockout]\nwindow = \"0s\"\n".to_owned(),
            ["auth.lockout.window", "1s to 24h"],
        ),
    ] {
        std::fs::write(dir.path().join("tachograph.toml"), &config).unwrap();
        let output = command(dir.path(), &["serve", "--config", "tachograph.toml"])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{config}: {error}");
        for part in parts {
            assert!(error.contains(part), "{config}: {error}");
        }
        assert!(!error.contains("short-secret"), "{error}");
    }
}
