//! The HTTP side.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{self, Bytes, Data, Payload as Incoming};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};

use super::content::HooksConfig;
use super::payload::{Payload, Unusable, read};
use super::plan::Planner;
use super::recent::Recent;
use crate::catalog::ClosedLabel as _;
use crate::ingest::records::{self, RecordsApi};
use crate::ledger::{Ledger, SubmitError};
use crate::signals::pipeline::{HookEvent, HookOutcome, HookReceived};

/// Events under way at once; further ones are turned away.
const UNDER_WAY: usize = 256;
/// Events of one session are taken one after the other; sessions share this many turns.
const TURNS: usize = 64;
/// Where events are sent to.
const PATH: &str = "/api/v1/hooks/claude-code";

/// Takes events of hooks; clones share it.
#[derive(Clone, Debug)]
pub struct HooksApi(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    records: RecordsApi,
    ledger: Ledger,
    body_bytes: usize,
    config: HooksConfig,
    recent: Recent,
    turns: Vec<Mutex<()>>,
    under_way: Arc<Semaphore>,
}

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 400: it cannot be understood.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// As records are refused.
    #[error(transparent)]
    Records(#[from] records::Refused),
}

impl HooksApi {
    /// Takes events of up to `body_bytes` into the ledger of `records`.
    #[must_use]
    pub fn new(
        records: RecordsApi,
        ledger: Ledger,
        body_bytes: usize,
        config: HooksConfig,
    ) -> Self {
        Self(Arc::new(Shared {
            records,
            ledger,
            body_bytes,
            config,
            recent: Recent::default(),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            under_way: Arc::new(Semaphore::new(UNDER_WAY)),
        }))
    }

    /// Takes an event that arrives `now`: says what became of it once it is durable.
    ///
    /// # Errors
    /// [`Refused`]: then nothing of it was taken.
    pub async fn take(&self, body: &[u8], now: Timestamp) -> Result<HookOutcome, Refused> {
        let payload = read(body, self.0.config.content).inspect_err(|_| {
            count(HookEvent::None, HookOutcome::Malformed);
        })?;
        let taken = self.payload(&payload, now).await;
        let outcome = *taken.as_ref().unwrap_or(&HookOutcome::Lost);
        count(payload.event, outcome);
        Ok(taken?)
    }

    async fn payload(
        &self,
        payload: &Payload,
        now: Timestamp,
    ) -> Result<HookOutcome, records::Refused> {
        let shared = &*self.0;
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&payload.session);
        let turn = usize::try_from(hash % TURNS as u64).unwrap_or(0);
        let _turn = shared.turns[turn].lock().await;
        let planned = Planner::plan(&shared.ledger, &shared.recent, payload, now).await;
        let plan = planned.map_err(|error| SubmitError::Away(error.to_string().into()))?;
        if plan.reports.is_empty() {
            return Ok(plan.otherwise.unwrap_or(HookOutcome::Ignored));
        }
        let outcome = shared.records.report(&plan.reports).await?;
        if plan.ended {
            shared.recent.end(&payload.session, now);
        }
        for rejected in &outcome.rejected {
            tracing::warn!(
                event = payload.event.as_str(),
                field = &*rejected.field,
                reason = &*rejected.reason,
                "what a hook reported was not taken"
            );
        }
        Ok(match (outcome.rejected.len(), outcome.accepted) {
            (0, 0) => HookOutcome::Duplicate,
            (0, _) => plan.otherwise.unwrap_or(HookOutcome::Recorded),
            _ => HookOutcome::Lost,
        })
    }
}

fn count(event: HookEvent, outcome: HookOutcome) {
    HookReceived { event, outcome }.add(1);
}

/// Mounts `POST /api/v1/hooks/claude-code`; authentication goes around it.
pub fn configure(service: &mut web::ServiceConfig, api: HooksApi) {
    service.service(
        web::resource(PATH)
            .app_data(Data::new(api))
            .route(web::post().to(post))
            .default_service(web::route().to(|| async {
                let mut response = HttpResponse::MethodNotAllowed();
                response.insert_header((header::ALLOW, "POST"));
                records::problem(&mut response, "accepted is POST")
            })),
    );
}

async fn post(request: HttpRequest, payload: Incoming, api: Data<HooksApi>) -> HttpResponse {
    let retry = Duration::from_secs(1);
    let refused = |refused: &records::Refused| {
        let outcome = match refused {
            records::Refused::Ledger(_) => HookOutcome::Lost,
            _ => HookOutcome::Malformed,
        };
        count(HookEvent::None, outcome);
        records::answer(refused, retry)
    };
    let Ok(permit) = Arc::clone(&api.0.under_way).try_acquire_owned() else {
        return refused(&SubmitError::Full.into());
    };
    let body: Bytes = match records::body(&request, payload, api.0.body_bytes).await {
        Ok(body) => body,
        Err(error) => return refused(&error),
    };
    let api = HooksApi::clone(&api);
    // A hook gives up quickly; what it sent is taken all the same.
    let taking = actix_web::rt::spawn(async move {
        let _permit = permit;
        api.take(&body, Timestamp::now()).await
    });
    match taking.await {
        Ok(Ok(outcome)) => HttpResponse::NoContent()
            .insert_header(("x-tachograph-outcome", outcome.as_str()))
            .finish(),
        Ok(Err(Refused::Records(error))) => records::answer(&error, retry),
        Ok(Err(error)) => {
            let mut response = HttpResponse::BadRequest();
            records::problem(&mut response, &error.to_string())
        }
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}
