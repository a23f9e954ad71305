//! Other systems' names for what is recorded: every family of every vocabulary as it stands
//! on the page, from the real recorders.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use opentelemetry_sdk::Resource;
use support::oracle::{self, Family, Kind};
use support::traffic::record;
use tachograph::exposition::{Encoding, Format, Names, Page, PageError, Request};
use tachograph::pipeline::metrics::{Collector, install};
use tachograph::recording;
use tachograph::signals::CATALOG;
use tachograph::vocabulary::{Library, Vocabulary, Wanted, builtin, declared};

const LONG: Duration = Duration::from_secs(30);

fn collector() -> &'static Collector {
    static INSTALLED: OnceLock<Collector> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let collector = install(Resource::builder_empty().build(), CATALOG, false).unwrap();
        record();
        collector
    })
}

fn page(wanted: &Wanted) -> Page {
    let library = Arc::new(Library::load(wanted, &declared()).unwrap());
    Page::builder(collector().clone())
        .vocabularies(&library)
        .start()
        .unwrap()
}

fn render(page: &Page, format: Format, query: &str) -> Result<String, PageError> {
    let mut request = Request::negotiate(None, None, query).unwrap();
    request.format = format;
    let rendered = futures_util::future::FutureExt::boxed(page.render(request, LONG));
    let rendered = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(rendered)?;
    Ok(String::from_utf8(rendered.chunks.concat()).unwrap())
}

fn vocabulary(name: &str) -> Vocabulary {
    builtin::load(name, &declared()).unwrap().unwrap()
}

/// The page of a vocabulary, with times that differ from run to run as `NOW`.
fn shown(name: &str, format: Format) -> String {
    let page = page(&Wanted::default());
    let text = render(&page, format, &format!("vocabulary={name}")).unwrap();
    let lines = text.lines().map(|line| {
        let time = line.starts_with("agent_last_execution_timestamp{");
        match (time, line.rsplit_once(' ')) {
            (true, Some((series, value))) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let age = now.unwrap().as_secs_f64() - value.parse::<f64>().unwrap();
                assert!((0.0..600.0).contains(&age), "{line}");
                format!("{series} NOW\n")
            }
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn every_family_says_what_was_recorded() {
    for name in builtin::NAMES {
        let text = shown(name, Format::Text0);
        let path = format!(
            "{}/tests/vocabularies/{name}.txt",
            env!("CARGO_MANIFEST_DIR")
        );
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if text != expected {
            let found = format!("{}/{name}.txt", env!("CARGO_TARGET_TMPDIR"));
            std::fs::write(&found, &text).unwrap();
            panic!("{path} differs from what is shown now, {found}");
        }
        for family in vocabulary(name).families {
            let heading = format!("# TYPE {} ", family.name);
            let shown = text.contains(&heading);
            assert_eq!(shown, family.mapping().is_some(), "{name}: {}", family.name);
        }
    }
}

#[test]
fn prometheus_reads_the_families_as_they_are_promised() {
    for name in builtin::NAMES {
        let now = |text: String| text.replace(" NOW", " 1");
        let text = now(shown(name, Format::Text0));
        let open = now(shown(name, Format::OpenMetrics));
        let Some(parsed) = oracle::parse(Kind::Text, &text) else {
            return;
        };
        let parsed: BTreeMap<String, Family> = by_name(parsed.unwrap());
        let open = by_name(oracle::parse(Kind::OpenMetrics, &open).unwrap().unwrap());
        assert_eq!(parsed.len(), open.len(), "{name}");
        for family in vocabulary(name).families {
            if family.mapping().is_none() {
                continue;
            }
            // The text parser takes an info for a gauge, as its format has no other.
            let info = family.kind.as_str() == "info";
            let base = if info { &*family.name } else { family.base() };
            let found = &parsed[base];
            let expected = if info { "gauge" } else { family.kind.as_str() };
            assert_eq!(found.kind, expected, "{base}");
            assert_eq!(found.help, family.help, "{base}");
            let mut labels: BTreeSet<&str> = BTreeSet::new();
            let mut bounds: BTreeSet<String> = BTreeSet::new();
            for sample in &found.samples {
                for (label, value) in &sample.1 {
                    match label.as_str() {
                        "le" => bounds.insert(value.clone()),
                        label => labels.insert(label),
                    };
                }
            }
            let promised: BTreeSet<&str> = family.labels.iter().map(String::as_str).collect();
            assert_eq!(labels, promised, "{base}");
            if family.kind.as_str() == "histogram" {
                let promised = family.bounds.iter().map(f64::to_string);
                assert_eq!(
                    bounds,
                    promised.chain(["+Inf".to_owned()]).collect(),
                    "{base}"
                );
            }
            let found = &open[family.base()];
            assert_eq!(found.kind, family.kind.as_str(), "{base}");
            assert_eq!(found.samples.len(), parsed[base].samples.len(), "{base}");
        }
        let (read, remarks) = oracle::promtool(&text).unwrap_or((true, String::new()));
        assert!(read, "{name}: {remarks}");
    }
}

fn by_name(families: Vec<Family>) -> BTreeMap<String, Family> {
    families.into_iter().map(|f| (f.name.clone(), f)).collect()
}

#[test]
fn served_beside_our_own_names() {
    let wanted = Wanted {
        serve: vec!["autobot".to_owned(), "omniclaude".to_owned()],
        ..Wanted::default()
    };
    let page = page(&wanted);
    let text = render(&page, Format::Text0, "").unwrap();
    for family in [
        "workflow_executions_total",
        "autobot_workflow_executions_total",
        "omniclaude_http_request_total",
    ] {
        assert!(text.contains(&format!("\n# TYPE {family} ")), "{family}");
    }
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names: Vec<&str> = types.map(|line| line.split(' ').next().unwrap()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted);
    let open = render(&page, Format::OpenMetrics, "").unwrap();
    if let Some(parsed) = oracle::parse(Kind::OpenMetrics, &open) {
        parsed.unwrap();
    }
    // Families can be chosen by name, under any name.
    let query = "name[]=autobot_tasks_executed_total&name[]=task_executions_total";
    let chosen = render(&page, Format::Text0, query).unwrap();
    let types = chosen.lines().filter(|line| line.starts_with("# TYPE"));
    assert_eq!(types.count(), 2, "{chosen}");
    // Without being asked there is nothing of it.
    let plain = render(&self::page(&Wanted::default()), Format::Text0, "").unwrap();
    assert!(!plain.contains("autobot_"));
}

#[test]
fn alone_there_is_nothing_else_and_what_is_unknown_is_refused() {
    let page = page(&Wanted::default());
    let text = render(
        &page,
        Format::Text0,
        "vocabulary=autobot&vocabulary=omniclaude",
    )
    .unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for name in types {
        let known = name.starts_with("autobot_") || name.starts_with("omniclaude_");
        assert!(known, "{name}");
    }
    let query = "vocabulary=data20&name[]=app_info";
    assert_eq!(
        render(&page, Format::Text0, query).unwrap(),
        "# HELP app_info Application information\n# TYPE app_info gauge\napp_info 1\n"
    );
    for (query, expected) in [
        ("vocabulary=", "there is no vocabulary ``"),
        (
            "vocabulary=autobit",
            "did you mean `autobot`? accepted: agent-service, agent-workflow, autobot, data20, \
             omniclaude",
        ),
        (
            "vocabulary=data20&vocabulary=agent-service",
            "cannot be served at once: both have `tool_executions_total`",
        ),
    ] {
        match render(&page, Format::Text0, query) {
            Err(PageError::Vocabulary(message)) => {
                assert!(message.contains(expected), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn files_of_users_are_known_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let text = "name = \"mine\"\ntitle = \"Mine\"\n[[family]]\nname = \"slow_calls_total\"\n\
                type = \"counter\"\nhelp = \"Calls above a minute\"\n\
                source = \"tool.call.duration\"\nlabels = { tool = \"gen_ai.tool.name\" }\n\
                constant = { site = \"a\\\"b\" }\nabove = 60\n";
    std::fs::write(&file, text).unwrap();
    let wanted = Wanted {
        files: vec![file.clone()],
        ..Wanted::default()
    };
    let text = render(&page(&wanted), Format::Text0, "vocabulary=mine").unwrap();
    assert_eq!(
        text,
        "# HELP slow_calls_total Calls above a minute\n# TYPE slow_calls_total counter\n\
         slow_calls_total{site=\"a\\\"b\",tool=\"build_graph\"} 2\n"
    );
    let twice = Wanted {
        files: vec![file.clone(), file],
        serve: vec!["nobody".to_owned()],
        ..Wanted::default()
    };
    let refused = Library::load(&twice, &declared()).unwrap_err();
    assert!(refused[0].to_string().starts_with("vocabulary.files: "));
    assert!(
        refused[0]
            .message
            .contains("there is a vocabulary `mine` already")
    );
    assert!(
        refused[1]
            .to_string()
            .starts_with("vocabulary.serve: there is no vocabulary")
    );
}

#[test]
fn protobuf_has_the_families_too() {
    let page = page(&Wanted::default());
    let mut request = Request::negotiate(None, None, "vocabulary=data20").unwrap();
    request.format = Format::Protobuf;
    request.encoding = Encoding::Identity;
    request.names = Names::new(["tool_executions_total"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let rendered = runtime.block_on(page.render(request, LONG)).unwrap();
    let bytes = rendered.chunks.concat();
    let text = String::from_utf8_lossy(&bytes);
    for part in [
        "tool_executions_total",
        "build_graph",
        "completed",
        "cancelled",
    ] {
        assert!(text.contains(part), "{part}");
    }
    // Nothing was recorded by reading: series are those that `record` made.
    assert!(recording::find_metric("tool.calls").is_some());
}
