//! Lists of hosts: exact names, and suffixes.

use url::{Host, Url};

/// Hosts by name or by suffix; an empty list has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    exact: Vec<String>,
    /// Each with the dot that leads it.
    suffixes: Vec<String>,
}

impl Hosts {
    /// Adds a host: a name or an address, or `*.` and a name for all names below it.
    ///
    /// # Errors
    /// What is accepted.
    pub(super) fn add(&mut self, pattern: &str) -> Result<(), String> {
        let (name, suffix) = match pattern.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (pattern, false),
        };
        let parsed = match Host::parse(without_dot(name)) {
            Ok(host) if !name.contains('*') => host,
            _ => return Err(refused(pattern)),
        };
        match (parsed, suffix) {
            (Host::Domain(name), true) => self.suffixes.push(format!(".{name}")),
            // Nothing is below an address.
            (_, true) => return Err(refused(pattern)),
            (host, false) => self.exact.push(host.to_string()),
        }
        Ok(())
    }

    /// Whether the URL's host is one of these, on whatever port.
    pub(super) fn have(&self, url: &Url) -> bool {
        let Some(host) = url.host_str().map(without_dot) else {
            return false;
        };
        let below = |suffix: &String| host.len() > suffix.len() && host.ends_with(suffix.as_str());
        self.exact.iter().any(|exact| exact == host) || self.suffixes.iter().any(below)
    }
}

/// A name with the root's dot is the same name.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn refused(pattern: &str) -> String {
    let shown: String = pattern.chars().take(80).collect();
    format!(
        "`{shown}` is not accepted; accepted: a name such as `api.example.com`, an address, or \
         `*.example.com` for every name below it, without scheme, port or path"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(patterns: &[&str]) -> Hosts {
        let mut hosts = Hosts::default();
        for pattern in patterns {
            hosts.add(pattern).unwrap();
        }
        hosts
    }

    #[test]
    fn names_are_exact_and_suffixes_are_below() {
        let hosts = hosts(&[
            "API.example.com",
            "*.Svc.test.",
            "127.0.0.1",
            "[::1]",
            "bücher.de",
        ]);
        for (url, has) in [
            ("https://api.example.com/a", true),
            ("https://API.EXAMPLE.COM:8443/", true),
            ("https://api.example.com./", true),
            ("https://example.com/", false),
            ("https://evil-api.example.com/", false),
            ("https://api.example.com.evil.test/", false),
            ("https://a.svc.test/", true),
            ("https://a.b.svc.test/", true),
            ("https://svc.test/", false),
            ("https://evilsvc.test/", false),
            ("https://user:api.example.com@evil.test/", false),
            ("http://127.0.0.1:80/", true),
            ("http://127.0.0.2/", false),
            ("http://[::1]:9/", true),
            ("https://xn--bcher-kva.de/", true),
            ("data:text/plain,api.example.com", false),
        ] {
            assert_eq!(hosts.have(&Url::parse(url).unwrap()), has, "{url}");
        }
        assert!(!Hosts::default().have(&Url::parse("http://localhost").unwrap()));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for pattern in [
            "",
            "*",
            "*.",
            "*.*.com",
            "a.*.com",
            "*example.com",
            "https://example.com",
            "example.com:443",
            "example.com/a",
            "exa mple.com",
            "*.127.0.0.1",
        ] {
            let problem = Hosts::default().add(pattern).unwrap_err();
            assert!(problem.contains("accepted: "), "{pattern}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(pattern in ".*", host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}") {
            let mut hosts = Hosts::default();
            let _ = hosts.add(&pattern);
            hosts.add(&format!("*.{host}")).unwrap();
            let below = Url::parse(&format!("https://a.{host}/")).unwrap();
            prop_assert!(hosts.have(&below));
            let itself = Url::parse(&format!("https://{host}/")).unwrap();
            let only = { let mut only = Hosts::default(); only.add(&format!("*.{host}")).unwrap(); only };
            prop_assert!(!only.have(&itself));
        }
    }
}
