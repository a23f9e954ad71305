//! Fields that could not be recorded: counted, and named once in the log.

use std::collections::HashSet;

use parking_lot::Mutex;
use tracing::Dispatch;
use tracing::dispatcher::WeakDispatch;

use super::plan::Plan;
use crate::catalog::ClosedLabel;
use crate::signals::pipeline::FieldRefused;

/// Fields named in the log at most.
const MAX_NAMED: usize = 256;

pub(super) use crate::signals::pipeline::FieldFault as Reason;

type Named = (&'static str, &'static str, Reason);

#[derive(Default)]
pub(super) struct Refusals {
    named: Mutex<HashSet<Named>>,
    dispatch: Mutex<Option<WeakDispatch>>,
}

impl Refusals {
    pub(super) fn log_to(&self, dispatch: &Dispatch) {
        *self.dispatch.lock() = Some(dispatch.downgrade());
    }

    #[cold]
    pub(super) fn count(
        &self,
        plan: &'static Plan,
        field: &'static str,
        reason: Reason,
        accepted: &str,
    ) {
        let signal = plan.recorder.signal().name;
        FieldRefused {
            signal,
            field,
            reason,
        }
        .add(1);
        let mut named = self.named.lock();
        if named.len() >= MAX_NAMED || !named.insert((signal, field, reason)) {
            return;
        }
        drop(named);
        let Some(dispatch) = self
            .dispatch
            .lock()
            .as_ref()
            .and_then(WeakDispatch::upgrade)
        else {
            return;
        };
        // Events made while one is being dispatched are lost, so another thread makes it.
        let accepted = accepted.to_owned();
        let _ = std::thread::Builder::new()
            .name("tachograph-refused".to_owned())
            .spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    tracing::warn!(
                        target: "tachograph::fields",
                        signal,
                        field,
                        reason = reason.as_str(),
                        accepted,
                        callsite = format_args!("{}:{}", plan.place.0, plan.place.1),
                        "a span or event of a declared name was not recorded; further ones are counted only"
                    );
                });
            });
    }
}
