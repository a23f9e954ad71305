//! What the service can be told.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::auth::AuthConfig;
use super::budgets::{self, BudgetConfig};
use super::collectors::CollectorsConfig;
use super::kafka::KafkaConfig;
use crate::collectors::workflow_db::WorkflowDbConfig;
use crate::ingest::frontend::FrontendConfig;
use crate::ingest::hooks::HooksConfig;
use crate::pipeline::config::load::Configuration;
use crate::pipeline::config::{TelemetryConfig, duration};
use crate::prices::Prices;
use crate::vocabulary::{Library, declared};

/// Configuration of the service: `tachograph.toml`, `TACHOGRAPH_*`, flags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct ServiceConfig {
    /// Where the service listens: an IP address, or `localhost`, and a port.
    #[serde(with = "address")]
    #[schemars(with = "String", extend("format" = "address"))]
    pub listen: SocketAddr,
    /// A listener of its own for the monitoring routes, which then leave the first one.
    #[serde(with = "address::optional")]
    #[schemars(with = "Option<String>", extend("format" = "address"))]
    pub admin_listen: Option<SocketAddr>,
    /// Where records are kept: `sqlite://<file>`, the file relative to where the service starts,
    /// or `postgres://<user>:<password>@<host>:<port>/<database>`, which services may share.
    pub database: String,
    /// Whether the service's own requests, and the statements and connections of its ledger, are
    /// among what is recorded of HTTP servers and databases. Off, these figures are those of the
    /// backends alone that report here.
    pub record_itself: bool,
    /// What is kept, and how it is asked.
    pub ledger: LedgerSettings,
    /// What tokens cost.
    pub prices: PricesConfig,
    /// What may be spent on models: `[[budgets]]`, one for each, with `name`, `usd`, `period` (`day`, `week`, `month`, `total`) and, to count only some requests, `provider`, `agent`, `model`.
    pub budgets: Vec<BudgetConfig>,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Limits.
    pub limits: LimitsConfig,
    /// What pages in browsers may send.
    pub frontend: FrontendConfig,
    /// What is kept of what agents' hooks send.
    pub hooks: HooksConfig,
    /// The agent workflow database that is read beside, if there is one.
    pub workflow_db: WorkflowDbConfig,
    /// What is read beside: the machine, figures of the business.
    pub collectors: CollectorsConfig,
    /// What is published to Kafka of the records that are accepted.
    pub kafka: KafkaConfig,
    /// The service's own telemetry, and that of the records it takes.
    pub telemetry: TelemetryConfig,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        let mut telemetry = TelemetryConfig::default();
        // The server tells each start and stop of each worker otherwise.
        telemetry.logs.filter = "info,actix_server=warn,opentelemetry=warn".to_owned();
        telemetry.resource.service_name = "tachograph".to_owned();
        telemetry.resource.service_version = Some(env!("CARGO_PKG_VERSION").to_owned());
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8001)),
            admin_listen: None,
            database: "sqlite://tachograph.db".to_owned(),
            record_itself: true,
            ledger: LedgerSettings::default(),
            prices: PricesConfig::default(),
            budgets: Vec::new(),
            auth: AuthConfig::default(),
            limits: LimitsConfig::default(),
            frontend: FrontendConfig::default(),
            hooks: HooksConfig::default(),
            workflow_db: WorkflowDbConfig::default(),
            collectors: CollectorsConfig::default(),
            kafka: KafkaConfig::default(),
            telemetry,
        }
    }
}

/// What tokens cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct PricesConfig {
    /// A file of prices that go before those that are shipped; `tachograph prices check` checks
    /// it. None unless named.
    pub file: Option<String>,
}

impl PricesConfig {
    /// The prices.
    ///
    /// # Errors
    /// When the file cannot be read, or everything in it that is not accepted.
    pub fn load(&self) -> Result<Prices, Vec<String>> {
        let Some(file) = &self.file else {
            return Ok(Prices::shipped());
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| vec![format!("{file}: cannot be read: {error}")])?;
        Prices::with_file(file, &text)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[derive(schemars::JsonSchema)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::pipeline::config::show::MASK)
    }
}

/// What the ledger keeps, and how it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct LedgerSettings {
    /// Records older than this are removed and no longer taken, 24h at least; nothing is removed
    /// by age unless given.
    #[serde(with = "duration::optional")]
    #[schemars(with = "Option<String>", extend("format" = "duration"))]
    pub max_age: Option<Duration>,
    /// The oldest records are removed while those that are kept take more bytes than this,
    /// 1 MiB at least; nothing is removed by size unless given.
    pub max_bytes: Option<u64>,
    /// An operation whose start does not say otherwise is given up after this long.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub expires_in: Duration,
    /// Operations that may be open at once.
    pub open_operations: usize,
    /// A query takes this long at most.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub query_timeout: Duration,
    /// Whose open operations these are, where services share a PostgreSQL: the same after a
    /// restart, and no other service's. The name of the machine and the port unless given.
    pub owner: Option<String>,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self {
            max_age: None,
            max_bytes: None,
            expires_in: Duration::from_secs(86_400),
            open_operations: 100_000,
            query_timeout: Duration::from_secs(5),
            owner: None,
        }
    }
}

/// Limits of the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct LimitsConfig {
    /// Threads that serve requests, 1 to 64.
    pub workers: usize,
    /// Open connections at most, over all workers; further ones wait in the kernel.
    pub connections: usize,
    /// Bytes of one request body at most.
    pub body_bytes: usize,
    /// Records of one request at most.
    pub records_per_request: usize,
    /// Bytes that records waiting for the ledger may hold; further requests are answered 429.
    pub queue_bytes: usize,
    /// A client has this long to send the head of a request.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub request_head_timeout: Duration,
    /// A request has this long from its head to its answer.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub request_timeout: Duration,
    /// An idle connection is kept this long.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub keep_alive: Duration,
    /// Stopping takes this long at most.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub shutdown_timeout: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            workers: 2,
            connections: 1024,
            body_bytes: 8 * 1024 * 1024,
            records_per_request: 10_000,
            queue_bytes: 64 * 1024 * 1024,
            request_head_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

/// Whether only this machine reaches an address.
#[must_use]
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Configuration for ServiceConfig {
    const TELEMETRY: &'static [&'static str] = &["telemetry"];
    const VARIABLES: &'static [&'static str] = &[];
    // The first names the file itself, the others are read by `record` and `demo`.
    const OTHER_VARIABLES: &'static [&'static str] = &["config", "url", "token"];

    fn check(&self) -> Vec<(Vec<&'static str>, String)> {
        let mut problems: Vec<_> = self
            .telemetry
            .check()
            .into_iter()
            .map(|(path, problem)| ([Self::TELEMETRY, &path[..]].concat(), problem))
            .collect();
        let vocabulary = self.telemetry.vocabulary.wanted();
        if let Err(refused) = Library::load(&vocabulary, &declared()) {
            let at = |field| vec!["telemetry", "vocabulary", field];
            problems.extend(refused.into_iter().map(|r| (at(r.field), r.message)));
        }
        let schemes = ["sqlite:", "postgres://", "postgresql://"];
        if !schemes.iter().any(|s| self.database.starts_with(s)) {
            let shown = crate::pipeline::config::show::masked_url(&self.database);
            problems.push((
                vec!["database"],
                format!(
                    "`{shown}` is not accepted; accepted: `sqlite://<file>`, \
                     `postgres://<user>@<host>/<database>`"
                ),
            ));
        }
        self.check_ledger(&mut problems);
        if let Err(refused) = self.prices.load() {
            let at = || vec!["prices", "file"];
            problems.extend(refused.into_iter().map(|problem| (at(), problem)));
        }
        let budgets = budgets::check(&self.budgets, self.ledger.max_age);
        problems.extend(budgets.into_iter().map(|p| (vec!["budgets"], p)));
        let frontend = self.frontend.check().into_iter();
        problems.extend(frontend.map(|(field, problem)| (vec!["frontend", field], problem)));
        for (field, problem) in self.workflow_db.check() {
            problems.push((vec!["workflow_db", field], problem));
        }
        problems.extend(self.collectors.check());
        let kafka = self.kafka.check().into_iter();
        problems.extend(kafka.map(|(field, problem)| (vec!["kafka", field], problem)));
        for (path, problem) in self.auth.check() {
            problems.push(([&["auth"], &path[..]].concat(), problem));
        }
        self.check_limits(&mut problems);
        self.check_listeners(&mut problems);
        problems
    }
}

impl ServiceConfig {
    fn check_ledger(&self, problems: &mut Vec<(Vec<&'static str>, String)>) {
        let ledger = &self.ledger;
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let day = hours(24);
        for (field, value, from, to, accepted) in [
            (
                "max_age",
                ledger.max_age,
                day,
                hours(24 * 36_500),
                "24h to 876000h",
            ),
            (
                "expires_in",
                Some(ledger.expires_in),
                Duration::from_secs(1),
                hours(24 * 366),
                "1s to 8784h",
            ),
            (
                "query_timeout",
                Some(ledger.query_timeout),
                Duration::from_millis(10),
                hours(1),
                "10ms to 1h",
            ),
        ] {
            if let Some(value) = value.filter(|value| !(from..=to).contains(value)) {
                let shown = duration::format(value);
                problems.push((
                    vec!["ledger", field],
                    format!("`{shown}` is not accepted; accepted: {accepted}"),
                ));
            }
        }
        if let Some(bytes) = ledger.max_bytes.filter(|bytes| *bytes < 1 << 20) {
            problems.push((
                vec!["ledger", "max_bytes"],
                format!("`{bytes}` is not accepted; accepted: 1048576 or more"),
            ));
        }
        if !(1..=10_000_000).contains(&ledger.open_operations) {
            problems.push((
                vec!["ledger", "open_operations"],
                format!(
                    "`{}` is not accepted; accepted: 1 to 10000000",
                    ledger.open_operations
                ),
            ));
        }
    }

    fn check_limits(&self, problems: &mut Vec<(Vec<&'static str>, String)>) {
        let limits = &self.limits;
        for (field, value, from, to) in [
            ("workers", limits.workers, 1, 64),
            ("connections", limits.connections, 1, 100_000),
            ("body_bytes", limits.body_bytes, 1024, 256 * 1024 * 1024),
            (
                "records_per_request",
                limits.records_per_request,
                1,
                1_000_000,
            ),
            ("queue_bytes", limits.queue_bytes, 1024 * 1024, 16 << 30),
        ] {
            if !(from..=to).contains(&value) {
                problems.push((
                    vec!["limits", field],
                    format!("`{value}` is not accepted; accepted: {from} to {to}"),
                ));
            }
        }
        for (field, value) in [
            ("request_head_timeout", limits.request_head_timeout),
            ("request_timeout", limits.request_timeout),
            ("keep_alive", limits.keep_alive),
            ("shutdown_timeout", limits.shutdown_timeout),
        ] {
            if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&value) {
                problems.push((
                    vec!["limits", field],
                    format!(
                        "`{}` is not accepted; accepted: 100ms to 1h",
                        duration::format(value)
                    ),
                ));
            }
        }
    }

    fn check_listeners(&self, problems: &mut Vec<(Vec<&'static str>, String)>) {
        let records = self.auth.leaves_open(&self.auth.records);
        let monitoring = self.auth.leaves_open(&self.auth.monitoring);
        let remedy = "set `tokens = [\"…\"]` under `[auth]` in the file, or \
                      `TACHOGRAPH_AUTH__TOKENS=…` (`openssl rand -hex 32` makes one), or listen \
                      on `127.0.0.1`";
        let mut open = |field, address: &SocketAddr, what: &str| {
            problems.push((
                vec![field],
                format!("`{address}` is beyond loopback and {what} without a token; {remedy}"),
            ));
        };
        let beyond = |address: &SocketAddr| !is_loopback(address);
        let on_main = self.admin_listen.is_none();
        if beyond(&self.listen) {
            match (records, on_main && monitoring) {
                (true, true) => open("listen", &self.listen, "everything would be open"),
                (true, false) => open("listen", &self.listen, "the records API would be open"),
                (false, true) => {
                    open(
                        "listen",
                        &self.listen,
                        "the monitoring routes would be open",
                    );
                }
                (false, false) => {}
            }
        }
        if let Some(admin) = &self.admin_listen {
            if beyond(admin) && monitoring {
                open("admin_listen", admin, "the monitoring routes would be open");
            }
            if *admin == self.listen && admin.port() != 0 {
                problems.push((
                    vec!["admin_listen"],
                    format!("`{admin}` is not accepted; accepted: another address than `listen`"),
                ));
            }
        }
    }
}

/// Addresses as `<IP>:<port>` or `localhost:<port>`.
mod address {
    use std::net::SocketAddr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn parse(text: &str) -> Result<SocketAddr, String> {
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map_err(|_| {
            format!(
                "`{text}` is not an address; accepted: `127.0.0.1:8001`, `[::1]:8001`, \
                 `localhost:8001`"
            )
        })
    }

    pub(super) fn serialize<S: Serializer>(value: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// The same for an address that may be left out.
    pub(super) mod optional {
        use super::{Deserialize, Deserializer, Serializer, SocketAddr};

        pub(in super::super) fn serialize<S: Serializer>(
            value: &Option<SocketAddr>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, to),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<SocketAddr>, D::Error> {
            #[derive(Deserialize)]
            struct Inner(#[serde(with = "super")] SocketAddr);
            Ok(Option::<Inner>::deserialize(from)?.map(|Inner(value)| value))
        }
    }
}
