//! HTTP clients, over reqwest and reqwest-middleware.
//!
//! [`ClientTelemetry`] is a middleware: each request that passes it is recorded as
//! [`signals::http_client`](crate::signals::http_client), with a client span, until the last byte
//! of its answer was read. Answers are handed on as they come, nothing is kept. Trace context goes
//! only to hosts that were allowed; spans tell no query, user, password or header.
//!
//! ```
//! use tachograph::instrumentation::reqwest::{ClientTelemetry, OptionsError, UrlTemplate};
//! use tachograph::instrumentation::reqwest::reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
//!
//! fn client(bare: reqwest::Client) -> Result<ClientWithMiddleware, OptionsError> {
//!     let telemetry = ClientTelemetry::builder()
//!         .trace_hosts(["accounts.internal", "*.svc.example.com"])
//!         .build()?;
//!     Ok(ClientBuilder::new(bare).with(telemetry).build())
//! }
//!
//! # async fn example(client: ClientWithMiddleware) -> Result<(), reqwest_middleware::Error> {
//! let answer = client
//!     .get("https://accounts.internal/users/17")
//!     .with_extension(UrlTemplate::new("/users/{id}"))
//!     .send()
//!     .await?;
//! # let _ = answer;
//! # Ok(())
//! # }
//! ```
//!
//! [`llm`] records requests to language models.
//!
//! **Order.** Middlewares run in the order they were added. One that resends, such as
//! reqwest-retry's, goes before this one, so that each attempt is a request of its own; the
//! attempts after the first carry `http.request.resend_count`. One that reads what the body says
//! sees it through [`watch`].
//!
//! **Redirects** are followed by reqwest itself, below every middleware: what is recorded is one
//! request, to the server that was asked first, with the last answer. reqwest takes credentials
//! off a redirect to another host, and leaves trace context on it. Where an allowed host might
//! redirect to one that must not have it, build the client with
//! [`redirects`](ClientTelemetry::redirects).

mod body;
mod failure;
pub mod github;
mod hosts;
pub mod llm;
mod middleware;
mod request;

pub use ::reqwest;
pub use ::reqwest_middleware;
pub use body::{End, Watch, watch};
pub use middleware::{ClientTelemetry, ClientTelemetryBuilder, OptionsError, UrlTemplate};
