//! What is accepted, and probably not meant.

use url::Url;

use super::finding::Finding;
use crate::ingest::hooks::HookContent;
use crate::pipeline::config::{Loaded, OtlpProtocol, OtlpSignal, SamplerKind, otel_env, show};
use crate::service::config::ServiceConfig;

/// Everything in a configuration that is secret.
pub(super) fn secrets(config: &ServiceConfig) -> Vec<String> {
    let auth = &config.auth;
    let otlp = &config.telemetry.otlp;
    let own = OtlpSignal::ALL.map(|signal| otlp.signal(signal).headers.as_ref());
    let headers = own.into_iter().flatten().chain([&otlp.headers]);
    let headers = headers.flat_map(|headers| headers.values().cloned());
    let all = [auth.for_records(), auth.for_monitoring()];
    let tokens = all
        .iter()
        .flat_map(|own| own.tokens.iter().chain(own.users.values()));
    let tokens = tokens.map(|secret| secret.expose().to_owned());
    // Shorter ones are no secrets, and would be found in any text.
    headers
        .chain(tokens)
        .filter(|secret| secret.len() >= 6)
        .collect()
}

pub(super) fn check(loaded: &Loaded<ServiceConfig>, findings: &mut Vec<Finding>) {
    let check = "configuration";
    let sources = loaded.origins.sources();
    findings.push(match sources.is_empty() {
        true => Finding::ok(check, "the defaults, nothing else"),
        false => {
            let sources: Vec<&str> = sources.into_iter().collect();
            Finding::ok(check, format!("accepted, from {}", sources.join(", ")))
        }
    });
    let set: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| name.starts_with("OTEL_") && !value.trim().is_empty())
        .collect();
    let mut notes = variables(&set);
    notes.extend(sampling(loaded));
    notes.extend(otlp(loaded));
    notes.extend(contents(loaded));
    findings.extend(
        notes
            .into_iter()
            .map(|(found, advice)| Finding::warning(check, found).advise(advice)),
    );
}

fn contents(loaded: &Loaded<ServiceConfig>) -> Notes {
    match loaded.config.hooks.content {
        HookContent::Full => vec![note(
            format!(
                "hooks keep prompts and contents of tools as they came, says {}",
                loaded.origins.of(&["hooks", "content"])
            ),
            "`hooks.content = \"redacted\"` takes out secrets, e-mail addresses and home directories",
        )],
        HookContent::Off | HookContent::Redacted => Notes::new(),
    }
}

type Notes = Vec<(String, String)>;

fn note(found: impl Into<String>, advice: impl Into<String>) -> (String, String) {
    (found.into(), advice.into())
}

/// Standard variables that are set to no effect, or in a form that is going away.
fn variables(set: &[(String, String)]) -> Notes {
    let mut notes = Notes::new();
    let known: Vec<(String, String)> = otel_env::names().collect();
    let mut unread = Vec::new();
    for (name, value) in set {
        match known.iter().find(|(known, _)| known == name) {
            None => unread.push(name.as_str()),
            Some(_) if name.ends_with("_INSECURE") => notes.push(note(
                format!("{name} is set to no effect"),
                "the endpoint's scheme decides: http:// is without TLS, https:// with it",
            )),
            Some(_) if name == "OTEL_RESOURCE_ATTRIBUTES" => {
                let old = |pair: &str| {
                    pair.split('=').next().map(str::trim) == Some("deployment.environment")
                };
                if value.split(',').any(old) {
                    notes.push(note(
                        "OTEL_RESOURCE_ATTRIBUTES names `deployment.environment`, which is deprecated",
                        "write `deployment.environment.name`",
                    ));
                }
            }
            Some(_) => {}
        }
    }
    if !unread.is_empty() {
        notes.push(note(
            format!("not read here: {}", unread.join(", ")),
            "docs/reference/configuration.md lists the variables that are read",
        ));
    }
    notes
}

fn sampling(loaded: &Loaded<ServiceConfig>) -> Notes {
    use SamplerKind::{
        AlwaysOff, AlwaysOn, ParentBasedAlwaysOff, ParentBasedAlwaysOn, ParentBasedTraceIdRatio,
        TraceIdRatio,
    };
    let config = &loaded.config.telemetry;
    if config.disabled {
        return vec![note(
            format!(
                "telemetry is switched off by {}",
                loaded.origins.of(&["telemetry", "disabled"])
            ),
            "unset it (OTEL_SDK_DISABLED, `telemetry.disabled`) to have metrics, traces and logs",
        )];
    }
    let ratio = config.traces.ratio;
    let path = ["telemetry", "traces", "ratio"];
    let given = loaded.origins.of(&path) != "default";
    let mut notes = Notes::new();
    match config.traces.sampler {
        AlwaysOff => notes.push(note(
            "no trace is sampled (`always_off`)",
            "set OTEL_TRACES_SAMPLER=parentbased_traceidratio to see some",
        )),
        ParentBasedAlwaysOff => notes.push(note(
            "only traces that a caller sampled are (`parentbased_always_off`)",
            "set OTEL_TRACES_SAMPLER=parentbased_traceidratio unless that is meant",
        )),
        AlwaysOn | ParentBasedAlwaysOn if given => notes.push(note(
            format!(
                "the ratio {ratio} from {} has no effect with this sampler",
                loaded.origins.of(&path)
            ),
            "set OTEL_TRACES_SAMPLER=parentbased_traceidratio, or take the ratio away",
        )),
        TraceIdRatio | ParentBasedTraceIdRatio if !given => notes.push(note(
            "a sampler by ratio is set, and no ratio: every trace is sampled",
            "set OTEL_TRACES_SAMPLER_ARG, such as 0.1",
        )),
        TraceIdRatio | ParentBasedTraceIdRatio if ratio == 0.0 => notes.push(note(
            "the ratio of traces that are sampled is 0",
            "set OTEL_TRACES_SAMPLER_ARG above 0 to see some",
        )),
        _ => {}
    }
    notes
}

fn otlp(loaded: &Loaded<ServiceConfig>) -> Notes {
    let config = &loaded.config.telemetry;
    let otlp = &config.otlp;
    let mut notes = Notes::new();
    if config.disabled {
        return notes;
    }
    if otlp.endpoint.is_some() && OtlpSignal::ALL.iter().all(|s| !otlp.signal(*s).enabled) {
        notes.push(note(
            "an OTLP endpoint is set, and no signal is exported",
            "take OTEL_{TRACES,METRICS,LOGS}_EXPORTER=none away, or the endpoint",
        ));
    }
    if otlp.metrics.enabled && config.metrics.export_timeout > config.metrics.export_interval {
        notes.push(note(
            "a push of metrics may take longer than the time between two",
            "set OTEL_METRIC_EXPORT_TIMEOUT below OTEL_METRIC_EXPORT_INTERVAL",
        ));
    }
    if let Some(url) = otlp
        .endpoint
        .as_deref()
        .and_then(|text| Url::parse(text).ok())
    {
        let path = url.path().trim_end_matches('/');
        let signal = ["/v1/traces", "/v1/metrics", "/v1/logs"].into_iter();
        match otlp.protocol {
            OtlpProtocol::HttpProtobuf => {
                if let Some(end) = signal.into_iter().find(|end| path.ends_with(end)) {
                    notes.push(note(
                        format!(
                            "the common OTLP endpoint ends in {end}, and a path is added to it"
                        ),
                        format!("take {end} off it"),
                    ));
                }
            }
            OtlpProtocol::Grpc if !path.is_empty() => notes.push(note(
                format!("the OTLP endpoint's path {path} has no effect over gRPC"),
                "take it off, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            )),
            OtlpProtocol::Grpc => {}
        }
    }
    for signal in OtlpSignal::ALL {
        let own = otlp.signal(signal);
        let (Some(endpoint), true) = (
            own.endpoint.as_ref().or(otlp.endpoint.as_ref()),
            own.enabled,
        ) else {
            continue;
        };
        let Ok(url) = Url::parse(endpoint) else {
            continue;
        };
        let name = signal.as_str();
        let protocol = own.protocol.unwrap_or(otlp.protocol);
        if own.endpoint.is_some() && protocol == OtlpProtocol::HttpProtobuf && url.path() == "/" {
            notes.push(note(
                format!("the OTLP endpoint of {name} has no path, and is used as it is"),
                format!(
                    "write {}v1/{name}, or set the common endpoint",
                    show::masked_url(url.as_str())
                ),
            ));
        }
        let headers = own.headers.as_ref().unwrap_or(&otlp.headers);
        let local = url.host_str().is_some_and(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        });
        if url.scheme() == "http" && !local && !headers.is_empty() {
            notes.push(note(
                format!(
                    "headers of {name} go to {} without TLS",
                    url.host_str().unwrap_or_default()
                ),
                "use https://, or send to a collector on this machine that holds the credentials",
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::config::load::{Sources, load};

    fn notes(pairs: &[(&str, &str)]) -> String {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let sources = Sources {
            variables: pairs.clone(),
            ..Sources::default()
        };
        let loaded = load(&ServiceConfig::default(), &sources).unwrap();
        let mut all = variables(&pairs);
        all.extend(sampling(&loaded));
        all.extend(otlp(&loaded));
        all.extend(contents(&loaded));
        let all: Vec<String> = all
            .into_iter()
            .map(|(found, advice)| format!("{found} -> {advice}"))
            .collect();
        all.join("\n")
    }

    #[test]
    fn what_is_probably_not_meant_is_said() {
        let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
        for (pairs, part) in [
            (
                vec![("OTEL_SDK_DISABLED", "true")],
                "switched off by OTEL_SDK_DISABLED",
            ),
            (
                vec![("OTEL_TRACES_SAMPLER", "always_off")],
                "no trace is sampled",
            ),
            (
                vec![("TACHOGRAPH_HOOKS__CONTENT", "full")],
                "as they came, says TACHOGRAPH_HOOKS__CONTENT",
            ),
            (
                vec![("OTEL_TRACES_SAMPLER", "parentbased_always_off")],
                "only traces that a caller",
            ),
            (
                vec![("OTEL_TRACES_SAMPLER_ARG", "0.1")],
                "0.1 from OTEL_TRACES_SAMPLER_ARG has no effect",
            ),
            (
                vec![("OTEL_TRACES_SAMPLER", "traceidratio")],
                "every trace is sampled",
            ),
            (
                vec![
                    ("OTEL_TRACES_SAMPLER", "traceidratio"),
                    ("OTEL_TRACES_SAMPLER_ARG", "0"),
                ],
                "is 0",
            ),
            (
                vec![("OTEL_EXPORTER_JAEGER_ENDPOINT", "x")],
                "not read here: OTEL_EXPORTER_JAEGER_ENDPOINT",
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_INSECURE", "true")],
                "set to no effect",
            ),
            (
                vec![("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=x")],
                "is deprecated",
            ),
            (
                vec![(endpoint, "http://localhost:4318/v1/traces")],
                "take /v1/traces off it",
            ),
            (
                vec![
                    (endpoint, "http://localhost:4317/x"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ],
                "/x has no effect over gRPC",
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://localhost:4318")],
                "write http://localhost:4318/v1/logs",
            ),
            (
                vec![
                    (endpoint, "http://collector:4318"),
                    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush"),
                ],
                "headers of traces go to collector without TLS",
            ),
            (
                vec![
                    (endpoint, "http://localhost:4318"),
                    ("OTEL_TRACES_EXPORTER", "none"),
                    ("OTEL_METRICS_EXPORTER", "none"),
                    ("OTEL_LOGS_EXPORTER", "none"),
                ],
                "no signal is exported",
            ),
            (
                vec![
                    (endpoint, "http://localhost:4318"),
                    ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
                ],
                "longer than the time between two",
            ),
        ] {
            let said = notes(&pairs);
            assert!(said.contains(part), "{pairs:?}: {said}");
            assert!(!said.contains("hush"), "{said}");
        }
        for quiet in [
            vec![],
            vec![
                (endpoint, "http://localhost:4318"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "a=hush-hush"),
            ],
            vec![
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
            ],
        ] {
            assert_eq!(notes(&quiet), "", "{quiet:?}");
        }
    }
}
