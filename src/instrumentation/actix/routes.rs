//! The routes by which metrics are read.

use std::sync::OnceLock;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode};
use actix_web::{Error, HttpRequest, HttpResponse, Resource, web};
use futures_util::stream;
use serde_json::json;

use super::auth::Access;
use super::health;
use crate::Telemetry;
use crate::exposition::{Page, PageError, Rendered, Request};

/// Where metrics are read.
const METRICS: [&str; 2] = ["/metrics", "/api/monitoring/metrics"];
/// Where the state of the pipeline is read.
const HEALTH: &str = "/api/monitoring/health/metrics";

static DEADLINE_NAME: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

impl Telemetry {
    /// The metrics page of this process, started when it is first asked for: declared
    /// metrics, those of the `prometheus` crate's default registry, and those recorded through
    /// OpenTelemetry's global meter provider. `None` when telemetry is disabled.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn page(&self) -> std::io::Result<Option<Page>> {
        static PAGE: OnceLock<Page> = OnceLock::new();
        static STARTING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let (Some(collector), Some(foreign)) = (self.collector(), self.foreign()) else {
            return Ok(None);
        };
        let _starting = STARTING.lock();
        if let Some(page) = PAGE.get() {
            return Ok(Some(page.clone()));
        }
        let mut page = Page::builder(collector.clone())
            .foreign(foreign)
            .default_registry();
        if let Some(vocabularies) = self.vocabularies() {
            page = page.vocabularies(vocabularies);
        }
        let page = page.start()?;
        Ok(Some(PAGE.get_or_init(|| page).clone()))
    }

    /// The routes by which metrics are read: `GET` and `HEAD` of `/metrics` and
    /// `/api/monitoring/metrics`, `GET` of `/api/monitoring/health/metrics`.
    ///
    /// ```no_run
    /// # let telemetry = tachograph::Telemetry::init(tachograph::TelemetryConfig::default())?;
    /// use actix_web::App;
    /// use tachograph::instrumentation::actix::auth::Access;
    ///
    /// let access = Access::default().token("not-a-real-token");
    /// let app = App::new().service(telemetry.routes().access(access));
    /// # Ok::<(), tachograph::pipeline::InitError>(())
    /// ```
    #[must_use]
    pub fn routes(&self) -> MonitoringRoutes {
        MonitoringRoutes {
            monitored: Monitored {
                page: self.page().map_err(|error| error.to_string()),
                telemetry: self.clone(),
            },
            access: Access::default(),
        }
    }
}

/// What the routes read.
#[derive(Clone)]
pub(super) struct Monitored {
    pub(super) telemetry: Telemetry,
    /// Nothing when telemetry is disabled; a reason when the page did not start.
    pub(super) page: Result<Option<Page>, String>,
}

/// The routes by which metrics are read; see [`Telemetry::routes`]. On a listener of their
/// own when put into an application of its own.
#[derive(Clone)]
pub struct MonitoringRoutes {
    monitored: Monitored,
    access: Access,
}

impl std::fmt::Debug for MonitoringRoutes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MonitoringRoutes")
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl MonitoringRoutes {
    /// Lets only those read who show a credential.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    fn resource(&self, path: &str) -> Resource {
        let monitored = web::Data::new(self.monitored.clone());
        let resource = web::resource(path).app_data(monitored);
        if path == HEALTH {
            resource
                .route(web::get().to(health::health))
                .route(web::head().to(health::health))
        } else {
            resource
                .route(web::get().to(metrics))
                .route(web::head().to(metrics))
        }
        .default_service(web::to(not_allowed))
    }
}

impl HttpServiceFactory for MonitoringRoutes {
    fn register(self, config: &mut AppService) {
        for path in METRICS.into_iter().chain([HEALTH]) {
            let resource = self.resource(path);
            if self.access.is_open() {
                resource.register(config);
            } else {
                resource.wrap(self.access.clone()).register(config);
            }
        }
    }
}

/// An answer to a request that cannot be served.
pub(super) fn refuse(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let error = json!({"status": status.as_u16(), "code": code, "message": message});
    HttpResponse::build(status).json(json!({"error": error}))
}

async fn not_allowed() -> HttpResponse {
    let mut response = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "accepted: GET, HEAD",
    );
    let allow = header::HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

pub(super) const DISABLED: &str = "telemetry is disabled";

async fn metrics(request: HttpRequest, monitored: web::Data<Monitored>) -> HttpResponse {
    let page = match &monitored.page {
        Ok(Some(page)) => page,
        Ok(None) => return refuse(StatusCode::SERVICE_UNAVAILABLE, "disabled", DISABLED),
        Err(error) => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error);
        }
    };
    let headers = request.headers();
    let wanted = Request::negotiate(
        joined(headers, &header::ACCEPT).as_deref(),
        joined(headers, &header::ACCEPT_ENCODING).as_deref(),
        request.query_string(),
    );
    let Some(wanted) = wanted else {
        return refuse(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "accepted: application/openmetrics-text, text/plain, application/vnd.google.protobuf; \
             gzip, zstd, identity",
        );
    };
    let named = headers.get(&DEADLINE_NAME);
    let deadline = Request::deadline(named.and_then(|value| value.to_str().ok()));
    match page.render(wanted, deadline).await {
        Ok(rendered) => {
            let agent = headers.get(header::USER_AGENT);
            page.was_read(agent.and_then(|value| value.to_str().ok()), named.is_some());
            answer(request.method(), rendered)
        }
        Err(error) => {
            if let PageError::Vocabulary(message) = &error {
                return refuse(StatusCode::BAD_REQUEST, "vocabulary", message);
            }
            let status = match error {
                PageError::Busy | PageError::Closed => StatusCode::SERVICE_UNAVAILABLE,
                PageError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                PageError::Encode(_) | PageError::Vocabulary(_) => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            refuse(status, "no_page", &error.to_string())
        }
    }
}

fn answer(method: &Method, rendered: Rendered) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .content_type(rendered.format.content_type())
        .insert_header((header::VARY, "Accept, Accept-Encoding"))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(encoding) = rendered.encoding.as_header() {
        response.insert_header((header::CONTENT_ENCODING, encoding));
    }
    let len = rendered.len as u64;
    if method == Method::HEAD {
        return response.body(SizedStream::new(len, stream::empty::<Result<_, Error>>()));
    }
    let chunks = rendered.chunks.into_iter().map(Ok::<_, Error>);
    response.body(SizedStream::new(len, stream::iter(chunks)))
}

/// All values of a header, as one list (RFC 9110, section 5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// How long the state of the pipeline may take to find out.
pub(super) const HEALTH_DEADLINE: Duration = Duration::from_secs(10);
