//! The middleware and how it is made.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Extensions, Method};
use reqwest::{Body, Request, Response};
use reqwest_middleware::{Middleware, Next, Result};
use tracing::Instrument as _;

use super::super::OptionsError;
use super::call::{LlmCall, Retries};
use super::observed::Observed;
use super::providers::{Providers, tells_usage};
use crate::prices::Prices;
use crate::usage::Asked;

/// How an [`Llm`] is to be.
#[derive(Clone, Debug, Default)]
#[must_use = "`build` makes the middleware"]
pub struct LlmBuilder {
    prices: Option<Arc<Prices>>,
    hosts: Vec<(String, String)>,
    ask_for_usage: bool,
}

impl LlmBuilder {
    /// What tokens cost; the prices that are shipped unless given.
    pub fn prices(mut self, prices: impl Into<Arc<Prices>>) -> Self {
        self.prices = Some(prices.into());
        self
    }

    /// Takes a host for one of a provider's, on whatever port: a gateway, a server of one's own.
    /// A name, an address, or `*.example.com` for every name below `example.com`; the provider as
    /// `gen_ai.provider.name` has it (semantic conventions v1.41.0), or a name of one's own.
    pub fn host(mut self, pattern: impl Into<String>, provider: impl Into<String>) -> Self {
        self.hosts.push((pattern.into(), provider.into()));
        self
    }

    /// Asks for the usage of streams that do not tell it unless they are asked: adds
    /// `"stream_options": {"include_usage": true}` to requests of OpenAI's chat completions that
    /// are streamed, have their body in memory and do not say anything of it themselves.
    ///
    /// Off unless given, as it changes what the caller gets: the stream has one more chunk, whose
    /// `choices` are empty. Where it is off, such requests count in `llm.usage.unknown` with the
    /// reason `not_requested`.
    pub fn ask_for_usage(mut self, ask: bool) -> Self {
        self.ask_for_usage = ask;
        self
    }

    /// The middleware.
    ///
    /// # Errors
    /// A host or a provider that is not accepted.
    pub fn build(self) -> std::result::Result<Llm, OptionsError> {
        let mut providers = Providers::default();
        for (pattern, provider) in &self.hosts {
            let added = providers.add(pattern, provider);
            added.map_err(|problem| OptionsError {
                field: "host",
                problem,
            })?;
        }
        Ok(Llm {
            prices: self.prices.unwrap_or_else(|| Arc::new(Prices::shipped())),
            providers: Arc::new(providers),
            ask_for_usage: self.ask_for_usage,
        })
    }
}

/// Records requests to language models; see the [module](super).
#[derive(Clone, Debug)]
pub struct Llm {
    prices: Arc<Prices>,
    providers: Arc<Providers>,
    ask_for_usage: bool,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            prices: Arc::new(Prices::shipped()),
            providers: Arc::default(),
            ask_for_usage: false,
        }
    }
}

impl Llm {
    /// A middleware with options.
    pub fn builder() -> LlmBuilder {
        LlmBuilder::default()
    }

    /// What the request asks, and of which provider; `None` if it asks nothing of a model.
    fn asked(&self, request: &mut Request) -> Option<(Asked, &str)> {
        if request.method() != Method::POST {
            return None;
        }
        let provider = self.providers.of(request.url())?;
        let mut asked = Asked::of_path(request.url().path())?;
        let Some(body) = request.body().and_then(Body::as_bytes) else {
            return Some((asked, provider));
        };
        asked.read_body(body);
        asked.tells_usage |= tells_usage(provider);
        if self.ask_for_usage
            && let Some(asking) = asked.asking_for_usage(body)
        {
            *request.body_mut() = Some(asking.into());
            // reqwest writes the length that it has now.
            request.headers_mut().remove(http::header::CONTENT_LENGTH);
            asked.tells_usage = true;
        }
        Some((asked, provider))
    }
}

#[async_trait]
impl Middleware for Llm {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let Some((asked, provider)) = self.asked(&mut request) else {
            return next.run(request, extensions).await;
        };
        let call = extensions.get::<LlmCall>().cloned();
        let call = call.unwrap_or_else(LlmCall::current);
        let retries = extensions.get_or_insert_default::<Retries>().clone();
        let observed = Observed::begin(
            &asked,
            provider,
            &call,
            request.url(),
            retries,
            Arc::clone(&self.prices),
        );
        let span = observed.span();
        match next.run(request, extensions).instrument(span).await {
            Ok(response) => Ok(observed.answered(response)),
            Err(error) => {
                observed.failed(&error);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_none_are_errors_that_name_the_option() {
        let error = Llm::builder().host("https://a.test", "openai").build();
        assert_eq!(error.unwrap_err().field, "host");
    }

    #[test]
    fn only_what_asks_a_model_of_a_provider_is_looked_at() {
        let llm = Llm::builder().host("llm.test", "groq").build().unwrap();
        let asked = |method: Method, url: &str| {
            let mut request = Request::new(method, url.parse().unwrap());
            let asked = llm.asked(&mut request);
            asked.map(|(asked, provider)| (asked.operation, provider.to_owned()))
        };
        use crate::signals::llm::LlmOperation::Chat;
        for (method, url, expected) in [
            (
                Method::POST,
                "http://llm.test/v1/chat/completions",
                Some((Chat, "groq")),
            ),
            (
                Method::POST,
                "https://api.anthropic.com/v1/messages",
                Some((Chat, "anthropic")),
            ),
            (Method::GET, "https://api.openai.com/v1/responses", None),
            (Method::POST, "https://api.openai.com/v1/files", None),
            (Method::POST, "https://example.com/v1/messages", None),
        ] {
            let expected = expected.map(|(operation, name)| (operation, name.to_owned()));
            assert_eq!(asked(method, url), expected, "{url}");
        }
    }
}
