//! GitHub's API, over reqwest and reqwest-middleware.
//!
//! [`GitHub`] is a middleware that recognises requests to `api.github.com` and to the GitHub
//! Enterprise that it was told of; others pass untouched. Each becomes a
//! [`GithubOperation`](crate::signals::github::GithubOperation) under the name that GitHub's API
//! description has for its route, with the rate limits that its answer tells; commits, pull
//! requests and issues are counted by repository.
//!
//! ```
//! use tachograph::instrumentation::reqwest::github::GitHub;
//! use tachograph::instrumentation::reqwest::reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
//! use tachograph::instrumentation::reqwest::{ClientTelemetry, OptionsError};
//!
//! fn client(bare: reqwest::Client) -> Result<ClientWithMiddleware, OptionsError> {
//!     let github = GitHub::builder().name("review-bot").build()?;
//!     let http = ClientTelemetry::default();
//!     Ok(ClientBuilder::new(bare).with(github).with(http).build())
//! }
//! ```
//!
//! It goes before [`ClientTelemetry`](super::ClientTelemetry), whose spans are then below its own
//! and have the route as `url.template`, and after what retries, so that each attempt counts.
//!
//! Of bodies it reads no more than it counts: of a request whether it closes or reopens, and the
//! name of a GraphQL query; of an answer the message of a refusal and the errors of a query, up to
//! 64 KiB. Nothing of them is kept or shown.

mod call;
mod changes;
mod graphql;
mod limits;
mod routes;
mod verdict;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use http::Extensions;
use reqwest::{Request, Response, Url};
use reqwest_middleware::{Middleware, Next, Result};
use tracing::Instrument as _;

use self::call::{Asked, Call};
use self::limits::Windows;
use super::{OptionsError, UrlTemplate};
use crate::pipeline::Telemetry;

/// How a [`GitHub`] is to be.
#[derive(Clone, Debug)]
#[must_use = "`build` makes the middleware"]
pub struct GitHubBuilder {
    name: String,
    enterprise: Vec<String>,
}

impl GitHubBuilder {
    /// Name of the client on rate limits, which are those of its credentials; `main` unless given.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Where the API of a GitHub Enterprise is: `https://github.example.com/api/v3`, or
    /// `https://api.example.ghe.com`. May be given several times.
    pub fn enterprise(mut self, base: &str) -> Self {
        self.enterprise.push(base.to_owned());
        self
    }

    /// The middleware.
    ///
    /// # Errors
    /// What is not accepted.
    pub fn build(self) -> std::result::Result<GitHub, OptionsError> {
        if self.name.is_empty() {
            return Err(OptionsError {
                field: "name",
                problem: "nothing is not accepted; accepted: a name".to_owned(),
            });
        }
        let bases = self.enterprise.iter().map(|base| Base::parse(base));
        Ok(GitHub(Arc::new(Shared {
            windows: Windows::new(self.name),
            enterprise: bases.collect::<std::result::Result<_, _>>()?,
        })))
    }
}

/// Records what is asked of GitHub's API; see the [module](self). Cheap to clone; clones share
/// what is known of rate limits.
#[derive(Clone, Debug)]
pub struct GitHub(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    windows: Windows,
    enterprise: Vec<Base>,
}

impl GitHub {
    /// A middleware with options.
    pub fn builder() -> GitHubBuilder {
        GitHubBuilder {
            name: "main".to_owned(),
            enterprise: Vec::new(),
        }
    }

    /// Takes rate limits whose reset has come off the page whenever metrics are read, until the
    /// last clone is gone: nobody knows then what is left of them. Without it, that happens with
    /// the next answer.
    pub fn watch(&self, telemetry: &Telemetry) {
        let Some(collector) = telemetry.collector() else {
            return;
        };
        let weak = Arc::downgrade(&self.0);
        collector.before_collect(move || {
            if let Some(shared) = weak.upgrade() {
                shared.windows.expire(now());
            }
        });
    }

    /// What a request asks of GitHub; none: it goes elsewhere.
    fn recognise(&self, request: &Request) -> Option<Asked> {
        let url = request.url();
        let (path, graphql) = match url.host_str()? {
            "api.github.com" | "uploads.github.com" => (url.path(), "/graphql"),
            _ => {
                let mut bases = self.0.enterprise.iter();
                bases.find_map(|base| base.rest(url))?
            }
        };
        let body = request.body().and_then(reqwest::Body::as_bytes);
        if path == graphql {
            return Some(Asked::graphql(body));
        }
        Some(Asked::rest(request.method().as_str(), path, body))
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[async_trait]
impl Middleware for GitHub {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let Some(asked) = self.recognise(&request) else {
            return next.run(request, extensions).await;
        };
        if !asked.template.is_empty() && extensions.get::<UrlTemplate>().is_none() {
            extensions.insert(UrlTemplate(Cow::Borrowed(asked.template)));
        }
        let call = Call::begin(&self.0, asked);
        let span = call.span();
        match next.run(request, extensions).instrument(span).await {
            Ok(response) => Ok(call.answered(response)),
            Err(error) => {
                call.failed(&error);
                Err(error)
            }
        }
    }
}

/// Where the API of a GitHub Enterprise is.
#[derive(Debug)]
struct Base {
    host: String,
    /// Of the paths of the REST API; empty or with a leading slash.
    prefix: String,
    /// Path of the GraphQL API behind the prefix, or the whole path.
    graphql: String,
}

impl Base {
    fn parse(text: &str) -> std::result::Result<Self, OptionsError> {
        let refused = || OptionsError {
            field: "enterprise",
            problem: "what was given is not accepted; accepted: \
                      `https://github.example.com/api/v3` or `https://api.example.ghe.com`, \
                      without user, query and fragment"
                .to_owned(),
        };
        let url = Url::parse(text).map_err(|_| refused())?;
        let bare = url.username().is_empty() && url.password().is_none();
        let plain = url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|_| bare && plain);
        let (Some(host), "http" | "https") = (host, url.scheme()) else {
            return Err(refused());
        };
        let prefix = url.path().trim_end_matches('/').to_owned();
        // GitHub Enterprise Server has it beside the REST API: `/api/graphql`.
        let beside = prefix.strip_suffix("/v3").unwrap_or(&prefix);
        Ok(Self {
            host: host.to_owned(),
            graphql: format!("{beside}/graphql"),
            prefix,
        })
    }

    /// A URL's path behind the prefix, and what that is of the GraphQL API.
    fn rest<'u>(&'u self, url: &'u Url) -> Option<(&'u str, &'u str)> {
        if url.host_str() != Some(&*self.host) {
            return None;
        }
        if url.path() == self.graphql {
            return Some((&self.graphql, &self.graphql));
        }
        let rest = url.path().strip_prefix(&*self.prefix)?;
        rest.starts_with('/').then_some((rest, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(github: &GitHub, url: &str) -> Option<String> {
        let request = Request::new(http::Method::GET, url.parse().unwrap());
        github
            .recognise(&request)
            .map(|asked| asked.operation.into_owned())
    }

    #[test]
    fn github_and_the_enterprise_that_was_told_of_are_recognised() {
        let github = GitHub::builder()
            .enterprise("https://github.example.com/api/v3/")
            .enterprise("https://api.acme.ghe.com")
            .build()
            .unwrap();
        for (url, expected) in [
            (
                "https://api.github.com/user",
                Some("users.get_authenticated"),
            ),
            ("https://api.github.com/graphql", Some("graphql")),
            ("https://api.github.com/what/is/this", Some("other")),
            (
                "https://github.example.com/api/v3/user",
                Some("users.get_authenticated"),
            ),
            ("https://github.example.com/api/graphql", Some("graphql")),
            (
                "https://api.acme.ghe.com/user",
                Some("users.get_authenticated"),
            ),
            ("https://api.acme.ghe.com/graphql", Some("graphql")),
            ("https://github.example.com/api/v33/user", None),
            ("https://github.example.com/user", None),
            ("https://github.com/user", None),
            ("https://api.github.com.evil.test/user", None),
        ] {
            assert_eq!(operation(&github, url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_not_accepted_is_named() {
        for base in [
            "github.example.com",
            "ftp://github.example.com",
            "https://ada:hunter2@github.example.com",
            "https://github.example.com/api/v3?a=hunter2",
        ] {
            let error = GitHub::builder().enterprise(base).build().unwrap_err();
            assert_eq!(error.field, "enterprise", "{base}");
            assert!(!error.to_string().contains("hunter2"));
        }
        assert_eq!(
            GitHub::builder().name("").build().unwrap_err().field,
            "name"
        );
    }
}
