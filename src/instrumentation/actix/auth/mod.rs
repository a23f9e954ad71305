//! Bearer tokens (RFC 6750) and basic authentication (RFC 7617) before routes.
//!
//! ```
//! use actix_web::{App, web};
//! use tachograph::instrumentation::actix::auth::Access;
//!
//! let access = Access::default().token("not-a-real-token").user("grafana", "not-a-password");
//! let app = App::new().service(web::scope("/internal").wrap(access));
//! ```

mod lockout;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{Error, HttpMessage as _, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

pub use self::lockout::Lockout;
#[cfg(feature = "service")]
pub(crate) use self::lockout::network;
use super::AuthInfo;
use crate::signals::auth::{AuthLockout, AuthRefused, RefusalReason};
use crate::signals::http::AuthType;

type Digest = [u8; 32];

fn digest(text: &[u8]) -> Digest {
    Sha256::digest(text).into()
}

/// What a [`Verify`] says of a bearer token.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is of another kind; others are asked.
    NotMine,
    /// It is good, and somebody's.
    Admitted(AuthInfo),
    /// It is of this kind, and not accepted.
    Refused(AuthType, RefusalReason),
}

/// Reads one kind of bearer token. Asked once for each request, on a worker's thread: it must not
/// wait for anything.
pub trait Verify: fmt::Debug + Send + Sync {
    /// Whose the token is.
    fn verify(&self, token: &str) -> Verdict;
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was shown.
    pub auth_type: AuthType,
    /// Why it is not enough.
    pub reason: RefusalReason,
    /// For how long the address is locked out, where it is.
    pub retry_after: Option<Duration>,
}

/// Who may pass: whoever shows one of the tokens, or one of the users with its password, or what
/// one of the verifiers admits. With none of them set everybody may. As a middleware it answers
/// others with 401, 403 or 429 and a JSON body, counts them (`auth.refusals`), and inserts the
/// [`AuthInfo`] of who passes into the request's extensions.
///
/// Only digests of tokens and passwords are kept. A presented credential is compared with all of
/// them in constant time, so the time of a refusal tells nothing about them; nor does its text.
#[derive(Clone, Default)]
pub struct Access {
    tokens: Vec<Digest>,
    users: Vec<(Digest, Digest)>,
    verifiers: Vec<Arc<dyn Verify>>,
    lockout: Option<Arc<Lockout>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("tokens", &self.tokens.len())
            .field("users", &self.users.len())
            .field("verifiers", &self.verifiers)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Admits a bearer token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.tokens.push(digest(token.as_bytes()));
        self
    }

    /// Admits a user with a password. A name with a colon can never match.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users
            .push((digest(name.as_bytes()), digest(password.as_bytes())));
        self
    }

    /// Admits whom a verifier admits. They are asked in this order, after the tokens.
    #[must_use]
    pub fn verifier(mut self, verifier: Arc<dyn Verify>) -> Self {
        self.verifiers.push(verifier);
        self
    }

    /// Locks addresses out. They are those that connect: behind a proxy, the proxy's.
    #[must_use]
    pub fn lockout(mut self, lockout: Arc<Lockout>) -> Self {
        self.lockout = Some(lockout);
        self
    }

    /// Whether everybody may pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.users.is_empty() && self.verifiers.is_empty()
    }

    /// Whether a request with these headers may pass, from `peer` where that is known. Counts a
    /// refusal.
    ///
    /// # Errors
    /// Why it may not. More than one `Authorization` header is refused.
    pub fn check(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<AuthInfo, Refusal> {
        let result = self.judge(headers, peer, Instant::now());
        if let Err(Refusal {
            auth_type, reason, ..
        }) = result
        {
            AuthRefused { auth_type, reason }.add(1);
        }
        result
    }

    fn judge(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        now: Instant,
    ) -> Result<AuthInfo, Refusal> {
        let refused = |(auth_type, reason)| Refusal {
            auth_type,
            reason,
            retry_after: None,
        };
        if self.is_open() {
            return Ok(AuthInfo::anonymous());
        }
        let Some(presented) = presented(headers).map_err(refused)? else {
            return Err(refused((AuthType::None, RefusalReason::Missing)));
        };
        let watched = self.lockout.as_deref().zip(peer);
        if let Some((lockout, peer)) = watched
            && let Some(left) = lockout.left(peer, now)
        {
            return Err(Refusal {
                auth_type: presented.auth_type(),
                reason: RefusalReason::LockedOut,
                retry_after: Some(left),
            });
        }
        let (auth_type, reason) = match self.identify(&presented) {
            Ok(info) => return Ok(info),
            Err(refused) => refused,
        };
        // What was good once, or elsewhere, is not guessed.
        let guessed = matches!(
            reason,
            RefusalReason::Unknown | RefusalReason::Malformed | RefusalReason::Signature
        );
        if guessed
            && let Some((lockout, peer)) = watched
            && lockout.failed(peer, now)
        {
            AuthLockout {}.add(1);
            tracing::warn!(address = %peer, "locked out: too many attempts failed");
        }
        Err(refused((auth_type, reason)))
    }

    fn identify(&self, presented: &Presented<'_>) -> Result<AuthInfo, (AuthType, RefusalReason)> {
        let token = match presented {
            Presented::Basic(credentials) => return self.identify_user(credentials),
            Presented::Bearer(token) => *token,
        };
        if self.knows(token) {
            return Ok(AuthInfo::api_key(None));
        }
        for verifier in &self.verifiers {
            match verifier.verify(token) {
                Verdict::NotMine => {}
                Verdict::Admitted(info) => return Ok(info),
                Verdict::Refused(auth_type, reason) => return Err((auth_type, reason)),
            }
        }
        Err((AuthType::ApiKey, RefusalReason::Unknown))
    }

    fn knows(&self, token: &str) -> bool {
        let shown = digest(token.as_bytes());
        let none = Choice::from(0);
        let found = self
            .tokens
            .iter()
            .fold(none, |found, known| found | known.ct_eq(&shown));
        found.into()
    }

    fn identify_user(&self, credentials: &str) -> Result<AuthInfo, (AuthType, RefusalReason)> {
        let malformed = (AuthType::ApiKey, RefusalReason::Malformed);
        let decoded = STANDARD.decode(credentials).map_err(|_| malformed)?;
        let colon = decoded.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or(malformed)?;
        let (name, password) = (digest(&decoded[..colon]), digest(&decoded[colon + 1..]));
        let none = Choice::from(0);
        let found = self.users.iter().fold(none, |found, (known, secret)| {
            found | (known.ct_eq(&name) & secret.ct_eq(&password))
        });
        if !bool::from(found) {
            return Err((AuthType::ApiKey, RefusalReason::Unknown));
        }
        Ok(AuthInfo::api_key(
            std::str::from_utf8(&decoded[..colon]).ok(),
        ))
    }

    fn answer(&self, refusal: &Refusal) -> HttpResponse {
        let (status, code) = match refusal.reason {
            RefusalReason::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            RefusalReason::LockedOut => (StatusCode::TOO_MANY_REQUESTS, "locked_out"),
            _ => (StatusCode::UNAUTHORIZED, "unauthorized"),
        };
        let mut response = HttpResponse::build(status);
        let bearer = !self.tokens.is_empty() || !self.verifiers.is_empty();
        let mut accepted = Vec::new();
        if bearer {
            accepted.push("`Authorization: Bearer <token>`");
        }
        if !self.users.is_empty() {
            accepted.push("`Authorization: Basic <user and password>`");
        }
        let message = match refusal.reason {
            RefusalReason::Forbidden => {
                // RFC 6750, section 3.1.
                response.append_header((
                    WWW_AUTHENTICATE,
                    "Bearer realm=\"tachograph\", error=\"insufficient_scope\"",
                ));
                "the credentials are not for this route".to_owned()
            }
            RefusalReason::LockedOut => {
                let left = refusal.retry_after.unwrap_or_default();
                let seconds = left.as_secs_f64().ceil();
                response.append_header((RETRY_AFTER, seconds.to_string()));
                format!("too many attempts failed; try again in {seconds} s")
            }
            _ => {
                if bearer {
                    response.append_header((WWW_AUTHENTICATE, "Bearer realm=\"tachograph\""));
                }
                if !self.users.is_empty() {
                    response.append_header((
                        WWW_AUTHENTICATE,
                        "Basic realm=\"tachograph\", charset=\"UTF-8\"",
                    ));
                }
                format!(
                    "credentials are missing or wrong; accepted: {}",
                    accepted.join(" or ")
                )
            }
        };
        response.json(serde_json::json!({
            "error": {"status": status.as_u16(), "code": code, "message": message}
        }))
    }
}

enum Presented<'h> {
    Bearer(&'h str),
    Basic(&'h str),
}

impl Presented<'_> {
    fn auth_type(&self) -> AuthType {
        match self {
            Self::Bearer(token) if token.split('.').count() == 3 => AuthType::Jwt,
            _ => AuthType::ApiKey,
        }
    }
}

/// The credentials of a request.
fn presented(headers: &HeaderMap) -> Result<Option<Presented<'_>>, (AuthType, RefusalReason)> {
    let mut values = headers.get_all(AUTHORIZATION);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let malformed = (AuthType::None, RefusalReason::Malformed);
    if values.next().is_some() {
        return Err(malformed);
    }
    let text = value.to_str().map_err(|_| malformed)?;
    let (scheme, credentials) = text.split_once(' ').ok_or(malformed)?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(Presented::Bearer(credentials)))
    } else if scheme.eq_ignore_ascii_case("basic") {
        Ok(Some(Presented::Basic(credentials)))
    } else {
        Err(malformed)
    }
}

impl<S, B> Transform<S, ServiceRequest> for Access
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = AccessService<S>;
    type InitError = ();
    type Future = std::future::Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        std::future::ready(Ok(AccessService {
            service: Rc::new(service),
            access: self.clone(),
        }))
    }
}

/// [`Access`] in place before a service.
#[derive(Debug)]
pub struct AccessService<S> {
    service: Rc<S>,
    access: Access,
}

impl<S, B> Service<ServiceRequest> for AccessService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let peer = request.peer_addr().map(|address| address.ip());
        match self.access.check(request.headers(), peer) {
            // Who passes an open door has not said how.
            Ok(_) if self.access.is_open() => {}
            Ok(info) => {
                request.extensions_mut().insert(info);
            }
            Err(refusal) => {
                let response = self.access.answer(&refusal);
                let response = request.into_response(response).map_into_right_body();
                return Box::pin(std::future::ready(Ok(response)));
            }
        }
        let service = Rc::clone(&self.service);
        Box::pin(async move { Ok(service.call(request).await?.map_into_left_body()) })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actix_web::{App, web};

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn tokens_and_users_pass_and_nothing_else() {
        let access = Access::default()
            .token("abc")
            .token("def")
            .user("me", "pa:ss");
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (values, passes) in [
            (vec!["Bearer abc".to_owned()], true),
            (vec!["bearer  def".to_owned()], true),
            (vec!["Bearer ab".to_owned()], false),
            (vec!["Bearer abcd".to_owned()], false),
            (vec!["Bearer ".to_owned()], false),
            (vec!["abc".to_owned()], false),
            (vec!["Digest abc".to_owned()], false),
            (vec![basic("me:pa:ss")], true),
            (vec![basic("me:pass")], false),
            (vec![basic("you:pa:ss")], false),
            (vec![basic("me")], false),
            (vec!["Basic %".to_owned()], false),
            (
                vec!["Bearer abc".to_owned(), "Bearer abc".to_owned()],
                false,
            ),
            (vec![], false),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(
                access.check(&headers(&values), None).is_ok(),
                passes,
                "{values:?}"
            );
        }
        assert!(Access::default().check(&headers(&[]), None).is_ok());
        assert!(!format!("{access:?}").contains("abc"));
    }

    #[test]
    fn guessing_locks_out_and_being_late_does_not() {
        #[derive(Debug)]
        struct Old;
        impl Verify for Old {
            fn verify(&self, token: &str) -> Verdict {
                match token {
                    "old" => Verdict::Refused(AuthType::Jwt, RefusalReason::Expired),
                    "new" => Verdict::Admitted(AuthInfo::jwt(Some("me"))),
                    _ => Verdict::NotMine,
                }
            }
        }
        let minute = Duration::from_secs(60);
        let access = Access::default()
            .verifier(Arc::new(Old))
            .lockout(Arc::new(Lockout::new(3, minute, 5 * minute)));
        let (peer, now) = (Some("192.0.2.1".parse().unwrap()), Instant::now());
        let judged = |value: &str, peer, now| {
            let values: &[&str] = if value.is_empty() { &[] } else { &[value] };
            let judged = access.judge(&headers(values), peer, now);
            judged.map_err(|refusal| (refusal.reason, refusal.retry_after))
        };
        for _ in 0..5 {
            let old = judged("Bearer old", peer, now);
            assert_eq!(old, Err((RefusalReason::Expired, None)));
            assert_eq!(judged("", peer, now), Err((RefusalReason::Missing, None)));
        }
        for wrong in ["Bearer wrong", "Basic %", "Bearer wrong"] {
            assert!(judged(wrong, peer, now).is_err_and(|(_, left)| left.is_none()));
        }
        let locked = Err((RefusalReason::LockedOut, Some(5 * minute)));
        assert_eq!(judged("Bearer new", peer, now), locked);
        assert!(judged("Bearer new", Some("192.0.2.2".parse().unwrap()), now).is_ok());
        assert!(judged("Bearer new", None, now).is_ok());
        assert!(judged("Bearer new", peer, now + 5 * minute).is_ok());
    }

    #[actix_web::test]
    async fn a_refusal_is_json_and_names_what_is_accepted() {
        let access = Access::default().token("abc").user("me", "pass");
        let handler = || async { "in" };
        let app = init_service(
            App::new().service(
                web::resource("/")
                    .wrap(access)
                    .route(web::get().to(handler)),
            ),
        )
        .await;
        let request = TestRequest::get().uri("/").to_request();
        let response = call_service(&app, request).await;
        assert_eq!(response.status(), 401);
        let challenges: Vec<_> = response.headers().get_all(WWW_AUTHENTICATE).collect();
        assert_eq!(challenges.len(), 2);
        let body: serde_json::Value = read_body_json(response).await;
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("Bearer <token>"), "{message}");
        let request = TestRequest::get()
            .uri("/")
            .insert_header((AUTHORIZATION, "Bearer abc"))
            .to_request();
        assert_eq!(call_service(&app, request).await.status(), 200);
    }
}
