//! Spans that ended, as the SDK hands them to its processors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use tachograph::pipeline::config::{SamplerKind, TracesConfig};
use tachograph::pipeline::filter::Directives;
use tachograph::pipeline::sampling::{SamplingLayer, TraceSampler, provider_builder};
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;

/// Keeps every span that ended.
#[derive(Clone, Debug, Default)]
pub struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl Ended {
    pub fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// The only span of this name.
    pub fn named(&self, name: &str) -> SpanData {
        let all = self.0.lock().unwrap();
        let found: Vec<_> = all.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "spans named {name} in {all:?}");
        found[0].clone()
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = (self.0.lock().unwrap().iter())
            .map(|span| span.name.to_string())
            .collect();
        names.sort();
        names
    }
}

impl SpanProcessor for Ended {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

pub fn sampler(kind: SamplerKind, ratio: f64) -> TraceSampler {
    TraceSampler::new(&TracesConfig {
        sampler: kind,
        ratio,
        ..TracesConfig::default()
    })
    .unwrap()
}

/// A sampling layer and what comes out of it.
pub fn layer<S>(sampler: TraceSampler, filter: &str) -> (SamplingLayer<S>, Ended, SdkTracerProvider)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let ended = Ended::default();
    let provider = provider_builder(sampler)
        .with_span_processor(ended.clone())
        .build();
    let filter: Directives = filter.parse().unwrap();
    let layer = SamplingLayer::new(provider.tracer("test"), sampler, filter);
    (layer, ended, provider)
}
