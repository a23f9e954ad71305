//! Whether the backends would take what is exported, found out by a request without content.

use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::header::DATE;

use super::settings::{ExportConfigError, Target, targets};
use super::transport::{Fault, SendError, Transport, read};
use crate::pipeline::config::{OtlpConfig, OtlpProtocol};
use crate::signals::pipeline::ExportSignal;

/// What came of an export without content.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The signal.
    pub signal: ExportSignal,
    /// Its transport.
    pub protocol: OtlpProtocol,
    /// Where it is sent to, without query.
    pub endpoint: String,
    /// From the request to its answer.
    pub took: Duration,
    /// The backend's clock in whole seconds (the `Date` header, over HTTP only) and ours at
    /// the moment of reading it.
    pub date: Option<(jiff::Timestamp, jiff::Timestamp)>,
    /// Why it was not taken.
    pub failed: Option<Failed>,
}

/// Why an export was not taken.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Where it failed.
    pub fault: Fault,
    /// What was said.
    pub text: String,
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        Self {
            fault: error.fault,
            text: error.text,
        }
    }
}

impl From<ExportConfigError> for Failed {
    fn from(error: ExportConfigError) -> Self {
        Self {
            fault: Fault::Settings,
            text: error.to_string(),
        }
    }
}

/// Sends one export without content for each signal that is exported, side by side, through
/// the transport that exports use, with its headers, TLS and compression. Nothing is tried
/// again. Each has `limit` at most, less where its timeout is shorter.
///
/// # Errors
/// Settings that cannot be used.
pub async fn check(
    config: &OtlpConfig,
    limit: Duration,
) -> Result<Vec<Checked>, ExportConfigError> {
    let targets = targets(config)?;
    let checks = targets.iter().map(|target| one(target, limit));
    Ok(futures_util::future::join_all(checks).await)
}

async fn one(target: &Target, limit: Duration) -> Checked {
    let limit = limit.min(target.timeout);
    let start = Instant::now();
    let mut date = None;
    let failed = match tokio::time::timeout(limit, send(target, &mut date)).await {
        Ok(result) => result.err(),
        Err(_) => Some(Failed {
            fault: Fault::Timeout,
            text: format!("no answer within {limit:?}"),
        }),
    };
    Checked {
        signal: target.signal,
        protocol: target.protocol,
        endpoint: target.shown(),
        took: start.elapsed(),
        date,
        failed,
    }
}

async fn send(
    target: &Target,
    date: &mut Option<(jiff::Timestamp, jiff::Timestamp)>,
) -> Result<(), Failed> {
    // An encoded message without fields has no bytes.
    let nothing = Bytes::new();
    let body = match Transport::new(target)? {
        transport @ Transport::Grpc(_) => transport.send(nothing).await?,
        Transport::Http(http) => {
            let reply = http.post(nothing).await?;
            *date = reply
                .headers()
                .get(DATE)
                .and_then(|value| value.to_str().ok())
                .and_then(|text| jiff::fmt::rfc2822::parse(text).ok())
                .map(|time| (time.timestamp(), jiff::Timestamp::now()));
            read(reply).await?
        }
    };
    // The answers for metrics and logs have the same shape.
    match ExportTraceServiceResponse::decode(body) {
        Ok(_) => Ok(()),
        Err(_) => Err(Failed {
            fault: Fault::NotOtlp,
            text: "success was answered, with a body that is not OTLP".to_owned(),
        }),
    }
}
