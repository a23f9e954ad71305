//! Who the service lets in: tokens and users of the configuration, API keys, JSON Web Tokens.

mod config;
mod jwt;
pub mod keys;

use std::sync::Arc;
use std::time::Duration;

pub use self::config::{AuthConfig, CredentialsConfig, JwtAlgorithm, JwtConfig, LockoutConfig};
use self::jwt::JwtVerifier;
use self::keys::{KeyFile, Route};
use crate::instrumentation::actix::auth::{Access, Lockout};

/// What stands before the routes.
#[derive(Debug)]
pub(super) struct Gates {
    /// Who may send records.
    pub(super) records: Access,
    /// Who may read the monitoring routes.
    pub(super) monitoring: Access,
}

impl Gates {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// The key of the configuration, and what is wrong with its file.
    pub(super) fn new(config: &AuthConfig) -> Result<Self, String> {
        let keys = match &config.keys_file {
            Some(path) => Some(Arc::new(
                KeyFile::open(path).map_err(|error| format!("keys_file: {error}"))?,
            )),
            None => None,
        };
        let lockout = (config.lockout.failures > 0).then(|| {
            let LockoutConfig {
                failures,
                window,
                period,
            } = config.lockout;
            Arc::new(Lockout::new(failures, window, period))
        });
        let gate = |credentials: CredentialsConfig, route: Route, scope: Option<&String>| {
            let mut access = Access::default();
            for token in &credentials.tokens {
                access = access.token(token.expose());
            }
            for (name, password) in &credentials.users {
                access = access.user(name, password.expose());
            }
            if let Some(keys) = &keys {
                access = access.verifier(Arc::new(keys.for_route(route)));
            }
            if config.jwt.algorithm.is_some() {
                let verifier = JwtVerifier::new(&config.jwt, scope.cloned());
                access = access.verifier(Arc::new(verifier.map_err(|e| format!("jwt: {e}"))?));
            }
            if let Some(lockout) = &lockout {
                access = access.lockout(Arc::clone(lockout));
            }
            Ok::<_, String>(access)
        };
        Ok(Self {
            records: gate(
                config.for_records(),
                Route::Records,
                config.jwt.records_scope.as_ref(),
            )?,
            monitoring: gate(
                config.for_monitoring(),
                Route::Monitoring,
                config.jwt.monitoring_scope.as_ref(),
            )?,
        })
    }
}

/// How often the file of keys is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
