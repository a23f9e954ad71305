//! The producer and how it is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message as _, ToBytes};
use rdkafka::producer::future_producer::Delivery;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, FutureRecord, Producer as _, ProducerContext, PurgeConfig,
    ThreadedProducer,
};
use tokio::sync::oneshot;
use tracing::Span;
use tracing::field::Empty;

use super::client::{BuildError, Observer, Settings};
use super::failure::{self, PublishError, Unfinished};
use super::headers;
use crate::catalog::ClosedLabel as _;
use crate::pipeline::Telemetry;
use crate::signals::event::{
    EventPublish, EventPublishEnd, EventQueue, MessagingSystem, PublishStatus,
};

/// How a producer is to be.
#[derive(Clone, Debug)]
#[must_use = "`build` makes the producer"]
pub struct ProducerBuilder(Settings);

impl ProducerBuilder {
    /// Name of the client on metrics and at the brokers (`client.id`); `main` unless given.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.0.name);
        self
    }

    /// How long an event may take from [`Producer::send`] to the broker's word that it has it
    /// (`message.timeout.ms`); 30 s unless given. It ends as a timeout then, and the broker may
    /// have it all the same.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.0.set_duration("message.timeout.ms", timeout);
        self
    }

    /// Any setting of librdkafka (its `CONFIGURATION.md`), such as `security.protocol`. Unless
    /// `enable.idempotence` is set to `false`, events arrive once and in order as long as the
    /// producer lives, and all replicas in sync have them.
    pub fn set(mut self, setting: &str, value: &str) -> Self {
        self.0.set(setting, value);
        self
    }

    /// The producer. Nothing is connected yet: Kafka may come later.
    ///
    /// # Errors
    /// What is not accepted.
    pub fn build(mut self) -> Result<Producer, BuildError> {
        self.0.check()?;
        let context = Reports(Observer::new(&self.0.name, ""), Arc::default());
        let inner = ThreadedProducer::from_config_and_context(&self.0.config, context);
        Ok(Producer(Arc::new(
            inner.map_err(|error| BuildError::of(&error))?,
        )))
    }
}

/// Publishes events to Kafka; cheap to clone. What is still under way when the last clone is
/// dropped fails with `purge_queue` or `purge_inflight`; see [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Producer(Arc<ThreadedProducer<Reports>>);

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("name", &self.observer().name)
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

impl Producer {
    /// A producer for the cluster that these brokers, `<host>:<port>` joined by `,`, belong to.
    pub fn builder(brokers: &str) -> ProducerBuilder {
        let mut settings = Settings::new(brokers);
        settings.set("enable.idempotence", "true");
        ProducerBuilder(settings).delivery_timeout(Duration::from_secs(30))
    }

    /// Publishes an event: hands it to the client at once, without waiting, and returns what
    /// becomes of it. That is recorded whether somebody waits for it or not.
    ///
    /// The context of its span is added to its headers unless they have a `traceparent`.
    pub fn send<K, P>(&self, record: FutureRecord<'_, K, P>) -> Publishing
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let length = |part: Option<usize>| part.unwrap_or(0);
        let size = length(record.key.map(|key| key.to_bytes().len()))
            + length(record.payload.map(|payload| payload.to_bytes().len()));
        let span = self.span(record.topic, size);
        let headers = span.in_scope(|| headers::with_context(record.headers));
        let (answer, outcome) = oneshot::channel();
        let pending = Box::new(Pending {
            topic: record.topic.into(),
            size,
            span,
            start: Instant::now(),
            under_way: Some(UnderWay::begin(&self.0.context().1)),
            answer: Some(answer),
        });
        let sent = self.0.send(BaseRecord {
            topic: record.topic,
            partition: record.partition,
            payload: record.payload,
            key: record.key,
            timestamp: record.timestamp,
            headers: Some(headers),
            delivery_opaque: pending,
        });
        if let Err((error, record)) = sent {
            record.delivery_opaque.settle(Err(error));
        }
        Publishing(outcome)
    }

    /// Events that wait for the broker's answer.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        // librdkafka's own count has its notices of errors and statistics in it.
        self.0.context().1.load(Ordering::Relaxed)
    }

    /// Why this producer is of no further use, if it is not: librdkafka has met an error that
    /// idempotence does not survive, and a new producer is needed.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.0.client().fatal_error().map(|(_, reason)| reason)
    }

    /// Waits until nothing is under way.
    ///
    /// # Errors
    /// Something still was at the deadline. It stays under way.
    pub async fn flush(&self, deadline: Duration) -> Result<(), Unfinished> {
        let producer = Arc::clone(&self.0);
        // It blocks.
        let flushing = tokio::task::spawn_blocking(move || producer.flush(deadline));
        match flushing.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unfinished {
                events: self.in_flight(),
            }),
        }
    }

    /// Waits until nothing is under way, and at the deadline gives up what is: it fails with
    /// `purge_queue`, or with `purge_inflight` where the broker may have it.
    ///
    /// # Errors
    /// Something was given up.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Unfinished> {
        let flushed = self.flush(deadline).await;
        if flushed.is_err() {
            self.0.purge(PurgeConfig::default().queue().inflight());
            // The reports of what was given up are ready.
            let _ = self.flush(Duration::from_secs(1)).await;
        }
        flushed
    }

    /// Puts what waits, and what librdkafka told last, on the page.
    pub fn report(&self) {
        let client = &*self.observer().name;
        EventQueue { client }.set(self.in_flight() as f64);
        self.observer().report();
    }

    /// Takes what [`report`](Self::report) put there off the page.
    pub fn forget(&self) {
        let client = &*self.observer().name;
        EventQueue { client }.remove();
        self.observer().forget();
    }

    /// Has [`report`](Self::report) called whenever metrics are read, until the last clone is
    /// gone.
    pub fn watch(&self, telemetry: &Telemetry) {
        let Some(collector) = telemetry.collector() else {
            return;
        };
        let weak = Arc::downgrade(&self.0);
        let context = Arc::clone(self.0.context());
        collector.before_collect(move || match weak.upgrade() {
            Some(inner) => Self(inner).report(),
            None => {
                let client = &*context.0.name;
                EventQueue { client }.remove();
                context.0.forget();
            }
        });
    }

    fn observer(&self) -> &Observer {
        &self.0.context().0
    }

    fn span(&self, topic: &str, size: usize) -> Span {
        tracing::info_span!(
            target: "tachograph::signal",
            "event.publish",
            otel.name = format_args!("send {topic}"),
            otel.kind = "producer",
            otel.status_code = Empty,
            "messaging.system" = "kafka",
            "messaging.operation.name" = "send",
            "messaging.operation.type" = "send",
            "messaging.destination.name" = topic,
            "messaging.destination.partition.id" = Empty,
            "messaging.kafka.offset" = Empty,
            "messaging.client.id" = self.observer().name,
            "messaging.message.envelope.size" = size as u64,
            status = Empty,
            "error.type" = Empty,
        )
    }
}

/// What becomes of an event. Dropping it changes nothing about the event.
#[derive(Debug)]
#[must_use = "whether the event was published is known only to who waits for it"]
pub struct Publishing(oneshot::Receiver<Result<Delivery, PublishError>>);

impl Future for Publishing {
    type Output = Result<Delivery, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| {
            Err(PublishError {
                topic: String::new(),
                error: KafkaError::Canceled,
            })
        }))
    }
}

/// An event without its delivery report. Ends as abandoned unless one comes.
struct Pending {
    topic: Box<str>,
    size: usize,
    span: Span,
    start: Instant,
    under_way: Option<UnderWay>,
    /// Taken when it is settled.
    answer: Option<oneshot::Sender<Result<Delivery, PublishError>>>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl Pending {
    fn settle(mut self, result: Result<Delivery, KafkaError>) {
        match &result {
            Ok(delivery) => {
                let partition = delivery.partition.to_string();
                self.span
                    .record("messaging.destination.partition.id", partition);
                self.span.record("messaging.kafka.offset", delivery.offset);
                self.end(PublishStatus::Success, "");
            }
            Err(error) => self.end(failure::status(error), &failure::name(error)),
        }
        // It has ended before anybody hears of it.
        self.span = Span::none();
        self.under_way = None;
        if let Some(answer) = self.answer.take() {
            let topic = &self.topic;
            // Whoever asked may have gone away.
            let _ = answer.send(result.map_err(|error| PublishError {
                topic: String::from(&**topic),
                error,
            }));
        }
    }

    fn end(&self, status: PublishStatus, error: &str) {
        // In the span, so that an exemplar points to it.
        let _entered = self.span.enter();
        let end = EventPublishEnd {
            status,
            error,
            size: Some(self.size as f64),
        };
        EventPublish {
            destination: &self.topic,
            system: MessagingSystem::Kafka,
        }
        .record(end, self.start.elapsed());
        self.span.record("status", status.as_str());
        if !error.is_empty() {
            self.span.record("error.type", error);
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.answer.is_some() {
            self.end(PublishStatus::Abandoned, "abandoned");
        }
    }
}

/// Counts an event of a producer until it is dropped.
struct UnderWay(Arc<AtomicU64>);

impl UnderWay {
    fn begin(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes delivery reports; beside it how many are waited for.
#[derive(Debug)]
struct Reports(Observer, Arc<AtomicU64>);

impl ClientContext for Reports {
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

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        pending.settle(match result {
            Ok(message) => Ok(Delivery {
                partition: message.partition(),
                offset: message.offset(),
                timestamp: message.timestamp(),
            }),
            Err((error, _)) => Err(error.clone()),
        });
    }
}
