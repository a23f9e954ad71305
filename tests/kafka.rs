//! Kafka's producer and consumer against a real broker: in normal traffic, refusing, stalled,
//! killed.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::FutureRecord;
use support::kafka::Server;
use tachograph::instrumentation::kafka::{Consumer, ConsumerBuilder, Producer, ProducerBuilder};
use tachograph::testing::{self, Capture};

const PATIENCE: Duration = Duration::from_secs(60);
const SECRETS: [&str; 2] = ["key-of-somebody", "value-of-somebody"];

fn producer(server: &Server) -> ProducerBuilder {
    Producer::builder(&server.brokers())
        .name("shop")
        .set("statistics.interval.ms", "100")
        .set("reconnect.backoff.max.ms", "200")
}

fn consumer(server: &Server, group: &str) -> ConsumerBuilder {
    Consumer::builder(&server.brokers(), group)
        .name("till")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("statistics.interval.ms", "100")
}

fn sent(recorded: &Capture, topic: &str, status: &str) -> u64 {
    let events = recorded.signal("event.publish");
    let events = events.label("messaging.destination.name", topic);
    events.label("status", status).count()
}

fn failed(recorded: &Capture, topic: &str, error: &str) -> u64 {
    let events = recorded.signal("event.publish");
    let events = events.label("messaging.destination.name", topic);
    events.label("error.type", error).count()
}

fn lag(recorded: &Capture, partition: &str) -> Option<f64> {
    let lag = recorded.metric("messaging.kafka.consumer.lag");
    let lag = lag.label("messaging.consumer.group.name", "slow");
    lag.label("messaging.destination.partition.id", partition)
        .value()
}

#[tokio::test]
async fn what_is_published_is_recorded_and_its_consumer_continues_the_trace() {
    let Some(server) = Server::start() else {
        return;
    };
    server.topic("orders", 2).await;
    let recorded = testing::capture();
    let producer = producer(&server).build().unwrap();
    let [key, value] = SECRETS;
    let caller = tracing::info_span!("checkout");
    let publishing = caller.in_scope(|| {
        let record = FutureRecord::to("orders").key(key).payload(value);
        producer.send(record)
    });
    drop(caller);
    let delivery = publishing.await.unwrap();

    assert_eq!(sent(&recorded, "orders", "success"), 1);
    let sizes = recorded.metric("messaging.client.sent.size");
    let bytes = (key.len() + value.len()) as f64;
    assert_eq!((sizes.observations(), sizes.value()), (1, Some(bytes)));
    let took = recorded.metric("messaging.client.operation.duration");
    assert_eq!(took.label("status", "success").observations(), 1);
    let partition = delivery.partition.to_string();
    let span = recorded.span("send orders").child_of("checkout");
    span.field("messaging.system", "kafka")
        .field("messaging.operation.name", "send")
        .field("messaging.destination.name", "orders")
        .field("messaging.destination.partition.id", &partition)
        .field("messaging.kafka.offset", "0")
        .field("messaging.client.id", "shop")
        .failed(false)
        .assert_count(1);

    let consumer = consumer(&server, "billing").build().unwrap();
    consumer.subscribe(&["orders"]).unwrap();
    let event = consumer.recv().await.unwrap();
    assert_eq!(event.payload(), Some(value.as_bytes()));
    let processing = event.start();
    processing.span().in_scope(|| tracing::info!("charged"));
    processing.succeeded();
    // A second and a third attempt.
    event.start().failed("card_declined");
    drop(event.start());

    let span = recorded.span("process orders").child_of("send orders");
    span.field("messaging.consumer.group.name", "billing")
        .field("messaging.kafka.offset", "0")
        .assert_count(3);
    let span = recorded.span("process orders");
    span.field("error.type", "card_declined")
        .failed(true)
        .assert_count(1);
    recorded
        .log("charged")
        .in_span("process orders")
        .assert_count(1);
    for (status, expected) in [("success", 1), ("failed", 1), ("abandoned", 1)] {
        let processed = recorded.signal("event.process");
        processed.label("status", status).assert_count(expected);
    }
    let took = recorded.metric("messaging.process.duration");
    // How long what was abandoned would have taken nobody knows, but it did end.
    assert_eq!(took.observations(), 3);
    let consumed = recorded.signal("event.consumed");
    consumed
        .label("messaging.consumer.group.name", "billing")
        .assert_count(1);
    let assigned = recorded.signal("event.rebalance");
    let assigned = assigned.label("messaging.kafka.rebalance.kind", "assigned");
    assert!(assigned.count() >= 1);

    // Neither key nor value is anywhere.
    let all = recorded.to_string();
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    // What the broker has: the trace beside the event.
    let kept = server.read("orders");
    let parent = kept[0].header("traceparent").unwrap();
    assert!(
        parent.starts_with("00-") && parent.ends_with("-01"),
        "{parent}"
    );

    // The client tells of its broker and its queue.
    let start = Instant::now();
    let brokers = || recorded.metric("messaging.kafka.client.brokers").value();
    while brokers() != Some(1.0) {
        assert!(start.elapsed() < PATIENCE, "{:?}", brokers());
        tokio::time::sleep(Duration::from_millis(20)).await;
        producer.report();
    }
    let queue = recorded.metric("messaging.kafka.producer.queue.messages");
    queue.assert_value(0.0);
    let used = recorded.metric("messaging.kafka.producer.queue.saturation");
    used.assert_value(0.0);
    producer.forget();
    assert_eq!(brokers(), None);
}

#[tokio::test]
async fn the_lag_of_a_group_is_shown_falls_and_goes_with_its_partitions() {
    let Some(server) = Server::start() else {
        return;
    };
    server.topic("work", 2).await;
    let recorded = testing::capture();
    let producer = producer(&server).build().unwrap();
    for partition in [0, 0, 0, 0, 0, 1] {
        let record = FutureRecord::<(), _>::to("work").partition(partition);
        producer.send(record.payload("x")).await.unwrap();
    }
    let first = consumer(&server, "slow").build().unwrap();
    first.subscribe(&["work"]).unwrap();
    let mut seen = 0;
    while seen < 6 {
        first.recv().await.unwrap();
        seen += 1;
    }
    // Nothing is committed before the first is, so that nobody knows how far the group is.
    let commit = |offset: i64, partition: i32| {
        let mut list = rdkafka::TopicPartitionList::new();
        let offset = rdkafka::Offset::Offset(offset);
        list.add_partition_offset("work", partition, offset)
            .unwrap();
        first.inner().commit(&list, CommitMode::Sync).unwrap();
    };
    commit(1, 0);
    commit(0, 1);
    let wait = async |consumer: &Consumer, lags: [Option<f64>; 2]| {
        let start = Instant::now();
        let now = || [lag(&recorded, "0"), lag(&recorded, "1")];
        while now() != lags {
            assert!(start.elapsed() < PATIENCE, "{:?} and not {lags:?}", now());
            // Statistics come while events are asked for.
            let _ = tokio::time::timeout(Duration::from_millis(50), consumer.recv()).await;
            consumer.report();
        }
    };
    wait(&first, [Some(4.0), Some(1.0)]).await;
    commit(4, 0);
    commit(1, 1);
    wait(&first, [Some(1.0), Some(0.0)]).await;

    // Another consumer takes one of the two.
    let second = consumer(&server, "slow").name("second").build().unwrap();
    second.subscribe(&["work"]).unwrap();
    let start = Instant::now();
    let count = |consumer: &Consumer| consumer.inner().assignment().unwrap().count();
    while (count(&first), count(&second)) != (1, 1) {
        assert!(start.elapsed() < PATIENCE, "no rebalance");
        for consumer in [&first, &second] {
            let _ = tokio::time::timeout(Duration::from_millis(50), consumer.recv()).await;
        }
    }
    let revoked = recorded.signal("event.rebalance");
    let revoked = revoked.label("messaging.kafka.rebalance.kind", "revoked");
    assert!(revoked.count() >= 1);
    let held = first.inner().assignment().unwrap();
    let expected = match held.elements()[0].partition() {
        0 => [Some(1.0), None],
        _ => [None, Some(0.0)],
    };
    wait(&first, expected).await;
}

#[tokio::test]
async fn refusals_have_names_and_none_of_them_counts_as_published() {
    let Some(server) = Server::start() else {
        return;
    };
    server.topic("plain", 1).await;
    let recorded = testing::capture();
    let producer = producer(&server)
        .set("topic.metadata.propagation.max.ms", "300")
        .build()
        .unwrap();
    // Larger than the client lets through: it is not even queued.
    let large = "x".repeat(2_000_000);
    let record = FutureRecord::<(), _>::to("plain").payload(&large);
    let error = producer.send(record).await.unwrap_err();
    assert_eq!(error.name(), "message_size_too_large");
    assert!(error.is_permanent() && error.topic == "plain");
    // Larger than the broker does.
    server
        .topic_with("small", 1, &[("max.message.bytes", "1000")])
        .await;
    let record = FutureRecord::<(), _>::to("small").payload(&large[..2_000]);
    let error = producer.send(record).await.unwrap_err();
    assert_eq!(error.name(), "message_size_too_large");
    // To a topic that nobody made.
    let record = FutureRecord::<(), _>::to("nowhere").payload("x");
    let error = producer.send(record).await.unwrap_err();
    assert!(error.name().starts_with("unknown_topic"), "{error}");
    assert!(!error.is_permanent());
    let nowhere = error.name();
    // The client still publishes.
    let record = FutureRecord::<(), _>::to("plain").payload("x");
    producer.send(record).await.unwrap();

    for (topic, error) in [
        ("plain", "message_size_too_large"),
        ("small", "message_size_too_large"),
        ("nowhere", &*nowhere),
    ] {
        assert_eq!(failed(&recorded, topic, error), 1, "{topic}");
        assert_eq!(sent(&recorded, topic, "failed"), 1, "{topic}");
        let span = recorded.span(&format!("send {topic}"));
        span.field("error.type", error).failed(true).assert_count(1);
    }
    assert_eq!(sent(&recorded, "plain", "success"), 1);
    assert_eq!(sent(&recorded, "small", "success"), 0);
    assert_eq!(server.read("plain").len(), 1);
}

#[tokio::test]
async fn stalled_or_killed_what_is_under_way_ends_by_its_deadline_and_then_it_works_again() {
    let Some(server) = Server::start() else {
        return;
    };
    server.topic("orders", 1).await;
    let recorded = testing::capture();
    let producer = producer(&server)
        .delivery_timeout(Duration::from_millis(1_500))
        .set("queue.buffering.max.messages", "5")
        .build()
        .unwrap();
    let send = || producer.send(FutureRecord::<(), _>::to("orders").payload("x"));
    send().await.unwrap();

    server.freeze();
    let pending: Vec<_> = (0..5).map(|_| send()).collect();
    // To queue it is not to publish it.
    assert_eq!(sent(&recorded, "orders", "success"), 1);
    assert_eq!(producer.in_flight(), 5);
    let full = send().await.unwrap_err();
    assert_eq!(full.name(), "queue_full");
    let unfinished = producer.flush(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(unfinished.events, 5);
    let mut pending = pending.into_iter();
    // Nobody waits for this one, and it is recorded all the same.
    drop(pending.next());
    let start = Instant::now();
    for pending in pending {
        let error = pending.await.unwrap_err();
        assert_eq!(error.name(), "message_timed_out");
        assert!(!error.is_permanent());
    }
    assert!(start.elapsed() < PATIENCE);
    assert_eq!(sent(&recorded, "orders", "timeout"), 5);
    assert_eq!(failed(&recorded, "orders", "queue_full"), 1);
    let span = recorded.span("send orders");
    span.field("error.type", "message_timed_out")
        .field("status", "timeout")
        .failed(true)
        .assert_count(5);
    server.thaw();
    works_again(&producer, "orders").await;

    let before = sent(&recorded, "orders", "success");
    server.kill();
    let lost = send();
    let error = lost.await.unwrap_err();
    assert_eq!(error.name(), "message_timed_out");
    // Its client says that there is nobody.
    let start = Instant::now();
    while recorded.metric("messaging.kafka.client.brokers").value() != Some(0.0) {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
        producer.report();
    }
    server.run();
    works_again(&producer, "orders").await;
    assert!(sent(&recorded, "orders", "success") > before);

    // At the end what cannot be delivered is given up, by name.
    server.freeze();
    let given_up = [send(), send()];
    let unfinished = producer.shutdown(Duration::from_millis(100)).await;
    assert_eq!(unfinished.unwrap_err().events, 2);
    for one in given_up {
        let name = one.await.unwrap_err().name();
        assert!(name.starts_with("purge_"), "{name}");
    }
    server.thaw();
}

/// Publishes until that succeeds.
async fn works_again(producer: &Producer, topic: &str) {
    let start = Instant::now();
    loop {
        let record = FutureRecord::<(), _>::to(topic).payload("x");
        match producer.send(record).await {
            Ok(_) => return,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_made_says_why_without_its_passwords() {
    let error = Producer::builder("localhost:9092")
        .set("sasl.pasword", "hunter2")
        .build()
        .unwrap_err();
    assert_eq!(error.field, "sasl.pasword");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = Producer::builder(" , ").build().unwrap_err();
    assert_eq!(error.field, "brokers");
    let error = Producer::builder("a:1").name("").build().unwrap_err();
    assert_eq!(error.field, "name");
    let error = Consumer::builder("a:1", "").build().unwrap_err();
    assert_eq!(error.field, "group");
}
