//! Dashboards and rules are checked against the names that are published.

#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

use tachograph::generate;
use tachograph::lint::{Code, Names};
use tachograph::signals::CATALOG;
use tachograph::vocabulary::{Vocabulary, builtin};

mod support;

use support::lint::{alert, codes, dashboard, record, rules, run};

/// What an alert on an expression is found to have, hints included.
fn of(expression: &str) -> Vec<Code> {
    codes(&run(&[rules(&[alert("A", expression, &[])])], &catalog()))
}

/// What a graph of an expression is found to have.
fn graph(expression: &str) -> Vec<Code> {
    codes(&run(&[dashboard(&[expression])], &catalog()))
}

fn catalog() -> Names {
    Names::of_catalog(&generate::signals(CATALOG))
}

fn none() -> Vec<Code> {
    Vec::new()
}

#[test]
fn names_and_labels_and_values() {
    for (expression, expected) in [
        ("rate(workflow_executions_total[5m]) > 1", vec![]),
        (
            "rate(workflow_execution_total[5m]) > 1",
            vec![Code::UnknownMetric],
        ),
        (
            "rate(workflow_executions_total{kind=\"x\"}[5m]) > 1",
            vec![Code::UnknownLabel],
        ),
        (
            "rate(workflow_executions_total{job=\"x\",instance=~\".+\"}[5m]) > 1",
            vec![],
        ),
        (
            "rate(workflow_executions_total{exported_job=\"x\"}[5m]) > 1",
            vec![],
        ),
        (
            "sum by (workflow) (rate(workflow_executions_total[5m])) > 1",
            vec![Code::UnknownLabel],
        ),
        (
            "sum without (instanc) (rate(workflow_executions_total[5m])) > 1",
            vec![Code::UnknownLabel],
        ),
        (
            "sum without (instance) (rate(workflow_executions_total[5m])) > 1",
            vec![],
        ),
        (
            "sum by (job) (sum by (status) (rate(workflow_executions_total[5m]))) > 1",
            vec![Code::UnknownLabel],
        ),
        (
            "rate(workflow_executions_total{status=\"succeeded\"}[5m]) > 1",
            vec![Code::UnknownValue],
        ),
        (
            "rate(workflow_executions_total{status=~\"failed|error\"}[5m]) > 1",
            vec![Code::UnknownValue],
        ),
        (
            "rate(workflow_executions_total{status=~\"fail.*|time.*\"}[5m]) > 1",
            vec![],
        ),
        (
            "rate(workflow_executions_total{status=~\"err.*\"}[5m]) > 1",
            vec![Code::UnknownValue],
        ),
        (
            "rate(workflow_executions_total{status!=\"ok\"}[5m]) > 1",
            vec![Code::IdleMatcher],
        ),
        (
            "rate(workflow_executions_total{workflow_type=\"anything\"}[5m]) > 1",
            vec![],
        ),
        (
            "rate(workflow_duration_seconds_bucket{le=\"30\"}[5m]) > 1",
            vec![],
        ),
        (
            "rate(workflow_duration_seconds_bucket{le=\"+Inf\"}[5m]) > 1",
            vec![],
        ),
        (
            "rate(workflow_duration_seconds_bucket{le=\"45\"}[5m]) > 1",
            vec![Code::UnknownValue],
        ),
        (
            "rate(workflow_duration_seconds_total[5m]) > 1",
            vec![Code::UnknownMetric],
        ),
        ("time() - workflow_executions_created > 60", vec![]),
        ("up == 0", vec![]),
        ("ALERTS{alertname=\"X\",severity=\"critical\"} == 1", vec![]),
        ("scrape_duration_seconds > 5", vec![]),
        ("{__name__=~\"workflow_.*\",job=\"a\"} > 5", vec![]),
        ("{__name__=~\"workflw_.*\"} > 5", vec![Code::UnknownMetric]),
        (
            "{\"workflow_active\",statuz=\"x\"} > 5",
            vec![Code::UnknownLabel],
        ),
        ("{statuz=\"x\"} > 5", vec![Code::UnknownLabel]),
        (
            "label_replace(workflow_active, \"short\", \"$1\", \"workflow_typ\", \"(.).*\") > 5",
            vec![Code::UnknownLabel],
        ),
        (
            "sum by (short) (label_replace(workflow_active, \"short\", \"$1\", \"workflow_type\", \"(.).*\")) > 5",
            vec![],
        ),
    ] {
        assert_eq!(of(expression), expected, "{expression}");
    }
}

#[test]
fn what_is_meant_is_named() {
    let report = run(
        &[rules(&[
            alert("A", "rate(workflow_execution_total[5m]) > 1", &[]),
            alert(
                "B",
                "rate(workflow_executions_total{status=\"succeeded\"}[5m]) > 1",
                &[],
            ),
            alert(
                "C",
                "rate(workflow_executions_total{workflow_typ=\"x\"}[5m]) > 1",
                &[],
            ),
        ])],
        &catalog(),
    );
    let nearest: Vec<_> = report
        .findings
        .iter()
        .map(|f| f.nearest.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(
        nearest,
        ["workflow_executions_total", "success", "workflow_type"]
    );
    assert_eq!(report.findings[0].place, "group g, alert A");
    assert_eq!(report.findings[0].position.unwrap().column, 6);
}

#[test]
fn types_fit_the_functions() {
    for (expression, expected) in [
        ("rate(workflow_active[5m]) > 1", vec![Code::RateOfGauge]),
        (
            "increase(workflow_executions_created[5m]) > 1",
            vec![Code::RateOfGauge],
        ),
        ("deriv(workflow_active[5m]) > 1", vec![]),
        (
            "delta(workflow_executions_total[5m]) > 1",
            vec![Code::DeltaOfCounter],
        ),
        (
            "deriv(workflow_duration_seconds_count[5m]) > 1",
            vec![Code::DeltaOfCounter],
        ),
        ("workflow_executions_total > 100", vec![Code::RawCounter]),
        (
            "max(workflow_executions_total) > 100",
            vec![Code::RawCounter],
        ),
        (
            "avg_over_time(workflow_executions_total[5m]) > 100",
            vec![Code::RawCounter],
        ),
        ("count(workflow_executions_total) > 100", vec![]),
        ("absent(workflow_executions_total)", vec![]),
        ("changes(workflow_executions_total[5m]) > 2", vec![]),
        (
            "sum(workflow_executions_total unless workflow_executions_total offset 5m) > 0",
            vec![],
        ),
        (
            "workflow_active > 1 and on (workflow_type) workflow_executions_total",
            vec![],
        ),
        (
            "rate(sum(workflow_executions_total)[5m:1m]) > 1",
            vec![Code::RawCounter, Code::RateOfSum],
        ),
        ("sum(rate(workflow_executions_total[5m])) > 1", vec![]),
        (
            "histogram_quantile(0.9, sum by (le) (rate(workflow_duration_seconds_bucket[5m]))) > 60",
            vec![],
        ),
        (
            "histogram_quantile(0.9, sum by (workflow_type) (rate(workflow_duration_seconds_bucket[5m]))) > 60",
            vec![Code::QuantileWithoutLe],
        ),
        (
            "histogram_quantile(0.9, sum without (le) (rate(workflow_duration_seconds_bucket[5m]))) > 60",
            vec![Code::QuantileWithoutLe],
        ),
        (
            "histogram_quantile(0.9, sum without (instance) (rate(workflow_duration_seconds_bucket[5m]))) > 60",
            vec![],
        ),
        (
            "histogram_quantile(0.9, rate(workflow_duration_seconds_bucket[5m])) > 60",
            vec![Code::QuantileUnaggregated],
        ),
        (
            "histogram_quantile(0.9, sum by (le) (workflow_duration_seconds_bucket)) > 60",
            vec![Code::RawCounter],
        ),
        (
            "histogram_quantile(0.9, rate(workflow_duration_seconds_sum[5m])) > 60",
            vec![Code::QuantileWithoutBuckets],
        ),
        (
            "histogram_quantile(0.9, sum by (status) (rate(workflow_executions_total[5m]))) > 60",
            vec![Code::QuantileWithoutBuckets],
        ),
        (
            "histogram_quantile(0.9, sum(rate(workflow_duration_seconds[5m]))) > 60",
            vec![Code::NativeOnly],
        ),
        (
            "sum(rate(workflow_duration_seconds_bucket[5m])) > 60",
            vec![Code::BucketsSummed],
        ),
        (
            "sum(rate(workflow_duration_seconds_bucket{le=\"60\"}[5m])) > 60",
            vec![],
        ),
        (
            "avg(histogram_quantile(0.9, sum by (le, workflow_type) (rate(workflow_duration_seconds_bucket[5m])))) > 60",
            vec![Code::QuantileAveraged],
        ),
        (
            "max(histogram_quantile(0.9, sum by (le, workflow_type) (rate(workflow_duration_seconds_bucket[5m])))) > 60",
            vec![],
        ),
        ("sum(task_queue_size) > 60", vec![Code::GaugeSummed]),
        ("max(task_queue_size) > 60", vec![]),
        ("sum(workflow_active) > 60", vec![]),
    ] {
        assert_eq!(of(expression), expected, "{expression}");
    }
}

#[test]
fn sides_meet() {
    let by = "sum by (workflow_type) (rate(workflow_executions_total[5m]))";
    let all = "sum(rate(workflow_executions_total[5m]))";
    for (expression, expected) in [
        (format!("{by} / {all} > 0.5 and {all} > 5"), vec![Code::NeverMatches, Code::NeverMatches]),
        (format!("{by} / on () group_left {all} > 0.5 and on () {all} > 5"), vec![]),
        (format!("{by} / on () {all} > 0.5 and on () {all} > 5"), vec![Code::ManyToOne]),
        (format!("{by} - {by} > 1"), vec![]),
        (format!("{by} unless {all} > 1"), vec![Code::NeverMatches]),
        (format!("{by} > 1 or {all} > 1"), vec![]),
        (format!("{by} * on (workflow) {by} > 1"), vec![Code::UnknownLabel, Code::ManyToOne]),
        ("rate(workflow_executions_total[5m]) / rate(workflow_duration_seconds_count[5m]) > 0.5".to_owned(), vec![Code::NeverMatches]),
        ("rate(workflow_executions_total{status=\"failed\"}[5m]) - rate(workflow_executions_total{status=\"success\"}[5m]) > 0".to_owned(), vec![Code::NeverMatches]),
        ("rate(workflow_executions_total{status=\"failed\"}[5m]) - ignoring (status) rate(workflow_executions_total{status=\"success\"}[5m]) > 0".to_owned(), vec![]),
        ("rate(workflow_duration_seconds_sum[5m]) / rate(workflow_duration_seconds_count[5m]) > 60".to_owned(), vec![]),
        ("rate(workflow_executions_total{status=\"failed\"}[5m]) / rate(workflow_executions_total[5m]) > 0.1".to_owned(), vec![Code::AlwaysOne, Code::NoTrafficFloor]),
        ("sum by (status) (rate(workflow_executions_total{status=\"failed\"}[5m])) / sum by (status) (rate(workflow_executions_total[5m])) > 0.1".to_owned(), vec![Code::AlwaysOne, Code::NoTrafficFloor]),
        ("rate(workflow_executions_total{status=\"failed\"}[5m]) / rate(workflow_executions_total{status=\"failed\"}[1h]) > 2".to_owned(), vec![]),
    ] {
        assert_eq!(of(&expression), expected, "{expression}");
    }
}

#[test]
fn thresholds_can_be_crossed() {
    let quantile =
        "histogram_quantile(0.95, sum by (le) (rate(workflow_duration_seconds_bucket[5m])))";
    let ratio = "sum(rate(workflow_executions_total{status=\"failed\"}[5m])) / sum(rate(workflow_executions_total[5m]))";
    let floor = "and sum(increase(workflow_executions_total[5m])) > 10";
    for (expression, expected) in [
        (format!("{quantile} > 600"), vec![]),
        (format!("{quantile} > 7200"), vec![Code::NeverFires]),
        (format!("{quantile} > 9000"), vec![Code::NeverFires]),
        (format!("9000 < {quantile}"), vec![Code::NeverFires]),
        (format!("{quantile} * 1000 > 9000"), vec![]),
        (format!("{quantile} < 9000"), vec![Code::AlwaysTrue]),
        (format!("{quantile} > 0.01"), vec![Code::BelowFirstBound]),
        (format!("{ratio} > 0.05 {floor}"), vec![]),
        (format!("{ratio} > 5 {floor}"), vec![Code::PercentOfRatio]),
        (format!("{ratio} * 100 > 5 {floor}"), vec![]),
        (format!("{ratio} * 100 > 200 {floor}"), vec![Code::NeverFires]),
        (format!("1 - {ratio} > 0.05 {floor}"), vec![]),
        (format!("1 - {ratio} > 5 {floor}"), vec![Code::PercentOfRatio]),
        (format!("{ratio} > 1 {floor}"), vec![Code::NeverFires]),
        (format!("{ratio} > 0.05"), vec![Code::NoTrafficFloor]),
        (format!("{ratio} < 0.9 {floor}"), vec![Code::EmptyNumerator]),
        ("rate(workflow_executions_total[5m]) < 0".to_owned(), vec![Code::NeverFires]),
        ("rate(workflow_executions_total[5m]) > -1".to_owned(), vec![Code::AlwaysTrue]),
        ("rate(workflow_executions_total[5m]) >= 0".to_owned(), vec![]),
        ("up > 1".to_owned(), vec![Code::NeverFires]),
        ("llm_rate_limit_saturation_ratio > 80".to_owned(), vec![Code::PercentOfRatio]),
        ("llm_rate_limit_saturation_ratio > 0.8".to_owned(), vec![]),
        ("llm_rate_limit_saturation_ratio > 1".to_owned(), vec![Code::NeverFires]),
        // Declared to go above 1.
        ("llm_budget_utilization_ratio > 1".to_owned(), vec![]),
        ("max by (llm_budget_name) (llm_budget_utilization_ratio) > 1.5".to_owned(), vec![]),
        ("llm_budget_utilization_ratio > 80".to_owned(), vec![Code::PercentOfRatio]),
        ("llm_budget_utilization_ratio < 0".to_owned(), vec![Code::NeverFires]),
        ("llm_provider_up == 0".to_owned(), vec![Code::NoAbsent]),
        ("llm_provider_up == 0 or absent(llm_provider_up)".to_owned(), vec![]),
        ("llm_rate_limit_remaining < 100".to_owned(), vec![Code::AbsoluteRemainder]),
        ("sum(rate(http_server_request_duration_seconds_count{http_response_status_code=~\"[45]..\"}[5m])) / sum(rate(http_server_request_duration_seconds_count[5m])) > 0.05 and sum(increase(http_server_request_duration_seconds_count[5m])) > 10".to_owned(), vec![Code::ClientErrors]),
        ("sum(rate(http_server_request_duration_seconds_count{http_response_status_code=~\"5..\"}[5m])) / sum(rate(http_server_request_duration_seconds_count[5m])) > 0.05 and sum(increase(http_server_request_duration_seconds_count[5m])) > 10".to_owned(), vec![]),
    ] {
        assert_eq!(of(&expression), expected, "{expression}");
    }
}

/// What we render ourselves is right by the lint.
#[test]
fn a_ratio_as_it_is_rendered() {
    let signal = generate::signals(CATALOG)
        .into_iter()
        .find(|signal| signal.name == "workflow.run")
        .unwrap();
    let metric = signal.metric("workflow.executions").unwrap();
    let frame = generate::promql::Frame {
        matchers: "job=~\"$job\"",
        window: "$__rate_interval",
    };
    let ratio = generate::promql::error_ratio(signal, metric, frame, &["workflow_type"]).unwrap();
    assert_eq!(graph(&ratio), none());
    assert_eq!(graph(&format!("{ratio} > 5")), [Code::PercentOfRatio]);
}

#[test]
fn templates_name_what_there_is() {
    let ratio = "sum by (workflow_type) (rate(workflow_executions_total{status=\"failed\"}[5m])) / sum by (workflow_type) (rate(workflow_executions_total[5m])) > 0.1 and sum by (workflow_type) (increase(workflow_executions_total[5m])) > 10";
    for (text, expected) in [
        (
            "{{ $labels.workflow_type }}: {{ $value | humanizePercentage }}",
            vec![],
        ),
        ("{{ $labels.status }}", vec![Code::AbsentLabel]),
        (
            "{{ .Labels.status }} {{ $labels.alertname }}",
            vec![Code::AbsentLabel],
        ),
        ("{{ $value }}% fail", vec![Code::PercentOfRatio]),
        ("{{ $value | humanize }} %", vec![Code::PercentOfRatio]),
        (
            "{{ $value | humanizePercentage }}%",
            vec![Code::PercentOfRatio],
        ),
        ("100% of {{ $labels.workflow_type }} {{ broken", vec![]),
    ] {
        let report = run(
            &[rules(&[alert("A", ratio, &[("description", text)])])],
            &catalog(),
        );
        assert_eq!(codes(&report), expected, "{text}");
    }
    let percent = ratio.replacen("(rate", "(100 * rate", 1);
    let report = run(
        &[rules(&[alert(
            "A",
            &percent,
            &[("description", "{{ $value }}%")],
        )])],
        &catalog(),
    );
    assert_eq!(codes(&report), none());
}

#[test]
fn recorded_series_are_known() {
    let buckets = record(
        "type:workflow_duration:rate5m",
        "sum by (le, workflow_type) (rate(workflow_duration_seconds_bucket[5m]))",
    );
    let again = record(
        "type:workflow_p95",
        "histogram_quantile(0.95, type:workflow_duration:rate5m)",
    );
    for (expression, expected) in [
        ("type:workflow_p95 > 600", vec![]),
        ("type:workflow_p95 > 9000", vec![Code::NeverFires]),
        (
            "type:workflow_p95{status=\"x\"} > 600",
            vec![Code::UnknownLabel],
        ),
        (
            "sum by (workflow_type) (type:workflow_p95) > 600",
            vec![Code::QuantileAveraged],
        ),
        ("rate(type:workflow_p95[5m]) > 1", vec![Code::RateOfGauge]),
        ("type:workflow_p96 > 600", vec![Code::UnknownMetric]),
    ] {
        // In another file, and before what it reads is defined.
        let files = [
            rules(&[alert("A", expression, &[])]),
            rules(&[again.clone(), buckets.clone()]),
        ];
        assert_eq!(codes(&run(&files, &catalog())), expected, "{expression}");
    }
    // Rules that read one another end.
    let circle = [record("a:b", "c:d + 1"), record("c:d", "a:b + 1")];
    assert_eq!(codes(&run(&[rules(&circle)], &catalog())), none());
}

#[test]
fn graphs() {
    for (expression, expected) in [
        (
            "sum(rate(workflow_executions_total{job=~\"$job\"}[$__rate_interval]))",
            vec![],
        ),
        (
            "sum(rate(workflow_executions_total{job=~\"${job:regex}\",workflow_type=~\"[[type]]\"}[[[window]]]))",
            vec![],
        ),
        (
            "sum(rate(workflow_executions_total[5m]))",
            vec![Code::FixedWindow],
        ),
        (
            "topk(5, sum by (workflow_type) (rate(workflow_executions_total[$__rate_interval])))",
            vec![Code::TopkInGraph],
        ),
        (
            "sum by ($group) (rate(workflow_executions_total{status=\"$status\"}[$__range]))",
            vec![],
        ),
        (
            "sum by (statu) (rate(workflow_executions_total{status=\"$status\"}[$__range]))",
            vec![Code::UnknownLabel],
        ),
        ("${metric}_total{nolabel=\"x\"}", vec![Code::UnknownLabel]),
        ("workflow_active > $threshold", vec![]),
        (
            "$rate(workflow_actve[$__rate_interval])",
            vec![Code::UnknownMetric],
        ),
        (
            "sum(rate(workflow_executions_total[$__rate_interval])",
            vec![Code::Syntax],
        ),
        ("", vec![]),
    ] {
        assert_eq!(graph(expression), expected, "{expression}");
    }
}

/// `docs/lint.md` has every code, with its severity, an example of it and one without it.
#[test]
fn documented_examples() {
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md"),
    )
    .unwrap();
    let mut names = catalog();
    let signals = generate::signals(CATALOG);
    for vocabulary in ["autobot", "agent-service", "data20"] {
        let vocabulary = builtin::load(vocabulary, &signals).unwrap().unwrap();
        names.add_vocabulary(&vocabulary, &signals);
    }
    let own = "name = \"own\"\ntitle = \"x\"\n[[family]]\nname = \"own_jobs_total\"\n\
               type = \"counter\"\nhelp = \"x\"\nlabels = []\nwaits = \"jobs\"\n";
    names.add_vocabulary(&Vocabulary::parse(own, &signals).unwrap(), &signals);
    let found = |fence: &str, example: &str| -> Vec<Code> {
        if fence == "yaml" {
            let rule: serde_json::Value =
                serde_norway::from_str(&format!("alert: A\n{example}")).unwrap();
            return codes(&run(&[rules(&[rule])], &names));
        }
        let mut found = codes(&run(&[rules(&[alert("A", example, &[])])], &names));
        found.retain(|code| !example.contains('$') || *code != Code::Syntax);
        found.extend(codes(&run(&[dashboard(&[example])], &names)));
        found
    };
    let sections: Vec<&str> = text.split("\n### ").skip(1).collect();
    assert_eq!(sections.len(), Code::ALL.len());
    for (section, code) in sections.iter().zip(Code::ALL) {
        let title = format!("`{}` ({})", code.as_str(), code.severity().as_str());
        assert!(section.starts_with(&title), "{title}: {section}");
        let examples: Vec<(&str, &str)> = section
            .split("```")
            .skip(1)
            .step_by(2)
            .map(|fence| fence.split_once('\n').unwrap())
            .collect();
        let [bad, good] = examples.as_slice() else {
            panic!("{title}: two examples are expected");
        };
        assert!(
            found(bad.0, bad.1).contains(code),
            "{title}: {:?}",
            found(bad.0, bad.1)
        );
        assert!(!found(good.0, good.1).contains(code), "{title}: {}", good.1);
    }
}
