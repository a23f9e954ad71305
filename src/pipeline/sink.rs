//! Where log lines go: standard error, behind a bounded buffer, so that a reader that stops
//! reading does not stop the host.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::signals::pipeline::{DropReason, Dropped, ItemKind};

/// Bytes that wait for the writer at most.
const BUFFER_BYTES: usize = 1 << 20;
/// Room that is kept when there is little to write, bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// Takes whole lines; never blocks, never panics, counts what it cannot take.
#[derive(Clone)]
pub struct Sink(Arc<Handle>);

/// Ends the writer with the last sink.
struct Handle(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lines: u64,
    writing: bool,
    closed: bool,
}

impl Sink {
    /// Lines to standard error.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn stderr() -> io::Result<Self> {
        Self::new(io::stderr())
    }

    /// Lines to any writer, each batch written and flushed at once, on a thread of its own.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let ours = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("tachograph-log".to_owned())
            .spawn(move || ours.write_all(writer))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Hands a line, with its line feed, to the writer.
    pub fn write(&self, line: &[u8]) {
        let mut state = self.0.0.state.lock();
        if state.waiting.len() + line.len() > BUFFER_BYTES {
            drop(state);
            self.0.0.lose(1, DropReason::QueueFull);
            return;
        }
        let idle = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        drop(state);
        if idle {
            self.0.0.changed.notify_all();
        }
    }

    /// Lines that were not written: the buffer was full, or the writer failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.0.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything handed over is written, at most `timeout`; `false` when that
    /// was too short.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.0.state.lock();
        while state.writing || !state.waiting.is_empty() {
            if self
                .0
                .0
                .changed
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return !state.writing && state.waiting.is_empty();
            }
        }
        true
    }
}

impl Shared {
    fn lose(&self, lines: u64, reason: DropReason) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        let signal = ItemKind::LogLines;
        Dropped { signal, reason }.add(lines);
    }

    fn write_all(self: Arc<Self>, mut writer: impl Write) {
        let mut batch = Vec::new();
        let mut told = 0;
        loop {
            let mut state = self.state.lock();
            state.writing = false;
            self.changed.notify_all();
            while state.waiting.is_empty() {
                if state.closed {
                    return;
                }
                self.changed.wait(&mut state);
            }
            std::mem::swap(&mut state.waiting, &mut batch);
            let lines = std::mem::take(&mut state.lines);
            state.writing = true;
            drop(state);
            let lost = self.lost.load(Ordering::Relaxed);
            if lost > told {
                // After what was kept, where the gap is.
                batch.extend_from_slice(&gap(lost - told));
                told = lost;
            }
            if writer
                .write_all(&batch)
                .and_then(|()| writer.flush())
                .is_err()
            {
                self.lose(lines, DropReason::Refused);
            }
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
        }
    }
}

/// The line that tells of lost ones.
fn gap(lines: u64) -> Vec<u8> {
    let line = serde_json::json!({
        "timestamp": format!("{:.6}", jiff::Timestamp::now()),
        "level": "WARN",
        "target": module_path!(),
        "message": "log lines were lost: standard error was not read in time",
        "fields": { "lines": lines },
    });
    format!("{line}\n").into_bytes()
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_all();
    }
}
