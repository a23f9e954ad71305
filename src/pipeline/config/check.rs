//! What is wrong with a configuration beyond keys and types.

use std::time::Duration;

use super::{OtlpSignal, QueueConfig, TelemetryConfig};
use crate::pipeline::filter::Directives;

/// Items a queue may hold at most: a limit on memory, well beyond any useful queue.
const MAX_QUEUE: usize = 1_000_000;

type Problems = Vec<(Vec<&'static str>, String)>;

pub(super) fn telemetry(config: &TelemetryConfig) -> Problems {
    let mut problems = Problems::new();
    if config.resource.service_name.trim().is_empty() {
        problems.push((
            vec!["resource", "service_name"],
            "is empty; accepted: the name of the service".to_owned(),
        ));
    }
    let ratio = config.traces.ratio;
    if !(0.0..=1.0).contains(&ratio) {
        problems.push((
            vec!["traces", "ratio"],
            format!("`{ratio}` is not accepted; accepted: a number from 0 to 1"),
        ));
    }
    for (signal, filter) in [
        ("traces", &config.traces.filter),
        ("logs", &config.logs.filter),
    ] {
        if let Err(error) = filter.parse::<Directives>() {
            problems.push((vec![signal, "filter"], error.to_string()));
        }
    }
    queue("traces", &config.traces.queue, &mut problems);
    queue("logs", &config.logs.queue, &mut problems);
    for (field, value) in [
        ("export_interval", config.metrics.export_interval),
        ("export_timeout", config.metrics.export_timeout),
    ] {
        positive(vec!["metrics", field], value, &mut problems);
    }
    otlp(config, &mut problems);
    problems
}

fn positive(path: Vec<&'static str>, value: Duration, problems: &mut Problems) {
    if value.is_zero() {
        problems.push((
            path,
            "`0s` is not accepted; accepted: a duration above 0 such as `10s`".to_owned(),
        ));
    }
}

fn queue(signal: &'static str, queue: &QueueConfig, problems: &mut Problems) {
    let at = |field| vec![signal, "queue", field];
    let size = queue.max_queue_size;
    if size == 0 || size > MAX_QUEUE {
        problems.push((
            at("max_queue_size"),
            format!("`{size}` is not accepted; accepted: 1 to {MAX_QUEUE}"),
        ));
    }
    let batch = queue.max_export_batch_size;
    if batch == 0 || batch > size {
        problems.push((
            at("max_export_batch_size"),
            format!(
                "`{batch}` is not accepted; accepted: 1 to {size}, the value of \
                 `max_queue_size`"
            ),
        ));
    }
    positive(at("schedule_delay"), queue.schedule_delay, problems);
    if let Some(timeout) = queue.export_timeout {
        positive(at("export_timeout"), timeout, problems);
    }
}

fn otlp(config: &TelemetryConfig, problems: &mut Problems) {
    let otlp = &config.otlp;
    let common = (
        vec!["otlp"],
        &otlp.endpoint,
        Some(&otlp.headers),
        Some(otlp.timeout),
        &otlp.client_certificate,
        &otlp.client_key,
    );
    let own = OtlpSignal::ALL.map(|signal| {
        let own = otlp.signal(signal);
        (
            vec!["otlp", signal.as_str()],
            &own.endpoint,
            own.headers.as_ref(),
            own.timeout,
            &own.client_certificate,
            &own.client_key,
        )
    });
    for (path, target, headers, timeout, certificate, key) in std::iter::once(common).chain(own) {
        let at = |field| [&path[..], &[field]].concat();
        if let Some(target) = target
            && let Err(problem) = endpoint(target)
        {
            problems.push((at("endpoint"), problem));
        }
        for (name, value) in headers.into_iter().flatten() {
            if let Err(problem) = header(name, value) {
                problems.push((at("headers"), problem));
            }
        }
        if let Some(timeout) = timeout {
            positive(at("timeout"), timeout, problems);
        }
        match (certificate, key) {
            (Some(_), None) => problems.push((
                at("client_certificate"),
                "stands alone; `client_key` is needed with it".to_owned(),
            )),
            (None, Some(_)) => problems.push((
                at("client_key"),
                "stands alone; `client_certificate` is needed with it".to_owned(),
            )),
            _ => {}
        }
    }
}

/// Whether OTLP can be sent there.
pub(super) fn endpoint(text: &str) -> Result<(), String> {
    let accepted = "accepted: a URL such as `http://collector:4318` or `https://host/otlp`";
    let shown = super::show::masked_url(text);
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        Ok(url) if url.has_host() => Err(format!(
            "`{shown}` has the scheme `{}`; {accepted}",
            url.scheme()
        )),
        Ok(_) => Err(format!("`{shown}` has no scheme; {accepted}")),
        Err(error) => Err(format!("`{shown}` is not a URL ({error}); {accepted}")),
    }
}

/// Whether a header can be sent (RFC 9110, section 5). The value is never shown.
pub(super) fn header(name: &str, value: &str) -> Result<(), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(format!(
            "`{name}` is not a header name; accepted: letters, digits and !#$%&'*+-.^_`|~"
        ));
    }
    if !value.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
        return Err(format!(
            "the value of `{name}` is not accepted; accepted: visible ASCII and spaces"
        ));
    }
    Ok(())
}
