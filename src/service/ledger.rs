//! `GET /api/v1/ledger/…`: what the ledger is asked. Whoever may read the monitoring routes
//! may ask.

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, web};
use jiff::Timestamp;

use super::app::Shared;
use super::errors::{ApiError, only};
use crate::ledger::QueryError;
use crate::ledger::query::{CostsBy, During, Page, Which};

/// Where they are.
pub(super) const PREFIX: &str = "/api/v1/ledger/";

/// Rows of a page unless asked for, and at most.
const ROWS: (usize, usize) = (100, 1_000);
/// The same for timelines, which are nested within a page.
const TIMELINE: (usize, usize) = (1_000, 5_000);
const DAY_US: i64 = 86_400_000_000;
/// Longest id that is asked for, in bytes.
const MAX_ID: usize = 4_096;

/// Mounts the queries.
pub(super) fn configure(routes: &mut web::ServiceConfig) {
    let at = |path: &str| web::resource(format!("{PREFIX}{path}"));
    let rest = || only("GET, HEAD");
    macro_rules! mount {
        ($($path:literal => $handler:ident),+) => {
            $(routes.service(
                at($path)
                    .route(web::get().to($handler))
                    .route(web::head().to($handler))
                    .default_service(rest()),
            );)+
        };
    }
    mount!(
        "sessions" => sessions,
        "sessions/{id}/timeline" => timeline,
        "correlations/{id}" => correlation,
        "costs" => costs,
        "slowest" => slowest,
        "failing" => failing
    );
}

type Given = web::Query<Vec<(String, String)>>;
type Answer = Result<HttpResponse, ApiError>;

async fn sessions(shared: web::Data<Shared>, given: Given) -> Answer {
    let given = Parameters::read(given, &["limit", "cursor"])?;
    answer(shared.ledger.sessions(&given.page(ROWS)?).await)
}

async fn timeline(shared: web::Data<Shared>, id: web::Path<String>, given: Given) -> Answer {
    happened(&shared, Which::Session(asked(id)?), given).await
}

async fn correlation(shared: web::Data<Shared>, id: web::Path<String>, given: Given) -> Answer {
    happened(&shared, Which::Correlation(asked(id)?), given).await
}

async fn happened(shared: &Shared, which: Which, given: Given) -> Answer {
    let given = Parameters::read(given, &["limit", "cursor"])?;
    let page = given.page(TIMELINE)?;
    let found = shared.ledger.timeline(&which, &page).await;
    if let Ok(found) = &found
        && found.items.is_empty()
        && page.cursor.is_none()
    {
        let message = "there are no records of this id";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message));
    }
    answer(found)
}

async fn costs(shared: web::Data<Shared>, given: Given) -> Answer {
    let given = Parameters::read(given, &["by", "from", "to", "limit", "cursor"])?;
    let by = match given.get("by") {
        None | Some("day") => CostsBy::Day,
        Some("agent") => CostsBy::Agent,
        Some("model") => CostsBy::Model,
        Some("provider") => CostsBy::Provider,
        Some("session") => CostsBy::Session,
        Some(other) => {
            let accepted = "day, agent, model, provider, session";
            return Err(refused("by", other, accepted));
        }
    };
    let during = given.during(30 * DAY_US)?;
    answer(shared.ledger.costs(by, during, &given.page(ROWS)?).await)
}

async fn slowest(shared: web::Data<Shared>, given: Given) -> Answer {
    let given = Parameters::read(given, &["signal", "from", "to", "limit", "cursor"])?;
    let signal = given.signal()?.ok_or_else(|| {
        let message = "signal: missing; accepted is the name of a declared signal";
        ApiError::new(StatusCode::BAD_REQUEST, message)
    })?;
    let during = given.during(DAY_US)?;
    answer(
        shared
            .ledger
            .slowest(signal, during, &given.page(ROWS)?)
            .await,
    )
}

async fn failing(shared: web::Data<Shared>, given: Given) -> Answer {
    let given = Parameters::read(given, &["signal", "from", "to", "limit", "cursor"])?;
    let (signal, during) = (given.signal()?, given.during(DAY_US)?);
    answer(
        shared
            .ledger
            .failing(signal, during, &given.page(ROWS)?)
            .await,
    )
}

fn answer<T: serde::Serialize>(found: Result<T, QueryError>) -> Answer {
    let error = match found {
        Ok(found) => return Ok(HttpResponse::Ok().json(found)),
        Err(error) => error,
    };
    let status = match error {
        QueryError::Parameter { .. } => StatusCode::BAD_REQUEST,
        QueryError::Deadline(_) => StatusCode::SERVICE_UNAVAILABLE,
        QueryError::Away(ref reason) => {
            tracing::warn!(reason = &**reason, "a query of the ledger failed");
            let message = "the ledger cannot be read now";
            let mut response = actix_web::ResponseError::error_response(&ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                message,
            ));
            let seconds = actix_web::http::header::HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, seconds);
            return Ok(response);
        }
    };
    Err(ApiError::new(status, error.to_string()))
}

fn refused(parameter: &str, given: &str, accepted: &str) -> ApiError {
    let shown: String = given.chars().filter(|c| !c.is_control()).take(64).collect();
    let message = format!("{parameter}: `{shown}` is not accepted; accepted: {accepted}");
    ApiError::new(StatusCode::BAD_REQUEST, message)
}

fn asked(id: web::Path<String>) -> Result<String, ApiError> {
    let id = id.into_inner();
    match id.len() <= MAX_ID && !id.contains('\0') {
        true => Ok(id),
        false => Err(refused("id", &id, "up to 4096 bytes without NUL")),
    }
}

/// The parameters of a request.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Refuses what is not among `accepted` or is given twice.
    fn read(given: Given, accepted: &[&str]) -> Result<Self, ApiError> {
        let given = given.into_inner();
        for (at, (name, value)) in given.iter().enumerate() {
            if !accepted.contains(&name.as_str()) {
                let message = format!("is not a parameter; accepted: {}", accepted.join(", "));
                let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    format!("{shown}: {message}"),
                ));
            }
            if given[..at].iter().any(|(other, _)| other == name) {
                return Err(refused(name, value, "one value"));
            }
        }
        Ok(Self(given))
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    fn page(&self, (usual, most): (usize, usize)) -> Result<Page, ApiError> {
        let limit = match self.get("limit") {
            None => usual,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=most).contains(limit))
                .ok_or_else(|| refused("limit", text, &format!("1 to {most}")))?,
        };
        Ok(Page {
            limit,
            cursor: self.get("cursor").map(str::to_owned),
        })
    }

    fn signal(&self) -> Result<Option<&str>, ApiError> {
        match self.get("signal") {
            Some(name) if crate::recording::find(name).is_none() => {
                let accepted = "the name of a declared signal; `tachograph catalog` lists them";
                Err(refused("signal", name, accepted))
            }
            signal => Ok(signal),
        }
    }

    /// From `from` to `to`; without them the last `usual_us` until now.
    fn during(&self, usual_us: i64) -> Result<During, ApiError> {
        let time = |name: &'static str| {
            self.get(name).map(|text| {
                let time = text.parse::<Timestamp>().or_else(|_| {
                    let date: jiff::civil::Date = text.parse()?;
                    let start = date.to_zoned(jiff::tz::TimeZone::UTC)?;
                    Ok::<_, jiff::Error>(start.timestamp())
                });
                time.map(Timestamp::as_microsecond).map_err(|_| {
                    let accepted = "a time such as 2026-01-31T12:00:00Z, or a date, UTC";
                    refused(name, text, accepted)
                })
            })
        };
        let to_us = match time("to") {
            Some(to) => to?,
            // What ended this very moment is in.
            None => Timestamp::now().as_microsecond() + 1,
        };
        let from_us = match time("from") {
            Some(from) => from?,
            None => to_us.saturating_sub(usual_us),
        };
        if from_us >= to_us {
            let shown = self.get("from").unwrap_or_default();
            return Err(refused("from", shown, "a time before `to`"));
        }
        Ok(During { from_us, to_us })
    }
}
