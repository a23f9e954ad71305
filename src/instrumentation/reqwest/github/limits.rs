//! What answers tell of rate limits ("Rate limits for the REST API", "Checking the status of your
//! rate limit", API version 2022-11-28).

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use crate::catalog::OTHER;
use crate::signals::github::{
    GithubRateLimit, GithubRateLimitAvailable, GithubRateLimitRemaining, GithubRateLimitReset,
    GithubRateLimitUsed,
};

/// Limits that are kept at most; GitHub has a dozen.
const MOST: usize = 24;

/// What one answer tells of the limit it was counted against. Unless told by a header, not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    resource: String,
    limit: Option<u64>,
    pub(super) remaining: Option<u64>,
    used: Option<u64>,
    /// Seconds since the Unix epoch.
    reset: Option<u64>,
}

impl Told {
    /// None: nothing is told.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        let resource = headers.get("x-ratelimit-resource");
        let told = Self {
            // Older servers do not say which.
            resource: resource.map_or("core", named).to_owned(),
            limit: number("x-ratelimit-limit"),
            remaining: number("x-ratelimit-remaining"),
            used: number("x-ratelimit-used"),
            reset: number("x-ratelimit-reset"),
        };
        (told.limit.is_some() || told.remaining.is_some()).then_some(told)
    }
}

fn named(resource: &HeaderValue) -> &str {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    match resource.to_str() {
        Ok(text) if matches!(text.len(), 1..=40) && text.bytes().all(known) => text,
        _ => OTHER,
    }
}

/// Whether both are known and the first is more.
fn more(this: Option<u64>, that: Option<u64>) -> bool {
    this.zip(that).is_some_and(|(this, that)| this > that)
}

/// What is known of the limits of one client until they are reset.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) client: String,
    known: Mutex<BTreeMap<String, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    reset: u64,
    remaining: Option<u64>,
}

impl Windows {
    pub(super) fn new(client: String) -> Self {
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// Puts on the page what an answer tells.
    pub(super) fn take(&self, told: &Told, now: u64) {
        let mut known = self.known.lock();
        self.drop_past(&mut known, now);
        // Without one it is never known to be over.
        let Some(reset) = told.reset.filter(|reset| *reset > now) else {
            return;
        };
        match known.get(&told.resource) {
            Some(window) if window.reset > reset => return,
            // Answers overtake each other: within a window less is left with each request.
            Some(window) if window.reset == reset && more(told.remaining, window.remaining) => {
                return;
            }
            None if known.len() >= MOST => return,
            _ => {}
        }
        let remaining = told.remaining;
        known.insert(told.resource.clone(), Window { reset, remaining });
        self.report(told, reset);
    }

    /// Takes limits whose reset has come off the page.
    pub(super) fn expire(&self, now: u64) {
        self.drop_past(&mut self.known.lock(), now);
    }

    fn drop_past(&self, known: &mut BTreeMap<String, Window>, now: u64) {
        known.retain(|resource, window| {
            let over = window.reset <= now;
            if over {
                self.forget(resource);
            }
            !over
        });
    }

    fn report(&self, told: &Told, reset: u64) {
        let (client, resource) = (&*self.client, &*told.resource);
        let number = |number: u64| number as f64;
        if let Some(limit) = told.limit {
            GithubRateLimit { client, resource }.set(number(limit));
        }
        if let Some(remaining) = told.remaining {
            GithubRateLimitRemaining { client, resource }.set(number(remaining));
        }
        if let Some(used) = told.used {
            GithubRateLimitUsed { client, resource }.set(number(used));
        }
        if let (Some(limit @ 1..), Some(remaining)) = (told.limit, told.remaining) {
            let share = number(remaining.min(limit)) / number(limit);
            GithubRateLimitAvailable { client, resource }.set(share);
        }
        GithubRateLimitReset { client, resource }.set(number(reset));
    }

    fn forget(&self, resource: &str) {
        let client = &*self.client;
        GithubRateLimit { client, resource }.remove();
        GithubRateLimitRemaining { client, resource }.remove();
        GithubRateLimitUsed { client, resource }.remove();
        GithubRateLimitAvailable { client, resource }.remove();
        GithubRateLimitReset { client, resource }.remove();
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.expire(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = http::HeaderValue::from_str(value).unwrap();
            (http::HeaderName::from_static(name), value)
        });
        pairs.collect()
    }

    fn told(remaining: u64, reset: u64) -> Told {
        Told {
            resource: "core".to_owned(),
            limit: Some(100),
            remaining: Some(remaining),
            used: Some(100 - remaining),
            reset: Some(reset),
        }
    }

    #[test]
    fn headers_are_read_and_what_is_no_number_is_not_known() {
        let read = Told::read(&headers(&[
            ("x-ratelimit-limit", "30"),
            ("x-ratelimit-remaining", "29"),
            ("x-ratelimit-used", "1"),
            ("x-ratelimit-reset", "1700000000"),
            ("x-ratelimit-resource", "code_search"),
        ]));
        let read = read.unwrap();
        assert_eq!(read.resource, "code_search");
        assert_eq!((read.limit, read.remaining), (Some(30), Some(29)));
        assert_eq!((read.used, read.reset), (Some(1), Some(1_700_000_000)));
        let strange = headers(&[
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "-1"),
            ("x-ratelimit-resource", "Köln"),
        ]);
        let strange = Told::read(&strange).unwrap();
        assert_eq!((&*strange.resource, strange.remaining), (OTHER, None));
        assert_eq!(Told::read(&headers(&[("x-ratelimit-used", "1")])), None);
    }

    #[test]
    fn within_a_window_less_is_left_and_after_it_nothing_is_known() {
        let windows = Windows::new("main".to_owned());
        let remaining = || {
            let known = windows.known.lock();
            known.get("core").and_then(|window| window.remaining)
        };
        windows.take(&told(50, 1000), 900);
        windows.take(&told(51, 1000), 901);
        windows.take(&told(80, 960), 902);
        assert_eq!(remaining(), Some(50));
        windows.expire(999);
        assert_eq!(remaining(), Some(50));
        windows.expire(1000);
        assert_eq!(remaining(), None);
        windows.take(&told(99, 4600), 1001);
        assert_eq!(remaining(), Some(99));
        // It is over already.
        windows.take(&told(3, 1001), 1001);
        assert_eq!(remaining(), Some(99));
        let unknown = Told {
            remaining: None,
            ..told(0, 5000)
        };
        windows.take(&unknown, 1002);
        windows.take(&told(70, 5000), 1003);
        assert_eq!(remaining(), Some(70));
    }

    #[test]
    fn limits_are_bounded() {
        let windows = Windows::new("bounded".to_owned());
        for n in 0..100 {
            let resource = format!("resource_{}", "a".repeat(n));
            windows.take(
                &Told {
                    resource,
                    ..told(1, 1000)
                },
                1,
            );
        }
        assert_eq!(windows.known.lock().len(), MOST);
    }
}
