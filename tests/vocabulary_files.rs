//! Vocabulary files: the built-in ones against the families they promise, faults, clashes.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use serde::Deserialize;
use tachograph::vocabulary::{Kind, Set, Vocabulary, builtin, declared};

/// A family as the other system has it.
#[derive(Deserialize)]
struct Promised {
    name: String,
    r#type: String,
    labels: Vec<String>,
    /// Bounds, where its system has particular ones.
    #[serde(default)]
    buckets: Vec<f64>,
}

fn promised(vocabulary: &str) -> Vec<Promised> {
    let path = format!(
        "{}/tests/vocabularies/{vocabulary}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn load(name: &str) -> Vocabulary {
    builtin::load(name, &declared()).unwrap().unwrap()
}

#[test]
fn every_family_of_the_other_systems_is_there_exactly() {
    let mut waiting = String::new();
    for name in [
        "agent-service",
        "agent-workflow",
        "autobot",
        "data20",
        "omniclaude",
    ] {
        let vocabulary = load(name);
        let names: Vec<&str> = vocabulary.families.iter().map(|f| &*f.name).collect();
        let promised = promised(name);
        let expected: Vec<&str> = promised.iter().map(|p| &*p.name).collect();
        assert_eq!(names, expected, "{name}");
        for (family, mut promised) in vocabulary.families.iter().zip(promised) {
            promised.labels.sort();
            assert_eq!(family.kind.as_str(), promised.r#type, "{}", family.name);
            assert_eq!(family.labels, promised.labels, "{}", family.name);
            if !promised.buckets.is_empty() {
                assert_eq!(family.bounds, promised.buckets, "{}", family.name);
            }
            if family.mapping().is_none() {
                waiting += &format!("{name} {}\n", family.name);
            } else if family.kind == Kind::Histogram {
                assert!(!family.bounds.is_empty(), "{}", family.name);
            }
        }
    }
    // What is served is a promise: it changes with this list.
    assert_eq!(waiting, include_str!("vocabularies/waiting.txt"));
}

#[test]
fn bounds_reach_beyond_what_is_alerted_on() {
    let vocabulary = load("agent-service");
    let found = |name: &str| vocabulary.families.iter().find(|f| f.name == name).unwrap();
    // p95 > 60 s
    let last = found("agent_execution_duration_seconds")
        .bounds
        .last()
        .copied();
    assert!(last.unwrap() > 60.0);
}

const HEAD: &str = "name = \"mine\"\ntitle = \"Mine\"\n";
const JOBS: &str = "[[family]]\nname = \"jobs_total\"\ntype = \"counter\"\nhelp = \"Jobs\"\n";
const STATE: &str = "[[family]]\nname = \"state\"\ntype = \"gauge\"\nhelp = \"State\"\n";
const TIME: &str = "[[family]]\nname = \"time_seconds\"\ntype = \"histogram\"\nhelp = \"Time\"\n";

fn faults(text: &str) -> Vec<String> {
    match Vocabulary::parse(text, &declared()) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn refuses(body: &str, expected: &[&str]) {
    let found = faults(&format!("{HEAD}{body}"));
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\nlacks: {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_right_file_has_no_faults() {
    let file = format!(
        "{HEAD}{JOBS}source = \"task.executions\"\nlabels = {{ job = \"task_type\" }}\n{TIME}\
         source = \"task.duration\"\nbounds = [1, 60]\n"
    );
    assert_eq!(faults(&file), [""; 0]);
}

#[test]
fn files_that_are_no_vocabulary() {
    assert_eq!(faults("name = \"a\"\ntitle = ").len(), 1);
    assert!(faults("name = \"a\"\ntitle = ")[0].starts_with("2: "));
    let empty = faults("");
    assert!(
        empty.iter().any(|f| f.contains("`name` is missing")),
        "{empty:?}"
    );
    assert!(
        empty.iter().any(|f| f.contains("`title` is missing")),
        "{empty:?}"
    );
    assert!(
        empty.iter().any(|f| f.contains("there is no family")),
        "{empty:?}"
    );
    let wrong = faults(&format!(
        "name = \"My Names\"\ntitle = \"x\"\n{JOBS}waits = \"x\"\n"
    ));
    assert_eq!(
        wrong,
        ["1: `name` is `My Names`; accepted: lower-case letters, digits and `-`, a letter first"]
    );
    let wrong = faults("name = \"a\"\ntitle = \"x\"\nfamily = 3\n");
    assert_eq!(
        wrong,
        ["3: `family` is not a list of tables; accepted: [[family]]"]
    );
}

#[test]
fn keys_and_types_are_held_against_what_is_known() {
    refuses(
        &format!("{JOBS}sorce = \"task.executions\"\n"),
        &[
            "3: `jobs_total`: neither `source` nor `waits`",
            "7: `jobs_total`: unknown key `sorce`; did you mean `source`? accepted: name, type",
        ],
    );
    refuses(
        "[[family]]\nname = \"jobs_total\"\ntype = \"conter\"\nhelp = \"x\"\nwaits = \"x\"\n",
        &["5: `jobs_total`: type `conter` is not known; did you mean `counter`?"],
    );
    refuses(
        "[[family]]\nname = \"jobs_total\"\ntype = \"counter\"\nwaits = \"x\"\n",
        &["3: `jobs_total`: `help` is missing"],
    );
    refuses(
        &format!("{JOBS}source = 3\n"),
        &["7: `jobs_total`: `source` is integer; accepted: text in quotes, or a list of it"],
    );
    refuses(
        &format!("{JOBS}source = \"task.executions\"\nlabels = \"job\"\n"),
        &["8: `jobs_total`: `labels` is string; accepted: a table"],
    );
}

#[test]
fn names_are_valid_and_alone() {
    refuses(
        "[[family]]\nname = \"jobs\"\ntype = \"counter\"\nhelp = \"x\"\nwaits = \"x\"\n",
        &["4: `jobs`: a counter is named `…_total`; accepted: `jobs_total`"],
    );
    refuses(
        "[[family]]\nname = \"1job-s\"\ntype = \"gauge\"\nhelp = \"x\"\nwaits = \"x\"\n",
        &["4: `1job-s` is no name of a family"],
    );
    refuses(
        "[[family]]\nname = \"target_info\"\ntype = \"info\"\nhelp = \"x\"\nwaits = \"x\"\n",
        &["4: `target_info` is kept for the resource"],
    );
    refuses(
        &format!("{JOBS}waits = \"x\"\n{JOBS}waits = \"x\"\n"),
        &["8: `jobs_total`: a second family of this name; the first is on line 3"],
    );
    refuses(
        &format!(
            "{TIME}waits = \"x\"\n[[family]]\nname = \"time_seconds_count\"\ntype = \"gauge\"\n\
             help = \"x\"\nwaits = \"x\"\n"
        ),
        &[
            "8: `time_seconds_count`: its samples would be taken for those of `time_seconds` on line 3",
        ],
    );
}

#[test]
fn sources_are_declared_and_fit_the_type() {
    refuses(
        &format!("{JOBS}source = \"task.execution\"\n"),
        &[
            "7: `jobs_total`: source `task.execution` is not declared; did you mean `task.executions`?",
        ],
    );
    refuses(
        &format!("{JOBS}source = \"task_executions_total\"\n"),
        &["did you mean `task.executions`?"],
    );
    refuses(
        &format!("{STATE}source = \"task.executions\"\n"),
        &[
            "5: `state`: a gauge cannot be made from `task.executions`; accepted: counter; gauge with `share`",
        ],
    );
    refuses(
        &format!("{JOBS}source = [\"task.executions\", \"task.active\"]\n"),
        &[
            "7: `jobs_total`: the sources are counters and operations under way and cannot be added up",
        ],
    );
    refuses(
        &format!("{JOBS}source = \"task.executions\"\nwaits = \"x\"\n"),
        &["7: `jobs_total`: it waits, so `source` means nothing"],
    );
}

#[test]
fn labels_are_those_of_the_source() {
    refuses(
        &format!("{JOBS}source = \"task.executions\"\nlabels = {{ job = \"task_typ\" }}\n"),
        &[
            "8: `jobs_total`: `task.executions` has no label `task_typ`; did you mean `task_type`? accepted: task_type, agent_type, status",
        ],
    );
    refuses(
        &format!(
            "{JOBS}source = \"task.executions\"\nlabels = {{ le = \"status\", \"a-b\" = \"status\" }}\n"
        ),
        &[
            "8: `jobs_total`: label `le` is kept by Prometheus",
            "8: `jobs_total`: `a-b` is no name of a label",
        ],
    );
    refuses(
        &format!(
            "{JOBS}source = \"task.executions\"\nlabels = {{ job = \"task_type\" }}\nconstant = {{ job = \"x\" }}\n"
        ),
        &["9: `jobs_total`: label `job` is there twice"],
    );
}

#[test]
fn words_and_filters_are_values_that_occur() {
    let head = format!("{JOBS}source = \"task.executions\"\nlabels = {{ result = \"status\" }}\n");
    refuses(
        &format!("{head}values = {{ result = {{ succes = \"ok\" }} }}\n"),
        &[
            "9: `jobs_total`: label `result` is never `succes`; did you mean `success`? accepted: success, failed, timeout",
        ],
    );
    refuses(
        &format!("{head}values = {{ status = {{ success = \"ok\" }} }}\n"),
        &["9: `jobs_total`: `values` names `status`, which is not in `labels`"],
    );
    refuses(
        &format!("{head}values = {{ result = \"ends\" }}\n"),
        &["9: `jobs_total`: there are no words `ends`"],
    );
    refuses(
        &format!("{head}where = {{ status = [\"success\", \"error\"] }}\n"),
        &["9: `jobs_total`: `status` is never `error`"],
    );
    refuses(
        &format!("{head}unless = {{ priority = \"high\" }}\n"),
        &["9: `jobs_total`: `task.executions` has no label `priority`"],
    );
}

#[test]
fn bounds_are_among_the_source_s() {
    let head = format!("{TIME}source = \"task.duration\"\n");
    refuses(
        &format!("{head}bounds = [\n  1,\n  3,\n]\n"),
        &["10: `time_seconds`: `task.duration` has no bound 3; accepted: 0.1, 0.5, 1"],
    );
    refuses(
        &format!("{head}bounds = [5, 1]\n"),
        &["8: `time_seconds`: `bounds` do not rise"],
    );
    refuses(
        &format!("{JOBS}source = \"task.executions\"\nbounds = [1]\n"),
        &["8: `jobs_total`: a counter has no bounds"],
    );
    refuses(
        &format!("{JOBS}source = \"task.duration\"\nabove = 3\n"),
        &["8: `jobs_total`: `task.duration` has no bound 3"],
    );
}

#[test]
fn gauges_say_what_becomes_of_series_that_fall_together() {
    refuses(
        &format!("{STATE}source = \"task.queue.size\"\nlabels = {{ priority = \"priority\" }}\n"),
        &[
            "7: `state`: values of several series fall together because of `queue`, which is left out",
        ],
    );
    refuses(
        &format!("{STATE}source = \"task.queue.size\"\ncombine = \"mean\"\n"),
        &["8: `state`: combine `mean` is not known; accepted: sum, max, min"],
    );
    refuses(
        &format!("{JOBS}source = \"task.executions\"\ncombine = \"sum\"\n"),
        &["8: `jobs_total`: `combine` does not fit here"],
    );
    refuses(
        &format!("{STATE}source = \"task.executions\"\nsince_start = \"mean\"\n"),
        &["8: `state`: since_start `mean` does not fit here; accepted: total; mean for histograms"],
    );
    refuses(
        &format!("{JOBS}source = \"task.executions\"\nsince_start = \"total\"\n"),
        &["8: `jobs_total`: `since_start` does not fit here"],
    );
}

#[test]
fn shares_have_a_part_and_windows() {
    let head = format!("{STATE}source = \"task.executions\"\n");
    refuses(
        &format!("{head}share = {{ windows = \"5m\" }}\n"),
        &["8: `state`: share: nothing says which events are the part"],
    );
    refuses(
        &format!("{head}share = {{ where = {{ status = \"success\" }} }}\n"),
        &["8: `state`: share: `windows` is missing"],
    );
    refuses(
        &format!(
            "{head}share = {{ where = {{ status = \"success\" }}, windows = [\"5m\", \"1y\"] }}\n"
        ),
        &["8: `state`: share: `1y` is no window"],
    );
    refuses(
        &format!(
            "{head}share = {{ where = {{ status = \"success\" }}, windows = [\"5m\", \"1h\"] }}\n"
        ),
        &["8: `state`: share: several windows need a `label`"],
    );
    refuses(
        &format!("{head}distinct = \"job\"\n"),
        &["8: `state`: `task.executions` has no label `job`"],
    );
}

#[test]
fn what_differs_is_not_served_at_once() {
    let clashes = |names: &[&str]| -> Vec<String> {
        let all: Vec<Vocabulary> = names.iter().map(|name| load(name)).collect();
        let all: Vec<&Vocabulary> = all.iter().collect();
        match Set::new(&all, &declared()) {
            Ok(_) => Vec::new(),
            Err(clashes) => clashes.iter().map(ToString::to_string).collect(),
        }
    };
    for name in builtin::NAMES {
        assert_eq!(clashes(&[name]), [""; 0], "{name}");
    }
    assert_eq!(
        clashes(&["autobot", "omniclaude", "agent-workflow", "data20"]),
        [""; 0]
    );
    let found = clashes(&["data20", "agent-service"]);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].contains("`db_query_duration_seconds`, with labels [operation]"));
    assert!(
        found[1].starts_with(
            "vocabulary `data20` and vocabulary `agent-service` cannot be served at once: both \
             have `tool_executions_total`, computed differently"
        ),
        "{found:#?}"
    );
    assert!(found[2].contains("`tool_execution_duration_seconds`, with bounds [1.0, 5.0"));

    let text = "[[family]]\nname = \"task_executions_total\"\ntype = \"counter\"\nhelp = \"x\"\n\
                source = \"task.executions\"\n";
    let parse = |text: String| Vocabulary::parse(&text, &declared()).unwrap();
    let other = parse(format!("{HEAD}{text}"));
    let found = Set::new(&[&other], &declared()).unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "our own names and vocabulary `mine` cannot be served at once: both have \
         `task_executions_total`, with labels [agent_type, status, task_type] and []; each alone \
         works"
    );
    assert_eq!(Set::new(&[&other], &[]).unwrap().families.len(), 1);
    let same = parse(format!(
        "{HEAD}{text}labels = {{ task_type = \"task_type\", agent_type = \"agent_type\", status = \"status\" }}\n"
    ));
    // It is on the page already.
    assert!(Set::new(&[&same], &declared()).unwrap().is_empty());
    assert_eq!(Set::new(&[&same, &same], &[]).unwrap().families.len(), 1);
}

fn tachograph(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tachograph"))
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn the_command_checks_files_and_shows_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let path = file.to_str().unwrap();
    std::fs::write(
        &file,
        format!("{HEAD}{JOBS}source = \"task.execution\"\nlables = {{}}\n"),
    )
    .unwrap();
    let (code, out, error) = tachograph(&["vocabulary", "check", path]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(error.contains("has 2 faults:"), "{error}");
    assert!(error.contains(&format!("{path}:7: ")), "{error}");
    assert!(error.contains(&format!("{path}:8: ")), "{error}");

    std::fs::write(&file, format!("{HEAD}{JOBS}source = \"task.executions\"\n")).unwrap();
    let (code, out, _) = tachograph(&["vocabulary", "check", path]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("vocabulary `mine` is right: 1 families, 0 of them wait"),
        "{out}"
    );

    let (code, out, _) = tachograph(&["vocabulary", "status"]);
    assert_eq!(code, Some(0));
    for name in builtin::NAMES {
        for family in load(name).families {
            assert!(
                out.contains(&format!(" {} ", family.name)),
                "{}",
                family.name
            );
        }
    }
    let (code, out, _) = tachograph(&["vocabulary", "status", "--vocabulary-file", path]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with(
        "mine: 1 of 1 families served (Mine)\n  served  counter    jobs_total  task.executions"
    ));
    let (code, _, error) = tachograph(&["vocabulary", "status", "autobit"]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("accepted: agent-service, agent-workflow, autobot"),
        "{error}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_file_holds_it_is_read_or_refused(
        at in 0..400_usize,
        line in "[a-z_ ={}\\[\\]\"*0-9.é,-]{0,40}",
        which in 0..builtin::NAMES.len(),
    ) {
        let text = builtin::text(builtin::NAMES[which]).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let at = at % lines.len();
        lines[at] = &line;
        let changed = lines.join("\n");
        match Vocabulary::parse(&changed, &declared()) {
            Ok(vocabulary) => proptest::prop_assert!(!vocabulary.families.is_empty()),
            Err(faults) => {
                proptest::prop_assert!(!faults.is_empty());
                for fault in faults {
                    proptest::prop_assert!((1..=lines.len()).contains(&fault.line), "{fault}");
                }
            }
        }
    }
}
