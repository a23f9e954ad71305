//! Which collectors the service runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::ServiceConfig;
use super::run::ServeError;
use crate::collectors::business::{Business, BusinessConfig};
use crate::collectors::celery::{Celery, CeleryConfig};
use crate::collectors::database::{DatabaseActivity, DatabaseConfig};
use crate::collectors::gpu::{Gpu, GpuConfig};
use crate::collectors::health::{HealthChecks, HealthConfig};
use crate::collectors::host::{Host, HostConfig};
use crate::collectors::redis::{RedisInfo, RedisInfoConfig};
use crate::collectors::runtime::{Runtime, RuntimeConfig, Runtimes};
use crate::collectors::workflow_db::WorkflowDb;
use crate::collectors::{Collector, PostgresTurns, Supervised};
use crate::ledger::Ledger;

/// What the service reads beside what it is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct CollectorsConfig {
    /// What the machine, the container and the process use.
    pub host: HostConfig,
    /// What the machine's GPUs do.
    pub gpu: GpuConfig,
    /// How the service's runtimes are doing.
    pub runtime: RuntimeConfig,
    /// Figures of the business, out of a backend's database.
    pub business: BusinessConfig,
    /// What a database says of itself: its size, sessions, transactions.
    pub database: DatabaseConfig,
    /// How a server of Redis is doing.
    pub redis: RedisInfoConfig,
    /// Whether other things answer as expected.
    pub health: HealthConfig,
    /// Celery on Redis: its tasks, workers and queues.
    pub celery: CeleryConfig,
}

impl CollectorsConfig {
    /// What is not accepted: where, and what would be.
    pub(super) fn check(&self) -> Vec<(Vec<&'static str>, String)> {
        let at = |name, problems: Vec<(&'static str, String)>| {
            let problems = problems.into_iter();
            problems.map(move |(field, problem)| (vec!["collectors", name, field], problem))
        };
        at("host", self.host.check())
            .chain(at("gpu", self.gpu.check()))
            .chain(at("runtime", self.runtime.check()))
            .chain(at("business", self.business.check()))
            .chain(at("database", self.database.check()))
            .chain(at("redis", self.redis.check()))
            .chain(at("health", self.health.check()))
            .chain(at("celery", self.celery.check()))
            .collect()
    }
}

/// Starts a collector; in turn with other processes where there are turns to take.
pub(super) fn start_in_turn(
    collector: impl Collector,
    turns: Option<PostgresTurns>,
) -> Result<Supervised, ServeError> {
    Ok(match turns {
        Some(turns) => Supervised::start_in_turn(collector, turns)?,
        None => Supervised::start(collector)?,
    })
}

/// The collectors at work.
#[derive(Debug, Default)]
pub(super) struct Collectors {
    running: Vec<Supervised>,
}

impl Collectors {
    /// Starts those that are configured, and what publishes the ledger's outbox.
    pub(super) fn start(
        config: &ServiceConfig,
        ledger: &Ledger,
        runtimes: &Runtimes,
    ) -> Result<Self, ServeError> {
        let refused = |collector: &str| {
            let collector = collector.to_owned();
            move |problem: String| ServeError::Collector(format!("{collector}: {problem}"))
        };
        let mut running = Vec::new();
        if let Some(one) = WorkflowDb::new(&config.workflow_db).map_err(refused("workflow_db"))? {
            running.push(Supervised::start(one)?);
        }
        let collectors = &config.collectors;
        if let Some(one) = Host::new(&collectors.host).map_err(refused("collectors.host"))? {
            running.push(Supervised::start(one)?);
        }
        if let Some(one) = Gpu::new(&collectors.gpu).map_err(refused("collectors.gpu"))? {
            running.push(Supervised::start(one)?);
        }
        let runtime = Runtime::new(&collectors.runtime, runtimes);
        if let Some(one) = runtime.map_err(refused("collectors.runtime"))? {
            running.push(Supervised::start(one)?);
        }
        let database = DatabaseActivity::new(&collectors.database, &config.database);
        let refused_database = refused("collectors.database");
        if let Some(one) = database.map_err(&refused_database)? {
            let turns = one.turns().map_err(&refused_database)?;
            running.push(start_in_turn(one, turns)?);
        }
        if let Some(one) = RedisInfo::new(&collectors.redis).map_err(refused("collectors.redis"))? {
            running.push(Supervised::start(one)?);
        }
        if let Some(one) =
            HealthChecks::new(&collectors.health).map_err(refused("collectors.health"))?
        {
            running.push(Supervised::start(one)?);
        }
        if let Some(one) = Celery::new(&collectors.celery).map_err(refused("collectors.celery"))? {
            let turns = one
                .turns(&config.database)
                .map_err(refused("collectors.celery"))?;
            running.push(start_in_turn(one, turns)?);
        }
        let refused = refused("collectors.business");
        if let Some(one) = Business::new(&collectors.business).map_err(&refused)? {
            let turns = one.turns().map_err(&refused)?;
            running.push(start_in_turn(one, turns)?);
        }
        #[cfg(feature = "kafka")]
        running.extend(super::kafka::start(config, ledger)?);
        #[cfg(not(feature = "kafka"))]
        let _ = ledger;
        Ok(Self { running })
    }

    /// Each of them.
    pub(super) fn running(&self) -> &[Supervised] {
        &self.running
    }

    /// Stops them.
    pub(super) async fn shutdown(&self, deadline: Duration) {
        let stopping = self.running.iter().map(|one| one.shutdown(deadline));
        futures_util::future::join_all(stopping).await;
    }
}
