//! Two tiers of the real collector: a gateway and three samplers keep whole traces together.
#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use support::collector::{Ports, Sender, Settings, attribute, cloud, span, until};
use support::otlp::{OtlpReceiver, attributes};

const TRACES: u64 = 600;
/// Each span of a trace comes from another service.
const SERVICES: u64 = 5;
const PERCENT: f64 = 25.0;
/// Of each kind one in twenty.
const ONE_IN: u64 = 20;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Why {
    Error,
    Slow,
    Expensive,
    Wordy,
    Nothing,
}

fn why(trace: u64) -> Why {
    match trace % ONE_IN {
        0 => Why::Error,
        1 => Why::Slow,
        2 => Why::Expensive,
        3 => Why::Wordy,
        _ => Why::Nothing,
    }
}

/// Scattered, as trace ids are.
fn trace_id(trace: u64) -> u128 {
    let scattered = (trace + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u128::from(scattered) << 64) | u128::from(scattered.rotate_left(29))
}

/// The span of one service in a trace; what makes the trace worth keeping is in one of them.
fn part(trace: u64, service: u64) -> Span {
    let telling = service == trace % SERVICES;
    let slow = telling && why(trace) == Why::Slow;
    let took = Duration::from_millis(if slow { 1500 } else { 10 });
    let id = trace * SERVICES + service + 1;
    let parent = if service == 0 { 0 } else { id - 1 };
    let mut span = span("work", trace_id(trace), id, parent, took);
    match why(trace) {
        Why::Error if telling => {
            span.status = Some(Status {
                code: 2,
                ..Status::default()
            });
        }
        Why::Expensive if telling => {
            let cost = any_value::Value::DoubleValue(0.75);
            span.attributes = vec![attribute("llm.cost_usd", cost)];
        }
        Why::Wordy if telling => {
            let tokens = any_value::Value::IntValue(20_000);
            span.attributes = vec![attribute("gen_ai.usage.output_tokens", tokens)];
        }
        _ => {}
    }
    span
}

/// All traces that a receiver got, each with its span ids.
fn traces(cloud: &OtlpReceiver) -> BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> {
    let mut traces: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for span in cloud.spans() {
        let spans = traces.entry(span.trace_id.clone()).or_default();
        spans.insert(span.span_id.clone());
    }
    traces
}

/// What the samplers counted, by service: the last value of each series.
fn counted(clouds: &[OtlpReceiver]) -> BTreeMap<String, i64> {
    let mut last = BTreeMap::new();
    for metric in clouds.iter().flat_map(OtlpReceiver::metrics) {
        let Some(metric::Data::Sum(sum)) = &metric.data else {
            continue;
        };
        if metric.name != "traces.span.metrics.calls" {
            continue;
        }
        for point in &sum.data_points {
            let labels = attributes(&point.attributes);
            assert!(labels.contains_key("collector.instance.id"), "{labels:?}");
            let Some(number_data_point::Value::AsInt(value)) = point.value else {
                panic!("{point:?}");
            };
            let key = (metric.resource["service.name"].clone(), labels);
            let entry = last.entry(key).or_insert(0);
            *entry = value.max(*entry);
        }
    }
    let mut counted = BTreeMap::new();
    for ((service, _), value) in last {
        *counted.entry(service).or_insert(0) += value;
    }
    counted
}

#[test]
fn a_gateway_and_three_samplers_keep_traces_whole() {
    let clouds: Vec<OtlpReceiver> = (0..3).map(|_| cloud()).collect();
    let ports: Vec<Ports> = (0..3).map(|_| Ports::free()).collect();
    let mut samplers = Vec::new();
    for (i, cloud) in clouds.iter().enumerate() {
        let settings = Settings::new("sampler.yaml", ports[i])
            .to(cloud)
            .set("COLLECTOR_INSTANCE_ID", format!("sampler-{i}"))
            .set("SAMPLER_DECISION_WAIT", "8s")
            .set("SAMPLER_SLOW_MS", "1000")
            .set("SAMPLER_PERCENT", PERCENT.to_string());
        let Some(sampler) = settings.start() else {
            return;
        };
        samplers.push(sampler);
    }
    let hosts: Vec<String> = ports
        .iter()
        .map(|p| format!("\"127.0.0.1:{}\"", p.grpc))
        .collect();
    let gateway = Settings::new("gateway.yaml", Ports::free())
        .to(&clouds[0])
        .set("SAMPLERS", format!("[{}]", hosts.join(",")))
        .start()
        .unwrap();

    // Every service sends on its own, in another order, a few spans of many traces at a time.
    std::thread::scope(|scope| {
        for service in 0..SERVICES {
            let sender = Sender::new(gateway.settings.ports);
            scope.spawn(move || {
                // A stride that shares no factor with the number of traces visits each once.
                let stride = [7, 11, 13, 17, 19][service as usize];
                let order: Vec<u64> = (0..TRACES).map(|i| i * stride % TRACES).collect();
                for some in order.chunks(50) {
                    let spans = some.iter().map(|trace| part(*trace, service)).collect();
                    assert_eq!(sender.spans(&format!("service-{service}"), spans), 200);
                }
            });
        }
    });
    let all = BTreeMap::from_iter((0..SERVICES).map(|s| (format!("service-{s}"), TRACES as i64)));
    let decided = "otelcol_processor_tail_sampling_count_traces_sampled_total";
    until("every span is counted before it is sampled", || {
        counted(&clouds) == all
    });

    let wanted: Vec<u64> = (0..TRACES).filter(|t| why(*t) != Why::Nothing).collect();
    let key = |trace: u64| trace_id(trace).to_be_bytes().to_vec();
    let kept = || -> Vec<_> { clouds.iter().map(traces).collect() };
    until("errors, slow and expensive traces are kept", || {
        let kept = kept();
        let whole = |trace: &u64| {
            let spans = kept.iter().filter_map(|traces| traces.get(&key(*trace)));
            spans.map(BTreeSet::len).sum::<usize>() as u64 == SERVICES
        };
        wanted.iter().all(whole)
    });
    // What the documentation says to watch.
    for sampler in &samplers {
        assert!(
            sampler.own(decided).unwrap() > 0.0,
            "{}",
            sampler.own_metrics()
        );
    }
    // Decisions of the last traces.
    std::thread::sleep(Duration::from_secs(3));

    let kept = kept();
    for (i, traces) in kept.iter().enumerate() {
        assert!(!traces.is_empty(), "sampler {i} has a share");
        for (trace, spans) in traces {
            assert_eq!(spans.len() as u64, SERVICES, "{trace:?} is whole");
            let elsewhere = kept
                .iter()
                .filter(|other| other.contains_key(trace))
                .count();
            assert_eq!(elsewhere, 1, "{trace:?} was decided by one");
        }
    }
    let sampler_of = |trace: u64| {
        kept.iter()
            .position(|traces| traces.contains_key(&key(trace)))
    };
    let ordinary: Vec<u64> = (0..TRACES).filter(|t| why(*t) == Why::Nothing).collect();
    let sampled = ordinary
        .iter()
        .filter(|t| sampler_of(**t).is_some())
        .count() as f64;
    let (n, p) = (ordinary.len() as f64, PERCENT / 100.0);
    let spread = 5.0 * (n * p * (1.0 - p)).sqrt();
    assert!(
        (sampled - n * p).abs() < spread,
        "{sampled} of {n} ordinary ones"
    );

    // What comes late follows the decision.
    let (was_kept, was_not): (Vec<u64>, Vec<u64>) =
        ordinary.iter().partition(|t| sampler_of(**t).is_some());
    let sender = gateway.sender();
    for trace in [was_not[0], was_kept[0]] {
        let late = span(
            "late",
            trace_id(trace),
            1 << 40,
            1,
            Duration::from_millis(1),
        );
        assert_eq!(sender.spans("service-0", vec![late]), 200);
    }
    let there = sampler_of(was_kept[0]).unwrap();
    let late = |cloud: &OtlpReceiver| {
        let spans = cloud.spans();
        let late = spans.iter().filter(|span| span.name == "late");
        late.map(|span| span.trace_id.clone()).collect::<Vec<_>>()
    };
    until("the late span of a kept trace follows", || {
        !late(&clouds[there]).is_empty()
    });
    std::thread::sleep(Duration::from_secs(2));
    let all: Vec<_> = clouds.iter().flat_map(late).collect();
    assert_eq!(all, [key(was_kept[0])]);
}
