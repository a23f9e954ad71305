//! `GET /api/monitoring/health/metrics`: whether metrics are collected and get where they
//! should.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use super::routes::{DISABLED, HEALTH_DEADLINE, Monitored, refuse};
use crate::Telemetry;
use crate::pipeline::collectors::reports;
use crate::recording::{self, Reading};
use crate::signals::pipeline::{CollectorLastDuration, CollectorLastSuccess, CollectorUp, Dropped};

pub(super) async fn health(monitored: web::Data<Monitored>) -> HttpResponse {
    let page = match &monitored.page {
        Ok(Some(page)) => page,
        Ok(None) => {
            return HttpResponse::Ok().json(json!({"status": "disabled", "reason": DISABLED}));
        }
        Err(error) => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error);
        }
    };
    let inspected = page.inspect(HEALTH_DEADLINE).await;
    let collecting = inspected.is_ok();
    let reason = inspected.as_ref().err().map(ToString::to_string);
    let status = inspected.unwrap_or_else(|_| page.status());
    let telemetry = monitored.telemetry.clone();
    // Off the worker: a collection takes as long as there are series.
    let read = web::block(move || figures(&telemetry)).await;
    let figures = read.unwrap_or_default();
    let mut categories = serde_json::to_value(&status.domains).unwrap_or_default();
    if let Some(categories) = categories.as_object_mut() {
        name_families(categories);
    }
    let exporters = exporters(&monitored.telemetry);
    let failing = exporters
        .iter()
        .any(|exporter| exporter["consecutive_failures"].as_u64() > Some(0));
    let mut collectors = figures.collectors;
    for (name, report) in reports() {
        let said = serde_json::to_value(report).unwrap_or_default();
        let known = collectors
            .entry(name.to_owned())
            .or_insert_with(|| json!({}));
        if let (Some(known), Value::Object(said)) = (known.as_object_mut(), said) {
            known.extend(said);
        }
    }
    let down = collectors.values().any(|one| one["up"] == json!(false));
    let overall = match (collecting, failing || down) {
        (false, _) => "failing",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    let body = json!({
        "status": overall,
        "collection": {
            "working": collecting,
            "reason": reason,
            "last_success": status.last_success,
            "last_error": status.last_error,
            "collections": status.collections,
            "failures": status.failures,
            "last_duration_seconds": status.last_duration,
            "last_size_bytes": status.last_size,
        },
        "last_scrape": status.last_scrape,
        "last_read": status.last_read,
        "categories": categories,
        "foreign": status.foreign,
        "exporters": exporters,
        "collectors": collectors,
        "dropped": figures.dropped,
    });
    let answer = if collecting {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(answer).json(body)
}

/// Puts the names of their families into the categories.
fn name_families(categories: &mut Map<String, Value>) {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for recorder in recording::all() {
        let signal = recorder.signal();
        let families = signal.metrics.iter().map(|metric| metric.prometheus_name());
        names.entry(signal.domain).or_default().extend(families);
    }
    for (domain, mut families) in names {
        families.dedup();
        if let Some(category) = categories.get_mut(domain).and_then(Value::as_object_mut) {
            category.insert("names".to_owned(), families.into());
        }
    }
}

#[cfg(feature = "otlp")]
fn exporters(telemetry: &Telemetry) -> Vec<Value> {
    telemetry
        .exporters()
        .into_iter()
        .map(|exporter| serde_json::to_value(exporter).unwrap_or_default())
        .collect()
}

#[cfg(not(feature = "otlp"))]
fn exporters(_: &Telemetry) -> Vec<Value> {
    Vec::new()
}

/// What the process's own metrics say of the pipeline.
#[derive(Default)]
struct Figures {
    collectors: BTreeMap<String, Value>,
    dropped: Vec<Value>,
}

fn figures(telemetry: &Telemetry) -> Figures {
    // One at a time: more requests must not mean more collections side by side.
    static READING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _reading = READING.lock();
    let mut figures = Figures::default();
    let Some(collector) = telemetry.collector() else {
        return figures;
    };
    let (up, last, duration) = (
        CollectorUp::SIGNAL.metrics[0].name,
        CollectorLastSuccess::SIGNAL.metrics[0].name,
        CollectorLastDuration::SIGNAL.metrics[0].name,
    );
    let dropped = Dropped::SIGNAL.metrics[0].name;
    for metric in collector.collect().iter().flat_map(|one| one.metrics()) {
        let name = metric.metric().name;
        if ![up, last, duration, dropped].contains(&name) {
            continue;
        }
        for series in metric.series().iter() {
            match (series.read(), series.label("collector")) {
                (Reading::Float(value), Some(collector)) => {
                    let (key, value) = if name == up {
                        ("up", json!(value > 0.0))
                    } else if name == duration {
                        ("last_duration_seconds", json!(value))
                    } else {
                        let time = jiff::Timestamp::from_second(value as i64);
                        ("last_success", json!(time.ok()))
                    };
                    figures
                        .collectors
                        .entry(collector.to_owned())
                        .or_insert_with(|| json!({}))[key] = value;
                }
                (Reading::Unsigned(items), None) if items > 0 => {
                    figures.dropped.push(json!({
                        "signal": series.label("signal"),
                        "reason": series.label("reason"),
                        "items": items,
                    }));
                }
                _ => {}
            }
        }
    }
    figures
}
