//! The standard `OTEL_*` variables that say something here (OpenTelemetry environment variable
//! specification and OTLP exporter specification, v1.41). An empty value counts as not set;
//! variables that are not listed are for other SDKs and stay unread.

use std::borrow::Cow;

use figment::value::{Dict, Value};

use super::check;

type Fields = Vec<(Vec<String>, Value)>;

/// What the value of a variable must be.
#[derive(Clone, Copy)]
enum Form {
    Truth,
    Text,
    Millis,
    Count,
    Ratio,
    Url,
    /// `name=value,…`, values percent-encoded.
    Headers,
    OneOf(&'static [&'static str]),
    /// `none` or a list of these.
    ListOf(&'static [&'static str]),
    /// `otlp` or `none`.
    Exporter,
    Attributes,
    /// Only `cumulative`.
    Temporality,
    /// Checked, but without effect here.
    Ignored,
}

/// Later rows win where two set the same field.
const VARIABLES: &[(&str, &str, Form)] = &[
    ("OTEL_SDK_DISABLED", "disabled", Form::Truth),
    ("OTEL_RESOURCE_ATTRIBUTES", "resource", Form::Attributes),
    ("OTEL_SERVICE_NAME", "resource.service_name", Form::Text),
    (
        "OTEL_TRACES_SAMPLER",
        "traces.sampler",
        Form::OneOf(&[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ]),
    ),
    ("OTEL_TRACES_SAMPLER_ARG", "traces.ratio", Form::Ratio),
    (
        "OTEL_PROPAGATORS",
        "traces.propagators",
        Form::ListOf(&["tracecontext", "baggage"]),
    ),
    (
        "OTEL_TRACES_EXPORTER",
        "otlp.traces.enabled",
        Form::Exporter,
    ),
    (
        "OTEL_METRICS_EXPORTER",
        "otlp.metrics.enabled",
        Form::Exporter,
    ),
    ("OTEL_LOGS_EXPORTER", "otlp.logs.enabled", Form::Exporter),
    (
        "OTEL_BSP_SCHEDULE_DELAY",
        "traces.queue.schedule_delay",
        Form::Millis,
    ),
    (
        "OTEL_BSP_EXPORT_TIMEOUT",
        "traces.queue.export_timeout",
        Form::Millis,
    ),
    (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "traces.queue.max_queue_size",
        Form::Count,
    ),
    (
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "traces.queue.max_export_batch_size",
        Form::Count,
    ),
    (
        "OTEL_BLRP_SCHEDULE_DELAY",
        "logs.queue.schedule_delay",
        Form::Millis,
    ),
    (
        "OTEL_BLRP_EXPORT_TIMEOUT",
        "logs.queue.export_timeout",
        Form::Millis,
    ),
    (
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "logs.queue.max_queue_size",
        Form::Count,
    ),
    (
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        "logs.queue.max_export_batch_size",
        Form::Count,
    ),
    (
        "OTEL_METRIC_EXPORT_INTERVAL",
        "metrics.export_interval",
        Form::Millis,
    ),
    (
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "metrics.export_timeout",
        Form::Millis,
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "",
        Form::Temporality,
    ),
];

/// Variables of the exporter: `OTEL_EXPORTER_OTLP_<name>` and `OTEL_EXPORTER_OTLP_<SIGNAL>_<name>`.
const EXPORTER: &[(&str, &str, Form)] = &[
    ("ENDPOINT", "endpoint", Form::Url),
    ("HEADERS", "headers", Form::Headers),
    ("TIMEOUT", "timeout", Form::Millis),
    (
        "PROTOCOL",
        "protocol",
        Form::OneOf(&["grpc", "http/protobuf"]),
    ),
    (
        "COMPRESSION",
        "compression",
        Form::OneOf(&["none", "gzip", "zstd"]),
    ),
    ("CERTIFICATE", "certificate", Form::Text),
    ("CLIENT_CERTIFICATE", "client_certificate", Form::Text),
    ("CLIENT_KEY", "client_key", Form::Text),
    // The scheme of the endpoint decides, and it takes precedence in the specification too.
    ("INSECURE", "", Form::Ignored),
];

/// Every variable that is read, with the field that it sets; empty: none.
#[cfg(feature = "service")]
pub(crate) fn names() -> impl Iterator<Item = (String, String)> {
    rows().map(|(name, path, _)| (name.into_owned(), path))
}

/// Reads the variables: for each the fields that it sets, or what is accepted.
pub(super) fn read(variables: &[(String, String)]) -> Vec<(&str, Result<Fields, String>)> {
    rows()
        .filter_map(|(name, path, form)| {
            let (name, value) = variables.iter().rev().find(|(known, _)| *known == name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| (name.as_str(), fields(&path, form, value)))
        })
        .collect()
}

fn rows() -> impl Iterator<Item = (Cow<'static, str>, String, Form)> {
    let rows = VARIABLES
        .iter()
        .map(|(name, path, form)| (Cow::Borrowed(*name), (*path).to_owned(), *form));
    let exporter = ["", "TRACES_", "METRICS_", "LOGS_"]
        .into_iter()
        .flat_map(|signal| {
            let steps = signal.trim_end_matches('_').to_ascii_lowercase();
            EXPORTER.iter().map(move |(name, field, form)| {
                let path = match (steps.as_str(), *field) {
                    (_, "") => String::new(),
                    ("", field) => format!("otlp.{field}"),
                    (signal, field) => format!("otlp.{signal}.{field}"),
                };
                (
                    Cow::Owned(format!("OTEL_EXPORTER_OTLP_{signal}{name}")),
                    path,
                    *form,
                )
            })
        });
    rows.chain(exporter)
}

fn fields(path: &str, form: Form, value: &str) -> Result<Fields, String> {
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    let refuse = |accepted: &str| Err(format!("`{value}` is not accepted; accepted: {accepted}"));
    let one = |value: Value| Ok(vec![(path.clone(), value)]);
    let truth = || match value.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    match form {
        Form::Text => one(Value::from(value)),
        Form::Truth => match truth() {
            Some(value) => one(Value::from(value)),
            None => refuse("true, false"),
        },
        Form::Ignored => match truth() {
            Some(_) => Ok(Vec::new()),
            None => refuse("true, false"),
        },
        Form::Millis => match value.parse::<u64>() {
            Ok(millis) if millis > 0 => one(Value::from(millis)),
            _ => refuse("a whole number of milliseconds above 0"),
        },
        Form::Count => match value.parse::<u64>() {
            Ok(count) if count > 0 => one(Value::from(count)),
            _ => refuse("a whole number above 0"),
        },
        Form::Ratio => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => one(Value::from(ratio)),
            _ => refuse("a number from 0 to 1"),
        },
        Form::Url => {
            check::endpoint(value)?;
            one(Value::from(value))
        }
        Form::OneOf(accepted) => {
            let lower = value.to_ascii_lowercase();
            if accepted.contains(&&*lower) {
                one(Value::from(lower))
            } else {
                refuse(&accepted.join(", "))
            }
        }
        Form::ListOf(accepted) => {
            let mut items: Vec<String> = Vec::new();
            for item in value
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
            {
                match item {
                    "none" => {}
                    item if accepted.contains(&item) => items.push(item.to_owned()),
                    _ => return refuse(&format!("{}, none", accepted.join(", "))),
                }
            }
            if items.len() > 1 && value.split(',').any(|item| item.trim() == "none") {
                return refuse(&format!("`none` alone, or {}", accepted.join(", ")));
            }
            items.dedup();
            one(Value::from(items))
        }
        Form::Exporter => match value {
            "otlp" => one(Value::from(true)),
            "none" => one(Value::from(false)),
            _ => refuse("otlp, none"),
        },
        Form::Temporality => match value.to_ascii_lowercase().as_str() {
            "cumulative" => Ok(Vec::new()),
            _ => refuse(
                "cumulative, since the same series are read by Prometheus, which knows no other",
            ),
        },
        Form::Headers => {
            let mut headers = Dict::new();
            for (name, value) in pairs(value)? {
                check::header(&name, &value)?;
                headers.insert(name.to_ascii_lowercase(), Value::from(value));
            }
            one(Value::from(headers))
        }
        Form::Attributes => {
            let mut fields = Fields::new();
            for (key, value) in pairs(value)? {
                let field = match &*key {
                    "service.name" => "service_name",
                    "service.namespace" => "service_namespace",
                    "service.version" => "service_version",
                    "service.instance.id" => "service_instance_id",
                    "deployment.environment.name" | "deployment.environment" => "environment",
                    _ => "attributes",
                };
                let mut path = vec!["resource".to_owned(), field.to_owned()];
                if field == "attributes" {
                    path.push(key);
                }
                fields.push((path, Value::from(value)));
            }
            Ok(fields)
        }
    }
}

/// `key=value,…` in the form of W3C Baggage, without properties; the value is not shown in
/// errors, it may be secret.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .enumerate()
        .filter(|(_, pair)| !pair.trim().is_empty())
        .map(|(index, pair)| {
            let accepted = "accepted: `key=value,key=value`, values percent-encoded";
            let number = index + 1;
            let (key, value) = pair
                .split_once('=')
                .filter(|(key, _)| !key.trim().is_empty())
                .ok_or_else(|| format!("entry {number} is not a pair; {accepted}"))?;
            let decode = |text: &str| {
                percent_encoding::percent_decode_str(text.trim())
                    .decode_utf8()
                    .map(Cow::into_owned)
                    .map_err(|_| format!("entry {number} is not UTF-8 when decoded; {accepted}"))
            };
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}
