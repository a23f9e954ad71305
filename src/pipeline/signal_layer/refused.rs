//! Fields that could not be recorded: counted, and named once in the log.

use std::collections::HashSet;

use parking_lot::Mutex;
use tracing::Dispatch;
use tracing::dispatcher::WeakDispatch;

use crate::catalog::Signal;

/// Fields named in the log at most.
const MAX_NAMED: usize = 256;

/// Why a field was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Missing,
    Mistyped,
    UnknownValue,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Mistyped => "mistyped",
            Self::UnknownValue => "unknown_value",
        }
    }
}

#[derive(Default)]
pub(super) struct Refusals {
    named: Mutex<HashSet<(&'static str, &'static str, Reason)>>,
    dispatch: Mutex<Option<WeakDispatch>>,
}

impl Refusals {
    pub(super) fn log_to(&self, dispatch: &Dispatch) {
        *self.dispatch.lock() = Some(dispatch.downgrade());
    }

    #[cold]
    pub(super) fn count(
        &self,
        signal: &'static Signal,
        field: &'static str,
        reason: Reason,
        accepted: &str,
    ) {
        let mut named = self.named.lock();
        if named.len() >= MAX_NAMED || !named.insert((signal.name, field, reason)) {
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
                        signal = signal.name,
                        field,
                        reason = reason.as_str(),
                        accepted,
                        "a span or event of a declared name was not recorded; further ones are counted only"
                    );
                });
            });
    }
}
