//! Which provider a host belongs to.

use url::Url;

use super::super::hosts::Hosts;

/// Providers as `gen_ai.provider.name` has them (semantic conventions v1.41.0), and `openrouter`,
/// which it does not list, by their hosts. A leading `*` is any text, which must not be empty.
const KNOWN: [(&str, &str); 20] = [
    ("api.anthropic.com", "anthropic"),
    ("api.openai.com", "openai"),
    ("*.api.openai.com", "openai"),
    ("*.openai.azure.com", "azure.ai.openai"),
    ("*.cognitiveservices.azure.com", "azure.ai.openai"),
    ("*.services.ai.azure.com", "azure.ai.inference"),
    ("*.models.ai.azure.com", "azure.ai.inference"),
    ("models.inference.ai.azure.com", "azure.ai.inference"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("*-aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("codestral.mistral.ai", "mistral_ai"),
    ("api.deepseek.com", "deepseek"),
    ("api.x.ai", "x_ai"),
    ("*.api.x.ai", "x_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.cohere.ai", "cohere"),
    ("openrouter.ai", "openrouter"),
];

/// Those who speak OpenAI's language and refuse, or do not need, to be asked for usage.
const TELLING: [&str; 3] = ["mistral_ai", "perplexity", "cohere"];

/// Hosts and their providers.
#[derive(Clone, Debug, Default)]
pub(super) struct Providers {
    own: Vec<(Hosts, String)>,
}

impl Providers {
    /// Adds a host, or a pattern of them, that goes before those that are known.
    ///
    /// # Errors
    /// What is accepted.
    pub(super) fn add(&mut self, pattern: &str, provider: &str) -> Result<(), String> {
        let mut hosts = Hosts::default();
        hosts.add(pattern)?;
        let named = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
        if provider.is_empty() || provider.len() > 64 || !provider.bytes().all(named) {
            let shown: String = provider.chars().take(80).collect();
            return Err(format!(
                "provider `{shown}` is not accepted; accepted: up to 64 of `a` to `z`, digits, \
                 `_`, `-` and `.`, such as `openai`"
            ));
        }
        self.own.push((hosts, provider.to_owned()));
        Ok(())
    }

    /// The provider of the URL's host; `None` if it is none.
    pub(super) fn of(&self, url: &Url) -> Option<&str> {
        let own = self.own.iter().find(|(hosts, _)| hosts.have(url));
        if let Some((_, provider)) = own {
            return Some(provider);
        }
        let host = url.host_str()?;
        let host = host.strip_suffix('.').unwrap_or(host);
        let is = |pattern: &str| match pattern.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => host == pattern,
        };
        let known = KNOWN.iter().find(|(pattern, _)| is(pattern));
        known.map(|(_, provider)| *provider)
    }
}

/// Whether streams of OpenAI's chat completions tell their usage without being asked for it.
pub(super) fn tells_usage(provider: &str) -> bool {
    TELLING.contains(&provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_providers_and_ones_own_go_first() {
        let mut providers = Providers::default();
        providers.add("llm.internal", "openai").unwrap();
        providers.add("*.groq.com", "mine").unwrap();
        for (url, expected) in [
            ("https://api.anthropic.com/v1/messages", Some("anthropic")),
            ("https://api.openai.com./v1/responses", Some("openai")),
            ("https://eu.api.openai.com/v1/responses", Some("openai")),
            ("https://evilapi.openai.com/v1/responses", None),
            (
                "https://prod.openai.azure.com/openai/v1/responses",
                Some("azure.ai.openai"),
            ),
            (
                "https://generativelanguage.googleapis.com/v1beta",
                Some("gcp.gemini"),
            ),
            (
                "https://europe-west4-aiplatform.googleapis.com/v1",
                Some("gcp.vertex_ai"),
            ),
            ("https://api.x.ai/v1/chat/completions", Some("x_ai")),
            (
                "https://api.groq.com/openai/v1/chat/completions",
                Some("mine"),
            ),
            (
                "http://llm.internal:8000/v1/chat/completions",
                Some("openai"),
            ),
            ("https://example.com/v1/chat/completions", None),
            ("https://api.anthropic.com.evil.test/v1/messages", None),
            ("data:,a", None),
        ] {
            assert_eq!(providers.of(&Url::parse(url).unwrap()), expected, "{url}");
        }
        for (pattern, provider) in [
            ("https://a.test", "openai"),
            ("a.test", ""),
            ("a.test", "A b"),
        ] {
            let problem = providers.add(pattern, provider).unwrap_err();
            assert!(problem.contains("accepted: "), "{problem}");
        }
    }
}
