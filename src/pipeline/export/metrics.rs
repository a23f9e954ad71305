//! The request for the declared metrics, straight from their series.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, number_data_point,
};
use opentelemetry_sdk::Resource;

use crate::catalog::Instrument;
use crate::recording::{MetricSeries, Reading, Recorder, SCOPE, Series};

/// Everything that the signals' metrics hold, cumulative, with the exemplars of their
/// histograms' buckets.
pub(crate) fn request(
    signals: &[&'static dyn Recorder],
    resource: &Resource,
) -> ExportMetricsServiceRequest {
    let mut metrics: Vec<Metric> = Vec::new();
    for recorder in signals {
        for series in recorder.metrics() {
            let Some(data) = data(series) else { continue };
            let metric = series.metric();
            // Metrics of one name differ in a constant label and are one metric here.
            match metrics.last_mut() {
                Some(last) if last.name == metric.name => join(last, data),
                _ => metrics.push(Metric {
                    name: metric.name.to_owned(),
                    description: metric.brief.to_owned(),
                    unit: metric.unit.to_owned(),
                    metadata: Vec::new(),
                    data: Some(data),
                }),
            }
        }
    }
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.into()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: SCOPE.to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics,
                schema_url: String::new(),
            }],
            schema_url: resource.schema_url().unwrap_or_default().to_owned(),
        }],
    }
}

fn join(metric: &mut Metric, more: Data) {
    match (&mut metric.data, more) {
        (Some(Data::Gauge(data)), Data::Gauge(more)) => data.data_points.extend(more.data_points),
        (Some(Data::Sum(data)), Data::Sum(more)) => data.data_points.extend(more.data_points),
        (Some(Data::Histogram(data)), Data::Histogram(more)) => {
            data.data_points.extend(more.data_points);
        }
        _ => {}
    }
}

/// None: nothing is known of the metric.
fn data(metric: &MetricSeries) -> Option<Data> {
    let series = metric.series();
    let temporality = AggregationTemporality::Cumulative as i32;
    let points = series.iter().filter_map(|series| number(series));
    let data = match metric.metric().instrument {
        Instrument::Gauge => Data::Gauge(Gauge {
            data_points: points
                .map(|point| NumberDataPoint {
                    start_time_unix_nano: 0,
                    ..point
                })
                .collect(),
        }),
        instrument @ (Instrument::Counter | Instrument::FloatCounter | Instrument::InFlight) => {
            Data::Sum(Sum {
                data_points: points.collect(),
                aggregation_temporality: temporality,
                is_monotonic: instrument != Instrument::InFlight,
            })
        }
        Instrument::Histogram => Data::Histogram(Histogram {
            data_points: series
                .iter()
                .filter_map(|series| histogram(series, metric.metric().bounds))
                .collect(),
            aggregation_temporality: temporality,
        }),
    };
    let empty = match &data {
        Data::Gauge(data) => data.data_points.is_empty(),
        Data::Sum(data) => data.data_points.is_empty(),
        Data::Histogram(data) => data.data_points.is_empty(),
        _ => true,
    };
    (!empty).then_some(data)
}

fn number(series: &Series) -> Option<NumberDataPoint> {
    use number_data_point::Value;
    let value = match series.read() {
        Reading::Unsigned(value) => Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX)),
        Reading::Signed(value) => Value::AsInt(value),
        Reading::Float(value) => Value::AsDouble(value),
        Reading::Histogram { .. } | Reading::Absent => return None,
    };
    let (start_time_unix_nano, time_unix_nano) = times(series);
    Some(NumberDataPoint {
        attributes: attributes(series),
        start_time_unix_nano,
        time_unix_nano,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram(series: &Series, bounds: &[f64]) -> Option<HistogramDataPoint> {
    let Reading::Histogram { counts, sum, count } = series.read() else {
        return None;
    };
    let exemplars = if series.has_exemplars() {
        (0..counts.len())
            .filter_map(|bucket| series.exemplar(bucket))
            .map(|exemplar| Exemplar {
                time_unix_nano: nanos(exemplar.time),
                trace_id: exemplar.span.trace_id.to_be_bytes().to_vec(),
                span_id: exemplar.span.span_id.to_be_bytes().to_vec(),
                value: Some(exemplar::Value::AsDouble(exemplar.value)),
                ..Exemplar::default()
            })
            .collect()
    } else {
        Vec::new()
    };
    let (start_time_unix_nano, time_unix_nano) = times(series);
    Some(HistogramDataPoint {
        attributes: attributes(series),
        start_time_unix_nano,
        time_unix_nano,
        count,
        sum: Some(sum),
        bucket_counts: counts,
        explicit_bounds: bounds.to_vec(),
        exemplars,
        ..HistogramDataPoint::default()
    })
}

/// Since when a series counts, and now, which is never before that.
fn times(series: &Series) -> (u64, u64) {
    let start = nanos(series.start());
    (start, nanos(SystemTime::now()).max(start))
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn attributes(series: &Series) -> Vec<KeyValue> {
    series
        .labels()
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(value.to_owned())),
            }),
            ..KeyValue::default()
        })
        .collect()
}
