//! Assertions of what code recorded, in parallel tests of one process.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use actix_web::test::{TestRequest, call_and_read_body, init_service};
use actix_web::{App, web};
use tachograph::signals::agent::{AgentRun, AgentRunEnd, RunStatus};
use tachograph::signals::task::{TaskQueueSize, TaskRetried};
use tachograph::signals::tool::{ToolCall, ToolCallEnd, ToolStatus};
use tachograph::signals::workflow::{WorkflowRun, WorkflowRunEnd};
use tachograph::testing::{self, Capture};
use tachograph::{Telemetry, TelemetryConfig};
use tracing::instrument::Instrument as _;

tachograph::signal! {
    /// Coupons that were redeemed.
    pub counter Redeemed = "shop.coupon" => "shop.coupons" "{coupon}" {
        labels {
            /// Campaign of the coupon.
            campaign: open(2),
        }
        no_alert "a test"
    }
}
tachograph::catalog! {
    /// What the shop records.
    pub SHOP = [Redeemed];
}

fn capture() -> Capture {
    testing::capture_with(|| Telemetry::builder(TelemetryConfig::default()).signals(SHOP))
}

/// What a failing assertion says.
fn complaint(assertion: impl FnOnce()) -> String {
    let panicked = catch_unwind(AssertUnwindSafe(assertion)).unwrap_err();
    panicked.downcast_ref::<String>().unwrap().clone()
}

#[tracing::instrument(name = "workflow.run", skip_all, fields(workflow_type = kind, status))]
async fn review(kind: &str, tasks: u64) {
    tracing::info!(kind, tasks, "under way");
    for _ in 0..tasks {
        tokio::task::yield_now().await;
        let call = ToolCall {
            tool: "grep",
            agent: "reviewer",
        };
        let active = call.start();
        active.context(ToolCall::CORRELATION_ID, "c-1");
        active.finish(ToolCallEnd {
            status: ToolStatus::Success,
            error: "",
        });
    }
    tracing::Span::current().record("status", "success");
}

async fn reviewed(tasks: u64) {
    let recorded = capture();
    review("code_review", tasks).await;
    recorded.signal("workflow.run").assert_count(1);
    let runs = recorded.signal("workflow.run").label("status", "success");
    runs.label("workflow_type", "code_review").assert_count(1);
    recorded.signal("tool.call").assert_count(tasks);
    let run = recorded.span("workflow.run").failed(false);
    run.field("status", "success").assert_count(1);
    let calls = recorded.span("tool.call").child_of("workflow.run");
    calls
        .field("correlation_id", "c-1")
        .assert_count(tasks as usize);
    let logged = recorded.log("under way").in_span("workflow.run");
    logged.field("tasks", &tasks.to_string()).assert_count(1);
    let ended = recorded.log("tool.call ended").level(tracing::Level::INFO);
    ended.in_span("tool.call").assert_count(tasks as usize);
    recorded.metric("workflow.active").assert_value(0.0);
    assert_eq!(recorded.metric("workflow.duration").observations(), 1);
}

#[tokio::test]
async fn a_test_sees_what_it_caused() {
    reviewed(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_on_many_threads_sees_what_it_caused() {
    reviewed(5).await;
}

#[test]
fn tests_in_parallel_see_their_own() {
    let threads: Vec<_> = (1..=8)
        .map(|n| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.build().unwrap();
                for _ in 0..20 {
                    runtime.block_on(reviewed(n));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_is_given_the_span_is_in_the_capture() {
    let recorded = capture();
    let retried = |reason: &'static str| async move {
        TaskRetried {
            task_type: "index",
            reason,
        }
        .add(1);
    };
    tokio::spawn(retried("timeout").in_current_span())
        .await
        .unwrap();
    let span = recorded.span_in_force();
    std::thread::spawn(move || {
        let _inside = span.entered();
        Redeemed { campaign: "spring" }.add(4);
    })
    .join()
    .unwrap();
    tokio::spawn(retried("lost")).await.unwrap();
    recorded
        .signal("task.retry")
        .label("reason", "timeout")
        .assert_count(1);
    recorded.signal("shop.coupon").assert_count(4);
    let lost = recorded.signal("task.retry").label("reason", "lost");
    let said = complaint(|| lost.assert_recorded());
    assert!(said.contains("outside of every capture"), "{said}");
    assert!(said.contains("reason=lost"), "{said}");
}

#[test]
fn what_ends_unreported_and_traces_of_their_own_are_seen() {
    let recorded = capture();
    drop(
        WorkflowRun {
            workflow_type: "cut",
        }
        .start(),
    );
    let cut = recorded.signal("workflow.run").label("status", "abandoned");
    cut.assert_count(1);
    recorded.span("workflow.run").failed(true).assert_count(1);

    let root = tracing::info_span!(parent: None, "agent.run", gen_ai.agent.name = "planner", status = "success");
    root.in_scope(|| {
        tracing::info!("at the root");
        Redeemed { campaign: "inner" }.add(1);
    });
    drop(root);
    recorded.signal("agent.run").assert_count(1);
    recorded.signal("shop.coupon").assert_count(1);
    recorded.log("at the root").assert_count(1);
}

#[test]
fn values_of_metrics() {
    let recorded = capture();
    let run = AgentRun {
        agent: "planner",
        phase: "",
        model: "m",
    };
    let end = AgentRunEnd {
        status: RunStatus::Success,
        error: "",
        tool_calls: Some(7.0),
        parallel_runs: None,
    };
    run.record(end, Duration::from_millis(1500));
    recorded
        .metric("agent.run.duration")
        .label("gen_ai.agent.name", "planner")
        .assert_value(1.5);
    recorded.metric("agent.run.tool_calls").assert_value(7.0);
    assert_eq!(recorded.metric("agent.run.parallel_runs").value(), None);
    let queue = TaskQueueSize {
        queue: "index",
        priority: "",
    };
    queue.set(3.0);
    recorded.metric("task.queue.size").assert_value(3.0);
    queue.remove();
    assert_eq!(recorded.metric("task.queue.size").value(), None);
    assert_eq!(
        recorded.span("agent.run").count(),
        0,
        "recorded after the fact"
    );
    // Budgets are those of the capture: the third campaign folds, in each of them.
    for campaign in ["a", "b", "c"] {
        Redeemed { campaign }.add(1);
    }
    recorded
        .signal("shop.coupon")
        .label("campaign", "other")
        .assert_count(1);
    // A handle belongs to the capture that it was asked for in.
    let kept = Redeemed { campaign: "a" }.handle().unwrap();
    kept.add(9);
    recorded
        .signal("shop.coupon")
        .label("campaign", "a")
        .assert_count(10);
    let next = capture();
    next.signal("shop.coupon").assert_count(0);
}

#[test]
fn failures_say_what_was_recorded_instead() {
    let recorded = capture();
    let end = WorkflowRunEnd {
        status: RunStatus::Failed,
    };
    WorkflowRun {
        workflow_type: "merge",
    }
    .record(end, Duration::ZERO);
    let success = recorded.signal("workflow.run").label("status", "success");
    let said = complaint(|| success.assert_count(1));
    assert!(
        said.contains("{status=success}: 0 recorded, 1 expected"),
        "{said}"
    );
    assert!(said.contains("status=failed"), "{said}");
    for (said, parts) in [
        (
            complaint(|| drop(recorded.signal("workflow.rum"))),
            ["`workflow.rum`", "nearest is `workflow.run`"],
        ),
        (
            complaint(|| drop(recorded.signal("workflow.run").label("state", "x"))),
            ["no label `state`", "nearest is `status`"],
        ),
        (
            complaint(|| drop(recorded.signal("workflow.run").label("status", "sucess"))),
            ["no value `sucess`", "nearest is `success`"],
        ),
        (
            complaint(|| drop(recorded.metric("workflow.durations"))),
            ["`workflow.durations`", "nearest is `workflow.duration`"],
        ),
        (
            complaint(|| recorded.signal("tool.call").assert_recorded()),
            ["was not recorded", "workflow.run: workflow.executions"],
        ),
    ] {
        for part in parts {
            assert!(said.contains(part), "{said}");
        }
    }

    tracing::info_span!("work", stage = 1).in_scope(|| tracing::warn!(left = 2, "nearly done"));
    let said = complaint(|| recorded.span("wrok").assert_count(1));
    assert!(
        said.contains("nearest is `work`") && said.contains("stage=1"),
        "{said}"
    );
    let said = complaint(|| {
        recorded
            .log("nearly done")
            .field("left", "3")
            .assert_count(1)
    });
    assert!(said.contains("left=2"), "{said}");
    tracing::info!(name: "task.retry", task_type = "t");
    let said = complaint(|| recorded.signal("task.retry").assert_recorded());
    assert!(
        said.contains("Refused") && said.contains("reason"),
        "{said}"
    );
}

#[actix_web::test]
async fn a_request_to_an_application() {
    let recorded = capture();
    let telemetry = recorded.telemetry();
    let app = App::new()
        .route(
            "/users/{id}",
            web::get().to(|| async {
                tracing::info!("looked up");
                "a user"
            }),
        )
        .wrap(telemetry.middleware());
    let app = init_service(app).await;
    let plain = TestRequest::get().uri("/users/7").to_request();
    call_and_read_body(&app, plain).await;
    let traced = TestRequest::get().uri("/users/8").insert_header((
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    ));
    call_and_read_body(&app, traced.to_request()).await;
    let requests = recorded.signal("http.server.request");
    requests.label("http.route", "/users/{id}").assert_count(2);
    recorded.span("GET /users/{id}").assert_count(2);
    recorded
        .log("looked up")
        .in_span("GET /users/{id}")
        .assert_count(2);
    recorded
        .metric("http.server.active_requests")
        .assert_value(0.0);
}
