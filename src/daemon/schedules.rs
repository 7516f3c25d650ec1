//! The task that makes the requests of schedules. Each `scheduler.poll` it begins the occurrences that are due and asks
//! for what is due of them, in bounded batches on the bulk way of admission; when they are due is decided in
//! [`crate::domain::schedule`], who asks by the store. One task per instance; an occurrence is begun by one of them.
//!
//! Overlap is no case of its own: the answer is a verdict like every other. A request that got none (draining, gate full,
//! ledger away) is given back and made again; one whose instance dies meanwhile is made by another.
//!
//! After the start and after every reload the schedules of the configuration are taken over into the ledger. What they
//! name may be added later: names that are unknown are looked for again.

mod configured;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::actors::Handle;
use crate::actors::handle::AdmitError;
use crate::config::{Config, SchedulerConfig};
use crate::domain::admission::{Request, Verdict};
use crate::domain::failure::sanitise;
use crate::domain::schedule::{Timetable, occurrence};
use crate::execution::ExecutorParts;
use crate::ids::AskId;
use crate::intake::{Directory, IntakeError, scheduled};
use crate::metrics::Reason;
use crate::store::{Ask, AskEnd, AskVerdict, Schedule, StoreError};

/// After how many looks names of the configuration that were unknown are looked for again.
const LOOKS_UNTIL_RESOLVED: u32 = 30;

/// The task.
pub struct Schedules {
    handle: Handle,
    directory: Directory,
    parts: Arc<ExecutorParts>,
    /// The configuration whose schedules the ledger has.
    applied: Option<Arc<Config>>,
    /// When to look again for what the configuration names and the ledger did not have.
    resolve_at: Option<Instant>,
}

impl Schedules {
    /// A task that has not begun.
    pub fn new(handle: Handle, directory: Directory, parts: Arc<ExecutorParts>) -> Self {
        Self { handle, directory, parts, applied: None, resolve_at: None }
    }

    /// Makes requests for as long as the process lives.
    pub async fn keep(mut self) {
        let mut period = None;
        loop {
            let config = self.parts.live.get().0;
            let every = *config.scheduler.poll;
            let tick = period.get_or_insert_with(|| ticks(every));
            if tick.period() != every {
                *tick = ticks(every);
            }
            tick.tick().await;
            if let Err(error) = self.look(&config).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "schedules could not be looked at; the heartbeat tells of an outage"
                );
            }
        }
    }

    async fn look(&mut self, config: &Arc<Config>) -> Result<(), StoreError> {
        let is_applied = self.applied.as_ref().is_some_and(|applied| Arc::ptr_eq(applied, config));
        if !is_applied || self.resolve_at.is_some_and(|at| at <= Instant::now()) {
            let waits = configured::take_over(self.handle.store(), config, !is_applied).await?;
            self.resolve_at = waits.then(|| Instant::now() + *config.scheduler.poll * LOOKS_UNTIL_RESOLVED);
            self.applied = Some(config.clone());
        }
        self.begin(&config.scheduler).await?;
        self.ask(&config.scheduler).await
    }

    /// Begins what is due.
    async fn begin(&self, limits: &SchedulerConfig) -> Result<(), StoreError> {
        let store = self.handle.store();
        let (now, due) = store.due_schedules(limits.occurrences_max).await?;
        for schedule in due {
            let Some(due) = due_of(&schedule, now) else { continue };
            // Another instance was first: it makes the requests.
            let Some(requests) = store.begin_occurrence(&schedule, due, now).await? else { continue };
            let reason = if due.catch_up { "catch_up" } else { "on_time" };
            self.handle.metrics().schedule_occurrences.get_or_create(&Reason { reason }).inc();
            tracing::info!(
                schedule.id = schedule.id.0,
                schedule.name = schedule.name.as_str(),
                workspace.id = schedule.workspace_id.0,
                occurrence_at = %due.at,
                next_at = due.next.map(|next| next.to_string()),
                requests,
                "{}",
                if due.catch_up { "a schedule makes up for what was missed" } else { "a schedule is due" }
            );
        }
        Ok(())
    }

    /// Makes the requests that are due, batch after batch: one waits for the verdicts of the one before, so that a
    /// thousand tenants never fill the gate.
    async fn ask(&self, limits: &SchedulerConfig) -> Result<(), StoreError> {
        loop {
            let asks = self.handle.store().take_asks(limits.batch_max, *limits.hold).await?;
            let is_last = asks.len() < limits.batch_max;
            if asks.is_empty() || !self.ask_for(asks, limits).await? || is_last {
                return Ok(());
            }
        }
    }

    /// Asks for a batch; false when there was none of the verdicts to be had, and others should wait too.
    async fn ask_for(&self, asks: Vec<Ask>, limits: &SchedulerConfig) -> Result<bool, StoreError> {
        let (mut requests, mut asking, mut ends, mut deferred) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ask in asks {
            match scheduled::request_of(&self.directory, self.handle.store(), &ask).await {
                Ok(request) => {
                    requests.push(request);
                    asking.push(ask);
                }
                Err(IntakeError::Store(StoreError::Unavailable { .. })) => deferred.push(ask.id),
                Err(error) => ends.push(failed(&ask, &error.to_string())),
            }
        }
        let answers = self.verdicts(requests, asking.len()).await;
        for (ask, answer) in asking.iter().zip(answers) {
            match answer {
                Ok(verdict) => ends.push(answered(ask, &verdict)),
                Err(AdmitError::ScopeGone) => ends.push(failed(ask, &AdmitError::ScopeGone.to_string())),
                Err(_) => deferred.push(ask.id),
            }
        }
        self.count(&ends, &deferred);
        let goes_on = deferred.is_empty();
        if !ends.is_empty() {
            self.handle.store().end_asks(ends).await?;
        }
        if !deferred.is_empty() {
            self.handle.store().give_asks_back(deferred, *limits.retry_after).await?;
        }
        Ok(goes_on)
    }

    /// One answer per request, whatever happens to the whole.
    async fn verdicts(&self, requests: Vec<Request>, count: usize) -> Vec<Result<Verdict, AdmitError>> {
        if requests.is_empty() {
            return Vec::new();
        }
        match self.handle.admit(requests).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    count,
                    "requests of schedules wait"
                );
                std::iter::repeat_with(|| Err(AdmitError::Unavailable)).take(count).collect()
            }
        }
    }

    fn count(&self, ends: &[AskEnd], deferred: &[AskId]) {
        let metrics = &self.handle.metrics().schedule_requests;
        for end in ends {
            metrics.get_or_create(&Reason { reason: end.verdict.as_str() }).inc();
        }
        if !deferred.is_empty() {
            metrics.get_or_create(&Reason { reason: "deferred" }).inc_by(deferred.len() as u64);
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What is due of a schedule; `None`, and a word in the log, where its expression cannot be read any more.
fn due_of(schedule: &Schedule, now: crate::clock::Instant) -> Option<crate::domain::schedule::Occurrence> {
    match Timetable::parse(&schedule.cron, &schedule.timezone) {
        Ok(table) => occurrence(&table, schedule.next_at?, now),
        Err(error) => {
            tracing::error!(
                schedule.id = schedule.id.0,
                error = &error as &dyn std::error::Error,
                "a schedule cannot be read; change it"
            );
            None
        }
    }
}

fn answered(ask: &Ask, verdict: &Verdict) -> AskEnd {
    let run_id = Some(verdict.run().id);
    let verdict = match verdict {
        Verdict::Accepted(_) => AskVerdict::Accepted,
        Verdict::Active(_) => AskVerdict::Active,
        Verdict::Cooldown { .. } => AskVerdict::Cooldown,
    };
    AskEnd { ask: ask.id, schedule: ask.schedule, verdict, run_id, problem: None }
}

fn failed(ask: &Ask, why: &str) -> AskEnd {
    tracing::warn!(
        schedule.id = ask.schedule.0,
        schedule.name = ask.name.as_str(),
        tenant.id = ask.tenant_id.map(|tenant| tenant.0),
        why,
        "a schedule's request could not be made"
    );
    let problem = Some(sanitise(why));
    AskEnd { ask: ask.id, schedule: ask.schedule, verdict: AskVerdict::Failed, run_id: None, problem }
}
