//! Traces are decided once: children, tasks, threads and callers' flags.

#![allow(clippy::unwrap_used)]

#[path = "support/spans.rs"]
mod spans;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Barrier;

use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracerProvider;
use spans::Ended;
use tachograph::pipeline::config::SamplerKind::{self, *};
use tachograph::pipeline::propagation::{RemoteContext, current_context, inject_current};
use tracing::{Dispatch, Instrument, error, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

struct Run {
    dispatch: Dispatch,
    ended: Ended,
    provider: SdkTracerProvider,
}

fn run(kind: SamplerKind, ratio: f64, filter: &str) -> Run {
    let (layer, ended, provider) = spans::layer(spans::sampler(kind, ratio), filter);
    Run {
        dispatch: Dispatch::new(Registry::default().with(layer)),
        ended,
        provider,
    }
}

impl Run {
    fn within<T>(&self, f: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.dispatch, f)
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn remote(sampled: bool) -> Context {
    let parent = format!("00-{TRACE}-{CALLER}-0{}", u8::from(sampled));
    RemoteContext::from_headers(|name| match name {
        "traceparent" => vec![parent.as_bytes()],
        "tracestate" => vec![&b"vendor=1"[..]],
        "baggage" => vec![&b"tenant=blue"[..]],
        _ => vec![],
    })
    .into_context(&Context::new())
}

fn here() -> SpanContext {
    current_context().span().span_context().clone()
}

/// Asserts what an unsampled span of the remote trace has in force, and returns its id.
fn unsampled_here() -> SpanId {
    let span = here();
    assert_eq!(span.trace_id().to_string(), TRACE);
    assert!(span.is_valid() && !span.is_sampled() && !span.is_remote());
    assert_ne!(span.span_id().to_string(), CALLER);
    assert_eq!(span.trace_state().header(), "vendor=1");
    assert_eq!(
        current_context().baggage().get("tenant").unwrap().as_str(),
        "blue"
    );
    span.span_id()
}

#[test]
fn a_sampled_trace_keeps_the_ids_that_were_in_force() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    let (root, child) =
        run.within(|| info_span!("root").in_scope(|| (here(), info_span!("child").in_scope(here))));
    let (ended_root, ended_child) = (run.ended.named("root"), run.ended.named("child"));
    assert_eq!(ended_root.span_context, root);
    assert_eq!(ended_child.span_context, child);
    assert_eq!(ended_root.parent_span_id, SpanId::INVALID);
    assert_eq!(ended_child.parent_span_id, root.span_id());
    assert_eq!(child.trace_id(), root.trace_id());
    assert!(root.is_sampled() && !root.is_remote());
    assert_eq!(
        ended_child
            .attributes
            .iter()
            .filter(|a| a.key.as_str() != "target")
            .count(),
        0
    );
}

#[test]
fn a_callers_flag_is_kept() {
    let run = run(ParentBasedAlwaysOff, 1.0, "info");
    run.within(|| {
        let _caller = remote(true).attach();
        info_span!("served").in_scope(|| {
            assert_eq!(here().trace_state().header(), "vendor=1");
            info_span!("inner").in_scope(|| ());
        });
    });
    let served = run.ended.named("served");
    assert_eq!(served.span_context.trace_id().to_string(), TRACE);
    assert_eq!(served.parent_span_id.to_string(), CALLER);
    assert!(served.parent_span_is_remote && !served.span_context.is_remote());
    let inner = run.ended.named("inner");
    assert_eq!(inner.parent_span_id, served.span_context.span_id());
    assert!(!inner.parent_span_is_remote);
}

#[test]
fn children_of_an_unsampled_root_are_not_sampled_anew() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    run.within(|| {
        let root = {
            let _caller = remote(false).attach();
            info_span!("root")
        };
        // Explicit parents, never entered, outside of any context.
        info_span!(parent: &root, "explicit").in_scope(unsampled_here);
        let nested = info_span!(parent: info_span!(parent: &root, "between").id(), "nested");
        nested.in_scope(unsampled_here);
        let root_id = root.in_scope(unsampled_here);
        root.in_scope(|| {
            let child = info_span!("child");
            assert_ne!(child.in_scope(unsampled_here), root_id);
        });
        // Threads.
        let dispatch = run.dispatch.clone();
        let moved = root.clone();
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, || {
                let _entered = moved.enter();
                assert_eq!(unsampled_here(), root_id);
                info_span!("on a thread").in_scope(unsampled_here);
            });
        })
        .join()
        .unwrap();
        let follower = info_span!(parent: &root, "follower");
        follower.follows_from(&root);
        follower.record("late", 1);
        follower.in_scope(|| info!("line"));
        let mut headers = HashMap::new();
        root.in_scope(|| inject_current(&mut headers));
        assert_eq!(headers["traceparent"], format!("00-{TRACE}-{root_id}-00"));
        assert_eq!(headers["tracestate"], "vendor=1");
        assert_eq!(headers["baggage"], "tenant=blue");
    });
    assert_eq!(run.ended.names(), [""; 0]);
    assert!(!Context::current().has_active_span());
}

#[test]
fn nor_on_spawned_tasks() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    let dispatch = run.dispatch.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)))
        .build()
        .unwrap();
    let tasks = runtime.spawn(async {
        let root = {
            let _caller = remote(false).attach();
            info_span!("root")
        };
        async {
            let id = unsampled_here();
            let mut tasks = Vec::new();
            for _ in 0..50 {
                let work = async {
                    let before = unsampled_here();
                    tokio::task::yield_now().await;
                    info_span!("inner").in_scope(unsampled_here);
                    assert_eq!(unsampled_here(), before);
                };
                tasks.push(tokio::spawn(work.instrument(info_span!("task"))));
            }
            for task in tasks {
                task.await.unwrap();
            }
            let span = tracing::Span::current();
            tokio::task::spawn_blocking(move || {
                span.in_scope(|| {
                    assert_eq!(unsampled_here(), id);
                    info_span!("blocking").in_scope(unsampled_here);
                });
            })
            .await
            .unwrap();
        }
        .instrument(root)
        .await;
    });
    runtime.block_on(tasks).unwrap();
    assert_eq!(run.ended.names(), [""; 0]);
}

#[test]
fn sampled_and_unsampled_traces_interleave_on_one_thread() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    run.within(|| {
        let off = {
            let _caller = remote(false).attach();
            info_span!("off")
        };
        let on = info_span!("on");
        let on_id = on.in_scope(here).span_id();
        let (a, b) = (on.enter(), off.enter());
        unsampled_here();
        info_span!("unsampled child").in_scope(|| info!("unsampled line"));
        // Left in the order they were entered.
        drop(a);
        unsampled_here();
        drop(b);
        assert!(!here().is_valid());
        on.in_scope(|| {
            info!("line");
            off.in_scope(|| on.in_scope(|| assert_eq!(here().span_id(), on_id)));
        });
        assert!(!here().is_valid());
    });
    assert_eq!(run.ended.names(), ["on"]);
    assert_eq!(run.ended.named("on").events.len(), 1);
}

#[test]
fn ratios_decide_by_the_id_that_is_exported() {
    for kind in [TraceIdRatio, ParentBasedTraceIdRatio] {
        let sampler = spans::sampler(kind, 0.5);
        let run = run(kind, 0.5, "info");
        let mut expected = Vec::new();
        run.within(|| {
            for at in 0..400 {
                let root = if at % 2 == 0 {
                    info_span!("root")
                } else {
                    info_span!(parent: None, "root")
                };
                let root = root.entered();
                let child = info_span!("child").in_scope(here);
                assert_eq!(child.trace_id(), here().trace_id());
                assert_eq!(child.is_sampled(), here().is_sampled());
                if sampler.decide(&SpanContext::NONE, here().trace_id()) {
                    assert!(here().is_sampled());
                    expected.extend([here().span_id(), child.span_id()]);
                } else {
                    assert!(!here().is_sampled());
                }
                drop(root);
            }
        });
        let mut got: Vec<_> = (run.ended.take().iter())
            .map(|span| span.span_context.span_id())
            .collect();
        got.sort_by_key(|id| id.to_bytes());
        expected.sort_by_key(|id| id.to_bytes());
        assert_eq!(got, expected);
        assert!((200..600).contains(&got.len()), "{}", got.len());
    }
}

#[test]
fn a_span_without_parent_starts_a_trace() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    run.within(|| {
        let _caller = remote(false).attach();
        info_span!("outer").in_scope(|| {
            info_span!(parent: None, "own").in_scope(|| {
                assert_ne!(here().trace_id().to_string(), TRACE);
                assert!(current_context().baggage().is_empty());
            });
            unsampled_here();
        });
    });
    assert_eq!(run.ended.names(), ["own"]);
    assert_eq!(run.ended.named("own").parent_span_id, SpanId::INVALID);
}

#[test]
fn excluded_spans_hand_their_context_on() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info,quiet=off");
    let quiet = || info_span!(target: "quiet", "quiet");
    run.within(|| {
        quiet().in_scope(|| assert!(!here().is_valid()));
        let root = info_span!("root");
        let root_id = root.in_scope(here).span_id();
        let excluded = root.in_scope(quiet);
        let explicit = info_span!(target: "quiet", parent: &root, "quiet");
        drop(root);
        for span in [&excluded, &explicit] {
            info_span!(parent: span, "explicit").in_scope(|| ());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    run.within(|| {
                        span.in_scope(|| {
                            assert_eq!(here().span_id(), root_id);
                            info_span!("contextual").in_scope(|| ());
                        });
                    });
                });
            });
        }
        drop((excluded, explicit));
        let children: Vec<_> = (run.ended.take().into_iter())
            .filter(|span| span.name != "root")
            .map(|span| (span.parent_span_id, span.span_context.is_sampled()))
            .collect();
        assert_eq!(children, [(root_id, true); 4]);

        let _caller = remote(false).attach();
        let root = info_span!("unsampled");
        let explicit = info_span!(target: "quiet", parent: &root, "quiet");
        info_span!(parent: &explicit, "explicit").in_scope(unsampled_here);
        explicit.in_scope(unsampled_here);
    });
    assert_eq!(run.ended.names(), [""; 0]);
}

#[test]
fn panics_leave_no_context_behind() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    run.within(|| {
        for context in [Context::new(), remote(false)] {
            let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let _caller = context.attach();
                let _span = info_span!("outer").entered();
                info_span!("inner").in_scope(|| std::panic::resume_unwind(Box::new(())));
            }));
            assert!(caught.is_err());
            assert!(!Context::current().has_active_span());
            info_span!("after").in_scope(|| assert!(here().is_sampled()));
        }
    });
    assert_eq!(run.ended.names(), ["after", "after", "inner", "outer"]);
}

#[test]
fn a_span_entered_for_ever_ends_with_its_thread_quietly() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    std::thread::scope(|scope| {
        for context in [Context::new(), remote(false)] {
            let run = &run;
            scope.spawn(move || {
                run.within(|| {
                    let _caller = context.attach();
                    std::mem::forget(info_span!("forgotten").entered());
                });
            });
        }
    });
}

#[test]
fn fields_and_events_reach_sampled_spans() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    run.within(|| {
        let span = info_span!(
            "span",
            otel.name = "GET /things",
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            number = 7
        );
        span.record("otel.status_code", "error");
        span.in_scope(|| {
            info!(answer = 42, "an event");
            tracing::debug!("below the filter");
            current_context()
                .span()
                .set_attribute(KeyValue::new("by.hand", true));
        });
        error!(parent: &info_span!("failed"), "explicit parent");
        info!("outside");
    });
    let span = run.ended.named("GET /things");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert!(matches!(span.status, Status::Error { .. }));
    assert_eq!(span.events.len(), 1);
    assert_eq!(span.events[0].name, "an event");
    let has = |key: &str| span.attributes.iter().any(|kv| kv.key.as_str() == key);
    assert!(has("number") && has("by.hand"));
    assert_eq!(run.ended.named("failed").events.len(), 1);
}

#[test]
fn sampled_spans_that_are_never_entered_keep_their_place() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    run.within(|| {
        let root = info_span!("root");
        let child = info_span!(parent: &root, "child");
        child.follows_from(&root);
        drop((child, root));
    });
    let (root, child) = (run.ended.named("root"), run.ended.named("child"));
    assert_eq!(child.parent_span_id, root.span_context.span_id());
    assert_eq!(child.span_context.trace_id(), root.span_context.trace_id());
    assert_eq!(child.links.len(), 1);
}

#[test]
fn suppressed_telemetry_makes_no_spans() {
    let run = run(AlwaysOn, 1.0, "info");
    run.within(|| {
        let _quiet = Context::enter_telemetry_suppressed_scope();
        info_span!("suppressed").in_scope(|| info!("line"));
    });
    assert_eq!(run.ended.names(), [""; 0]);
}

#[test]
fn the_sdks_own_tracer_fits_in() {
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    let tracer = run.provider.tracer("library");
    run.within(|| {
        let root = info_span!("root").entered();
        tracer.in_span("by the library", |_| {
            info_span!("inside").in_scope(|| ());
        });
        drop(root);
        let _caller = remote(false).attach();
        info_span!("unsampled").in_scope(|| {
            tracer.in_span("not by the library", |_| {
                info_span!("not inside").in_scope(|| ())
            });
        });
    });
    assert_eq!(run.ended.names(), ["by the library", "inside", "root"]);
    let library = run.ended.named("by the library").span_context.span_id();
    assert_eq!(run.ended.named("inside").parent_span_id, library);
}

#[test]
fn the_span_extension_finds_sampled_spans() {
    let sampler = spans::sampler(ParentBasedAlwaysOff, 1.0);
    let (layer, ended, _provider) = spans::layer(sampler, "info");
    let subscriber = Registry::default().with(layer.span_ext()).with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let on = {
            let _caller = remote(true).attach();
            info_span!("on")
        };
        on.set_attribute("extra", 1);
        on.in_scope(|| tracing::Span::current().set_status(Status::error("why")));
        assert_eq!(
            on.context().span().span_context().trace_id().to_string(),
            TRACE
        );
        let off = info_span!("off");
        off.set_attribute("extra", 1);
        assert!(!off.context().has_active_span());
        drop((on, off));

        let moved = {
            let _caller = remote(true).attach();
            info_span!("moved")
        };
        let elsewhere = SpanContext::new(
            TraceId::from(9),
            SpanId::from(9),
            TraceFlags::SAMPLED,
            true,
            Default::default(),
        );
        moved
            .set_parent(Context::new().with_remote_span_context(elsewhere))
            .unwrap();
        moved.in_scope(|| assert_eq!(here().trace_id(), TraceId::from(9)));
        info_span!(parent: &moved, "child").in_scope(|| ());
    });
    assert_eq!(ended.names(), ["child", "moved", "on"]);
    let on = ended.named("on");
    assert!(on.attributes.iter().any(|kv| kv.key.as_str() == "extra"));
    assert_eq!(on.status, Status::error("why"));
    assert_eq!(ended.named("moved").parent_span_id, SpanId::from(9));
    assert_eq!(
        ended.named("child").span_context.trace_id(),
        TraceId::from(9)
    );
}

#[test]
fn spans_closed_on_other_threads_are_forgotten() {
    let run = run(ParentBasedTraceIdRatio, 0.5, "info");
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                run.within(|| {
                    barrier.wait();
                    for _ in 0..500 {
                        let span = info_span!("outer");
                        let inner = span.in_scope(|| info_span!("inner"));
                        std::thread::scope(|scope| {
                            scope.spawn(|| run.within(|| drop(inner)));
                        });
                    }
                });
            });
        }
    });
    let names = run.ended.names();
    assert_eq!(
        names.iter().filter(|name| *name == "outer").count() * 2,
        names.len()
    );
}

#[test]
fn exemplars_name_the_sampled_span_in_force() {
    use tachograph::recording::exemplar::current;
    let run = run(ParentBasedAlwaysOn, 1.0, "info");
    run.within(|| {
        let off = {
            let _caller = remote(false).attach();
            info_span!("off")
        };
        info_span!("on").in_scope(|| {
            let on = current().unwrap();
            assert_eq!(SpanId::from(on.span_id), here().span_id());
            assert_eq!(TraceId::from(on.trace_id), here().trace_id());
            off.in_scope(|| assert_eq!(current(), None));
            assert_eq!(current(), Some(on));
        });
        assert_eq!(current(), None);
        // Left in the order they were entered.
        let on = info_span!("on");
        let (a, b) = (on.enter(), off.enter());
        drop(a);
        assert_eq!(current(), None);
        drop(b);
        assert_eq!(current(), None);
    });
}

#[test]
fn without_an_exporter_contexts_are_kept_alone() {
    let (layer, ended, _provider) = spans::layer(spans::sampler(ParentBasedAlwaysOff, 1.0), "info");
    let subscriber = Registry::default().with(layer.with_context_only(true));
    tracing::subscriber::with_default(subscriber, || {
        let _caller = remote(true).attach();
        info_span!("served").in_scope(|| {
            assert!(here().is_sampled() && !here().is_remote());
            info_span!("inner").in_scope(|| assert!(here().is_sampled()));
        });
    });
    assert_eq!(ended.names(), [""; 0]);
}
