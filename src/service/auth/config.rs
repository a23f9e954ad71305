//! What the service is told of who may do what.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::config::Secret;
use super::jwt::JwtVerifier;
use super::keys;
use crate::pipeline::config::{duration, list};

/// Shortest token that is accepted, in characters.
const MIN_TOKEN: usize = 16;
/// Shortest password that is accepted, in characters.
const MIN_PASSWORD: usize = 8;

/// Keys below `auth`, and what is wrong there.
type Problems = Vec<(Vec<&'static str>, String)>;

/// Who may use the records API and the monitoring routes. Without any tokens, users, keys and
/// `jwt` a route is open, which is accepted on loopback only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct AuthConfig {
    /// Bearer tokens for everything. Secret.
    #[serde(deserialize_with = "list::deserialize")]
    pub tokens: Vec<Secret>,
    /// Users and passwords (basic authentication) for everything. Secret.
    pub users: BTreeMap<String, Secret>,
    /// File of API keys, as `tachograph keys` writes it; read again when it changes.
    pub keys_file: Option<String>,
    /// JSON Web Tokens that are accepted; none unless `algorithm` is given.
    pub jwt: JwtConfig,
    /// When an address is refused for a while.
    pub lockout: LockoutConfig,
    /// Further tokens and users, for the records API alone.
    pub records: CredentialsConfig,
    /// Further tokens and users, for the monitoring routes alone.
    pub monitoring: CredentialsConfig,
}

/// Tokens and users of one group of routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct CredentialsConfig {
    /// Bearer tokens. Secret.
    #[serde(deserialize_with = "list::deserialize")]
    pub tokens: Vec<Secret>,
    /// Users and passwords (basic authentication). Secret.
    pub users: BTreeMap<String, Secret>,
}

/// How JSON Web Tokens (RFC 7519) are signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    RS256,
    /// RSA PSS with SHA-256.
    PS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// JSON Web Tokens that are accepted. They must not be expired, and `exp`, `iss` and `aud` must
/// be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct JwtConfig {
    /// How they are signed: `HS256`, `HS384`, `HS512`, `RS256`, `PS256`, `ES256` or `EdDSA`; no other way is accepted, whatever a token says.
    pub algorithm: Option<JwtAlgorithm>,
    /// For `HS*`: the shared secrets, one of which must fit; as many bytes as the hash has at least. Secret.
    #[serde(deserialize_with = "list::deserialize")]
    pub secrets: Vec<Secret>,
    /// For the others: files with public keys in PEM, one of which must fit.
    #[serde(deserialize_with = "list::deserialize")]
    pub public_key_files: Vec<String>,
    /// Who must have issued them (`iss`).
    pub issuer: Option<String>,
    /// For whom they must be (`aud`).
    pub audience: Option<String>,
    /// How far clocks may differ.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub leeway: Duration,
    /// A word that `scope` (RFC 8693, section 4.2) must hold for the records API; any token will do unless given.
    pub records_scope: Option<String>,
    /// A word that `scope` must hold for the monitoring routes; any token will do unless given.
    pub monitoring_scope: Option<String>,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            algorithm: None,
            secrets: Vec::new(),
            public_key_files: Vec::new(),
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
            records_scope: None,
            monitoring_scope: None,
        }
    }
}

/// When an address is refused for a while: also with credentials that are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(schemars::JsonSchema)]
pub struct LockoutConfig {
    /// After so many attempts with wrong credentials within the window; 0: never, as is right behind a proxy, whose clients share its address.
    pub failures: u32,
    /// The window.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub window: Duration,
    /// For how long.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = "duration"))]
    pub period: Duration,
}

impl Default for LockoutConfig {
    fn default() -> Self {
        Self {
            failures: 20,
            window: Duration::from_secs(60),
            period: Duration::from_secs(60),
        }
    }
}

impl AuthConfig {
    /// What the records API accepts: the common credentials and its own.
    #[must_use]
    pub fn for_records(&self) -> CredentialsConfig {
        self.with(&self.records)
    }

    /// What the monitoring routes accept: the common credentials and their own.
    #[must_use]
    pub fn for_monitoring(&self) -> CredentialsConfig {
        self.with(&self.monitoring)
    }

    fn with(&self, own: &CredentialsConfig) -> CredentialsConfig {
        let mut users = self.users.clone();
        users.extend(own.users.clone());
        CredentialsConfig {
            tokens: self.tokens.iter().chain(&own.tokens).cloned().collect(),
            users,
        }
    }

    /// Whether routes with these credentials of their own are open to everybody.
    pub(in super::super) fn leaves_open(&self, own: &CredentialsConfig) -> bool {
        self.with(own).is_empty() && self.keys_file.is_none() && self.jwt.algorithm.is_none()
    }

    /// Everything that is not accepted, by the key below `auth`.
    pub(in super::super) fn check(&self) -> Problems {
        let mut problems = Problems::new();
        let groups = [
            (None, &self.tokens, &self.users),
            (Some("records"), &self.records.tokens, &self.records.users),
            (
                Some("monitoring"),
                &self.monitoring.tokens,
                &self.monitoring.users,
            ),
        ];
        for (group, tokens, users) in groups {
            let at = |field| group.into_iter().chain([field]).collect::<Vec<_>>();
            problems.extend(check_tokens(tokens).map(|problem| (at("tokens"), problem)));
            problems.extend(check_users(users).map(|problem| (at("users"), problem)));
        }
        if let Some(path) = &self.keys_file
            && let Err(error) = keys::read(path.as_ref())
        {
            problems.push((vec!["keys_file"], error.to_string()));
        }
        let jwt = self.jwt.check().into_iter();
        problems.extend(jwt.map(|(field, problem)| (vec!["jwt", field], problem)));
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(86_400));
        for (field, value) in [
            ("window", self.lockout.window),
            ("period", self.lockout.period),
        ] {
            if !(shortest..=longest).contains(&value) {
                let value = duration::format(value);
                let problem = format!("`{value}` is not accepted; accepted: 1s to 24h");
                problems.push((vec!["lockout", field], problem));
            }
        }
        problems
    }
}

fn check_tokens(tokens: &[Secret]) -> Option<String> {
    // RFC 6750, section 2.1, `b64token`.
    let token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    let refused = |text: &str| text.len() < MIN_TOKEN || !text.chars().all(token);
    let any = tokens.iter().any(|token| refused(token.expose()));
    any.then(|| {
        format!(
            "a token is not accepted; accepted: {MIN_TOKEN} or more letters, digits and \
             -._~+/=, as `openssl rand -hex 32` prints"
        )
    })
}

fn check_users(users: &BTreeMap<String, Secret>) -> impl Iterator<Item = String> {
    let refused = |(user, password): &(&String, &Secret)| {
        let characters = password.expose().chars().count();
        user.is_empty() || user.contains(':') || characters < MIN_PASSWORD
    };
    users.iter().filter(refused).map(|(user, _)| {
        format!(
            "user `{user}` is not accepted; accepted: a name without a colon and a password of \
             {MIN_PASSWORD} or more characters"
        )
    })
}

impl CredentialsConfig {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.users.is_empty()
    }
}

impl JwtAlgorithm {
    /// Bytes that a shared secret has at least (RFC 7518, section 3.2); `None`: there is none.
    pub(super) fn secret_bytes(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            Self::RS256 | Self::PS256 | Self::ES256 | Self::EdDsa => None,
        }
    }
}

impl JwtConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let Some(algorithm) = self.algorithm else {
            let given = *self != Self::default();
            let problem = "is missing; accepted: HS256, HS384, HS512, RS256, PS256, ES256, EdDSA";
            return Vec::from_iter(given.then(|| ("algorithm", problem.to_owned())));
        };
        let mut problems = Vec::new();
        let mut refuse = |field, problem: String| problems.push((field, problem));
        if let Some(bytes) = algorithm.secret_bytes() {
            let long = |secret: &Secret| secret.expose().len() >= bytes;
            if self.secrets.is_empty() || !self.secrets.iter().all(long) {
                refuse(
                    "secrets",
                    format!("accepted for {algorithm:?}: one or more of {bytes} bytes or more"),
                );
            }
            if !self.public_key_files.is_empty() {
                refuse("public_key_files", "not for HS*: `secrets` are".to_owned());
            }
        } else {
            if self.public_key_files.is_empty() {
                let problem = "is missing; accepted: one or more files with a public key in PEM";
                refuse("public_key_files", problem.to_owned());
            }
            if !self.secrets.is_empty() {
                let problem = "for HS* only; `public_key_files` name the others' keys";
                refuse("secrets", problem.to_owned());
            }
        }
        for (field, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if value.as_ref().is_none_or(String::is_empty) {
                let problem = "is missing; accepted: a text that tokens must have there";
                refuse(field, problem.to_owned());
            }
        }
        let longest = Duration::from_secs(300);
        if self.leeway > longest {
            let value = duration::format(self.leeway);
            refuse(
                "leeway",
                format!("`{value}` is not accepted; accepted: 0s to 5m"),
            );
        }
        if problems.is_empty()
            && let Err(problem) = JwtVerifier::new(self, None)
        {
            problems.push(("public_key_files", problem));
        }
        problems
    }
}
