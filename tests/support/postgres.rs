//! A real PostgreSQL, in a temporary directory and on a port of its own.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tempfile::TempDir;

use super::oracle::missing;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where Debian's package puts the programs, newest first, unless they are on the path.
fn program(name: &str) -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    versions.sort();
    let packaged = versions.into_iter().rev().map(|dir| dir.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    packaged
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

/// A server; it ends with the last one that holds it.
pub struct Server {
    process: Mutex<Option<Child>>,
    program: PathBuf,
    data: PathBuf,
    /// User and group to run it as; PostgreSQL refuses to run as root.
    user: Option<(u32, u32)>,
    port: u16,
    settings: &'static [&'static str],
    databases: AtomicUsize,
    _dir: TempDir,
}

impl Server {
    /// One that the tests of a process share; `None` if PostgreSQL is not installed.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start(&["fsync=off"])?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// One of its own, with these settings.
    pub fn start(settings: &'static [&'static str]) -> Option<Self> {
        let (Some(initdb), Some(program)) = (program("initdb"), program("postgres")) else {
            missing("PostgreSQL", "apt-get install postgresql");
            return None;
        };
        let dir = TempDir::new().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let user = unprivileged();
        if let Some((user, group)) = user {
            chown(&data, Some(user), Some(group)).unwrap();
        }
        let made = run_as(&initdb, user)
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                "tachograph",
                "--auth=trust",
                "--no-sync",
                "-E",
                "UTF8",
            ])
            .args(["--locale=C"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = Self {
            process: Mutex::new(None),
            program,
            data,
            user,
            port: port.local_addr().unwrap().port(),
            settings,
            databases: AtomicUsize::new(0),
            _dir: dir,
        };
        drop(port);
        server.run();
        Some(server)
    }

    /// Starts it, again after it was stopped or killed.
    pub fn run(&self) {
        let mut command = run_as(&self.program, self.user);
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "shared_buffers=16MB"]);
        for setting in self.settings {
            command.args(["-c", setting]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        *self.process.lock().unwrap() = Some(child);
        let start = Instant::now();
        while Command::new(self.program.with_file_name("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .status()
            .is_ok_and(|status| !status.success())
        {
            assert!(start.elapsed() < PATIENCE, "PostgreSQL does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGQUIT: every connection is cut at once, as when the machine goes.
    pub fn crash(&self) {
        self.end("-QUIT");
    }

    fn end(&self, signal: &str) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let id = child.id().to_string();
            let _ = Command::new("kill").args([signal, &id]).status();
            let _ = child.wait();
        }
    }

    /// Speaks TLS from here on, to whoever connects anew, with this certificate and key.
    pub async fn secure(&self, certificate: &str, key: &str) {
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data.join(name);
            std::fs::write(&path, pem).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = self.user {
                chown(&path, Some(user), Some(group)).unwrap();
            }
        }
        self.execute("postgres", "ALTER SYSTEM SET ssl = on").await;
        self.reload().await;
    }

    /// Reads its settings anew, and waits until whoever connects finds them.
    async fn reload(&self) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let before: i64 = self.loaded(&mut connection).await;
        sqlx::raw_sql("SELECT pg_reload_conf()")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
        let start = Instant::now();
        loop {
            // A connection knows what the server knew when it began.
            let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
            let loaded = self.loaded(&mut connection).await;
            connection.close().await.unwrap();
            if loaded != before {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "it does not read its settings");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    async fn loaded(&self, connection: &mut PgConnection) -> i64 {
        sqlx::query_scalar("SELECT (extract(epoch FROM pg_conf_load_time()) * 1e6)::int8")
            .fetch_one(connection)
            .await
            .unwrap()
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://tachograph@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database's URL.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.execute("postgres", &format!("CREATE DATABASE {name}"))
            .await;
        self.url(&name)
    }

    /// Runs a statement in a database.
    pub async fn execute(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("-QUIT");
    }
}

/// As root, whom to be instead.
fn unprivileged() -> Option<(u32, u32)> {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout.trim_ascii() != b"0" {
        return None;
    }
    let entry = Command::new("getent").args(["passwd", "postgres"]).output();
    let text = String::from_utf8(entry.unwrap().stdout).unwrap();
    let mut parts = text
        .trim()
        .split(':')
        .skip(2)
        .map(|part| part.parse().unwrap());
    Some((parts.next().unwrap(), parts.next().unwrap()))
}

fn run_as(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = user {
        std::os::unix::process::CommandExt::gid(&mut command, group);
        std::os::unix::process::CommandExt::uid(&mut command, user);
    }
    command.current_dir("/");
    command
}
