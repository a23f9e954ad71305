//! Configuration: which source wins, what each refusal says, what is never shown.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tachograph::pipeline::config::load::{Loaded, Sources, load};
use tachograph::pipeline::config::{
    OtlpCompression, OtlpProtocol, Propagator, SamplerKind, TelemetryConfig,
};
use tachograph::service::config::ServiceConfig;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn sources(file: &str, pairs: &[(&str, &str)]) -> Sources {
    Sources {
        file: (!file.is_empty()).then(|| ("t.toml".to_owned(), file.to_owned())),
        variables: variables(pairs),
        flags: Vec::new(),
    }
}

fn service(file: &str, pairs: &[(&str, &str)]) -> Loaded<ServiceConfig> {
    load(&ServiceConfig::default(), &sources(file, pairs)).unwrap()
}

fn refused(file: &str, pairs: &[(&str, &str)]) -> String {
    match load(&ServiceConfig::default(), &sources(file, pairs)) {
        Ok(loaded) => panic!("accepted: {file} {pairs:?}: {:?}", loaded.config),
        Err(error) => error.to_string(),
    }
}

fn otel(pairs: &[(&str, &str)]) -> TelemetryConfig {
    TelemetryConfig::from_variables(variables(pairs)).unwrap()
}

#[test]
fn the_later_source_wins_and_is_named() {
    let file = "listen = \"127.0.0.1:1\"\n\n[telemetry.resource]\nservice_name = \"file\"\n";
    let own = ("TACHOGRAPH_TELEMETRY__RESOURCE__SERVICE_NAME", "own");
    let standard = ("OTEL_SERVICE_NAME", "standard");
    for (file, pairs, name, source) in [
        ("", vec![], "tachograph", "default"),
        (file, vec![], "file", "t.toml:4"),
        (file, vec![own], "own", own.0),
        (file, vec![own, standard], "standard", standard.0),
    ] {
        let loaded = service(file, &pairs);
        assert_eq!(loaded.config.telemetry.resource.service_name, name);
        let path = ["telemetry", "resource", "service_name"];
        assert_eq!(loaded.origins.of(&path), source);
    }
    let mut all = sources(file, &[("TACHOGRAPH_LISTEN", "127.0.0.1:2")]);
    all.flags = vec![("--listen", &["listen"], "localhost:3".to_owned())];
    let loaded = load(&ServiceConfig::default(), &all).unwrap();
    assert_eq!(loaded.config.listen.to_string(), "127.0.0.1:3");
    assert_eq!(loaded.origins.of(&["listen"]), "--listen");
}

#[test]
fn own_variables_take_the_type_of_their_field() {
    let config = service(
        "",
        &[
            ("TACHOGRAPH_TELEMETRY__RESOURCE__SERVICE_VERSION", "1.0"),
            ("TACHOGRAPH_TELEMETRY__RESOURCE__ENVIRONMENT", "true"),
            ("TACHOGRAPH_TELEMETRY__DISABLED", "true"),
            ("TACHOGRAPH_TELEMETRY__TRACES__RATIO", "1"),
            (
                "TACHOGRAPH_TELEMETRY__TRACES__PROPAGATORS",
                "baggage,tracecontext",
            ),
            ("TACHOGRAPH_LIMITS__WORKERS", "3"),
            ("TACHOGRAPH_LIMITS__KEEP_ALIVE", "1m"),
            (
                "TACHOGRAPH_AUTH__TOKENS",
                "0123456789abcdef,0123456789abcdeg",
            ),
            ("TACHOGRAPH_AUTH__RECORDS__TOKENS", "[\"0123456789abcdeh\"]"),
            ("TACHOGRAPH_AUTH__USERS__GRAFANA", "long enough"),
            ("TACHOGRAPH_TOKEN", "for the client commands"),
        ],
    )
    .config;
    let resource = &config.telemetry.resource;
    assert_eq!(resource.service_version.as_deref(), Some("1.0"));
    assert_eq!(resource.environment.as_deref(), Some("true"));
    assert!(config.telemetry.disabled);
    assert_eq!(
        config.telemetry.traces.propagators,
        [Propagator::Baggage, Propagator::TraceContext]
    );
    assert_eq!(config.limits.workers, 3);
    assert_eq!(config.limits.keep_alive, Duration::from_secs(60));
    assert_eq!(config.auth.for_records().tokens.len(), 3);
    assert_eq!(config.auth.for_monitoring().tokens.len(), 2);
    assert_eq!(config.auth.users["grafana"].expose(), "long enough");
}

#[test]
fn standard_variables_set_what_the_specification_says() {
    let config = otel(&[
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_SERVICE_NAME", "shop"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=lost,service.version=2.1,deployment.environment.name=prod,\
             team=a%2Cb%20c,host.name=h",
        ),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "Authorization=Basic%20abc, x-scope=1",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-own=2"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "9000"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "Cumulative",
        ),
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4096"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1024"),
        ("OTEL_BSP_SCHEDULE_DELAY", "700"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "800"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "512"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "5000"),
        ("OTEL_BSP_UNKNOWN_TO_US", "of another SDK"),
    ]);
    assert!(config.disabled);
    let resource = &config.resource;
    assert_eq!(resource.service_name, "shop");
    assert_eq!(resource.service_version.as_deref(), Some("2.1"));
    assert_eq!(resource.environment.as_deref(), Some("prod"));
    assert_eq!(resource.attributes["team"], "a,b c");
    assert_eq!(resource.attributes["host.name"], "h");
    assert_eq!(config.traces.sampler, SamplerKind::ParentBasedTraceIdRatio);
    assert!((config.traces.ratio - 0.01).abs() < f64::EPSILON);
    assert!(config.traces.propagators.is_empty());
    assert_eq!(config.traces.queue.max_queue_size, 4096);
    assert_eq!(
        config.traces.queue.schedule_delay,
        Duration::from_millis(700)
    );
    assert_eq!(
        config.traces.queue.export_timeout,
        Some(Duration::from_millis(800))
    );
    assert_eq!(config.logs.queue.max_queue_size, 512);
    assert_eq!(config.metrics.export_interval, Duration::from_secs(15));
    assert_eq!(config.metrics.export_timeout, Duration::from_secs(5));

    let otlp = &config.otlp;
    assert_eq!(otlp.endpoint.as_deref(), Some("http://collector:4318"));
    assert_eq!(otlp.headers["authorization"], "Basic abc");
    assert_eq!(otlp.headers["x-scope"], "1");
    let endpoint = otlp.traces.endpoint.as_deref();
    assert_eq!(endpoint, Some("https://traces:4317"));
    assert_eq!(otlp.traces.protocol, Some(OtlpProtocol::Grpc));
    assert_eq!(otlp.traces.headers.as_ref().unwrap().len(), 1);
    assert_eq!(otlp.certificate.as_deref(), Some("ca.pem"));
    assert_eq!(otlp.metrics.timeout, Some(Duration::from_secs(9)));
    assert_eq!(otlp.metrics.compression, Some(OtlpCompression::None));
    assert!(!otlp.logs.enabled);
}

#[test]
fn an_empty_standard_variable_is_not_set() {
    let config = otel(&[("OTEL_SDK_DISABLED", ""), ("OTEL_TRACES_SAMPLER", " ")]);
    assert!(!config.disabled);
    assert!(config.resource.service_name.starts_with("unknown_service:"));
}

#[test]
fn a_library_leaves_the_variables_of_the_service_alone() {
    let config = otel(&[
        ("TACHOGRAPH_LISTEN", "nonsense"),
        ("TACHOGRAPH_TELEMETRY__LOGS__FILTER", "debug"),
    ]);
    assert_eq!(config.logs.filter, "debug");
    let error = TelemetryConfig::from_variables(variables(&[(
        "TACHOGRAPH_TELEMETRY__LOGS__FORMAL",
        "json",
    )]))
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("did you mean `TACHOGRAPH_TELEMETRY__LOGS__FORMAT`?"),
        "{error}"
    );
}

#[test]
fn refusals_of_files_name_file_line_key_and_what_is_accepted() {
    for (file, parts) in [
        (
            "\n[telemetry.otlp]\nendpont = \"x\"\n",
            vec![
                "t.toml:3",
                "`endpont`",
                "`telemetry.otlp`",
                "did you mean `telemetry.otlp.endpoint`?",
                "accepted: endpoint, protocol, headers",
            ],
        ),
        (
            "endpoint = \"x\"",
            vec![
                "t.toml:1",
                "did you mean `telemetry.otlp.endpoint`?",
                "accepted: listen, admin_listen",
            ],
        ),
        (
            "telemetry = { otlp = { zzz = 1 } }",
            vec!["t.toml:1", "`zzz`", "accepted: endpoint"],
        ),
        (
            "[limits]\nworkers = \"two\"",
            vec![
                "t.toml:2",
                "`limits.workers`",
                "`two`",
                "a whole number, 0 or more",
            ],
        ),
        (
            "[limits]\n\nworkers = 0",
            vec!["t.toml:3", "`limits.workers`", "`0`", "1 to 64"],
        ),
        (
            "[limits]\nworkers = -1",
            vec!["t.toml:2", "`limits.workers`", "`-1`"],
        ),
        (
            "[limits]\nbody_bytes = 1",
            vec!["t.toml:2", "1024 to 268435456"],
        ),
        (
            "[limits]\nkeep_alive = \"soon\"",
            vec!["t.toml:2", "`limits.keep_alive`", "ms, s, m, h"],
        ),
        (
            "[limits]\nkeep_alive = true",
            vec!["t.toml:2", "milliseconds or text such as `10s`"],
        ),
        (
            "[telemetry]\ndisabled = \"yes\"",
            vec!["t.toml:2", "`telemetry.disabled`", "`yes`", "true, false"],
        ),
        (
            "[telemetry.traces]\nsampler = \"never\"",
            vec!["t.toml:2", "`never`", "always_on, always_off, traceidratio"],
        ),
        (
            "[telemetry.traces]\nratio = 1.5",
            vec!["t.toml:2", "`telemetry.traces.ratio`", "`1.5`", "0 to 1"],
        ),
        (
            "[telemetry.traces]\npropagators = [\"b3\"]",
            vec!["t.toml:2", "`b3`", "tracecontext, baggage"],
        ),
        (
            "[telemetry.traces.queue]\nmax_queue_size = 10",
            vec!["`telemetry.traces.queue.max_export_batch_size`", "1 to 10"],
        ),
        (
            "[telemetry.logs]\nfilter = \"a=b=c\"",
            vec!["t.toml:2", "`telemetry.logs.filter`", "info,my_crate=debug"],
        ),
        ("telemetry = 5", vec!["t.toml:1", "`telemetry`", "a table"]),
        (
            "[telemetry.otlp]\nendpoint = \"collector:4317\"",
            vec!["t.toml:2", "http://collector:4318"],
        ),
        (
            "[telemetry.otlp]\nclient_key = \"k.pem\"",
            vec!["t.toml:2", "client_certificate"],
        ),
        (
            "[telemetry.otlp.headers]\n\"a b\" = \"x\"",
            vec!["t.toml:", "`a b`", "letters, digits"],
        ),
        (
            "[telemetry.otlp.logs]\ntimeout = \"0s\"",
            vec!["t.toml:2", "`telemetry.otlp.logs.timeout`", "above 0"],
        ),
        (
            "listen = \"everywhere\"",
            vec!["t.toml:1", "`everywhere`", "[::1]:8001"],
        ),
        ("listen = 8001", vec!["t.toml:1", "`listen`", "text"]),
        (
            "database = \"mysql://u:hush@h/d\"",
            vec!["t.toml:1", "mysql://u:***@h/d", "sqlite://"],
        ),
        (
            "admin_listen = \"127.0.0.1:8001\"",
            vec!["t.toml:1", "another address"],
        ),
        (
            "[auth]\ntokens = [\"hush\"]",
            vec!["t.toml:2", "`auth.tokens`", "16 or more"],
        ),
        (
            "[auth.users]\nme = \"hush\"",
            vec!["`auth.users`", "`me`", "8 or more"],
        ),
        (
            "a = \n[auth]\ntokens = [\"hush\"]",
            vec!["t.toml:1", "not TOML"],
        ),
    ] {
        let text = refused(file, &[]);
        for part in parts {
            assert!(text.contains(part), "{file}\n  {text}\n  lacks {part}");
        }
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn refusals_of_variables_name_variable_value_and_what_is_accepted() {
    for (name, value, parts) in [
        ("OTEL_SDK_DISABLED", "1", vec!["`1`", "true, false"]),
        (
            "OTEL_TRACES_SAMPLER",
            "jaeger_remote",
            vec!["`jaeger_remote`", "parentbased_traceidratio"],
        ),
        ("OTEL_TRACES_SAMPLER_ARG", "2", vec!["`2`", "0 to 1"]),
        (
            "OTEL_PROPAGATORS",
            "tracecontext,b3",
            vec!["b3", "tracecontext, baggage, none"],
        ),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "a=1,b",
            vec!["entry 2", "key=value"],
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4317",
            vec!["collector:4317", "http://collector:4318"],
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            vec!["`http/json`", "grpc, http/protobuf"],
        ),
        (
            "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION",
            "br",
            vec!["`br`", "none, gzip, zstd"],
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s",
            vec!["`10s`", "whole number of milliseconds"],
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "Bearer hush",
            vec!["entry 1", "key=value"],
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a b=hush",
            vec!["`a b`", "letters, digits"],
        ),
        (
            "OTEL_METRICS_EXPORTER",
            "console",
            vec!["`console`", "otlp, none"],
        ),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "-1",
            vec!["`-1`", "whole number above 0"],
        ),
        ("OTEL_BLRP_SCHEDULE_DELAY", "0", vec!["`0`", "above 0"]),
        (
            "OTEL_METRIC_EXPORT_INTERVAL",
            "often",
            vec!["`often`", "milliseconds"],
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "delta",
            vec!["`delta`", "cumulative", "Prometheus"],
        ),
        (
            "TACHOGRAPH_LISTNE",
            "x",
            vec![
                "unknown key `listne`",
                "did you mean `TACHOGRAPH_LISTEN`?",
                "accepted: listen",
            ],
        ),
        (
            "TACHOGRAPH_ENDPOINT",
            "x",
            vec!["did you mean `TACHOGRAPH_TELEMETRY__OTLP__ENDPOINT`?"],
        ),
        (
            "TACHOGRAPH_LIMITS__WORKERS",
            "many",
            vec!["`limits.workers`", "`many`", "whole number"],
        ),
        (
            "TACHOGRAPH_LIMITS__WORKERS",
            "65",
            vec!["`limits.workers`", "1 to 64"],
        ),
        (
            "TACHOGRAPH_AUTH__TOKENS",
            "hush",
            vec!["`auth.tokens`", "16 or more"],
        ),
        (
            "TACHOGRAPH_TELEMETRY__OTLP__HEADERS",
            "hush",
            vec!["`telemetry.otlp.headers`", "this value", "a table"],
        ),
    ] {
        let text = refused("", &[(name, value)]);
        assert!(text.starts_with(name), "{text}");
        for part in parts {
            assert!(
                text.contains(part),
                "{name}={value}\n  {text}\n  lacks {part}"
            );
        }
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let text = refused(
        "one = 1\n[limits]\ntwo = 2\nworkers = true\n",
        &[("OTEL_SDK_DISABLED", "3"), ("TACHOGRAPH_FOUR", "4")],
    );
    for part in [
        "`one`",
        "`two`",
        "`limits.workers`",
        "OTEL_SDK_DISABLED",
        "TACHOGRAPH_FOUR",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(text.lines().count(), 5, "{text}");
}

#[test]
fn beyond_loopback_needs_a_token_and_the_refusal_says_how() {
    const TOKEN: (&str, &str) = ("TACHOGRAPH_AUTH__TOKENS", "0123456789abcdef");
    const RECORDS: (&str, &str) = ("TACHOGRAPH_AUTH__RECORDS__TOKENS", "0123456789abcdef");
    const MONITORING: (&str, &str) = ("TACHOGRAPH_AUTH__MONITORING__TOKENS", "0123456789abcdef");
    for (listen, admin, credentials, lacking) in [
        ("127.0.0.1:1", "", vec![], None),
        ("[::1]:1", "", vec![], None),
        ("[::ffff:127.0.0.1]:1", "", vec![], None),
        ("0.0.0.0:1", "", vec![], Some("everything would be open")),
        ("[::]:1", "", vec![], Some("everything would be open")),
        (
            "192.0.2.1:1",
            "",
            vec![MONITORING],
            Some("the records API would be open"),
        ),
        (
            "192.0.2.1:1",
            "",
            vec![RECORDS],
            Some("the monitoring routes would be open"),
        ),
        ("192.0.2.1:1", "", vec![TOKEN], None),
        ("192.0.2.1:1", "", vec![RECORDS, MONITORING], None),
        ("192.0.2.1:1", "127.0.0.1:2", vec![RECORDS], None),
        (
            "127.0.0.1:1",
            "0.0.0.0:2",
            vec![RECORDS],
            Some("the monitoring routes would be open"),
        ),
    ] {
        let mut pairs = credentials;
        pairs.push(("TACHOGRAPH_LISTEN", listen));
        if !admin.is_empty() {
            pairs.push(("TACHOGRAPH_ADMIN_LISTEN", admin));
        }
        match (
            load(&ServiceConfig::default(), &sources("", &pairs)),
            lacking,
        ) {
            (Ok(_), None) => {}
            (Err(error), Some(lacking)) => {
                let text = error.to_string();
                assert!(text.contains(lacking), "{text}");
                assert!(text.contains("TACHOGRAPH_AUTH__TOKENS"), "{text}");
            }
            (result, lacking) => panic!("{pairs:?}: {lacking:?}, got {result:?}"),
        }
    }
}

#[test]
fn the_printed_configuration_masks_secrets_and_reads_back() {
    let file = "[auth]\ntokens = [\"hush-hush-hush-hush\"]\n[auth.users]\nme = \"hush-hush\"\n\
                [telemetry.otlp]\nendpoint = \"https://u:hush@h/otlp\"\n";
    let loaded = service(
        file,
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "authorization=hush"),
            ("OTEL_RESOURCE_ATTRIBUTES", "host.name=\"h\""),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ],
    );
    let printed = loaded.to_toml();
    assert!(!printed.contains("hush"), "{printed}");
    assert!(!format!("{:?}", loaded.config).contains("hush"));
    for line in [
        "listen = \"127.0.0.1:8001\"  # default",
        "tokens = [\"***\"]  # t.toml:2",
        "me = \"***\"  # t.toml:4",
        "endpoint = \"https://u:***@h/otlp\"  # t.toml:6",
        "authorization = \"***\"  # OTEL_EXPORTER_OTLP_HEADERS",
        "authorization = \"***\"  # OTEL_EXPORTER_OTLP_LOGS_HEADERS",
        "ratio = 0.5  # OTEL_TRACES_SAMPLER_ARG",
        "keep_alive = \"30s\"  # default",
        "# admin_listen is not set  # default",
    ] {
        assert!(
            printed.lines().any(|known| known == line),
            "{line} in\n{printed}"
        );
    }
    // Without secrets, what is printed is a configuration file of the same meaning.
    let plain = service(
        "[limits]\nworkers = 5\n",
        &[("OTEL_RESOURCE_ATTRIBUTES", "a.b=c\"d")],
    );
    assert_eq!(service(&plain.to_toml(), &[]).config, plain.config);
}
