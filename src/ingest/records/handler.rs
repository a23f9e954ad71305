//! The HTTP side: limits, answers, back pressure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_web::body::BoxBody;
use actix_web::http::header;
use actix_web::http::header::{ContentEncoding, Header as _};
use actix_web::web::{self, Bytes, BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt as _;
use uuid::Uuid;

use super::batch::Outcome;
use super::clock::Clock;
use super::frame::Malformed;
use super::open::{OpenOperations, SweepError};
use super::report::Report;
use super::validate::{Reading, Rules, read};
use crate::ledger::{Disposition, Ledger, OpenOperation, QueryError, SubmitError};
use crate::prices::Prices;
use crate::signals::pipeline::{DropReason, Dropped, ItemKind, RecordOutcome, RecordsReceived};

/// Bodies above this are read off the worker, which serves other requests meanwhile.
const LARGE: usize = 64 * 1024;

/// Limits of the records API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsConfig {
    /// Longest body, in bytes.
    pub body_bytes: usize,
    /// Most records of one request.
    pub records: usize,
    /// Operations that may be open at once; further starts are refused.
    pub open_operations: usize,
    /// After how long an operation is given up whose start does not say.
    pub expires_in: Duration,
    /// What `Retry-After` says while the queue is full or the ledger is away.
    pub retry_after: Duration,
}

impl Default for RecordsConfig {
    fn default() -> Self {
        Self {
            body_bytes: 8 * 1024 * 1024,
            records: 10_000,
            open_operations: 100_000,
            expires_in: Duration::from_secs(86_400),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// The records API on a ledger; clones share it.
#[derive(Clone, Debug)]
pub struct RecordsApi {
    ledger: Ledger,
    config: RecordsConfig,
    open: OpenOperations,
    prices: Arc<Prices>,
    started: (SystemTime, Instant),
}

/// Why a request was not taken; nothing of it is in the ledger or was counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 400.
    #[error(transparent)]
    Malformed(Malformed),
    /// 413.
    #[error("the body is longer than {0} bytes; send the records in several requests")]
    TooLarge(usize),
    /// 400.
    #[error("the body did not arrive whole: {0}")]
    Broken(String),
    /// 415.
    #[error("the content encoding is not accepted; send the body as it is")]
    Encoded,
    /// 429 or 503.
    #[error(transparent)]
    Ledger(#[from] SubmitError),
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl RecordsApi {
    /// Takes records into `ledger`.
    #[must_use]
    pub fn new(ledger: Ledger, config: RecordsConfig) -> Self {
        Self {
            ledger,
            config,
            open: OpenOperations::default(),
            prices: Arc::new(Prices::shipped()),
            started: (SystemTime::now(), Instant::now()),
        }
    }

    /// With other prices than those that are shipped.
    #[must_use]
    pub fn prices(mut self, prices: Arc<Prices>) -> Self {
        self.prices = prices;
        self
    }

    /// Takes a body: reads it, commits what passes, counts what is new.
    ///
    /// # Errors
    /// [`Refused`]: then nothing was taken.
    pub async fn take(&self, body: Bytes) -> Result<Outcome, Refused> {
        if body.len() > self.config.body_bytes {
            return Err(Refused::TooLarge(self.config.body_bytes));
        }
        let large = body.len() > LARGE;
        let rules = Rules {
            records: self.config.records,
            starts: self.config.open_operations.saturating_sub(self.open.len()),
            expires_in: self.config.expires_in,
            clock: Clock::now(self.started),
            prices: Arc::clone(&self.prices),
        };
        let open = self.open.clone();
        let held = rules.clone();
        let read = move || {
            // Most of the time nothing is open, and then nothing is looked up.
            let any_open = !open.is_empty();
            read(&body, &held, |id| any_open && open.contains(id))
        };
        let mut reading = if large {
            let reading = tokio::task::spawn_blocking(read);
            reading
                .await
                .map_err(|error| Refused::Broken(error.to_string()))??
        } else {
            read()?
        };
        let pending = reading.pending();
        if !pending.is_empty() {
            let looked = self.look_up(&pending).await.map_err(|error| {
                let records = reading.batch.len() + pending.len();
                dropped(DropReason::LedgerAway, records as u64);
                SubmitError::Away(error.to_string().into())
            })?;
            reading.resolve(looked.0, &looked.1, &rules);
        }
        self.commit(reading).await
    }

    /// What is open of these ids, and which of the others have a record.
    async fn look_up(&self, ids: &[Uuid]) -> Result<(Vec<OpenOperation>, Vec<Uuid>), QueryError> {
        let open = self.ledger.open_among(ids).await?;
        let found: HashSet<Uuid> = open.iter().map(|operation| operation.id).collect();
        let others: Vec<Uuid> = ids
            .iter()
            .copied()
            .filter(|id| !found.contains(id))
            .collect();
        let recorded = self.ledger.recorded_among(&others).await?;
        Ok((open, recorded))
    }

    /// Takes records from within the process, as [`take`](Self::take) takes a body.
    ///
    /// # Errors
    /// [`Refused`]: then nothing was taken.
    pub async fn report(&self, reports: &[Report]) -> Result<Outcome, Refused> {
        let body =
            serde_json::to_vec(reports).map_err(|error| Refused::Broken(error.to_string()))?;
        self.take(Bytes::from(body)).await
    }

    /// Where the records go.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The operations that are in flight.
    #[must_use]
    pub fn open(&self) -> &OpenOperations {
        &self.open
    }

    /// Makes what is in flight what the ledger says, and gives up what has expired by `now`.
    /// To be called at the start and every few seconds.
    ///
    /// # Errors
    /// [`SweepError`] when the ledger is away; the next call makes up for it.
    pub async fn sweep(&self, now: SystemTime) -> Result<(), SweepError> {
        self.open.sweep(&self.ledger, now).await
    }

    async fn commit(&self, reading: Reading) -> Result<Outcome, Refused> {
        let mut batch = reading.batch;
        let (invalid, known) = (reading.rejected.len(), reading.duplicates);
        let mut outcome = Outcome {
            rejected: reading.rejected,
            duplicates: known,
            ..Outcome::default()
        };
        if batch.is_empty() {
            received(&[], known, invalid);
            return Ok(outcome);
        }
        let (records, count) = (batch.take_records(), batch.len());
        let positions = batch.positions();
        let open = self.open.clone();
        // The writer counts, so it happens also when the client has gone away.
        let counted = move |dispositions: &[Disposition]| {
            batch.count(dispositions, &open);
            received(dispositions, known, invalid);
        };
        let committed = match self.ledger.submit(records, counted) {
            Ok(receipt) => receipt.committed().await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(dispositions) => {
                outcome.count(&dispositions, &positions);
                Ok(outcome)
            }
            Err(error) => {
                dropped(DropReason::from(&error), (count + invalid) as u64);
                Err(error.into())
            }
        }
    }
}

impl From<&SubmitError> for DropReason {
    fn from(error: &SubmitError) -> Self {
        match error {
            SubmitError::Full => Self::QueueFull,
            SubmitError::Away(_) => Self::LedgerAway,
            SubmitError::Closed => Self::Shutdown,
        }
    }
}

/// Counts what became of the records of a request that was taken.
fn received(dispositions: &[Disposition], known: usize, invalid: usize) {
    let count = |wanted| {
        dispositions
            .iter()
            .filter(|given| **given == wanted)
            .count()
    };
    let invalid = invalid + count(Disposition::TooOld);
    for (outcome, count) in [
        (RecordOutcome::Accepted, count(Disposition::Accepted)),
        (
            RecordOutcome::Duplicate,
            known + count(Disposition::Duplicate),
        ),
        (RecordOutcome::Rejected, invalid),
    ] {
        if count > 0 {
            RecordsReceived { outcome }.add(count as u64);
        }
    }
    if invalid > 0 {
        dropped(DropReason::Invalid, invalid as u64);
    }
}

pub(super) fn dropped(reason: DropReason, records: u64) {
    let signal = ItemKind::Records;
    Dropped { signal, reason }.add(records);
}

/// Mounts `POST /api/v1/records`; authentication goes around it.
pub fn configure(service: &mut web::ServiceConfig, api: RecordsApi) {
    service.service(
        web::resource("/api/v1/records")
            .app_data(Data::new(api))
            .route(web::post().to(post))
            .default_service(web::route().to(|| async {
                let mut response = HttpResponse::MethodNotAllowed();
                response.insert_header((header::ALLOW, "POST"));
                problem(&mut response, "accepted is POST")
            })),
    );
}

async fn post(request: HttpRequest, payload: Payload, api: Data<RecordsApi>) -> HttpResponse {
    let taken = match body(&request, payload, api.config.body_bytes).await {
        Ok(body) => api.take(body).await,
        Err(refused) => Err(refused),
    };
    match taken {
        Ok(outcome) => HttpResponse::Ok().json(outcome),
        Err(refused) => {
            // How many records such a body has is not known: each counts as one.
            match refused {
                Refused::Malformed(Malformed::TooMany { .. }) | Refused::TooLarge(_) => {
                    dropped(DropReason::TooLarge, 1);
                }
                Refused::Malformed(_) | Refused::Broken(_) | Refused::Encoded => {
                    dropped(DropReason::Invalid, 1);
                }
                Refused::Ledger(_) => {}
            }
            answer(&refused, api.config.retry_after)
        }
    }
}

pub(in crate::ingest) async fn body(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
) -> Result<Bytes, Refused> {
    let encoding = ContentEncoding::parse(request);
    if request.headers().contains_key(header::CONTENT_ENCODING)
        && !matches!(encoding, Ok(ContentEncoding::Identity))
    {
        return Err(Refused::Encoded);
    }
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Refused::TooLarge(limit));
    }
    // What a client announces is not allocated before it arrives.
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default().min(LARGE));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Refused::Broken(error.to_string()))?;
        if body.len() + chunk.len() > limit {
            return Err(Refused::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

pub(in crate::ingest) fn answer(refused: &Refused, retry_after: Duration) -> HttpResponse {
    let retry = |mut response: HttpResponseBuilder| {
        let seconds = retry_after.as_secs().max(1).to_string();
        response.insert_header((header::RETRY_AFTER, seconds));
        response
    };
    let mut response = match refused {
        Refused::Malformed(Malformed::TooMany { .. }) | Refused::TooLarge(_) => {
            HttpResponse::PayloadTooLarge()
        }
        Refused::Malformed(_) | Refused::Broken(_) => HttpResponse::BadRequest(),
        Refused::Encoded => HttpResponse::UnsupportedMediaType(),
        Refused::Ledger(SubmitError::Full) => retry(HttpResponse::TooManyRequests()),
        Refused::Ledger(SubmitError::Away(_) | SubmitError::Closed) => {
            retry(HttpResponse::ServiceUnavailable())
        }
    };
    problem(&mut response, &refused.to_string())
}

/// An error in the form that every route of the service answers with.
pub(in crate::ingest) fn problem(
    response: &mut HttpResponseBuilder,
    message: &str,
) -> HttpResponse {
    let mut answer = response.finish();
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or("error");
    let error = serde_json::json!({"error": {
        "status": status.as_u16(),
        "code": reason.to_ascii_lowercase().replace([' ', '-'], "_"),
        "message": message,
    }});
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer.set_body(BoxBody::new(error.to_string()))
}
