//! Kafka, over rdkafka.
//!
//! [`Producer`] and [`Consumer`] are what rdkafka has, recorded as
//! [`signals::event`](crate::signals::event). An event counts as published when its delivery
//! report says so, whether anybody still waits for it or not. The trace goes along in the
//! event's headers (`traceparent`, `tracestate`, `baggage`), and [`Received::start`] continues it.
//! Spans tell topic, partition, offset and size, never keys or values.
//!
//! ```no_run
//! use std::time::Duration;
//! use tachograph::instrumentation::kafka::rdkafka::producer::FutureRecord;
//! use tachograph::instrumentation::kafka::rdkafka::Message as _;
//! use tachograph::instrumentation::kafka::{Consumer, Producer};
//! use tracing::Instrument as _;
//!
//! # async fn handle(_: Option<&[u8]>) -> Result<(), std::io::Error> { Ok(()) }
//! # async fn example(telemetry: &tachograph::Telemetry) -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::builder("localhost:9092").name("orders").build()?;
//! producer.watch(telemetry);
//! producer.send(FutureRecord::to("orders").key("7").payload("paid")).await?;
//!
//! let consumer = Consumer::builder("localhost:9092", "billing").build()?;
//! consumer.watch(telemetry);
//! consumer.subscribe(&["orders"])?;
//! let event = consumer.recv().await?;
//! let processing = event.start();
//! match handle(event.payload()).instrument(processing.span().clone()).await {
//!     Ok(()) => processing.succeeded(),
//!     Err(_) => processing.failed("io"),
//! }
//! producer.shutdown(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod consumer;
mod failure;
mod headers;
mod producer;
mod statistics;

pub use client::BuildError;
pub use consumer::{Consumer, ConsumerBuilder, Listener, Processing, Received};
pub use failure::{PublishError, Unfinished};
pub use producer::{Producer, ProducerBuilder, Publishing};
pub use rdkafka;
