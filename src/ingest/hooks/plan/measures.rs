//! What is known of a run or a session once it has ended. What cannot be known is left out: an
//! event that never came leaves no trace.

use std::collections::HashSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::open::{AGENT_RUN, Open, SESSION_RUN, TOOL_CALL};
use super::Planner;
use crate::ingest::records::Report;
use crate::ledger::QueryError;

/// Agent runs of a session that are looked at; what a longer one held is not known.
const RUNS: usize = 10_000;

impl Planner<'_> {
    /// Adds to the agent runs that end how many tools they called. None is none only where the
    /// session has told of tools at all.
    pub(super) async fn measure_runs(&mut self) -> Result<(), QueryError> {
        if self.ended_runs.is_empty() {
            return Ok(());
        }
        let session = &self.payload.session;
        let ended = self.ledger.children_of_session(session, TOOL_CALL).await?;
        let open = || self.open.iter().filter(|open| open.is(TOOL_CALL));
        if ended.is_empty() && open().next().is_none() {
            return Ok(());
        }
        for (at, run) in &self.ended_runs {
            let open = open().filter(|call| call.operation.parent == Some(*run));
            let calls = ended.get(run).copied().unwrap_or(0) + open.count() as u64;
            if let Some(report) = self.plan.reports.get_mut(*at) {
                *report = report.clone().field("tool_calls", calls);
            }
        }
        Ok(())
    }

    /// Adds to a session's end how many agents ran in it, and how many at once at most.
    pub(super) async fn measure_session(
        &self,
        end: Report,
        session: Uuid,
    ) -> Result<Report, QueryError> {
        let began = self.open.iter().find(|open| open.id() == session);
        let Some(began) = began.filter(|open| open.is(SESSION_RUN)) else {
            return Ok(end);
        };
        let since = began.operation.time_us;
        let session = &self.payload.session;
        let ended = self
            .ledger
            .fields_of_session(session, AGENT_RUN, since, RUNS)
            .await?;
        if ended.len() >= RUNS {
            return Ok(end);
        }
        let ended: Vec<Map<String, Value>> = ended
            .iter()
            .filter_map(|fields| serde_json::from_str(fields).ok())
            .collect();
        let open = self.open.iter().filter(|open| open.is(AGENT_RUN));
        let runs = || {
            ended
                .iter()
                .chain(open.clone().map(|open: &Open| &open.fields))
        };
        let names = runs().filter_map(|fields| fields.get("gen_ai.agent.name")?.as_str());
        let agents: HashSet<&str> = names.collect();
        let parallel = runs().filter_map(|fields| fields.get("parallel_runs")?.as_u64());
        let mut end = end;
        if !agents.is_empty() {
            end = end.field("agents", agents.len() as u64);
        }
        if let Some(most) = parallel.max() {
            end = end.field("parallel_agents", most);
        }
        Ok(end)
    }
}
