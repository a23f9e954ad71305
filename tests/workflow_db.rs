//! The agent workflow database: each row is counted once, whatever happens to the file, to the
//! process that writes it and to the one that reads it.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use proptest::prelude::*;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use support::workflow_db::{Exporter, NEWER, OLD, RUNS, create, python, script, value, write};
use tachograph::collectors::workflow_db::{WorkflowDb, WorkflowDbConfig};
use tachograph::collectors::{Collector as _, Progress};
use tachograph::pipeline::metrics::install;
use tachograph::recording::{Reading, Recorder};
use tachograph::signals::CATALOG;
use tachograph::signals::agent::AgentRun;
use tachograph::signals::session::SessionRun;

// In this process: any order of events. The counters are those of the process.

static COUNTERS: Mutex<()> = Mutex::new(());

fn counted(recorder: &'static dyn Recorder, metric: &str) -> u64 {
    let metrics = recorder.metrics().iter();
    let found = metrics.filter(|m| m.metric().name == metric);
    let series = found.flat_map(|m| m.series().to_vec());
    series
        .map(|one| match one.read() {
            Reading::Unsigned(count) => count,
            other => panic!("{other:?}"),
        })
        .sum()
}

#[derive(Clone, Debug)]
enum Event {
    Invocation {
        ended: bool,
    },
    Session {
        ended: bool,
    },
    /// A row below those that were read.
    Between {
        ended: bool,
    },
    End {
        which: usize,
    },
    Delete {
        which: usize,
    },
    Vacuum,
    /// The same content in another file.
    Copy,
    /// A new file.
    Replace,
    Truncate,
    Restart,
    Round,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any::<bool>().prop_map(|ended| Event::Invocation { ended }),
        2 => any::<bool>().prop_map(|ended| Event::Session { ended }),
        1 => any::<bool>().prop_map(|ended| Event::Between { ended }),
        3 => (0..64_usize).prop_map(|which| Event::End { which }),
        2 => (0..64_usize).prop_map(|which| Event::Delete { which }),
        1 => Just(Event::Vacuum),
        1 => Just(Event::Copy),
        1 => Just(Event::Replace),
        1 => Just(Event::Truncate),
        1 => Just(Event::Restart),
        5 => Just(Event::Round),
    ]
}

/// A row as the test knows it: what it is, and where.
#[derive(Clone, Debug)]
struct Known {
    session: bool,
    id: i64,
    name: usize,
    ended: bool,
}

struct World {
    path: PathBuf,
    rows: Vec<Known>,
    made: usize,
    counted: HashSet<usize>,
    collector: Option<WorkflowDb>,
}

impl World {
    async fn write(&self) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(true)
            .connect()
            .await
            .unwrap()
    }

    async fn execute(&self, sql: String) {
        let mut connection = self.write().await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }

    fn config(&self) -> WorkflowDbConfig {
        WorkflowDbConfig {
            file: Some(self.path.display().to_string()),
            zone: "UTC".to_owned(),
            ..WorkflowDbConfig::default()
        }
    }

    fn made(&mut self, session: bool, id: i64, ended: bool) -> (usize, &'static str) {
        self.made += 1;
        let name = self.made;
        self.rows.push(Known {
            session,
            id,
            name,
            ended,
        });
        (name, if ended { "completed" } else { "started" })
    }

    async fn invocation(&mut self, id: i64, ended: bool) {
        let (name, status) = self.made(false, id, ended);
        self.execute(format!(
            "INSERT INTO agent_invocations(id, timestamp, session_id, agent_name, status, \
             duration_seconds) VALUES ({id}, '2026-01-01T00:00:00.{name:06}', 's', 'a', \
             '{status}', 1)"
        ))
        .await;
    }

    /// A row that was deleted is there again.
    async fn restore(&mut self, row: &Known) {
        let (id, name) = (row.id, row.name);
        self.rows.push(row.clone());
        self.execute(format!(
            "INSERT INTO agent_invocations(id, timestamp, session_id, agent_name, status, \
             duration_seconds) VALUES ({id}, '2026-01-01T00:00:00.{name:06}', 's', 'a', \
             'completed', 1)"
        ))
        .await;
    }

    /// Ends the collector, and runs a statement in its state.
    async fn in_state(&mut self, sql: &'static str) -> Vec<i64> {
        self.collector = None;
        let mut path = self.path.clone().into_os_string();
        path.push(".tachograph");
        let options = SqliteConnectOptions::new().filename(path);
        // The connection of one that was dropped closes by itself.
        let options = options.busy_timeout(Duration::from_secs(20));
        let mut connection = options.connect().await.unwrap();
        let found = sqlx::query_scalar(sql).fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        found.unwrap()
    }

    /// Rows that are settled, and those of them that the file does not hold.
    async fn remembered(&mut self) -> (i64, i64) {
        let sql = "SELECT COUNT(*) FROM settled UNION ALL SELECT COUNT(*) FROM gone";
        let found = self.in_state(sql).await;
        (found[0], found[1])
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Invocation { ended } => {
                // As SQLite chooses without AUTOINCREMENT: an id at the end is used again.
                let ids = self
                    .rows
                    .iter()
                    .filter(|row| !row.session)
                    .map(|row| row.id);
                let id = ids.max().unwrap_or(0) + 1;
                self.invocation(id, ended).await;
            }
            Event::Between { ended } => {
                let taken: Vec<i64> = self.rows.iter().map(|row| row.id).collect();
                let free = (1..).find(|id| !taken.contains(id)).unwrap();
                self.invocation(free, ended).await;
            }
            Event::Session { ended } => {
                let (name, status) = self.made(true, 0, ended);
                self.execute(format!(
                    "INSERT INTO sessions(session_id, start_time, status) \
                     VALUES ('s{name}', '2026-01-01T00:00:00', '{status}')"
                ))
                .await;
            }
            Event::End { which } => {
                let open: Vec<usize> = (0..self.rows.len())
                    .filter(|at| !self.rows[*at].ended)
                    .collect();
                if open.is_empty() {
                    return;
                }
                let row = &mut self.rows[open[which % open.len()]];
                row.ended = true;
                let row = row.clone();
                self.execute(match row.session {
                    true => format!(
                        "UPDATE sessions SET status = 'completed', \
                         end_time = '2026-01-01T01:00:00' WHERE session_id = 's{}'",
                        row.name
                    ),
                    false => format!(
                        "UPDATE agent_invocations SET status = 'failed', duration_seconds = 2 \
                         WHERE id = {}",
                        row.id
                    ),
                })
                .await;
            }
            Event::Delete { which } => {
                if self.rows.is_empty() {
                    return;
                }
                let row = self.rows.remove(which % self.rows.len());
                self.execute(match row.session {
                    true => format!("DELETE FROM sessions WHERE session_id = 's{}'", row.name),
                    false => format!("DELETE FROM agent_invocations WHERE id = {}", row.id),
                })
                .await;
            }
            Event::Vacuum => self.execute("VACUUM".to_owned()).await,
            Event::Copy => {
                let copy = self.path.with_extension("copy");
                std::fs::copy(&self.path, &copy).unwrap();
                std::fs::rename(&copy, &self.path).unwrap();
            }
            Event::Replace => {
                std::fs::remove_file(&self.path).unwrap();
                self.rows.clear();
                self.execute(OLD.to_owned()).await;
            }
            Event::Truncate => {
                std::fs::File::create(&self.path).unwrap();
                self.rows.clear();
                self.execute(format!("{OLD}{NEWER}")).await;
            }
            Event::Restart => self.collector = None,
            Event::Round => self.round().await,
        }
    }

    async fn round(&mut self) {
        let totals = || {
            (
                counted(AgentRun::recorder(), "agent.runs"),
                counted(SessionRun::recorder(), "session.runs"),
            )
        };
        let config = self.config();
        let collector = self
            .collector
            .get_or_insert_with(|| WorkflowDb::new(&config).unwrap().unwrap());
        let before = totals();
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        let progress = collector.collect(until).await.unwrap();
        assert_eq!(progress, Progress::Done);
        let after = totals();
        let mut expected = before;
        for row in self.rows.iter().filter(|row| row.ended) {
            if self.counted.insert(row.name) {
                match row.session {
                    true => expected.1 += 1,
                    false => expected.0 += 1,
                }
            }
        }
        assert_eq!(after, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_row_is_counted_once_when_it_is_final(events in proptest::collection::vec(event(), 1..60)) {
        let _alone = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
        // The first case installs.
        let _ = install(Resource::builder_empty().build(), CATALOG, false);
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World {
                path: folder.path().join("agent_workflow.db"),
                rows: Vec::new(),
                made: 0,
                counted: HashSet::new(),
                collector: None,
            };
            world.execute(OLD.to_owned()).await;
            for event in events {
                world.happen(event).await;
            }
            world.round().await;
            world.happen(Event::Restart).await;
            world.round().await;
        });
    }
}

#[test]
fn what_is_long_gone_from_the_file_is_forgotten() {
    let _alone = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = install(Resource::builder_empty().build(), CATALOG, false);
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World {
            path: folder.path().join("agent_workflow.db"),
            rows: Vec::new(),
            made: 0,
            counted: HashSet::new(),
            collector: None,
        };
        world.execute(OLD.to_owned()).await;
        for _ in 0..4 {
            world.happen(Event::Invocation { ended: true }).await;
            world.happen(Event::Session { ended: true }).await;
        }
        world.round().await;
        assert_eq!(world.remembered().await, (8, 0));
        // All sessions and the first two runs go. What remains of them says for how long.
        let kept = world.rows.clone();
        for _ in 0..3 {
            world.happen(Event::Delete { which: 0 }).await;
        }
        world.execute("DELETE FROM sessions".to_owned()).await;
        world.rows.retain(|row| !row.session);
        world.happen(Event::Restart).await;
        world.round().await;
        assert_eq!(world.remembered().await, (8, 6));
        // One comes back before long: it is known, and not gone.
        let back = kept.iter().find(|row| !row.session).unwrap().clone();
        world.restore(&back).await;
        world.round().await;
        assert_eq!(world.remembered().await, (8, 5));
        let age = "UPDATE gone SET since = since - 91 * 86400 WHERE source = 'sessions' \
                   OR id = (SELECT MAX(id) FROM gone WHERE source = 'agent_invocations')";
        world.in_state(age).await;
        world.round().await;
        assert_eq!(world.remembered().await, (3, 0));
        // What came back stays known, what was forgotten is not.
        world.round().await;
        let gone = kept
            .iter()
            .filter(|row| !row.session)
            .nth(1)
            .unwrap()
            .clone();
        world.counted.remove(&gone.name);
        world.restore(&gone).await;
        world.round().await;
    });
}

// As a process, beside a writer in Python.

#[test]
fn every_family_of_the_guide_is_read_from_both_schemas() {
    if !python() {
        return;
    }
    for schema in [OLD.to_owned(), format!("{OLD}{NEWER}")] {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("agent_workflow.db");
        create(&db, &schema, "delete");
        let newer = schema.len() > OLD.len();
        write(
            &db,
            "
run(); run(status='failed'); run(agent='unknown'); run(agent='coder', seconds=None)
run(status='started', seconds=None)
c.execute('INSERT INTO sessions(session_id, start_time, end_time, status) VALUES (?,?,?,?)', ('s1', now(-100), now(-10), 'completed'))
c.execute('INSERT INTO sessions(session_id, start_time, status) VALUES (?,?,?)', ('s2', now(-100), 'active'))
c.execute('INSERT INTO tool_uses(timestamp, session_id, tool_name, tool_output, duration_seconds) VALUES (?,?,?,?,?)', (now(), 's0', 'Bash', '{}', 0.3))
",
        );
        if newer {
            write(
                &db,
                "
for agent, run_id in (('reviewer', 1), ('direct', None)):
    c.execute('INSERT INTO agent_tool_uses(timestamp, session_id, agent_name, agent_invocation_id, tool_name, duration_seconds, status) VALUES (?,?,?,?,?,?,?)', (now(), 's1', agent, run_id, 'Read', 0.2, 'completed'))
c.execute('INSERT INTO tool_uses(timestamp, session_id, tool_name, tool_output, duration_seconds) VALUES (?,?,?,?,?)', (now(), 's1', 'Read', '{}', 0.2))
",
            );
        }
        let exporter = Exporter::start(&db, &["--interval", "0.2"]);
        exporter.wait("total_sessions", 1.0);
        let page = exporter.page();
        let size = std::fs::metadata(&db).unwrap().len();
        let info = format!(
            "agent_workflow_database_info{{path=\"{}\",size_bytes=\"{size}\",\
             total_invocations=\"5\",unique_agents=\"2\"}}",
            db.display()
        );
        let mut expected = vec![
            (RUNS, 1.0),
            (
                r#"agent_error_total{agent_name="reviewer",phase="plan"}"#,
                1.0,
            ),
            (r#"phase_distribution_total{phase="plan"}"#, 3.0),
            (
                r#"agent_duration_seconds_count{agent_name="reviewer",model="m",phase="plan"}"#,
                2.0,
            ),
            (
                r#"agent_duration_seconds_sum{agent_name="reviewer",model="m",phase="plan"}"#,
                5.0,
            ),
            ("session_duration_seconds_count", 1.0),
            (r#"session_duration_seconds_bucket{le="300"}"#, 1.0),
            (r#"agent_success_rate{agent_name="reviewer"}"#, 50.0),
            ("active_sessions_count", 1.0),
            ("parallel_executions_current", 1.0),
            ("total_unique_agents", 2.0),
            ("avg_agents_per_session", 2.0),
            (&info, 1.0),
            (
                r#"workflow_db_skipped_rows_total{reason="unknown_agent",table="agent_invocations"}"#,
                1.0,
            ),
            (r#"tachograph_collector_up{collector="workflow_db"}"#, 1.0),
            (
                r#"tool_calls_total{gen_ai_tool_name="Bash",status="success"}"#,
                1.0,
            ),
        ];
        let calls = r#"agent_run_tool_calls_count{gen_ai_agent_name="reviewer"}"#;
        let told = Some(if newer { 2.0 } else { 0.0 });
        assert_eq!(value(&page, calls), told, "{page}");
        if newer {
            expected.extend([
                (
                    r#"agent_run_tool_calls_sum{gen_ai_agent_name="reviewer"}"#,
                    1.0,
                ),
                (
                    r#"agent_run_tool_calls_sum{gen_ai_agent_name="coder"}"#,
                    0.0,
                ),
                (
                    r#"agent_tool_usage_total{agent_name="reviewer",tool_name="Read"}"#,
                    1.0,
                ),
                (
                    r#"tool_calls_total{gen_ai_tool_name="Read",status="success"}"#,
                    1.0,
                ),
                (
                    r#"workflow_db_skipped_rows_total{reason="other_table",table="tool_uses"}"#,
                    1.0,
                ),
            ]);
        }
        for (series, expected) in expected {
            assert_eq!(value(&page, series), Some(expected), "{series}\n{page}");
        }
        let last = value(
            &page,
            r#"agent_last_execution_timestamp{agent_name="reviewer"}"#,
        );
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs_f64();
        assert!((40.0..90.0).contains(&(now - last.unwrap())), "{last:?}");
        // Nothing grows without a row, and nothing is counted again after a restart.
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(exporter.value(RUNS), Some(1.0));
        exporter.stop();
        let again = Exporter::start(&db, &["--interval", "0.2"]);
        again.wait("active_sessions_count", 1.0);
        assert_eq!(again.value(RUNS), None);
        write(
            &db,
            "run(); c.execute(\"UPDATE agent_invocations SET status = 'completed' WHERE status = 'started'\")",
        );
        again.wait(RUNS, 2.0);
        again.wait("parallel_executions_current", 0.0);
        // A session that has no tool uses there does not tell how many.
        write(&db, "run(session='s9')");
        again.wait(RUNS, 3.0);
        assert_eq!(again.value(calls), told);
    }
}

#[test]
fn a_writer_that_holds_the_file_does_not_hide_what_it_committed() {
    if !python() {
        return;
    }
    for mode in ["wal", "delete"] {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("agent_workflow.db");
        create(&db, OLD, mode);
        let exporter = Exporter::start(&db, &["--interval", "0.5"]);
        exporter.wait(r#"tachograph_collector_up{collector="workflow_db"}"#, 1.0);
        let mut writer = script(
            &db,
            "
run()
c.execute('BEGIN IMMEDIATE')
run()
print('holding', flush=True)
sys.stdin.readline()
c.execute('COMMIT')
",
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(writer.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "holding\n");
        let took = exporter.wait(RUNS, 1.0);
        assert!(took < Duration::from_millis(1500), "{mode}: {took:?}");
        writer.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(writer.wait().unwrap().success());
        exporter.wait(RUNS, 2.0);
    }
}

#[test]
fn it_starts_when_the_file_appears_and_collects_when_asked() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("agent_workflow.db");
    let up = r#"tachograph_collector_up{collector="workflow_db"}"#;
    let exporter = Exporter::start(&db, &["--interval", "3600"]);
    exporter.wait(up, 0.0);
    assert_eq!(exporter.value("workflow_db_unread_rows"), None);
    create(&db, OLD, "wal");
    write(&db, "run(status='error')");
    exporter.signal("HUP");
    exporter.wait(
        r#"agent_error_total{agent_name="reviewer",phase="plan"}"#,
        1.0,
    );
    assert_eq!(exporter.value(up), Some(1.0));
    exporter.stop();

    let db = folder.path().join("other.db");
    let exporter = Exporter::start(&db, &["--interval", "0.2"]);
    exporter.wait(up, 0.0);
    create(&db, OLD, "delete");
    write(&db, "run()");
    exporter.wait(RUNS, 1.0);
    // A file that is gone takes nothing back.
    std::fs::remove_file(&db).unwrap();
    exporter.wait(up, 0.0);
    assert_eq!(exporter.value(RUNS), Some(1.0));
    std::fs::write(&db, "no database at all").unwrap();
    exporter.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(exporter.value(up), Some(0.0));
    std::fs::remove_file(&db).unwrap();
    create(&db, OLD, "delete");
    write(&db, "run()");
    exporter.wait(RUNS, 2.0);
}

#[test]
fn a_row_without_an_end_is_abandoned_and_stays_so() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("agent_workflow.db");
    create(&db, OLD, "wal");
    write(&db, "run(status='started', seconds=None)");
    let exporter = Exporter::start(&db, &["--interval", "0.2", "--abandon-after", "2"]);
    exporter.wait("parallel_executions_current", 1.0);
    let abandoned = RUNS.replace("success", "abandoned");
    exporter.wait(&abandoned, 1.0);
    exporter.wait("parallel_executions_current", 0.0);
    write(
        &db,
        "c.execute(\"UPDATE agent_invocations SET status = 'completed', duration_seconds = 9\")\nrun()",
    );
    exporter.wait(RUNS, 1.0);
    assert_eq!(exporter.value(&abandoned), Some(1.0));
}

#[test]
fn many_rows_are_read_in_bounded_memory_while_one_is_written() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("agent_workflow.db");
    create(&db, OLD, "wal");
    write(
        &db,
        "
c.execute('BEGIN')
c.executemany('INSERT INTO agent_invocations(timestamp, session_id, phase, agent_name, model, prompt, duration_seconds, status) VALUES (?,?,?,?,?,?,?,?)',
    ((now(), 's1', 'plan', 'reviewer', 'm', 'p' * 1000, 1.5, 'completed') for _ in range(60000)))
c.execute('COMMIT')
",
    );
    let exporter = Exporter::start(&db, &["--interval", "1"]);
    let start = Instant::now();
    while exporter.value(RUNS) != Some(60_000.0) {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{}",
            exporter.page()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.child.id()));
    if let Ok(status) = status {
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib < 100 * 1024, "{kib} KiB for rows of 60 MB");
    }
    write(&db, "run()");
    exporter.wait(RUNS, 60_001.0);
}
