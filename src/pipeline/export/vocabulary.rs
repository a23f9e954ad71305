//! Families of vocabularies as OTLP metrics: what the OpenTelemetry collector makes of them
//! when it scrapes them (OpenTelemetry, "Prometheus and OpenMetrics Compatibility").

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ScopeMetrics, Sum, number_data_point,
};

use crate::vocabulary::{Computed, Kind, Rendering, Target, Value};

/// Instrumentation scope of these metrics.
const SCOPE: &str = "tachograph.vocabulary";

/// The families as of now; none: there is nothing in them.
pub(super) fn scope(rendering: &mut Rendering) -> Option<ScopeMetrics> {
    let now = SystemTime::now();
    rendering.update(now);
    let families = rendering.families().iter();
    let metrics: Vec<Metric> = families.filter_map(|family| metric(family, now)).collect();
    (!metrics.is_empty()).then(|| ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: SCOPE.to_owned(),
            ..InstrumentationScope::default()
        }),
        metrics,
        schema_url: String::new(),
    })
}

fn metric(computed: &Computed, now: SystemTime) -> Option<Metric> {
    let family = computed.family();
    let temporality = AggregationTemporality::Cumulative as i32;
    let numbers = || -> Vec<NumberDataPoint> {
        let series = computed.series();
        series.filter_map(|one| number(one, now)).collect()
    };
    let data = match family.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::Gauge | Kind::Info => Data::Gauge(Gauge {
            data_points: numbers()
                .into_iter()
                .map(|point| NumberDataPoint {
                    start_time_unix_nano: 0,
                    ..point
                })
                .collect(),
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: computed
                .series()
                .filter_map(|one| histogram(one, &family.bounds, now))
                .collect(),
            aggregation_temporality: temporality,
        }),
    };
    computed.series().next()?;
    let unit = match family.base() {
        base if base.ends_with("_seconds") => "s",
        base if base.ends_with("_bytes") => "By",
        _ => "",
    };
    Some(Metric {
        name: family.name.clone(),
        description: family.help.clone(),
        unit: unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    })
}

fn number(target: &Target, now: SystemTime) -> Option<NumberDataPoint> {
    use number_data_point::Value as Number;
    let value = match target.value() {
        Value::Unsigned(value) => Number::AsInt(i64::try_from(*value).unwrap_or(i64::MAX)),
        Value::Signed(value) => Number::AsInt(*value),
        Value::Float(value) => Number::AsDouble(*value),
        Value::Histogram { .. } | Value::Absent => return None,
    };
    let (start_time_unix_nano, time_unix_nano) = times(target, now);
    Some(NumberDataPoint {
        attributes: attributes(target),
        start_time_unix_nano,
        time_unix_nano,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram(target: &Target, bounds: &[f64], now: SystemTime) -> Option<HistogramDataPoint> {
    let Value::Histogram { counts, sum } = target.value() else {
        return None;
    };
    let (start_time_unix_nano, time_unix_nano) = times(target, now);
    Some(HistogramDataPoint {
        attributes: attributes(target),
        start_time_unix_nano,
        time_unix_nano,
        count: counts.iter().sum(),
        sum: Some(*sum),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}

/// Since when a series counts, and now, which is never before that.
fn times(target: &Target, now: SystemTime) -> (u64, u64) {
    let nanos = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    };
    let start = nanos(target.start());
    (start, nanos(now).max(start))
}

fn attributes(target: &Target) -> Vec<KeyValue> {
    let labels = target.labels().map(|(key, value)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    });
    labels.collect()
}
