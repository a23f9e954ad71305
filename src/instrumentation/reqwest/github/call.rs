//! One operation under way.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Response;
use tracing::Span;

use super::changes::Change;
use super::limits::Told;
use super::verdict::{Head, Verdict};
use super::{Shared, graphql, now, routes};
use crate::catalog::{OTHER, check};
use crate::instrumentation::reqwest::body::{self, End, Watch};
use crate::instrumentation::reqwest::failure;
use crate::recording::Active;
use crate::signals::github::{
    GithubOperation, GithubOperationEnd, GithubSecondaryLimit, GithubStatus,
};

/// Open labels of an operation.
const OPEN: usize = {
    let labels = GithubOperation::SIGNAL.labels;
    check::rank(labels, labels.len(), false)
};

/// Of an answer's body, bytes that are kept until it ends; of a longer one nothing is read.
const MOST: usize = 1 << 16;

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) operation: Cow<'static, str>,
    /// Empty if the route is not told apart.
    pub(super) template: &'static str,
    repository: Option<String>,
    change: Option<Change>,
    graphql: bool,
}

impl Asked {
    pub(super) fn graphql(body: Option<&[u8]>) -> Self {
        Self {
            operation: graphql::operation(body),
            template: "/graphql",
            repository: None,
            change: None,
            graphql: true,
        }
    }

    pub(super) fn rest(method: &str, path: &str, body: Option<&[u8]>) -> Self {
        let route = routes::find(method, path);
        let operation = route.map_or(OTHER, |route| route.operation);
        let repository = routes::repository(path);
        Self {
            operation: operation.into(),
            template: route.map_or("", |route| route.template),
            change: Change::of(operation, repository.clone(), body),
            repository,
            graphql: false,
        }
    }
}

/// Ends as abandoned unless somebody says how it ended.
pub(super) struct Call {
    shared: Arc<Shared>,
    /// None once it has ended.
    active: Option<Active<GithubOperation<'static>, OPEN>>,
    change: Option<Change>,
    graphql: bool,
    /// None until it is there.
    head: Option<Head>,
    /// The body so far, where it matters; none: it does not, or is too long.
    kept: Option<Vec<u8>>,
}

impl Call {
    pub(super) fn begin(shared: &Arc<Shared>, asked: Asked) -> Self {
        let operation = GithubOperation {
            operation: &asked.operation,
        };
        let active = operation.start();
        if let Some(repository) = &asked.repository {
            active.context(GithubOperation::REPOSITORY, &**repository);
        }
        Self {
            shared: Arc::clone(shared),
            active: Some(active),
            change: asked.change,
            graphql: asked.graphql,
            head: None,
            kept: None,
        }
    }

    pub(super) fn span(&self) -> Span {
        let active = self.active.as_ref();
        active.map_or_else(Span::none, |active| active.span().clone())
    }

    /// There is no answer.
    pub(super) fn failed(mut self, error: &reqwest_middleware::Error) {
        self.settle(&Verdict::of_failure(failure::of_error(error)));
    }

    /// The head of the answer is there; its body says the rest.
    pub(super) fn answered(mut self, response: Response) -> Response {
        let told = Told::read(response.headers());
        if let Some(told) = &told {
            self.shared.windows.take(told, now());
        }
        let code = response.status().as_u16();
        let head = Head::new(code, response.headers(), told.as_ref());
        self.head = Some(head);
        if let Some(active) = &self.active {
            active.context(GithubOperation::CODE, u64::from(code));
        }
        self.kept = (head.may_be_limit() || self.graphql && code == 200).then(Vec::new);
        body::watch(response, self)
    }

    fn settle(&mut self, verdict: &Verdict) {
        let Some(active) = self.active.take() else {
            return;
        };
        {
            // In the span, so that exemplars point to it.
            let _entered = active.span().enter();
            if verdict.is_secondary_limit() {
                let client = &*self.shared.windows.client;
                GithubSecondaryLimit { client }.add(1);
            }
            if let Some(change) = &self.change {
                change.record(verdict.status);
            }
        }
        active.finish(GithubOperationEnd {
            status: verdict.status,
            error: &verdict.error,
        });
    }
}

impl Watch for Call {
    fn chunk(&mut self, chunk: &Bytes) {
        self.kept = self.kept.take().and_then(|mut kept| {
            (kept.len() + chunk.len() <= MOST).then(|| {
                kept.extend_from_slice(chunk);
                kept
            })
        });
    }

    fn end(mut self, end: End<'_>) {
        let Some(head) = self.head else {
            return;
        };
        let kept = self.kept.take();
        let verdict = match end {
            End::Failed(error) => Verdict::of_failure(failure::of_reqwest(error)),
            // Its drop tells.
            End::Dropped if head.code < 400 => return,
            End::Complete | End::Unread | End::Dropped => {
                let query = kept.as_deref().filter(|_| self.graphql && head.code == 200);
                let errors = query.and_then(graphql::errors);
                errors.unwrap_or_else(|| head.verdict(kept.as_deref()))
            }
        };
        self.settle(&verdict);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.active.is_some()
            && let Some(change) = &self.change
        {
            change.record(GithubStatus::Abandoned);
        }
    }
}
