//! A small backend that embeds Tachograph: the three lines are marked.
//!
//! ```text
//! cargo run --example backend -- --listen 127.0.0.1:8080
//! curl localhost:8080/users/7
//! curl -X POST localhost:8080/workflows/code_review
//! curl -X POST 'localhost:8080/tasks/index?seconds=1.5'
//! curl -X POST localhost:8080/ask -d 'What is a tachograph?'
//! curl -X POST localhost:8080/agents/writer -d 'What is a tachograph?'
//! curl localhost:8080/metrics
//! ```
//!
//! `BACKEND_LISTEN` does what `--listen` does; port 0 takes a free one. What it listens on
//! is the first line of its output. Where telemetry goes is set by the `OTEL_*` variables,
//! such as `OTEL_EXPORTER_OTLP_ENDPOINT`.

use std::time::Duration;

use actix_web::web::{self, Bytes, Data, Path, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, error, rt};
use futures_util::{StreamExt as _, stream};
use opentelemetry::propagation::Injector;
use serde::Deserialize;
use serde_json::{Value, json};
use tachograph::pipeline::propagation::inject_current;
use tachograph::signals::agent::{AgentRun, AgentRunEnd};
use tachograph::signals::llm::{LlmOperation, LlmRequest, LlmRequestEnd, LlmStatus};
use tachograph::signals::task::{RunStatus, TaskRun, TaskRunEnd};
use tachograph::signals::tool::{ToolCall, ToolCallEnd, ToolStatus};
use tachograph::usage::{self, Format};
use tachograph::{Telemetry, TelemetryConfig};

async fn user(id: Path<u64>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"id": id.into_inner(), "name": "somebody"}))
}

async fn echo(body: Bytes) -> Bytes {
    body
}

async fn broken() -> Result<&'static str, error::Error> {
    Err(error::ErrorInternalServerError("on purpose"))
}

#[derive(Deserialize)]
struct Slow {
    milliseconds: u64,
}

/// Answers after a while, and leaves the connection alone until then.
async fn slow(how: Query<Slow>) -> &'static str {
    rt::time::sleep(Duration::from_millis(how.milliseconds)).await;
    "at last"
}

/// A hundred pieces of a hundred bytes, one a millisecond.
async fn streamed() -> HttpResponse {
    let pieces = stream::iter(0..100).then(|_| async {
        rt::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, error::Error>(Bytes::from_static(&[b'.'; 100]))
    });
    HttpResponse::Ok().streaming(pieces)
}

/// A workflow by the means of `tracing` alone: the span's name is that of a declared signal.
#[tracing::instrument(name = "workflow.run", skip_all, fields(workflow_type = kind, status))]
async fn run_workflow(kind: &str) -> bool {
    tracing::info!("working");
    let done = kind != "doomed";
    let status = if done { "success" } else { "failed" };
    tracing::Span::current().record("status", status);
    done
}

async fn workflow(kind: Path<String>) -> HttpResponse {
    if run_workflow(&kind).await {
        HttpResponse::Ok().json(json!({"status": "success"}))
    } else {
        HttpResponse::UnprocessableEntity().json(json!({"status": "failed"}))
    }
}

#[derive(Deserialize)]
struct Work {
    seconds: f64,
}

/// Hands a task to the background, which reports it through its typed recorder.
async fn task(kind: Path<String>, work: Query<Work>) -> Result<HttpResponse, error::Error> {
    let took = Duration::try_from_secs_f64(work.seconds).map_err(error::ErrorBadRequest)?;
    rt::spawn(async move {
        let end = TaskRunEnd {
            status: RunStatus::Success,
        };
        let task = TaskRun {
            task_type: &kind,
            agent_type: "",
        };
        task.record(end, took);
    });
    Ok(HttpResponse::Accepted().finish())
}

/// Where the model is, and how to get there.
struct Model {
    url: String,
    client: reqwest::Client,
}

struct Headers(reqwest::header::HeaderMap);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        use reqwest::header::{HeaderName, HeaderValue};
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(key.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            self.0.insert(name, value);
        }
    }
}

/// Asks the model through a guard: dropped before it is finished, as when the client goes
/// away, the request ends as `abandoned`.
async fn ask(question: String, model: Data<Model>) -> HttpResponse {
    match answer(&model, &question, "").await {
        Ok(answer) => HttpResponse::Ok().json(&answer["choices"][0]["message"]),
        Err(_) => HttpResponse::BadGateway().finish(),
    }
}

async fn answer(model: &Model, question: &str, agent: &str) -> Result<Value, reqwest::Error> {
    let request = LlmRequest {
        operation: LlmOperation::Chat,
        provider: "local",
        model: "parrot-1",
        agent,
    };
    let active = request.start();
    let answered = complete(model, question).await;
    let (status, error) = match &answered {
        Ok(_) => (LlmStatus::Success, ""),
        Err(error) if error.is_timeout() => (LlmStatus::Timeout, "timeout"),
        Err(_) => (LlmStatus::Failed, "request"),
    };
    let reported = answered.as_ref().ok();
    let reported = reported.and_then(|answer| usage::read(Format::OpenAiChat, answer).ok()?.usage);
    active.finish(LlmRequestEnd {
        response_model: if error.is_empty() { "parrot-1" } else { "" },
        status,
        error,
        ..reported.unwrap_or_default().end()
    });
    answered
}

/// A task for an agent: inside of it the agent's run, inside of that a tool and the model; each
/// with its span and its metrics.
async fn agent(name: Path<String>, question: String, model: Data<Model>) -> HttpResponse {
    let task = TaskRun {
        task_type: "question",
        agent_type: &name,
    };
    let run = AgentRun {
        agent: &name,
        phase: "answer",
        model: "parrot-1",
    };
    let tool = ToolCall {
        tool: "recall",
        agent: &name,
    };
    // What starts inside of an operation is below it in the trace.
    let thought = async {
        let recall = rt::time::sleep(Duration::from_millis(5));
        let recalled = tool.start().instrument(recall, |_| ToolCallEnd {
            status: ToolStatus::Success,
            error: "",
        });
        recalled.await;
        answer(&model, &question, &name).await
    };
    let work = async {
        let thought = run.start().instrument(thought, |answered| AgentRunEnd {
            status: ended(answered),
            error: if answered.is_ok() { "" } else { "model" },
            tool_calls: Some(1.0),
            parallel_runs: Some(1.0),
        });
        thought.await
    };
    let work = task.start().instrument(work, |answered| TaskRunEnd {
        status: ended(answered),
    });
    match work.await {
        Ok(answer) => HttpResponse::Ok().json(&answer["choices"][0]["message"]),
        Err(_) => HttpResponse::BadGateway().finish(),
    }
}

fn ended(answered: &Result<Value, reqwest::Error>) -> RunStatus {
    match answered {
        Ok(_) => RunStatus::Success,
        Err(error) if error.is_timeout() => RunStatus::Timeout,
        Err(_) => RunStatus::Failed,
    }
}

async fn complete(model: &Model, question: &str) -> Result<Value, reqwest::Error> {
    let mut headers = Headers(reqwest::header::HeaderMap::new());
    inject_current(&mut headers);
    let body = json!({"model": "parrot-1", "messages": [{"role": "user", "content": question}]});
    let request = model.client.post(&model.url).headers(headers.0).json(&body);
    request.send().await?.error_for_status()?.json().await
}

/// The model: says what it was asked. Twelve tokens in, thirty-four out.
async fn parrot(request: HttpRequest, body: web::Json<Value>) -> HttpResponse {
    tracing::debug!(traceparent = ?request.headers().get("traceparent"), "asked");
    let said = &body["messages"][0]["content"];
    HttpResponse::Ok().json(json!({
        "model": "parrot-1",
        "choices": [{"message": {"role": "assistant", "content": said}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 34},
    }))
}

fn start_model() -> std::io::Result<Data<Model>> {
    let app = || App::new().route("/v1/chat/completions", web::post().to(parrot));
    let server = HttpServer::new(app).workers(1).bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/v1/chat/completions", server.addrs()[0]);
    rt::spawn(server.disable_signals().run());
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .map_err(std::io::Error::other)?;
    Ok(Data::new(Model { url, client }))
}

fn listen() -> String {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--listen");
    let flag = arguments.nth(1);
    flag.or_else(|| std::env::var("BACKEND_LISTEN").ok())
        .unwrap_or_else(|| "127.0.0.1:0".to_owned())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let telemetry = Telemetry::init(TelemetryConfig::from_env()?)?; // 1
    // The HTTP client's TLS, which has nothing to do with telemetry.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let model = start_model()?;
    let guard = telemetry.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(model.clone())
            .route("/users/{id}", web::get().to(user))
            .route("/echo", web::post().to(echo))
            .route("/broken", web::get().to(broken))
            .route("/slow", web::get().to(slow))
            .route("/stream", web::get().to(streamed))
            .route("/workflows/{kind}", web::post().to(workflow))
            .route("/tasks/{kind}", web::post().to(task))
            .route("/ask", web::post().to(ask))
            .route("/agents/{name}", web::post().to(agent))
            .service(telemetry.routes()) // 2
            .wrap(telemetry.middleware()) // 3
    })
    .workers(2)
    .shutdown_timeout(5)
    .bind(listen())?;
    for address in server.addrs() {
        println!("listening on http://{address}");
    }
    server.run().await?;
    guard.shutdown(Duration::from_secs(5))?;
    Ok(())
}
