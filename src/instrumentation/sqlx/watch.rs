//! The connections of pools, read before each collection.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sqlx::{Database, Pool};

use crate::pipeline::Telemetry;
use crate::signals::database::{
    ConnectionState, DbConnections, DbConnectionsMax, DbPoolSaturation,
};

/// Pools that are watched; a process has one pipeline.
static WATCHED: Mutex<Vec<Weak<dyn Watched>>> = Mutex::new(Vec::new());
/// Whether they are read before each collection.
static READ: AtomicBool = AtomicBool::new(false);

trait Watched: Send + Sync {
    fn read(&self);
}

/// Shows the connections of a pool for as long as it is kept; dropped, they go off the page.
#[must_use = "the pool is watched while this is kept"]
pub struct PoolWatch(#[allow(dead_code)] Arc<dyn Watched>);

impl fmt::Debug for PoolWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolWatch")
    }
}

/// Shows the connections of a pool by state, and its maximum, under this name. Pools of one
/// process need different names.
///
/// ```no_run
/// # async fn start(telemetry: tachograph::Telemetry) -> sqlx::Result<()> {
/// let pool = sqlx::PgPool::connect("postgres://localhost/shop").await?;
/// let watch = tachograph::instrumentation::sqlx::watch(&telemetry, "main", &pool);
/// # drop(watch);
/// # Ok(())
/// # }
/// ```
pub fn watch<DB: Database>(telemetry: &Telemetry, name: &str, pool: &Pool<DB>) -> PoolWatch {
    let watched: Arc<dyn Watched> = Arc::new(Connections {
        name: name.to_owned(),
        pool: pool.clone(),
    });
    if let Some(collector) = telemetry.collector() {
        let mut all = WATCHED.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&watched));
        if !READ.swap(true, Ordering::Relaxed) {
            collector.before_collect(read);
        }
    }
    PoolWatch(watched)
}

fn read() {
    // Not under the lock: the last one to hold a pool may be here.
    let all: Vec<_> = WATCHED.lock().iter().filter_map(Weak::upgrade).collect();
    for one in all {
        one.read();
    }
}

struct Connections<DB: Database> {
    name: String,
    pool: Pool<DB>,
}

impl<DB: Database> Connections<DB> {
    fn gauges(&self) -> (DbConnections<'_>, DbConnections<'_>) {
        let of = |state| DbConnections {
            pool: &self.name,
            state,
        };
        (of(ConnectionState::Used), of(ConnectionState::Idle))
    }
}

impl<DB: Database> Watched for Connections<DB> {
    fn read(&self) {
        let pool = &*self.name;
        let (used, idle) = self.gauges();
        if self.pool.is_closed() {
            used.remove();
            idle.remove();
            DbPoolSaturation { pool }.remove();
            DbConnectionsMax { pool }.remove();
            return;
        }
        // Not at one moment: more may be idle by now than there were.
        let size = f64::from(self.pool.size());
        let waiting = (self.pool.num_idle() as f64).min(size);
        let most = f64::from(self.pool.options().get_max_connections());
        idle.set(waiting);
        used.set(size - waiting);
        DbConnectionsMax { pool }.set(most);
        if most > 0.0 {
            DbPoolSaturation { pool }.set((size - waiting) / most);
        }
    }
}

impl<DB: Database> Drop for Connections<DB> {
    fn drop(&mut self) {
        let pool = &*self.name;
        let (used, idle) = self.gauges();
        used.remove();
        idle.remove();
        DbPoolSaturation { pool }.remove();
        DbConnectionsMax { pool }.remove();
    }
}
