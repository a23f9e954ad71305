//! What a caller says about its requests.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;

tokio::task_local! {
    static CALL: LlmCall;
}

/// On whose behalf a model is asked: given to one request with
/// [`with_extension`](reqwest_middleware::RequestBuilder::with_extension), or to all that a future
/// sends with [`scope`](Self::scope).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LlmCall {
    pub(super) agent: String,
    pub(super) model: String,
    pub(super) conversation: Option<String>,
    pub(super) correlation: Option<String>,
}

impl LlmCall {
    /// Nothing said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Agent on whose behalf the model is asked: a label, of which there may be 100.
    #[must_use]
    pub fn agent(mut self, name: impl Into<String>) -> Self {
        self.agent = name.into();
        self
    }

    /// Model that is asked, where neither the path nor the body tell: a body that is streamed
    /// itself is not looked at.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// Conversation, session or thread it belongs to; on the span only.
    #[must_use]
    pub fn conversation(mut self, id: impl Into<String>) -> Self {
        self.conversation = Some(id.into());
        self
    }

    /// Id shared by everything that belongs to one request or task; on the span only.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation = Some(id.into());
        self
    }

    /// Runs a future whose requests to models are on this behalf, but for those that have a call
    /// of their own. Tasks that it spawns are not in it.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CALL.scope(self, future)
    }

    /// The one whose future runs.
    pub(super) fn current() -> Self {
        CALL.try_with(Self::clone).unwrap_or_default()
    }
}

/// Makes requests known as attempts at the same thing: one of these for each thing, a clone of it
/// as the extension of each attempt. A request that comes after one that failed counts in
/// `llm.retries`, by what went wrong before.
///
/// Middlewares that resend do not need it, as they keep the extensions.
#[derive(Clone, Debug, Default)]
pub struct Retries(Arc<Mutex<Option<String>>>);

impl Retries {
    /// Before the first attempt.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What went wrong before, if something did; asked once.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().take()
    }

    /// How an attempt went wrong.
    pub(super) fn failed(&self, error: &str) {
        *self.0.lock() = Some(error.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_innermost_scope_holds_and_none_outside() {
        let name = |name: &str| LlmCall::new().agent(name);
        assert_eq!(LlmCall::current(), LlmCall::new());
        let inner = async { LlmCall::current() };
        let outer = async {
            assert_eq!(name("inner").scope(inner).await, name("inner"));
            LlmCall::current()
        };
        assert_eq!(name("outer").scope(outer).await, name("outer"));
    }
}
