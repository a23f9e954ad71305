//! Whether what is exported would be taken, and the likely reason why not.

use std::io::ErrorKind;

use jiff::Timestamp;
use tonic::Code;
use url::Url;

use super::LIMIT;
use super::finding::Finding;
use crate::catalog::ClosedLabel as _;
use crate::pipeline::config::OtlpProtocol;
use crate::pipeline::export::{self, Checked, Failed, Fault};
use crate::service::config::ServiceConfig;

/// Where, the backend's clock, ours.
type Dates = Vec<(String, Timestamp, Timestamp)>;

pub(super) async fn check(config: &ServiceConfig) -> (Vec<Finding>, Dates) {
    let telemetry = &config.telemetry;
    if telemetry.disabled {
        let found = "telemetry is switched off";
        return (vec![Finding::skipped("otlp", found)], Dates::new());
    }
    match export::check(&telemetry.otlp, LIMIT).await {
        Err(error) => {
            let finding = Finding::error("otlp", error.to_string()).advise("correct the setting");
            (vec![finding], Dates::new())
        }
        Ok(checked) if checked.is_empty() => {
            let found = "no endpoint is set: nothing is exported";
            let finding = Finding::skipped("otlp", found)
                .advise("set OTEL_EXPORTER_OTLP_ENDPOINT to send to a collector");
            (vec![finding], Dates::new())
        }
        Ok(checked) => {
            let dates = checked.iter().filter_map(|one| {
                let (theirs, ours) = one.date?;
                Some((one.endpoint.clone(), theirs, ours))
            });
            (checked.iter().map(judge).collect(), dates.collect())
        }
    }
}

fn protocol(checked: &Checked) -> &'static str {
    match checked.protocol {
        OtlpProtocol::Grpc => "gRPC",
        OtlpProtocol::HttpProtobuf => "HTTP",
    }
}

fn judge(checked: &Checked) -> Finding {
    let check = format!("otlp.{}", checked.signal.as_str());
    let (endpoint, over) = (&checked.endpoint, protocol(checked));
    match &checked.failed {
        None => {
            let took = checked.took.as_millis();
            Finding::ok(
                check,
                format!("{endpoint} took an empty export over {over}, {took} ms"),
            )
        }
        Some(Failed { fault, text }) => {
            let found = format!("{endpoint} over {over}: {text}");
            let finding = match fault {
                // It works, only not now.
                Fault::Http(429 | 502..=504)
                | Fault::Grpc(Code::ResourceExhausted | Code::Unavailable) => {
                    Finding::warning(check, found)
                }
                _ => Finding::error(check, found),
            };
            finding.advise(advice(checked, *fault))
        }
    }
}

/// What the likely fix is.
fn advice(checked: &Checked, fault: Fault) -> String {
    let grpc = checked.protocol == OtlpProtocol::Grpc;
    let url = Url::parse(&checked.endpoint).ok();
    let port = url.as_ref().and_then(Url::port_or_known_default);
    let tls = url.as_ref().is_some_and(|url| url.scheme() == "https");
    let name = checked.signal.as_str();
    let other = match grpc {
        true => {
            "4317 is the usual port of gRPC; for HTTP set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        }
        false => "4318 is the usual port of HTTP; for gRPC set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
    };
    let mismatch = matches!((grpc, port), (true, Some(4318)) | (false, Some(4317)));
    let text = match fault {
        Fault::Settings => "correct the setting",
        Fault::Connect(ErrorKind::ConnectionRefused) if mismatch => other,
        Fault::Connect(ErrorKind::ConnectionRefused) => {
            "nothing listens there: start the collector, or correct host and port (4317 is the \
             usual one for gRPC, 4318 for HTTP)"
        }
        Fault::Connect(_) | Fault::Timeout => {
            "check host and port, and that no firewall drops the packets; a collector that hangs \
             looks alike: see its log"
        }
        Fault::Name => "the host's name is not known here: correct it, or the name servers",
        Fault::NoTls => "the other side speaks no TLS: write http:// in place of https://",
        Fault::Tls => {
            "name the authority's certificate with OTEL_EXPORTER_OTLP_CERTIFICATE, and use the \
             host name that the server's certificate has; one that demands a client's \
             certificate needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY"
        }
        Fault::Protocol if !tls && !mismatch => {
            return format!("it may want TLS (https://), or the other transport: {other}");
        }
        Fault::Protocol => other,
        Fault::Http(401 | 403) | Fault::Grpc(Code::Unauthenticated | Code::PermissionDenied) => {
            "set OTEL_EXPORTER_OTLP_HEADERS, such as `authorization=Basic%20…`; where it is set, \
             the token is wrong, has expired, or may not write this signal"
        }
        Fault::Http(404 | 405) => {
            return format!(
                "the path is wrong: OTEL_EXPORTER_OTLP_ENDPOINT is a base to which /v1/{name} is \
                 added, OTEL_EXPORTER_OTLP_{}_ENDPOINT is used as it is and needs it",
                name.to_ascii_uppercase()
            );
        }
        Fault::Grpc(Code::Unimplemented) => {
            return format!(
                "no OTLP service for {name} is there: give the receiver a pipeline for it"
            );
        }
        Fault::Http(415) => {
            "it takes no protobuf, or not this compression: set OTEL_EXPORTER_OTLP_COMPRESSION=none"
        }
        Fault::Http(429) | Fault::Grpc(Code::ResourceExhausted) => {
            "a limit of the backend is reached: send less (sampling, interval), or raise it"
        }
        Fault::Http(502..=504) | Fault::Grpc(Code::Unavailable) => {
            "the backend is there and takes nothing now: see its log; what is exported waits and is tried again"
        }
        Fault::NotOtlp => "this is no OTLP receiver: correct host, port and path",
        // A gRPC server's port asked over HTTP, or the other way round, has many answers.
        _ if mismatch => other,
        _ => "see the backend's log for what it says of this request",
    };
    text.to_owned()
}
