//! The records API from the client's side.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::Failure;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Where the service is and how to be let in.
#[derive(clap::Args)]
pub(super) struct Target {
    /// Address of the service.
    #[arg(long, env = "TACHOGRAPH_URL", default_value = "http://127.0.0.1:8001")]
    url: String,
    /// Bearer token, where the service wants one.
    #[arg(long, env = "TACHOGRAPH_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Target {
    /// The address of a path of the service.
    fn at(&self, path: &str) -> Result<Url, Failure> {
        Url::parse(&self.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .and_then(|url| url.join(path).ok())
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "--url: `{}` is not accepted; accepted: such as `http://127.0.0.1:8001`",
                    self.url
                ))
            })
    }
}

/// What the service answers to records.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    #[serde(default)]
    pub(super) rejected: Vec<Rejected>,
}

/// A record that the service refused.
#[derive(Debug, Deserialize)]
pub(super) struct Rejected {
    #[serde(default)]
    pub(super) index: u64,
    #[serde(default)]
    pub(super) field: Option<String>,
    pub(super) reason: String,
}

/// What came of sending.
pub(super) enum Sent {
    /// The service took the request.
    Done(Outcome),
    /// The service cannot take it now; the same may be sent again.
    Later {
        /// When to try again.
        wait: Duration,
        /// What it said.
        reason: String,
    },
}

pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        let url = target.at("/api/v1/records")?;
        let authorization = target
            .token
            .as_ref()
            .map(|token| {
                HeaderValue::from_str(&format!("Bearer {token}"))
                    .map(|mut value| {
                        value.set_sensitive(true);
                        value
                    })
                    .map_err(|_| Failure::Usage("--token: not a token".to_owned()))
            })
            .transpose()?;
        let http = http(Duration::from_secs(5), Duration::from_secs(30))?;
        Ok(Self {
            http,
            url,
            authorization,
        })
    }

    /// Sends records as JSON.
    pub(super) async fn send(&self, records: &serde_json::Value) -> Result<Sent, Failure> {
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(records.to_string());
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let mut response = request.send().await.map_err(|error| self.away(&error))?;
        let status = response.status();
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map_or(Duration::from_secs(1), Duration::from_secs);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.strange("the answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .map(Sent::Done)
                .map_err(|error| self.strange(&error.to_string()));
        }
        let reason = reason(&body);
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(Sent::Later {
                wait,
                reason: format!("{status}: {reason}"),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Failed(format!(
                "{} wants another token than it was given; set --token or TACHOGRAPH_TOKEN",
                self.url
            ))),
            StatusCode::NOT_FOUND => Err(self.strange("it knows no records API")),
            _ => Err(Failure::Failed(format!(
                "{} answered {status}: {reason}",
                self.url
            ))),
        }
    }

    fn away(&self, error: &reqwest::Error) -> Failure {
        away(&self.url, error)
    }

    fn strange(&self, what: &str) -> Failure {
        Failure::Failed(format!("{}: not a Tachograph service: {what}", self.url))
    }
}

pub(super) fn http(connect: Duration, timeout: Duration) -> Result<reqwest::Client, Failure> {
    // Fails only when a provider is there already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(connect)
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Failure::Failed(format!("HTTP client: {error}")))
}

/// Whether the service says that it can take records.
pub(super) async fn ready(target: &Target) -> Result<(), Failure> {
    let url = target.at("/health/ready")?;
    let client = http(Duration::from_secs(3), Duration::from_secs(3))?;
    let answer = client.get(url.clone()).send().await;
    let status = answer.map_err(|error| away(&url, &error))?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(Failure::Failed(format!("{url} answered {status}"))),
    }
}

fn away(url: &Url, error: &reqwest::Error) -> Failure {
    let what = if error.is_connect() {
        "no service answers there"
    } else if error.is_timeout() {
        "the service took too long"
    } else {
        "the connection failed"
    };
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Failure::Failed(format!(
        "{}: {what} ({cause}); start one with `tachograph serve`, or name another with --url",
        url.origin().ascii_serialization()
    ))
}

/// The message of `{"error": {"message": …}}`, else the start of the text.
fn reason(body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = parsed
        .as_ref()
        .and_then(|value| value.get("error"))
        .and_then(|error| error.get("message").unwrap_or(error).as_str());
    match message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).chars().take(200).collect(),
    }
}
