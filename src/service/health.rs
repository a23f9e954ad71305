//! `/health/live` and `/health/ready`.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::app::Shared;
use crate::ledger::LedgerState;

/// The process runs and answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// Whether records can be taken. Exporters that fail do not make the service unready: it
/// keeps counting, and a restart would lose what it has. Whoever may read the monitoring
/// routes is told details.
pub(super) async fn ready(request: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let (ready, body) = report(&shared, &request);
    if ready {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

fn report(shared: &Shared, request: &HttpRequest) -> (bool, Value) {
    let (access, headers) = (&shared.monitoring, request.headers());
    let peer = request.peer_addr().map(|address| address.ip());
    // Who shows nothing asks for no details, and is not refused any.
    let detailed = access.is_open()
        || headers.contains_key(AUTHORIZATION) && access.check(headers, peer).is_ok();
    let ledger = shared.ledger.health();
    let stopping = shared.stopping();
    let (up, mut component) = match &ledger.state {
        LedgerState::Ready => (true, json!({"status": "up"})),
        LedgerState::Away { reason } if detailed => {
            (false, json!({"status": "away", "reason": &**reason}))
        }
        LedgerState::Away { .. } => (false, json!({"status": "away"})),
        _ => (false, json!({"status": "closed"})),
    };
    if detailed && let Some(component) = component.as_object_mut() {
        component.insert("queued_records".to_owned(), ledger.queued_records.into());
        component.insert("queued_bytes".to_owned(), ledger.queued_bytes.into());
        component.insert(
            "queue_capacity_bytes".to_owned(),
            ledger.queue_capacity_bytes.into(),
        );
    }
    let ready = up && !stopping;
    let status = match (ready, stopping) {
        (true, _) => "ready",
        (false, true) => "stopping",
        (false, false) => "unavailable",
    };
    let body = json!({
        "status": status,
        "components": {
            "ledger": component,
            "telemetry": {"status": shared.telemetry.state()},
            "exporters": shared.telemetry.exporters(detailed),
        },
    });
    (ready, body)
}
