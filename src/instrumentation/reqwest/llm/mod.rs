//! Requests to language models, over reqwest and reqwest-middleware.
//!
//! [`Llm`] is a middleware: each request to an API of a provider of models that passes it is
//! recorded as [`signals::llm`](crate::signals::llm), with a span `{operation} {model}`: model,
//! tokens in disjoint kinds, cost, time to the first chunk, what the rate limits still allow, and
//! what went wrong. Streamed answers are handed on as they come. Nothing of what is asked or
//! answered is kept, and headers, such as those with keys, are on no span.
//!
//! ```no_run
//! use tachograph::instrumentation::reqwest::OptionsError;
//! use tachograph::instrumentation::reqwest::llm::{Llm, LlmCall};
//! use tachograph::instrumentation::reqwest::reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
//!
//! fn client(bare: reqwest::Client) -> Result<ClientWithMiddleware, OptionsError> {
//!     let llm = Llm::builder().host("models.internal", "openai").build()?;
//!     Ok(ClientBuilder::new(bare).with(llm).build())
//! }
//!
//! # async fn example(client: ClientWithMiddleware, question: &str, key: &str) -> Result<(), reqwest_middleware::Error> {
//! let answer = client
//!     .post("https://api.anthropic.com/v1/messages")
//!     .header("x-api-key", key)
//!     .header("anthropic-version", "2023-06-01")
//!     .with_extension(LlmCall::new().agent("planner"))
//!     .header("content-type", "application/json")
//!     .body(serde_json::json!({"model": "claude-sonnet-4-5", "max_tokens": 1024,
//!         "messages": [{"role": "user", "content": question}]}).to_string())
//!     .send()
//!     .await?;
//! # let _ = answer;
//! # Ok(())
//! # }
//! ```
//!
//! **Which requests** are recorded follows from host and path: hosts of the providers that
//! `docs/llm-clients.md` lists, and those that [`LlmBuilder::host`] adds; paths as
//! [`Asked::of_path`](crate::usage::Asked::of_path) has them. All others pass untouched.
//!
//! **Order.** One that resends, such as reqwest-retry's, goes before this one, so that each
//! attempt is a request of its own; those after one that failed count as retries.
//! [`ClientTelemetry`](super::ClientTelemetry) goes after: its span is below this one.

mod call;
mod middleware;
mod observed;
mod pace;
mod providers;

pub use call::{LlmCall, Retries};
pub use middleware::{Llm, LlmBuilder};
