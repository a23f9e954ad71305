//! OTLP messages of logs and metrics: requests, cut to size, and what a reply rejects.

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_sdk::logs::{LogBatch, SdkLogRecord};
use prost::Message;

/// Bytes of one request before compression. gRPC servers turn down larger messages by
/// default, and they count after decompression.
pub(crate) const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The metrics of one push.
pub(crate) type MetricsRequest = ExportMetricsServiceRequest;

/// What a backend says it did not take.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// An export request of one signal.
pub(crate) trait OtlpRequest: Sized {
    /// Spans, log records or data points in it.
    fn items(&self) -> usize;

    /// The request as the protocol has it.
    fn encode(&self) -> Vec<u8>;

    /// Cuts the request in two, of about as many items each; gives it back when it holds a
    /// single one.
    fn split(self) -> Result<(Self, Self), Self>;

    /// Reads a reply; `None` when everything was taken. A reply that is not of the protocol
    /// is taken for one: the backend did answer success.
    fn partial(reply: &[u8]) -> Option<Partial>;
}

pub(super) fn partial(rejected: i64, message: String) -> Option<Partial> {
    let rejected = u64::try_from(rejected).unwrap_or(0);
    (rejected > 0 || !message.is_empty()).then_some(Partial { rejected, message })
}

/// Splits lists of lists: keeps the first `$keep` innermost items in place and gives back the
/// rest. An item counts for `$size`, and `$cut` takes part of one that does not fit whole.
macro_rules! split_off {
    ($outer:expr, $keep:expr, $scopes:ident, $items:ident, $size:expr, $cut:expr) => {{
        let mut room = $keep;
        let mut rest = Vec::new();
        for of_resource in &mut $outer {
            let mut rest_scopes = Vec::new();
            for of_scope in &mut of_resource.$scopes {
                let at = {
                    let mut at = 0;
                    while at < of_scope.$items.len() && $size(&of_scope.$items[at]) <= room {
                        room -= $size(&of_scope.$items[at]);
                        at += 1;
                    }
                    at
                };
                let mut tail = of_scope.$items.split_off(at);
                if room > 0
                    && let Some(first) = tail.first_mut()
                    && let Some(head) = $cut(first, room)
                {
                    of_scope.$items.push(head);
                }
                if !tail.is_empty() {
                    // What comes after an item that did not fit stays behind it.
                    room = 0;
                    let mut shell = of_scope.clone_shell();
                    shell.$items = tail;
                    rest_scopes.push(shell);
                }
            }
            of_resource.$scopes.retain(|scope| !scope.$items.is_empty());
            if !rest_scopes.is_empty() {
                let mut shell = of_resource.clone_shell();
                shell.$scopes = rest_scopes;
                rest.push(shell);
            }
        }
        $outer.retain(|of_resource| !of_resource.$scopes.is_empty());
        rest
    }};
}

/// A copy of everything but the list inside.
trait CloneShell {
    fn clone_shell(&self) -> Self;
}

macro_rules! clone_shell {
    ($($resource:ident { $scopes:ident }, $scope:ident { $items:ident };)*) => {$(
        impl CloneShell for $resource {
            fn clone_shell(&self) -> Self {
                Self {
                    resource: self.resource.clone(),
                    schema_url: self.schema_url.clone(),
                    $scopes: Vec::new(),
                }
            }
        }
        impl CloneShell for $scope {
            fn clone_shell(&self) -> Self {
                Self {
                    scope: self.scope.clone(),
                    schema_url: self.schema_url.clone(),
                    $items: Vec::new(),
                }
            }
        }
    )*};
}

clone_shell! {
    ResourceLogs { scope_logs }, ScopeLogs { log_records };
    ResourceMetrics { scope_metrics }, ScopeMetrics { metrics };
}

impl OtlpRequest for ExportLogsServiceRequest {
    fn items(&self) -> usize {
        let scopes = self.resource_logs.iter().flat_map(|r| &r.scope_logs);
        scopes.map(|s| s.log_records.len()).sum()
    }

    fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    fn split(mut self) -> Result<(Self, Self), Self> {
        let items = self.items();
        if items < 2 {
            return Err(self);
        }
        let rest = split_off!(
            self.resource_logs,
            items / 2,
            scope_logs,
            log_records,
            |_: &_| 1,
            |_: &mut _, _| None
        );
        let rest = Self {
            resource_logs: rest,
        };
        Ok((self, rest))
    }

    fn partial(reply: &[u8]) -> Option<Partial> {
        let reply = ExportLogsServiceResponse::decode(reply).ok()?;
        let said = reply.partial_success?;
        partial(said.rejected_log_records, said.error_message)
    }
}

impl OtlpRequest for ExportMetricsServiceRequest {
    fn items(&self) -> usize {
        let scopes = self.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
        scopes.flat_map(|s| &s.metrics).map(points).sum()
    }

    fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    fn split(mut self) -> Result<(Self, Self), Self> {
        let items = self.items();
        if items < 2 {
            return Err(self);
        }
        let rest = split_off!(
            self.resource_metrics,
            items / 2,
            scope_metrics,
            metrics,
            points,
            cut_metric
        );
        let rest = Self {
            resource_metrics: rest,
        };
        Ok((self, rest))
    }

    fn partial(reply: &[u8]) -> Option<Partial> {
        let reply = ExportMetricsServiceResponse::decode(reply).ok()?;
        let said = reply.partial_success?;
        partial(said.rejected_data_points, said.error_message)
    }
}

/// Data points of a metric.
fn points(metric: &Metric) -> usize {
    match &metric.data {
        None => 0,
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
    }
}

/// Takes the first `keep` data points of a metric into one of their own.
fn cut_metric(metric: &mut Metric, keep: usize) -> Option<Metric> {
    macro_rules! cut {
        ($data:expr) => {{
            let tail = $data.data_points.split_off(keep);
            std::mem::replace(&mut $data.data_points, tail)
        }};
    }
    if points(metric) <= keep {
        return None;
    }
    let mut head = Metric {
        data: None,
        ..metric.clone()
    };
    head.data = match metric.data.as_mut()? {
        Data::Gauge(data) => {
            let data_points = cut!(data);
            let mut data = data.clone();
            data.data_points = data_points;
            Some(Data::Gauge(data))
        }
        Data::Sum(data) => {
            let data_points = cut!(data);
            let mut data = data.clone();
            data.data_points = data_points;
            Some(Data::Sum(data))
        }
        Data::Histogram(data) => {
            let data_points = cut!(data);
            let mut data = data.clone();
            data.data_points = data_points;
            Some(Data::Histogram(data))
        }
        Data::ExponentialHistogram(data) => {
            let data_points = cut!(data);
            let mut data = data.clone();
            data.data_points = data_points;
            Some(Data::ExponentialHistogram(data))
        }
        Data::Summary(data) => {
            let data_points = cut!(data);
            let mut data = data.clone();
            data.data_points = data_points;
            Some(Data::Summary(data))
        }
    };
    Some(head)
}

/// The request for a batch of log records.
pub(crate) fn logs(
    batch: Vec<(SdkLogRecord, InstrumentationScope)>,
    resource: &ResourceAttributesWithSchema,
) -> ExportLogsServiceRequest {
    let borrowed: Vec<_> = batch
        .iter()
        .map(|(record, scope)| (record, scope))
        .collect();
    ExportLogsServiceRequest {
        resource_logs: group_logs_by_resource_and_scope(&LogBatch::new(&borrowed), resource),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, NumberDataPoint, number_data_point};

    use super::*;

    fn logs(sizes: &[usize]) -> ExportLogsServiceRequest {
        let mut names = 0..;
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                schema_url: "resource".to_owned(),
                scope_logs: sizes
                    .iter()
                    .map(|size| ScopeLogs {
                        scope: Some(InstrumentationScope {
                            name: format!("scope-{size}"),
                            ..InstrumentationScope::default()
                        }),
                        log_records: names
                            .by_ref()
                            .take(*size)
                            .map(|name: u32| LogRecord {
                                event_name: name.to_string(),
                                ..LogRecord::default()
                            })
                            .collect(),
                        ..ScopeLogs::default()
                    })
                    .collect(),
                ..ResourceLogs::default()
            }],
        }
    }

    fn names(request: &ExportLogsServiceRequest) -> Vec<String> {
        let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
        scopes
            .flat_map(|s| &s.log_records)
            .map(|s| s.event_name.clone())
            .collect()
    }

    #[test]
    fn records_are_split_in_order_and_keep_their_surroundings() {
        for sizes in [vec![2], vec![3, 4], vec![1, 1, 5], vec![7, 0, 1]] {
            let whole = logs(&sizes);
            let (a, b) = whole.clone().split().unwrap();
            assert_eq!(a.items(), whole.items() / 2, "{sizes:?}");
            assert_eq!([names(&a), names(&b)].concat(), names(&whole), "{sizes:?}");
            for half in [&a, &b] {
                assert_eq!(half.resource_logs[0].schema_url, "resource");
                for scope in &half.resource_logs[0].scope_logs {
                    assert!(!scope.log_records.is_empty());
                    assert!(scope.scope.as_ref().unwrap().name.starts_with("scope-"));
                }
            }
        }
        assert!(logs(&[1]).split().is_err());
        assert!(logs(&[]).split().is_err());
    }

    #[test]
    fn a_single_metric_is_split_by_its_points() {
        let value = |n| NumberDataPoint {
            value: Some(number_data_point::Value::AsInt(n)),
            ..NumberDataPoint::default()
        };
        let whole = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![Metric {
                        name: "m".to_owned(),
                        data: Some(Data::Gauge(Gauge {
                            data_points: (0..5).map(value).collect(),
                        })),
                        ..Metric::default()
                    }],
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        let (a, b) = whole.split().unwrap();
        assert_eq!((a.items(), b.items()), (2, 3));
        let first = |r: &ExportMetricsServiceRequest| {
            let metric = r.resource_metrics[0].scope_metrics[0].metrics[0].clone();
            match metric.data {
                Some(Data::Gauge(g)) => (metric.name, g.data_points[0].value),
                _ => panic!("not a gauge"),
            }
        };
        let value = |n| Some(number_data_point::Value::AsInt(n));
        assert_eq!(first(&a), ("m".to_owned(), value(0)));
        assert_eq!(first(&b), ("m".to_owned(), value(2)));
    }

    #[test]
    fn splitting_ends() {
        let mut stack = vec![logs(&[5, 0, 9])];
        let mut single = 0;
        while let Some(request) = stack.pop() {
            match request.split() {
                Ok((a, b)) => stack.extend([b, a]),
                Err(one) => {
                    assert_eq!(one.items(), 1);
                    single += 1;
                }
            }
        }
        assert_eq!(single, 14);
    }
}
