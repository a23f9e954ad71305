//! Rate limits, as providers tell them in the headers of their answers.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::signals::llm::{
    LimitKind, LlmRateLimit, LlmRateLimitRemaining, LlmRateLimitReset, LlmRateLimitSaturation,
};

/// What one limit of a provider still allows; `None` where it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What it counts.
    pub kind: LimitKind,
    /// What it allows in its window.
    pub limit: Option<u64>,
    /// What is left.
    pub remaining: Option<u64>,
    /// When it is full again.
    pub reset: Option<Timestamp>,
}

/// The rate limits that the headers of one answer tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// One for each kind that they speak of.
    pub limits: Vec<RateLimit>,
    /// How long to wait before the next try.
    pub retry_after: Option<Duration>,
}

impl RateLimits {
    /// Sets the gauges of a provider: limit, what is left, share used up, reset.
    pub fn record(&self, provider: &str) {
        for limit in &self.limits {
            let kind = limit.kind;
            if let Some(allowed) = limit.limit {
                LlmRateLimit { provider, kind }.set(allowed as f64);
            }
            if let Some(left) = limit.remaining {
                LlmRateLimitRemaining { provider, kind }.set(left as f64);
            }
            if let (Some(allowed), Some(left)) = (limit.limit, limit.remaining)
                && allowed > 0
            {
                let used = allowed.saturating_sub(left) as f64 / allowed as f64;
                LlmRateLimitSaturation { provider, kind }.set(used);
            }
            if let Some(reset) = limit.reset {
                let seconds = reset.as_microsecond() as f64 / 1e6;
                LlmRateLimitReset { provider, kind }.set(seconds);
            }
        }
    }
}

/// Reads the rate limits out of an answer's headers, names in any case:
/// `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`
/// with times of RFC 3339 (Anthropic, "Rate limits"),
/// `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` with durations such as `6m0s` from
/// `now` on (OpenAI, "Rate limits in headers"), `retry-after-ms`, and `retry-after` in seconds
/// or as a date (RFC 9110, section 10.2.3). A value that is none is as if it were absent.
pub fn rate_limits<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    now: Timestamp,
) -> RateLimits {
    let mut found = RateLimits::default();
    let mut precise = false;
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let value = value.trim();
        if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
            if let Some((kind, what)) = rest.rsplit_once('-') {
                found.put(kind, what, value, |text| text.parse().ok());
            }
        } else if let Some(rest) = name.strip_prefix("x-ratelimit-") {
            if let Some((what, kind)) = rest.split_once('-') {
                found.put(kind, what, value, |text| {
                    now.checked_add(SignedDuration::try_from(span(text)?).ok()?)
                        .ok()
                });
            }
        } else if name == "retry-after-ms" {
            let wait = value.parse().ok().map(Duration::from_millis);
            precise = wait.is_some();
            found.retry_after = wait.or(found.retry_after);
        } else if name == "retry-after" && !precise {
            found.retry_after = retry_after(value, now).or(found.retry_after);
        }
    }
    found
}

impl RateLimits {
    fn put(
        &mut self,
        kind: &str,
        what: &str,
        value: &str,
        time: impl FnOnce(&str) -> Option<Timestamp>,
    ) {
        let kind = match kind {
            "requests" => LimitKind::Requests,
            "tokens" => LimitKind::Tokens,
            "input-tokens" => LimitKind::InputTokens,
            "output-tokens" => LimitKind::OutputTokens,
            _ => return,
        };
        let (count, reset) = match what {
            "limit" | "remaining" => (value.parse::<u64>().ok(), None),
            "reset" => (None, time(value)),
            _ => return,
        };
        if count.is_none() && reset.is_none() {
            return;
        }
        let at = match self.limits.iter().position(|limit| limit.kind == kind) {
            Some(at) => at,
            None => {
                self.limits.push(RateLimit {
                    kind,
                    limit: None,
                    remaining: None,
                    reset: None,
                });
                self.limits.len() - 1
            }
        };
        if let Some(limit) = self.limits.get_mut(at) {
            match what {
                "limit" => limit.limit = count,
                "remaining" => limit.remaining = count,
                _ => limit.reset = reset,
            }
        }
    }
}

fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let wait = date.timestamp().duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default())
}

/// A duration of several parts, such as `1h6m0s`, `1.5s`, `20ms`.
fn span(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let part = number.parse::<f64>().ok()? * scale;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}
