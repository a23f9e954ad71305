//! A real Redis, in a temporary directory and on a port of its own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::oracle::missing;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server; it ends when this is dropped.
pub struct Server {
    process: Mutex<Option<Child>>,
    port: u16,
    settings: &'static [&'static str],
    dir: TempDir,
}

impl Server {
    /// One with these settings; `None` if Redis is not installed.
    pub fn start(settings: &'static [&'static str]) -> Option<Self> {
        if Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            missing("Redis", "apt-get install redis-server");
            return None;
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = Self {
            process: Mutex::new(None),
            port: port.local_addr().unwrap().port(),
            settings,
            dir: TempDir::new().unwrap(),
        };
        drop(port);
        server.run();
        Some(server)
    }

    /// One that also speaks TLS, with a certificate for `localhost`, on a port of its own.
    #[cfg(feature = "otlp")]
    pub fn secure(authority: &super::tls::Authority) -> Option<(Self, u16)> {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        let (certificate, key) = authority.sign("localhost");
        let settings = [
            "--tls-port".to_owned(),
            port.to_string(),
            "--tls-auth-clients".to_owned(),
            "no".to_owned(),
            "--tls-cert-file".to_owned(),
            authority.file("server.pem", &certificate),
            "--tls-key-file".to_owned(),
            authority.file("server.key", &key),
            "--tls-ca-cert-file".to_owned(),
            authority.file("ca.pem", &authority.pem),
        ];
        drop(free);
        // A few words for each test.
        let settings = settings.map(|word| &*word.leak());
        Some((Self::start(settings.to_vec().leak())?, port))
    }

    /// Starts it, again after it was killed; what it held is gone.
    pub fn run(&self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.dir.path())
            .args(self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        *self.process.lock().unwrap() = Some(child);
        let start = Instant::now();
        let up = |answer: String| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH");
        while !self.try_ask("PING").is_some_and(up) {
            assert!(start.elapsed() < PATIENCE, "Redis does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: every connection is cut at once.
    pub fn kill(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it neither answers nor goes away.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &*self.process.lock().unwrap() {
            let id = child.id().to_string();
            let sent = Command::new("kill").args([signal, &id]).status();
            assert!(sent.unwrap().success());
        }
    }

    /// One command on a connection of its own, and the first bytes of the answer.
    pub fn ask(&self, command: &str) -> String {
        self.try_ask(command).unwrap()
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
