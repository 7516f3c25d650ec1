//! Settlements: how an attempt, and perhaps its run, ends; and cancellation (SPEC section 5).

use diesel::QueryableByName;
use diesel::sql_types::Text;

use super::backend::{Backend, Conn, Engine};
use super::error::{Problem, StoreError};
use super::records::{Cancel, Settled};
use super::rows::NumberRow;
use super::runs::{Seen, abandon, closed, complete, lock, save, save_completed, save_run, saving};
use super::statement::{Statement, sql};
use super::types::{Document, DocumentText, Word, sql as types};
use crate::clock::Instant;
use crate::domain::counts::Counts;
use crate::domain::failure::{Code, Failure};
use crate::domain::run::{
    AttemptOutcome, Completion, HandBackReason, Lease, Outcome, Run, Settlement, Status,
};
use crate::ids::RunId;

/// How an attempt's row ends.
pub struct AttemptEnd {
    /// How.
    pub outcome: AttemptOutcome,
    /// What it counted.
    pub counts: Counts,
    /// Why it failed.
    pub failures: Vec<Failure>,
    /// Why it was handed back.
    pub reason: Option<&'static str>,
}

impl AttemptEnd {
    fn of(settlement: &Settlement) -> Self {
        match settlement {
            Settlement::Complete(end) => Self::completing(end),
            Settlement::Retry { counts, failures, .. } => Self {
                outcome: AttemptOutcome::Retried,
                counts: counts.clone(),
                failures: failures.clone(),
                reason: None,
            },
            Settlement::HandBack { reason } => Self {
                outcome: AttemptOutcome::HandedBack,
                counts: Counts::default(),
                failures: Vec::new(),
                reason: Some(match reason {
                    HandBackReason::Draining => "draining",
                    HandBackReason::Fenced => "fenced",
                }),
            },
        }
    }

    /// The end of the attempt that completes its run.
    pub fn completing(end: &Completion) -> Self {
        Self {
            outcome: match end.outcome {
                Outcome::Succeeded => AttemptOutcome::Succeeded,
                Outcome::Failed | Outcome::Pending => AttemptOutcome::Failed,
            },
            counts: end.counts.clone(),
            failures: end.failures.clone(),
            reason: None,
        }
    }

    /// With the values of `end_attempt!` from the outcome on.
    fn bound_to(&self, statement: Statement) -> Statement {
        statement
            .bind(self.outcome.as_str())
            .bind(self.code().map(Code::as_str))
            .bind(DocumentText::of(&self.counts))
            .bind(DocumentText::of(&self.failures))
            .bind(self.reason)
    }

    fn code(&self) -> Option<Code> {
        match self.outcome {
            AttemptOutcome::Stale => Some(Code::RunStaleAttemptResult),
            _ => self.failures.first().map(|failure| failure.code),
        }
    }
}

/// Which attempts an end may be written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// One that is still open.
    Open,
    /// Whatever it shows.
    Any,
}

/// The update that ends an attempt's row.
macro_rules! end_attempt {
    ($run:literal, $token:literal, over $over:literal, at $at:literal, $outcome:literal, $code:literal, $counts:literal,
        $failures:literal, $reason:literal) => {
        concat!(
            "UPDATE run_attempts SET outcome = ",
            $outcome,
            ", ended_at = ",
            $at,
            ", code = ",
            $code,
            ", summary_counts = ",
            $counts,
            ", failure_summary = ",
            $failures,
            ", hand_back_reason = ",
            $reason,
            " WHERE run_id = ",
            $run,
            " AND lease_token = ",
            $token,
            " AND (",
            $over,
            " OR outcome = 'running')"
        )
    };
}

/// Ends an attempt's row.
pub async fn end_attempt(
    conn: &mut Conn<'_>,
    lease: Lease,
    end: AttemptEnd,
    over: Over,
    now: Instant,
) -> Result<(), Problem> {
    const TEXT: &str = end_attempt!("$1", "$2", over "$3", at "$4", "$5", "$6", "$7", "$8", "$9");
    let statement = sql(TEXT).bind(lease.run_id.0).bind(lease.token.0).bind(over == Over::Any).bind(now);
    conn.execute(end.bound_to(statement)).await?;
    Ok(())
}

/// Writes a run whose attempt has ended, and that end; false when the row no longer shows `seen`, and then nothing is
/// written. One statement on PostgreSQL: each is a round trip there, while the run is locked.
async fn save_settled(
    conn: &mut Conn<'_>,
    seen: Seen,
    run: &Run,
    lease: Lease,
    end: AttemptEnd,
    now: Instant,
) -> Result<bool, Problem> {
    const AT_ONCE: &str = concat!(
        "WITH r AS (",
        save_run!(),
        " RETURNING id, status, type), s AS (",
        abandon!("snapshots", at "$19", of "(SELECT id FROM r WHERE status = 'completed')"),
        "), t AS (",
        abandon!("restore_runs", at "$19",
            of "(SELECT id FROM r WHERE status = 'completed' AND type = 'assignments.restore')"),
        "), a AS (",
        end_attempt!("(SELECT id FROM r)", "$18", over "FALSE", at "$19", "$20", "$21", "$22", "$23", "$24"),
        ") SELECT id AS n FROM r"
    );
    if conn.engine() == Engine::Postgres {
        let saved: Option<NumberRow> = conn.row(end.bound_to(saving(AT_ONCE, seen, run).bind(now))).await?;
        return Ok(saved.is_some());
    }
    let saved = match run.status {
        Status::Completed => save_completed(conn, seen, run, now).await?,
        Status::Queued | Status::Running => save(conn, seen, run).await?,
    };
    if saved {
        end_attempt(conn, lease, end, Over::Open, now).await?;
    }
    Ok(saved)
}

/// See [`super::Store::settle`].
pub async fn settle(backend: &Backend, lease: Lease, settlement: Settlement) -> Result<Settled, StoreError> {
    if let Settlement::Complete(end) = &settlement {
        debug_assert!(end.outcome != Outcome::Pending, "a completion has an outcome");
    }
    backend
        .write("settling an attempt", move |conn| {
            Box::pin(async move {
                let Some((run, now)) = lock(conn, lease.run_id).await? else { return Ok(Settled::Stale) };
                if run.status == Status::Running && run.lease_token == lease.token {
                    return settle_live(conn, run, lease, settlement, now).await;
                }
                settle_late(conn, run, lease, &settlement, now).await
            })
        })
        .await
}

async fn settle_live(
    conn: &mut Conn<'_>,
    mut run: Run,
    lease: Lease,
    settlement: Settlement,
    now: Instant,
) -> Result<Settled, Problem> {
    let seen = Seen::of(&run);
    let end = AttemptEnd::of(&settlement);
    match settlement {
        Settlement::Complete(end) => complete(&mut run, end, now),
        // In the queue the request would be forgotten, since nothing executes there.
        Settlement::Retry { .. } | Settlement::HandBack { .. } if run.cancel_requested_at.is_some() => {
            let cancelled = Failure::new(Code::RunCancelled, "cancelled between two attempts");
            complete(&mut run, closed(cancelled, std::time::Duration::ZERO), now);
        }
        Settlement::Retry { next_attempt_at, .. } => {
            back_to_queue(&mut run, now);
            run.next_attempt_at = Some(next_attempt_at);
        }
        Settlement::HandBack { .. } => {
            back_to_queue(&mut run, now);
            run.attempt -= 1;
        }
    }
    if !save_settled(conn, seen, &run, lease, end, now).await? {
        return Err(Problem::Corrupt(format!("run {} changed while it was locked", run.id)));
    }
    Ok(Settled::Done(Box::new(run)))
}

fn back_to_queue(run: &mut Run, now: Instant) {
    run.status = Status::Queued;
    run.lease_owner = None;
    run.next_attempt_at = None;
    run.updated_at = now;
}

#[derive(QueryableByName)]
struct EndedRow {
    #[diesel(sql_type = Text)]
    outcome: Word<AttemptOutcome>,
    #[diesel(sql_type = types::Document)]
    summary_counts: Document<Counts>,
    #[diesel(sql_type = types::Document)]
    failure_summary: Document<Vec<Failure>>,
}

/// The lease is no longer the run's: either this settlement was written before and its answer got lost, or somebody
/// else has taken over.
async fn settle_late(
    conn: &mut Conn<'_>,
    run: Run,
    lease: Lease,
    settlement: &Settlement,
    now: Instant,
) -> Result<Settled, Problem> {
    const TEXT: &str = "SELECT outcome, summary_counts, failure_summary FROM run_attempts \
         WHERE run_id = $1 AND lease_token = $2";
    let ended: Option<EndedRow> = conn.row(sql(TEXT).bind(lease.run_id.0).bind(lease.token.0)).await?;
    let end = AttemptEnd::of(settlement);
    if let Some(row) = ended {
        let same_result = row.summary_counts.0 == end.counts && row.failure_summary.0 == end.failures;
        if row.outcome.0 == end.outcome && same_result {
            return Ok(Settled::Done(Box::new(run)));
        }
        // The attempt that ended its run is the original of the run's result (G5): nothing is written over it.
        if matches!(row.outcome.0, AttemptOutcome::Succeeded | AttemptOutcome::Failed) {
            return Ok(Settled::Stale);
        }
    }
    let stale = AttemptEnd { outcome: AttemptOutcome::Stale, ..end };
    end_attempt(conn, lease, stale, Over::Any, now).await?;
    Ok(Settled::Stale)
}

/// See [`super::Store::request_cancel`].
pub async fn request_cancel(backend: &Backend, run: RunId, by: &str) -> Result<Cancel, StoreError> {
    let by = by.to_owned();
    backend
        .write("cancelling a run", move |conn| {
            Box::pin(async move {
                let Some((run, now)) = lock(conn, run).await? else { return Ok(Cancel::NotFound) };
                match run.status {
                    Status::Completed => Ok(Cancel::AlreadyCompleted(run)),
                    Status::Running => mark_cancelled(conn, run, by, now).await.map(Cancel::Requested),
                    Status::Queued => {
                        let mut run = mark_cancelled(conn, run, by, now).await?;
                        let seen = Seen::of(&run);
                        let cancelled = Failure::new(Code::RunCancelled, "cancelled before it ran");
                        complete(&mut run, closed(cancelled, std::time::Duration::ZERO), now);
                        save_completed(conn, seen, &run, now).await?;
                        Ok(Cancel::Completed(run))
                    }
                }
            })
        })
        .await
}

/// Notes who asked, the first time.
async fn mark_cancelled(conn: &mut Conn<'_>, mut run: Run, by: String, now: Instant) -> Result<Run, Problem> {
    const TEXT: &str = "UPDATE operation_runs SET cancel_requested_at = $1, cancel_requested_by = $2 \
         WHERE id = $3 AND cancel_requested_at IS NULL AND status <> 'completed'";
    if run.cancel_requested_at.is_none() {
        conn.execute(sql(TEXT).bind(now).bind(by).bind(run.id.0)).await?;
        run.cancel_requested_at = Some(now);
    }
    Ok(run)
}
