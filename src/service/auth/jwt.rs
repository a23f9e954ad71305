//! JSON Web Tokens (RFC 7519), whose keys the configuration names.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::config::{JwtAlgorithm, JwtConfig};
use crate::instrumentation::actix::AuthInfo;
use crate::instrumentation::actix::auth::{Verdict, Verify};
use crate::signals::auth::RefusalReason;
use crate::signals::http::AuthType;

/// Reads tokens of one issuer.
pub(super) struct JwtVerifier {
    keys: Vec<DecodingKey>,
    validation: Validation,
    /// A word that `scope` must hold.
    scope: Option<String>,
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier").finish_non_exhaustive()
    }
}

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    scope: Option<String>,
}

impl JwtVerifier {
    /// Reads the keys.
    ///
    /// # Errors
    /// Which file cannot be used, and why; that there is no algorithm.
    pub(super) fn new(config: &JwtConfig, scope: Option<String>) -> Result<Self, String> {
        let algorithm = config.algorithm.ok_or("`algorithm` is missing")?;
        let mut keys: Vec<DecodingKey> = config
            .secrets
            .iter()
            .map(|secret| DecodingKey::from_secret(secret.expose().as_bytes()))
            .collect();
        for file in &config.public_key_files {
            keys.push(public_key(algorithm, file).map_err(|error| format!("{file}: {error}"))?);
        }
        let mut validation = Validation::new(match algorithm {
            JwtAlgorithm::HS256 => Algorithm::HS256,
            JwtAlgorithm::HS384 => Algorithm::HS384,
            JwtAlgorithm::HS512 => Algorithm::HS512,
            JwtAlgorithm::RS256 => Algorithm::RS256,
            JwtAlgorithm::PS256 => Algorithm::PS256,
            JwtAlgorithm::ES256 => Algorithm::ES256,
            JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        });
        validation.leeway = config.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&Vec::from_iter(&config.issuer));
        validation.set_audience(&Vec::from_iter(&config.audience));
        Ok(Self {
            keys,
            validation,
            scope,
        })
    }
}

fn public_key(algorithm: JwtAlgorithm, file: &str) -> Result<DecodingKey, String> {
    let pem = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    let key = match algorithm {
        JwtAlgorithm::ES256 => DecodingKey::from_ec_pem(&pem),
        JwtAlgorithm::EdDsa => DecodingKey::from_ed_pem(&pem),
        _ => DecodingKey::from_rsa_pem(&pem),
    };
    key.map_err(|error| format!("no public key in PEM for {algorithm:?}: {error}"))
}

impl Verify for JwtVerifier {
    fn verify(&self, token: &str) -> Verdict {
        if token.split('.').count() != 3 || decode_header(token).is_err() {
            return Verdict::NotMine;
        }
        let refused = |reason| Verdict::Refused(AuthType::Jwt, reason);
        let mut last = RefusalReason::Signature;
        for key in &self.keys {
            match decode::<Claims>(token, key, &self.validation) {
                Ok(token) => return self.admit(&token.claims),
                Err(error) => last = reason(error.kind()),
            }
            if last != RefusalReason::Signature {
                break;
            }
        }
        refused(last)
    }
}

impl JwtVerifier {
    fn admit(&self, claims: &Claims) -> Verdict {
        let scopes = claims.scope.as_deref().unwrap_or_default();
        let lacks = |scope: &String| scopes.split(' ').all(|word| word != scope);
        if self.scope.as_ref().is_some_and(lacks) {
            return Verdict::Refused(AuthType::Jwt, RefusalReason::Forbidden);
        }
        Verdict::Admitted(AuthInfo::jwt(claims.sub.as_deref()))
    }
}

fn reason(error: &ErrorKind) -> RefusalReason {
    match error {
        ErrorKind::ExpiredSignature => RefusalReason::Expired,
        ErrorKind::ImmatureSignature => RefusalReason::NotYetValid,
        ErrorKind::InvalidIssuer
        | ErrorKind::InvalidAudience
        | ErrorKind::InvalidSubject
        | ErrorKind::MissingRequiredClaim(_) => RefusalReason::Claims,
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => RefusalReason::Signature,
        _ => RefusalReason::Malformed,
    }
}
