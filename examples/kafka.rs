//! Events through Kafka, recorded, in one trace from who publishes to who consumes:
//! `cargo run --example kafka --features kafka -- localhost:9092`, with a topic `orders`, or
//! without Kafka.

#[path = "common/page.rs"]
mod page;

use std::time::Duration;

use tachograph::instrumentation::kafka::rdkafka::Message as _;
use tachograph::instrumentation::kafka::rdkafka::producer::FutureRecord;
use tachograph::instrumentation::kafka::{Consumer, Producer};
use tachograph::{Telemetry, TelemetryConfig};
use tracing::Instrument as _;

/// What is done with an event.
async fn bill(order: &[u8]) -> Result<(), std::io::Error> {
    tracing::info!(bytes = order.len(), "billed");
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let brokers = std::env::args().nth(1);
    let brokers = brokers.unwrap_or_else(|| "localhost:9092".to_owned());
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?;
    let producer = Producer::builder(&brokers)
        .name("orders")
        .delivery_timeout(Duration::from_secs(2))
        .build()?;
    producer.watch(&telemetry);
    let mut published = 0;
    for order in ["7", "8", "9"] {
        let record = FutureRecord::to("orders").key(order).payload("paid");
        match producer.send(record).await {
            Ok(delivery) => {
                published += 1;
                println!("order {order} is at offset {}", delivery.offset);
            }
            Err(error) => println!("order {order}: {error} ({})", error.name()),
        }
    }

    let consumer = Consumer::builder(&brokers, "billing")
        .set("auto.offset.reset", "earliest")
        .build()?;
    consumer.watch(&telemetry);
    consumer.subscribe(&["orders"])?;
    for _ in 0..published {
        let event = consumer.recv().await?;
        let processing = event.start();
        let billed = bill(event.payload().unwrap_or_default());
        match billed.instrument(processing.span().clone()).await {
            Ok(()) => processing.succeeded(),
            Err(_) => processing.failed("io"),
        }
    }
    println!("billed {published}");
    if let Err(unfinished) = producer.shutdown(Duration::from_secs(5)).await {
        println!("{unfinished}");
    }
    page::print(&telemetry, &["messaging_"]).await?;
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
