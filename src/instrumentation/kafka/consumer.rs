//! The consumer and how it is made.

use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Instant;

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use tracing::Span;
use tracing::field::Empty;

use super::client::{BuildError, Observer, Settings};
use super::{failure, headers};
use crate::catalog::ClosedLabel as _;
use crate::pipeline::Telemetry;
use crate::signals::event::{
    EventConsumed, EventProcess, EventProcessEnd, EventRebalance, MessagingSystem, ProcessStatus,
    RebalanceKind,
};

/// How a consumer is to be.
#[derive(Clone, Debug)]
#[must_use = "`build` makes the consumer"]
pub struct ConsumerBuilder {
    settings: Settings,
    group: String,
}

impl ConsumerBuilder {
    /// Name of the client on metrics and at the brokers (`client.id`); `main` unless given.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.settings.name);
        self
    }

    /// Any setting of librdkafka (its `CONFIGURATION.md`), such as `enable.auto.commit`.
    pub fn set(mut self, setting: &str, value: &str) -> Self {
        self.settings.set(setting, value);
        self
    }

    /// The consumer. Nothing is connected yet: Kafka may come later.
    ///
    /// Must be called inside of a tokio runtime, which rdkafka spawns a task on.
    ///
    /// # Errors
    /// What is not accepted.
    pub fn build(mut self) -> Result<Consumer, BuildError> {
        self.settings.check()?;
        if self.group.is_empty() {
            return Err(BuildError {
                field: "group".to_owned(),
                problem: "nothing is not accepted; accepted: the name of a consumer group"
                    .to_owned(),
            });
        }
        let (config, group) = (&mut self.settings.config, &self.group);
        config.set("group.id", group);
        let observer = Arc::new(Observer::new(&self.settings.name, group));
        let context = Listener(Arc::clone(&observer));
        let inner = StreamConsumer::from_config_and_context(config, context);
        Ok(Consumer {
            inner: inner.map_err(|error| BuildError::of(&error))?,
            observer,
        })
    }
}

/// Consumes events of Kafka as one of a group.
pub struct Consumer {
    inner: StreamConsumer<Listener>,
    observer: Arc<Observer>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.observer.name)
            .field("group", &self.observer.group)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of this group, at the cluster that these brokers, `<host>:<port>` joined by
    /// `,`, belong to.
    pub fn builder(brokers: &str, group: &str) -> ConsumerBuilder {
        ConsumerBuilder {
            settings: Settings::new(brokers),
            group: group.to_owned(),
        }
    }

    /// Asks for these topics, instead of those before.
    ///
    /// # Errors
    /// The names are not accepted.
    pub fn subscribe(&self, topics: &[&str]) -> KafkaResult<()> {
        self.inner.subscribe(topics)
    }

    /// The next event. It may be dropped at any time: no event is lost by that.
    ///
    /// # Errors
    /// What rdkafka says. It goes on trying: call it again.
    pub async fn recv(&self) -> KafkaResult<Received<'_>> {
        let received = self.inner.recv().await;
        let consumed = |destination: &str, error: &str| {
            let group = &*self.observer.group;
            let system = MessagingSystem::Kafka;
            EventConsumed {
                destination,
                group,
                system,
                error,
            }
            .add(1);
        };
        match received {
            Ok(message) => {
                consumed(message.topic(), "");
                Ok(Received {
                    message,
                    observer: &self.observer,
                })
            }
            Err(error) => {
                // The end of a partition is told to those who ask for it, and is no error.
                if !matches!(error, KafkaError::PartitionEOF(_)) {
                    consumed("", &failure::name(&error));
                }
                Err(error)
            }
        }
    }

    /// rdkafka's consumer, for committing, seeking and the like.
    pub fn inner(&self) -> &StreamConsumer<Listener> {
        &self.inner
    }

    /// Puts what librdkafka told last on the page: brokers, and the lag of the partitions that
    /// this consumer has. It is told every 5 seconds unless `statistics.interval.ms` is set, and
    /// only while events are asked for.
    pub fn report(&self) {
        self.observer.report();
    }

    /// Has [`report`](Self::report) called whenever metrics are read, until the consumer is gone.
    pub fn watch(&self, telemetry: &Telemetry) {
        let Some(collector) = telemetry.collector() else {
            return;
        };
        // The one who listens lives as long as the consumer, and what it has shown outlives both.
        let (observer, alive) = (
            Arc::clone(&self.observer),
            Arc::downgrade(self.inner.context()),
        );
        collector.before_collect(move || match Weak::strong_count(&alive) {
            0 => observer.forget(),
            _ => observer.report(),
        });
    }
}

/// An event that was received; everything that rdkafka's message has.
pub struct Received<'c> {
    message: BorrowedMessage<'c>,
    observer: &'c Observer,
}

impl std::fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither key nor value.
        f.debug_struct("Received")
            .field("topic", &self.message.topic())
            .field("partition", &self.message.partition())
            .field("offset", &self.message.offset())
            .finish_non_exhaustive()
    }
}

impl<'c> Deref for Received<'c> {
    type Target = BorrowedMessage<'c>;

    fn deref(&self) -> &Self::Target {
        &self.message
    }
}

impl Received<'_> {
    /// Begins to process it: opens a span in the trace that it was published in.
    #[must_use = "it ends as abandoned when it is dropped"]
    pub fn start(&self) -> Processing {
        let (topic, partition) = (self.message.topic(), self.message.partition());
        let observer = self.observer;
        // Before the span is made: whether it is sampled is decided then.
        let attached = headers::context_of(&self.message).attach();
        let span = tracing::info_span!(
            target: "tachograph::signal",
            "event.process",
            otel.name = format_args!("process {topic}"),
            otel.kind = "consumer",
            otel.status_code = Empty,
            "messaging.system" = "kafka",
            "messaging.operation.name" = "process",
            "messaging.operation.type" = "process",
            "messaging.destination.name" = topic,
            "messaging.destination.partition.id" = partition.to_string(),
            "messaging.kafka.offset" = self.message.offset(),
            "messaging.consumer.group.name" = observer.group,
            "messaging.client.id" = observer.name,
            status = Empty,
            "error.type" = Empty,
        );
        drop(attached);
        Processing {
            topic: topic.into(),
            group: observer.group.as_str().into(),
            span,
            start: Instant::now(),
            settled: false,
        }
    }
}

/// An event that is being processed. Ends as abandoned unless somebody says how it ended.
#[derive(Debug)]
pub struct Processing {
    topic: Box<str>,
    group: Box<str>,
    span: Span,
    start: Instant,
    settled: bool,
}

impl Processing {
    /// Its span, for what is done meanwhile.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// It was done.
    pub fn succeeded(mut self) {
        self.settled = true;
        self.end(ProcessStatus::Success, "");
    }

    /// It failed: `kind` is one of few words, which goes on metrics.
    pub fn failed(mut self, kind: &str) {
        self.settled = true;
        self.end(ProcessStatus::Failed, kind);
    }

    fn end(&self, status: ProcessStatus, error: &str) {
        // In the span, so that an exemplar points to it.
        let _entered = self.span.enter();
        EventProcess {
            destination: &self.topic,
            group: &self.group,
            system: MessagingSystem::Kafka,
        }
        .record(EventProcessEnd { status, error }, self.start.elapsed());
        self.span.record("status", status.as_str());
        if status != ProcessStatus::Success {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Processing {
    fn drop(&mut self) {
        if !self.settled {
            self.end(ProcessStatus::Abandoned, "abandoned");
        }
    }
}

/// Hears of rebalances.
#[derive(Debug)]
pub struct Listener(Arc<Observer>);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.0.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ConsumerContext for Listener {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let (kind, partitions) = match rebalance {
            Rebalance::Assign(partitions) => (RebalanceKind::Assigned, partitions.count()),
            Rebalance::Revoke(partitions) => (RebalanceKind::Revoked, partitions.count()),
            Rebalance::Error(error) => {
                let (group, kind) = (&*self.0.group, failure::name(error));
                tracing::warn!(target: "tachograph::kafka", group, kind, "a rebalance failed");
                (RebalanceKind::Failed, 0)
            }
        };
        let group = &*self.0.group;
        EventRebalance { group, kind }.add(1);
        tracing::info!(
            target: "tachograph::kafka",
            group,
            kind = kind.as_str(),
            partitions,
            "partitions move"
        );
    }
}
