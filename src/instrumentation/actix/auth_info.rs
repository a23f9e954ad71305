//! Who made a request, as the application found out.

use std::fmt;
use std::sync::OnceLock;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::signals::http::AuthType;

/// How a request was authenticated and by whom. An application's authentication inserts it
/// into the request's extensions before the handler answers; the middleware reads it there.
///
/// ```
/// use actix_web::{HttpMessage as _, HttpRequest};
/// use tachograph::instrumentation::actix::AuthInfo;
///
/// fn authenticated(request: &HttpRequest, user: &str) {
///     request.extensions_mut().insert(AuthInfo::jwt(Some(user)));
/// }
/// ```
///
/// The kind is a label. The user never is: it goes onto the span and the access log as
/// `user.hash`, a keyed hash.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthInfo {
    kind: AuthType,
    user: Option<Box<str>>,
}

impl AuthInfo {
    /// Authenticated this way, by this user where one is known.
    #[must_use]
    pub fn new(kind: AuthType, user: Option<&str>) -> Self {
        Self {
            kind,
            user: user.map(Into::into),
        }
    }

    /// By a JSON Web Token.
    #[must_use]
    pub fn jwt(user: Option<&str>) -> Self {
        Self::new(AuthType::Jwt, user)
    }

    /// By an API key.
    #[must_use]
    pub fn api_key(user: Option<&str>) -> Self {
        Self::new(AuthType::ApiKey, user)
    }

    /// Not at all.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(AuthType::None, None)
    }

    /// How.
    #[must_use]
    pub fn kind(&self) -> AuthType {
        self.kind
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

impl fmt::Debug for AuthInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthInfo")
            .field("kind", &self.kind)
            .field("user", &self.user.as_ref().map(|_| "…"))
            .finish()
    }
}

/// The key of user hashes. Processes with the same key give a user the same hash.
#[derive(Clone)]
pub struct UserKey(Hmac<Sha256>);

impl UserKey {
    /// A key of any length; 32 random bytes are advised.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// A random key, which no other process has.
    #[must_use]
    pub fn random() -> Self {
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let key = [*a.as_bytes(), *b.as_bytes()].concat();
        // HMAC takes keys of any length; the fallback is never reached.
        Self::new(&key)
            .unwrap_or_else(|| Self(<Hmac<Sha256> as hmac::Mac>::new(&Default::default())))
    }

    /// The one random key of this process.
    #[must_use]
    pub fn of_process() -> Self {
        static KEY: OnceLock<UserKey> = OnceLock::new();
        KEY.get_or_init(Self::random).clone()
    }

    /// The first 64 bits of the user's HMAC-SHA256 (RFC 2104), 16 hexadecimal digits.
    #[must_use]
    pub fn hash(&self, user: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(user.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut text = String::with_capacity(16);
        crate::pipeline::propagation::push_hex(&mut text, &digest[..8]);
        text
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_by_key() {
        // RFC 4231, test case 2.
        let key = UserKey::new(b"Jefe").unwrap();
        assert_eq!(key.hash("what do ya want for nothing?"), "5bdcc146bf60754e");
        let (one, two) = (UserKey::random(), UserKey::random());
        assert_ne!(one.hash("alice"), two.hash("alice"));
        assert_eq!(one.hash("alice"), one.clone().hash("alice"));
        assert_ne!(one.hash("alice"), one.hash("bob"));
    }

    #[test]
    fn users_are_not_printed() {
        let text = format!("{:?} {:?}", AuthInfo::jwt(Some("alice")), UserKey::random());
        assert!(!text.contains("alice"), "{text}");
    }
}
