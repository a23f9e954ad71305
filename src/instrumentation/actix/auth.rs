//! Bearer tokens (RFC 6750) and basic authentication (RFC 7617) before routes.
//!
//! ```
//! use actix_web::{App, web};
//! use tachograph::instrumentation::actix::auth::Access;
//!
//! let access = Access::default().token("not-a-real-token").user("grafana", "not-a-password");
//! let app = App::new().service(web::scope("/internal").wrap(access));
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use actix_web::{Error, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

type Digest = [u8; 32];

fn digest(text: &[u8]) -> Digest {
    Sha256::digest(text).into()
}

/// Who may pass: whoever shows one of the tokens, or one of the users with its password. With
/// neither set everybody may. As a middleware it answers others with 401 and a JSON body.
///
/// Only digests are kept. A presented credential is compared with all of them in constant
/// time, so the time of a refusal tells nothing about them.
#[derive(Clone, Default)]
pub struct Access {
    tokens: Vec<Digest>,
    users: Vec<(Digest, Digest)>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("tokens", &self.tokens.len())
            .field("users", &self.users.len())
            .finish()
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

    /// Whether everybody may pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.users.is_empty()
    }

    /// Whether a request with these headers may pass. More than one `Authorization` header
    /// is refused.
    #[must_use]
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        if self.is_open() {
            return true;
        }
        let mut values = headers.get_all(AUTHORIZATION);
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let Some((scheme, credentials)) = value.to_str().ok().and_then(|v| v.split_once(' '))
        else {
            return false;
        };
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            self.allows_token(credentials)
        } else if scheme.eq_ignore_ascii_case("basic") {
            self.allows_user(credentials)
        } else {
            false
        }
    }

    fn allows_token(&self, token: &str) -> bool {
        let shown = digest(token.as_bytes());
        let none = Choice::from(0);
        let found = self
            .tokens
            .iter()
            .fold(none, |found, known| found | known.ct_eq(&shown));
        found.into()
    }

    fn allows_user(&self, credentials: &str) -> bool {
        let Ok(decoded) = STANDARD.decode(credentials) else {
            return false;
        };
        let Some(colon) = decoded.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let (name, password) = (digest(&decoded[..colon]), digest(&decoded[colon + 1..]));
        let none = Choice::from(0);
        let found = self.users.iter().fold(none, |found, (known, secret)| {
            found | (known.ct_eq(&name) & secret.ct_eq(&password))
        });
        found.into()
    }

    fn refusal(&self) -> HttpResponse {
        let mut response = HttpResponse::Unauthorized();
        let mut accepted = Vec::new();
        if !self.tokens.is_empty() {
            response.append_header((WWW_AUTHENTICATE, "Bearer realm=\"tachograph\""));
            accepted.push("`Authorization: Bearer <token>`");
        }
        if !self.users.is_empty() {
            response.append_header((
                WWW_AUTHENTICATE,
                "Basic realm=\"tachograph\", charset=\"UTF-8\"",
            ));
            accepted.push("`Authorization: Basic <user and password>`");
        }
        let message = format!(
            "credentials are missing or wrong; accepted: {}",
            accepted.join(" or ")
        );
        response.json(serde_json::json!({
            "error": {"status": 401, "code": "unauthorized", "message": message}
        }))
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
        if !self.access.allows(request.headers()) {
            let response = self.access.refusal();
            let response = request.into_response(response).map_into_right_body();
            return Box::pin(std::future::ready(Ok(response)));
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
            assert_eq!(access.allows(&headers(&values)), passes, "{values:?}");
        }
        assert!(Access::default().allows(&headers(&[])));
        assert!(!format!("{access:?}").contains("abc"));
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
