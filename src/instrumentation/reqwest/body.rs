//! A response whose body is seen as it passes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Body, Response, ResponseBuilderExt as _};

/// How a body ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'e> {
    /// It was read to its end.
    Complete,
    /// It broke off.
    Failed(&'e reqwest::Error),
    /// Nobody began to read it, as whoever asks for the status alone does.
    Unread,
    /// Whoever read it went away before its end.
    Dropped,
}

/// Sees the body of a response as it passes. It is called where the body is read and must not
/// block. Of a body that reqwest decompresses it sees the content, not what was transferred.
pub trait Watch: Send + Sync + 'static {
    /// A piece of the body, before its reader has it; a clone of it shares the memory.
    fn chunk(&mut self, chunk: &Bytes);

    /// The body's end; called once, and nothing after it.
    fn end(self, end: End<'_>);
}

/// The same response, whose body is watched. Nothing of it is kept or delayed. A body without
/// anything in it ends at once.
pub fn watch(response: Response, watch: impl Watch) -> Response {
    let url = response.url().clone();
    let (parts, body) = http::Response::<Body>::from(response).into_parts();
    let body = if body.is_end_stream() {
        watch.end(End::Complete);
        body
    } else {
        Body::wrap(Watched {
            body,
            asked: false,
            watch: Some(watch),
        })
    };
    with_url(parts, body, url)
}

/// The URL is all that reqwest's response has beside the parts, and it takes it from an extension
/// that only its builder can make.
fn with_url(mut parts: http::response::Parts, body: Body, url: url::Url) -> Response {
    if let Ok(carrier) = http::Response::builder().url(url).body(()) {
        parts.extensions.extend(carrier.into_parts().0.extensions);
    }
    http::Response::from_parts(parts, body).into()
}

struct Watched<W: Watch> {
    body: Body,
    /// Whether anybody began to read it.
    asked: bool,
    /// None once it has ended.
    watch: Option<W>,
}

impl<W: Watch> Watched<W> {
    fn end(&mut self, end: End<'_>) {
        if let Some(watch) = self.watch.take() {
            watch.end(end);
        }
    }
}

// The body is, and the watch is never pinned.
impl<W: Watch> Unpin for Watched<W> {}

impl<W: Watch> HttpBody for Watched<W> {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let this = self.get_mut();
        this.asked = true;
        let next = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &next {
            Some(Ok(frame)) => {
                if let (Some(watch), Some(chunk)) = (&mut this.watch, frame.data_ref()) {
                    watch.chunk(chunk);
                }
                // Of a body with a length its reader may not ask again.
                if this.body.is_end_stream() {
                    this.end(End::Complete);
                }
            }
            Some(Err(error)) => this.end(End::Failed(error)),
            None => this.end(End::Complete),
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<W: Watch> Drop for Watched<W> {
    fn drop(&mut self) {
        self.end(match self.asked {
            true => End::Dropped,
            false => End::Unread,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    /// What a watch saw, one word each.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Seen {
        fn add(&self, what: &str) {
            self.0.lock().unwrap().push(what.to_owned());
        }

        fn all(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Watch for Seen {
        fn chunk(&mut self, chunk: &Bytes) {
            self.add(&String::from_utf8_lossy(chunk));
        }

        fn end(self, end: End<'_>) {
            self.add(match end {
                End::Complete => "complete",
                End::Failed(_) => "failed",
                End::Unread => "unread",
                End::Dropped => "dropped",
            });
        }
    }

    fn response(body: impl Into<Body>) -> (Response, Seen) {
        let seen = Seen::default();
        let url = url::Url::parse("https://example.com/a?b").unwrap();
        let response = http::Response::builder()
            .status(201)
            .header("a", "b")
            .url(url)
            .body(body.into())
            .unwrap();
        (watch(response.into(), seen.clone()), seen)
    }

    fn streamed(parts: Vec<io::Result<&'static str>>) -> Body {
        Body::wrap_stream(stream::iter(parts))
    }

    #[tokio::test]
    async fn a_response_is_the_same_and_its_body_is_seen() {
        let (response, seen) = response("content");
        assert_eq!(response.status(), 201);
        assert_eq!(response.headers()["a"], "b");
        assert_eq!(response.url().as_str(), "https://example.com/a?b");
        assert_eq!(response.content_length(), Some(7));
        assert!(seen.all().is_empty());
        assert_eq!(response.text().await.unwrap(), "content");
        assert_eq!(seen.all(), ["content", "complete"]);
    }

    #[tokio::test]
    async fn chunks_are_seen_as_they_come() {
        let (mut response, seen) = response(streamed(vec![Ok("a"), Ok("b")]));
        assert_eq!(response.chunk().await.unwrap().unwrap(), "a");
        assert_eq!(seen.all(), ["a"]);
        assert_eq!(response.chunk().await.unwrap().unwrap(), "b");
        assert_eq!(response.chunk().await.unwrap(), None);
        assert_eq!(response.chunk().await.unwrap(), None);
        drop(response);
        assert_eq!(seen.all(), ["a", "b", "complete"]);
    }

    #[tokio::test]
    async fn bodies_that_break_off_are_left_or_are_not_read_are_told_apart() {
        let broken = || streamed(vec![Ok("a"), Err(io::ErrorKind::ConnectionReset.into())]);
        let (failing, seen) = response(broken());
        failing.bytes().await.unwrap_err();
        assert_eq!(seen.all(), ["a", "failed"]);
        let (mut left, seen) = response(broken());
        left.chunk().await.unwrap();
        drop(left);
        assert_eq!(seen.all(), ["a", "dropped"]);
        let (unread, seen) = response("content");
        drop(unread);
        assert_eq!(seen.all(), ["unread"]);
    }

    #[tokio::test]
    async fn a_body_of_known_length_ends_with_its_last_byte_and_an_empty_one_at_once() {
        let (response_, seen) = response("");
        assert_eq!(seen.all(), ["complete"]);
        drop(response_);
        let (known, seen) = response("content");
        let mut body = Body::from(known);
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(seen.all(), ["content", "complete"]);
    }
}
