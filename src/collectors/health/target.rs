//! A target, and what is known of it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::NAME;
use super::config::TargetConfig;
use super::observed::Observed;
use super::probe::{Answer, Failure, Fault, Probe};
use super::score::{History, Mark};
use crate::collectors::unix_seconds;
use crate::pipeline::collectors::{TargetReport, TargetState, report};
use crate::pipeline::config::duration;
use crate::signals::health::{
    CheckResult, HealthCertificate, HealthLastSuccess, HealthTargetDegraded, HealthTargetScore,
    HealthTargetUp, TargetKind,
};

/// A target.
pub(super) struct Target {
    config: TargetConfig,
    kind: TargetKind,
    probe: Probe,
    known: Mutex<Known>,
}

/// What is known of a target.
#[derive(Default)]
struct Known {
    /// When it is asked next; at once if never.
    due: Option<Instant>,
    under_way: bool,
    history: History,
    last_success: Option<SystemTime>,
    certificate_ends: Option<SystemTime>,
}

/// A check that was begun; a target has one at a time.
pub(super) struct Begun<'a>(&'a Target);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.known.lock().under_way = false;
    }
}

impl Target {
    /// Of a configuration that was checked.
    ///
    /// # Errors
    /// What cannot be used.
    pub(super) fn new(config: TargetConfig) -> Result<Self, String> {
        let kind = config.kind().ok_or("the URL is none that is accepted")?;
        let probe = Probe::new(&config)?;
        let target = Self {
            config,
            kind,
            probe,
            known: Mutex::default(),
        };
        target.tell(TargetReport::default());
        Ok(target)
    }

    /// Whether it is to be checked now: if it is due by then, or is asked for, and no check is
    /// under way.
    pub(super) fn begin(&self, by: Instant, asked_for: bool) -> bool {
        let mut known = self.known.lock();
        let due = known.due.is_none_or(|due| due <= by);
        if known.under_way || !(due || asked_for) {
            return false;
        }
        known.under_way = true;
        known.due = Some(Instant::now() + self.config.interval);
        true
    }

    /// The check that [`begin`](Self::begin) said is to be done.
    pub(super) const fn begun(&self) -> Begun<'_> {
        Begun(self)
    }

    /// How well it was of late.
    pub(super) fn score(&self) -> Option<f64> {
        self.known.lock().history.score()
    }

    /// Asks it, and puts on the page what it answered.
    pub(super) async fn check(&self) {
        let within = self.config.timeout;
        let observed = Observed::start(&self.config.name, self.kind, self.probe.server.as_ref());
        // Not inside of the span: a driver's thread could hold it open beyond the check.
        let answer = match timeout(within, self.probe.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(
                Fault::Timeout,
                format!("no answer within {}", duration::format(within)),
            )),
        };
        let took = observed.elapsed();
        let mark = match &answer {
            Err(_) => Mark::Failed,
            Ok(_) if took > self.config.degraded_above => Mark::Degraded,
            Ok(_) => Mark::Ok,
        };
        let result = match mark {
            Mark::Ok => CheckResult::Ok,
            Mark::Degraded => CheckResult::Degraded,
            Mark::Failed => CheckResult::Failed,
        };
        observed.settle(result, answer.as_ref().err(), took);
        self.show(mark, &answer, took);
    }

    fn show(&self, mark: Mark, answer: &Result<Answer, Failure>, took: Duration) {
        let now = SystemTime::now();
        let mut known = self.known.lock();
        let before = known.history.last();
        known.history.push(mark);
        if let Ok(answer) = answer {
            known.last_success = Some(now);
            known.certificate_ends = answer.certificate_ends;
        }
        let (score, ends) = (known.history.score(), known.certificate_ends);
        let last_success = known.last_success;
        drop(known);

        let (target, group, machine) = self.labels();
        let number = |holds: bool| f64::from(u8::from(holds));
        HealthTargetUp {
            target,
            group,
            machine,
        }
        .set(number(mark != Mark::Failed));
        HealthTargetDegraded {
            target,
            group,
            machine,
        }
        .set(number(mark == Mark::Degraded));
        let of = HealthTargetScore {
            target,
            group,
            machine,
        };
        if let Some(score) = score {
            of.set(score);
        }
        if answer.is_ok() {
            HealthLastSuccess { target }.set(unix_seconds(now));
        }
        match ends {
            Some(ends) => HealthCertificate { target }.set(unix_seconds(ends) - unix_seconds(now)),
            None => HealthCertificate { target }.remove(),
        }
        let failure = answer.as_ref().err();
        self.tell(TargetReport {
            state: match mark {
                Mark::Ok => TargetState::Ok,
                Mark::Degraded => TargetState::Degraded,
                Mark::Failed => TargetState::Failing,
            },
            error: failure.map(|failure| failure.fault.as_str()),
            reason: failure.map(|failure| failure.reason.clone()),
            score,
            last_duration_seconds: Some(took.as_secs_f64()),
            last_success: last_success.and_then(|time| Timestamp::try_from(time).ok()),
            certificate_expires: ends.and_then(|time| Timestamp::try_from(time).ok()),
        });
        if before != Some(mark) {
            self.log(mark, failure, took);
        }
    }

    /// A line for each change, not for each check.
    fn log(&self, mark: Mark, failure: Option<&Failure>, took: Duration) {
        let (target, seconds) = (&*self.config.name, took.as_secs_f64());
        match (mark, failure) {
            (_, Some(failure)) => {
                let (error, reason) = (failure.fault.as_str(), &*failure.reason);
                tracing::warn!(target_name = target, error, reason, "a target fails");
            }
            (Mark::Degraded, _) => {
                tracing::warn!(target_name = target, seconds, "a target is slow");
            }
            _ => tracing::info!(target_name = target, seconds, "a target is well"),
        }
    }

    fn tell(&self, target: TargetReport) {
        report(NAME, |report| {
            report.targets.insert(self.config.name.clone(), target);
        });
    }

    fn labels(&self) -> (&str, &str, &str) {
        let config = &self.config;
        (
            &config.name,
            config.group.as_deref().unwrap_or_default(),
            config.machine.as_deref().unwrap_or_default(),
        )
    }

    /// Takes off the page what is not known any more, and begins anew.
    pub(super) fn forget(&self) {
        *self.known.lock() = Known::default();
        let (target, group, machine) = self.labels();
        HealthTargetUp {
            target,
            group,
            machine,
        }
        .remove();
        HealthTargetDegraded {
            target,
            group,
            machine,
        }
        .remove();
        HealthTargetScore {
            target,
            group,
            machine,
        }
        .remove();
        HealthLastSuccess { target }.remove();
        HealthCertificate { target }.remove();
        self.tell(TargetReport::default());
    }
}
