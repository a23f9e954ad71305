//! Which traces are recorded, decided once per trace, and what a span costs when it is not.
//!
//! [`TraceSampler`] decides; [`SamplingLayer`] keeps tracing-opentelemetry away from spans
//! that were decided against; [`provider_builder`] makes the SDK keep the ids that the layer
//! has already given out.

mod layer;
mod table;
mod tracer;

pub(super) use layer::thread_is_live;
pub use layer::{SamplingLayer, SpanExtLayer};
pub use tracer::{DecidedTracer, provider_builder};
pub(crate) use tracer::{random_span_id, random_trace_id, start_decided};

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use super::config::{SamplerKind, TracesConfig};

/// A sampler of `OTEL_TRACES_SAMPLER`, the same for the layer and for spans started on the
/// SDK's tracer directly.
///
/// A decision depends on the parent's flag and the trace id alone, so that every process
/// and every span of a trace comes to the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceSampler {
    parent_based: bool,
    root: Root,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    On,
    Off,
    /// Sampled below this bound of the lower 63 bits after a shift, as the SDK's
    /// `TraceIdRatioBased` has it.
    Ratio(u64),
}

/// A sampling ratio outside 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("traces.ratio (OTEL_TRACES_SAMPLER_ARG) is {0}; accepted are numbers from 0 to 1")]
pub struct RatioError(pub f64);

impl TraceSampler {
    /// The sampler of a configuration.
    ///
    /// # Errors
    /// The ratio of a `traceidratio` sampler is not a number from 0 to 1.
    pub fn new(config: &TracesConfig) -> Result<Self, RatioError> {
        let (parent_based, root) = match config.sampler {
            SamplerKind::AlwaysOn => (false, Root::On),
            SamplerKind::AlwaysOff => (false, Root::Off),
            SamplerKind::TraceIdRatio => (false, Root::ratio(config.ratio)?),
            SamplerKind::ParentBasedAlwaysOn => (true, Root::On),
            SamplerKind::ParentBasedAlwaysOff => (true, Root::Off),
            SamplerKind::ParentBasedTraceIdRatio => (true, Root::ratio(config.ratio)?),
        };
        Ok(Self { parent_based, root })
    }

    /// Whether a span of this trace is recorded. An invalid parent is no parent.
    #[must_use]
    pub fn decide(&self, parent: &SpanContext, trace_id: TraceId) -> bool {
        if self.parent_based && parent.is_valid() {
            return parent.is_sampled();
        }
        match self.root {
            Root::On => true,
            Root::Off => false,
            Root::Ratio(bound) => {
                let low = u128::from_be_bytes(trace_id.to_bytes()) as u64;
                low >> 1 < bound
            }
        }
    }
}

impl Root {
    fn ratio(ratio: f64) -> Result<Self, RatioError> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(RatioError(ratio));
        }
        if ratio == 1.0 {
            return Ok(Self::On);
        }
        Ok(Self::Ratio((ratio * (1u64 << 63) as f64) as u64))
    }
}

impl ShouldSample for TraceSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        _name: &str,
        _span_kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let none = Context::new();
        let span = parent_context.unwrap_or(&none).span();
        let parent = span.span_context();
        SamplingResult {
            decision: if self.decide(parent, trace_id) {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: parent.trace_state().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler};

    use super::*;

    fn sampler(kind: SamplerKind, ratio: f64) -> TraceSampler {
        TraceSampler::new(&TracesConfig {
            sampler: kind,
            ratio,
            ..TracesConfig::default()
        })
        .unwrap()
    }

    fn parent(sampled: bool) -> SpanContext {
        SpanContext::new(
            TraceId::from(7),
            SpanId::from(7),
            TraceFlags::default().with_sampled(sampled),
            true,
            TraceState::NONE,
        )
    }

    #[test]
    fn the_six_kinds() {
        use SamplerKind::*;
        let none = SpanContext::NONE;
        let id = TraceId::from(u128::MAX >> 1);
        // (kind, root, unsampled parent, sampled parent) at ratio 0
        for (kind, root, off, on) in [
            (AlwaysOn, true, true, true),
            (AlwaysOff, false, false, false),
            (TraceIdRatio, false, false, false),
            (ParentBasedAlwaysOn, true, false, true),
            (ParentBasedAlwaysOff, false, false, true),
            (ParentBasedTraceIdRatio, false, false, true),
        ] {
            let sampler = sampler(kind, 0.0);
            assert_eq!(sampler.decide(&none, id), root, "{kind:?}");
            assert_eq!(sampler.decide(&parent(false), id), off, "{kind:?}");
            assert_eq!(sampler.decide(&parent(true), id), on, "{kind:?}");
        }
    }

    #[test]
    fn ratios_decide_as_the_sdk_does() {
        for ratio in [0.0, 1e-9, 0.01, 0.5, 0.999, 1.0] {
            let ours = sampler(SamplerKind::TraceIdRatio, ratio);
            let theirs = Sampler::TraceIdRatioBased(ratio);
            let edges = [1, u128::from(u64::MAX), 1 << 63, (1 << 63) - 1, u128::MAX];
            let random = (0..2_000).map(|_| RandomIdGenerator::default().new_trace_id());
            for id in edges.into_iter().map(TraceId::from).chain(random) {
                let theirs = theirs
                    .should_sample(None, id, "", &SpanKind::Internal, &[], &[])
                    .decision;
                assert_eq!(
                    ours.decide(&SpanContext::NONE, id),
                    theirs == SamplingDecision::RecordAndSample,
                    "{ratio} {id}"
                );
            }
        }
    }

    #[test]
    fn a_ratio_is_a_ratio() {
        for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let config = TracesConfig {
                sampler: SamplerKind::TraceIdRatio,
                ratio,
                ..TracesConfig::default()
            };
            let error = TraceSampler::new(&config).unwrap_err().to_string();
            assert!(error.contains("from 0 to 1"), "{error}");
        }
    }
}
