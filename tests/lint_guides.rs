//! The PromQL of five systems' guides, as it stood and as it is right, against the vocabularies
//! that carry those systems' names.

#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

use tachograph::lint::{Code, Names};
use tachograph::vocabulary::{builtin, declared};

mod support;

use support::lint::{alert, codes, dashboard, rules, run};

fn names(vocabulary: &str) -> Names {
    let signals = declared();
    let mut names = Names::of_catalog(&signals);
    names.add_vocabulary(
        &builtin::load(vocabulary, &signals).unwrap().unwrap(),
        &signals,
    );
    names
}

/// An alert's expression, an annotation, and what is wrong with them.
type Case = (&'static str, &'static str, &'static [Code]);

fn check(vocabulary: &str, cases: &[Case]) {
    let names = names(vocabulary);
    for (expression, annotation, expected) in cases {
        let file = rules(&[alert("A", expression, &[("description", annotation)])]);
        let found = codes(&run(&[file], &names));
        assert_eq!(&found, expected, "{vocabulary}: {expression} {annotation}");
    }
}

#[test]
fn autobot() {
    check(
        "autobot",
        &[
            (
                "rate(autobot_workflow_executions_total{status=\"failed\"}[5m]) / rate(autobot_workflow_executions_total[5m]) > 0.1",
                "{{ $value }}% of workflows are failing",
                &[Code::AlwaysOne, Code::NoTrafficFloor, Code::PercentOfRatio],
            ),
            (
                "(sum by (workflow_type) (rate(autobot_workflow_executions_total{status=\"failed\"}[5m])) or 0 * sum by (workflow_type) (rate(autobot_workflow_executions_total[5m]))) / sum by (workflow_type) (rate(autobot_workflow_executions_total[5m])) > 0.1 and sum by (workflow_type) (increase(autobot_workflow_executions_total[5m])) > 10",
                "{{ $value | humanizePercentage }} of {{ $labels.workflow_type }} fail",
                &[],
            ),
            (
                "autobot_github_rate_limit_remaining < 100",
                "Only {{ $value }} API calls remaining",
                &[Code::AbsoluteRemainder],
            ),
            (
                "autobot_task_queue_size{priority=\"high\"} > 50",
                "{{ $value }} high priority tasks waiting",
                &[],
            ),
            (
                "autobot_redis_pool_saturation_ratio > 0.8",
                "Pool is {{ $value }}% saturated",
                &[Code::PercentOfRatio],
            ),
            (
                "histogram_quantile(0.95, rate(autobot_workflow_duration_seconds_bucket[5m])) > 300",
                "",
                &[Code::QuantileUnaggregated],
            ),
            (
                "histogram_quantile(0.95, sum by (le, workflow_type) (rate(autobot_workflow_duration_seconds_bucket[5m]))) > 300",
                "",
                &[],
            ),
            // The last bound is 600.
            (
                "histogram_quantile(0.95, sum by (le) (rate(autobot_workflow_duration_seconds_bucket[5m]))) > 900",
                "",
                &[Code::NeverFires],
            ),
            (
                "histogram_quantile(0.99, rate(autobot_redis_operation_latency_seconds_bucket[5m])) by (database, operation)",
                "",
                &[Code::Syntax],
            ),
            ("sum(autobot_active_tasks) by (agent_type) > 5", "", &[]),
            (
                "sum(rate(autobot_llm_requests_total[5m])) by (provider) > 5",
                "",
                &[],
            ),
            (
                "sum(increase(autobot_llm_tokens_total[1h])) by (provider, token_type) > 5",
                "",
                &[],
            ),
            (
                "rate(autobot_workflow_executions_total{status=\"completed\"}[5m]) > 1",
                "",
                &[Code::UnknownValue],
            ),
        ],
    );
}

#[test]
fn omniclaude() {
    check(
        "omniclaude",
        &[
            (
                "sum(rate(omniclaude_http_request_total{status_code=~\"[45]..\"}[5m])) / sum(rate(omniclaude_http_request_total[5m])) > 0.05",
                "{{ $value | humanizePercentage }} of requests returning 4xx/5xx",
                &[Code::ClientErrors, Code::NoTrafficFloor],
            ),
            (
                "sum(rate(omniclaude_http_request_total{status_code=~\"5..\"}[5m])) / sum(rate(omniclaude_http_request_total[5m])) > 0.05 and sum(increase(omniclaude_http_request_total[5m])) > 20",
                "{{ $value | humanizePercentage }}",
                &[],
            ),
            (
                "histogram_quantile(0.95, rate(omniclaude_http_request_duration_seconds_bucket[5m])) by (endpoint)",
                "",
                &[Code::Syntax],
            ),
            (
                "histogram_quantile(0.95, sum by (le, endpoint) (rate(omniclaude_http_request_duration_seconds_bucket[5m]))) > 1",
                "",
                &[],
            ),
            (
                "omniclaude_service_health_status == 0",
                "{{ $labels.service_name }}",
                &[Code::NoAbsent],
            ),
            (
                "omniclaude_service_health_status == 0 or absent(omniclaude_service_health_status)",
                "",
                &[],
            ),
        ],
    );
}

#[test]
fn omniclaude_signals_to_come() {
    let waiting = |found: Vec<Code>| -> Vec<Code> {
        found
            .into_iter()
            .filter(|code| *code != Code::Waiting)
            .collect()
    };
    let names = names("omniclaude");
    for (expression, expected) in [
        (
            "histogram_quantile(0.95, rate(omniclaude_action_log_duration_seconds_bucket[5m])) > 1.0",
            vec![Code::QuantileUnaggregated],
        ),
        (
            "sum(rate(omniclaude_cache_hit_total[5m])) / (sum(rate(omniclaude_cache_hit_total[5m])) + sum(rate(omniclaude_cache_miss_total[5m]))) < 0.5",
            vec![Code::EmptyNumerator],
        ),
        (
            "(sum(rate(omniclaude_cache_hit_total[5m])) or vector(0)) / (sum(rate(omniclaude_cache_hit_total[5m]) or vector(0)) + sum(rate(omniclaude_cache_miss_total[5m]))) < 0.5 and sum(increase(omniclaude_cache_miss_total[5m])) > 20",
            vec![],
        ),
        (
            "(omniclaude_db_connection_pool_size - omniclaude_db_connection_pool_available) / omniclaude_db_connection_pool_size > 0.9",
            vec![],
        ),
        (
            "(omniclaude_db_connection_pool_size - omniclaude_db_connection_pool_available) / omniclaude_db_connection_pool_size > 90",
            vec![Code::PercentOfRatio],
        ),
        (
            "sum(rate(omniclaude_event_publish_total{status=\"failure\"}[5m])) / sum(rate(omniclaude_event_publish_total[5m])) > 0.05",
            vec![Code::NoTrafficFloor],
        ),
        // The last bound is a second.
        (
            "histogram_quantile(0.95, sum by (le) (rate(omniclaude_action_log_duration_seconds_bucket[5m]))) > 60",
            vec![Code::NeverFires],
        ),
    ] {
        let file = rules(&[alert("A", expression, &[])]);
        assert_eq!(
            waiting(codes(&run(&[file], &names))),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn agent_service() {
    check(
        "agent-service",
        &[
            (
                "sum(rate(agent_requests_total{status=~\"5..\"}[5m])) / sum(rate(agent_requests_total[5m])) > 0.05",
                "",
                &[Code::NoTrafficFloor],
            ),
            (
                "db_pool_checked_out / db_pool_size > 0.9",
                "{{ $value }}% in use",
                &[Code::PercentOfRatio],
            ),
            (
                "histogram_quantile(0.95, sum(rate(agent_execution_duration_seconds_bucket[5m])) by (le, agent_name)) > 60",
                "{{ $labels.agent_name }}",
                &[],
            ),
            (
                "histogram_quantile(0.95, sum(rate(agent_execution_duration_seconds_bucket[5m])) by (agent_name)) > 60",
                "",
                &[Code::QuantileWithoutLe],
            ),
        ],
    );
}

#[test]
fn agent_workflow() {
    check(
        "agent-workflow",
        &[
            (
                "histogram_quantile(0.95, rate(agent_duration_seconds_bucket[5m])) > 300",
                "Agent {{ $labels.agent_name }} is slow",
                &[Code::QuantileUnaggregated],
            ),
            ("rate(agent_error_total[5m]) > 0.1", "", &[]),
            // Of a raw counter.
            (
                "sum by (phase) (agent_invocation_total) / sum(agent_invocation_total) * 100 > 50",
                "",
                &[Code::RawCounter, Code::RawCounter, Code::NeverMatches],
            ),
            (
                "sum by (phase) (rate(agent_invocation_total[5m])) / on () group_left sum(rate(agent_invocation_total[5m])) * 100 > 50 and sum by (phase) (increase(agent_invocation_total[5m])) > 10",
                "",
                &[],
            ),
            ("agent_success_rate < 70", "{{ $value }}%", &[]),
            ("agent_success_rate > 170", "", &[Code::NeverFires]),
        ],
    );
}

#[test]
fn data20() {
    check(
        "data20",
        &[
            (
                "histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m])) > 5",
                "",
                &[Code::QuantileUnaggregated],
            ),
            (
                "rate(http_errors_total[5m]) / rate(http_requests_total[5m]) > 0.05",
                "{{ $value }}%",
                &[Code::NoTrafficFloor, Code::PercentOfRatio],
            ),
            // The last bound is 10 s.
            (
                "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m]))) > 60",
                "",
                &[Code::NeverFires],
            ),
            (
                "sum by (tool_name) (rate(tool_executions_total{status=\"success\"}[10m])) / sum by (tool_name) (rate(tool_executions_total[10m])) > 0.5 and sum by (tool_name) (increase(tool_executions_total[10m])) > 10",
                "",
                &[Code::UnknownValue],
            ),
            (
                "sum by (tool_name) (rate(tool_executions_total{status=\"completed\"}[10m])) / sum by (tool_name) (rate(tool_executions_total[10m])) > 0.5 and sum by (tool_name) (increase(tool_executions_total[10m])) > 10",
                "",
                &[],
            ),
            (
                "db_connections_active / (db_connections_active + db_connections_idle) > 0.9",
                "",
                &[Code::ShareOfOpen],
            ),
        ],
    );
}

#[test]
fn graphs_of_the_guides() {
    let names = names("data20");
    for (expression, expected) in [
        (
            "topk(5, histogram_quantile(0.99, sum by (le, endpoint) (rate(http_request_duration_seconds_bucket[5m]))))",
            vec![Code::FixedWindow, Code::TopkInGraph],
        ),
        (
            "sum(rate(http_requests_total[$__rate_interval])) by (endpoint)",
            vec![],
        ),
    ] {
        let mut found = codes(&run(&[dashboard(&[expression])], &names));
        found.sort();
        assert_eq!(found, expected, "{expression}");
    }
}
