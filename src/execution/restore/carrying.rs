//! Carrying a plan out: each policy by its journal, a few at a time.
//!
//! The order for one policy is always: read, decide, mark as sent, send, read back, mark its end. A policy that ends in
//! an error which another try may mend keeps its state in the journal, and the next attempt goes on from there.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::super::Attempt;
use super::super::breaks::Break;
use crate::actors::{Progress, RestoreProgress};
use crate::clock::Instant;
use crate::domain::assignment::AssignmentSet;
use crate::domain::failure::{Code, Failure};
use crate::domain::policy_types;
use crate::domain::restore::journal::{Seen, Sending, Step, next_step};
use crate::domain::restore::write::writes;
use crate::domain::restore::{ItemState, JournalItem, LivePolicy};
use crate::graph::{GraphClient, GraphError, LiveAssignments, WriteFate, WritePlace, forecast};
use crate::store::ItemEnd;

/// Writes of one policy in one attempt at the most: the second only when the first one was never applied.
const WRITES_MAX: u32 = 2;
/// How old a look at a policy may be when its write leaves. Graph has no ETag: what somebody changes within this time is
/// overwritten, so it is as short as a call on a slow line allows.
const LOOK_FRESH: Duration = Duration::from_millis(500);

/// A policy to carry out.
pub struct Todo {
    /// Its journal.
    pub entry: JournalItem,
    /// What is replaced.
    pub base: AssignmentSet,
    /// What it is to have.
    pub wanted: AssignmentSet,
    /// The policy as the plan saw it.
    pub facts: Result<Option<LivePolicy>, Failure>,
}

/// What was left for another attempt.
#[derive(Default)]
pub struct Left {
    /// One per policy.
    pub failures: Vec<Failure>,
    /// There is something.
    pub transient: bool,
    /// The longest wait that the service asked for.
    pub retry_after: Option<Duration>,
}

/// Carries everything out, as far as it can be.
pub async fn carry_out(attempt: &Attempt, client: &GraphClient, todo: Vec<Todo>) -> Result<Left, Break> {
    let carrier = Carrier {
        attempt,
        client,
        progress: Mutex::new(RestoreProgress {
            policies_total: todo.len() as u64,
            policies_done: 0,
            calls_to_come: todo.iter().map(|it| u64::from(it.entry.calls) + 2).sum(),
            writes_to_come: todo.iter().map(|it| u64::from(it.entry.calls)).sum(),
            seconds_at_least: 0,
        }),
    };
    carrier.tell();
    let parallel = attempt.config.restore.parallel;
    // Boxed: the compiler cannot prove that the nested futures are `Send` for every lifetime at once.
    let policies: Vec<_> = todo.into_iter().map(|it| carrier.carry(it).boxed()).collect();
    let mut ended = stream::iter(policies).buffer_unordered(parallel);
    let mut left = Left::default();
    while let Some(error) = ended.try_next().await? {
        if let Some(error) = error {
            left.failures.push(error.failure("a policy could not be restored"));
            left.transient = true;
            left.retry_after = left.retry_after.max(error.retry_after);
        }
    }
    Ok(left)
}

/// What the policies of one restore share.
struct Carrier<'a> {
    attempt: &'a Attempt,
    client: &'a GraphClient,
    progress: Mutex<RestoreProgress>,
}

/// What is known of the writes of one policy so far.
struct Sent {
    sending: Sending,
    times: u32,
    /// Since when nothing of this policy has been on its way to Graph: the end of the last call, and after a crash the
    /// begin of this look.
    quiet_since: Instant,
    /// Why the latest write has no certain end, where an answer, or the want of one, says so.
    doubt: Option<GraphError>,
    /// The latest write was certainly not applied: what is next is decided as if none had been sent.
    unapplied: bool,
    /// Such writes, one after another.
    refusals: u32,
}

impl Sent {
    /// What is wrong with a policy: where Graph kept a write from taking effect, that and not its consequence.
    fn reason(&self, failure: Failure) -> Failure {
        match &self.doubt {
            Some(error) if failure.code == Code::AssignmentsVerifyMismatch => {
                error.failure("the write did not take effect; restore it again")
            }
            _ => failure,
        }
    }
}

impl Carrier<'_> {
    /// One policy, to its end; an error that another attempt may mend is given back.
    async fn carry(&self, mut it: Todo) -> Result<Option<GraphError>, Break> {
        let calls = u64::from(it.entry.calls);
        let left = match self.steps(&mut it).await? {
            Ok(()) => None,
            // No try is left: the policy ends with what is known of it.
            Err(error) if !(error.transient && self.attempt.tries_left()) => {
                let subject = match it.entry.state {
                    ItemState::Sent => "the policy may have been written and could not be read back",
                    _ => "the policy could not be restored",
                };
                self.end(&it, ItemState::Failed, None, Some(error.failure(subject))).await?;
                None
            }
            Err(error) => Some(error),
        };
        self.done(calls);
        Ok(left)
    }

    async fn steps(&self, it: &mut Todo) -> Result<Result<(), GraphError>, Break> {
        let facts = match &it.facts {
            Ok(facts) => facts.clone(),
            Err(failure) => {
                self.end(it, ItemState::Failed, None, Some(failure.clone())).await?;
                return Ok(Ok(()));
            }
        };
        let row = policy_types::find(&it.entry.policy.policy_type)
            .expect("the plan refuses types that are not in the catalogue");
        let limits = &self.attempt.config.restore;
        let mut sent = Sent {
            sending: Sending::InDoubt,
            times: u32::from(it.entry.state == ItemState::Sent),
            quiet_since: self.now(),
            doubt: None,
            unapplied: false,
            refusals: 0,
        };
        // Its turn may take long to come: the policy is looked at after it.
        let mut place = match it.entry.state {
            ItemState::Planned => Some(self.place().await?),
            _ => None,
        };
        let mut wait = *limits.verify_wait;
        loop {
            let read = match &facts {
                None => None,
                Some(_) => match self.read(row, it).await? {
                    Ok(read) => read,
                    Err(error) => return Ok(Err(error)),
                },
            };
            let live = facts.as_ref().zip(read).map(|(facts, read)| LivePolicy {
                assignments: read.set,
                ids: read.ids,
                ..facts.clone()
            });
            let seen = Seen {
                row,
                base: &it.base,
                wanted: &it.wanted,
                live: live.as_ref().map(|live| &live.assignments),
                sending: sent.sending,
                quiet_since: sent.quiet_since,
                now: self.now(),
                verify_timeout: *limits.verify_timeout,
                may_write_again: sent.times < WRITES_MAX,
            };
            let shown = live.as_ref().map(|live| live.assignments.direct());
            let unsent = JournalItem { state: ItemState::Planned, ..it.entry.clone() };
            match next_step(if sent.unapplied { &unsent } else { &it.entry }, &seen) {
                Step::Nothing => return Ok(Ok(())),
                Step::MarkSkipped if !sent.unapplied => {
                    self.end(it, ItemState::Skipped, None, None).await?;
                    return Ok(Ok(()));
                }
                Step::MarkVerified | Step::MarkSkipped => {
                    self.end(it, ItemState::Verified, shown, None).await?;
                    return Ok(Ok(()));
                }
                Step::Fail(failure) => {
                    let failure = sent.reason(failure);
                    self.end(it, ItemState::Failed, shown, Some(failure)).await?;
                    return Ok(Ok(()));
                }
                Step::WaitAndReadAgain => {
                    self.pause(wait).await?;
                    wait = (wait * 2).min(*limits.verify_wait_max);
                }
                Step::WriteNow => {
                    let Some(own) = place.take() else {
                        place = Some(self.place().await?);
                        continue;
                    };
                    let live = live.expect("nothing is written to a policy that is not there");
                    if let Err(refused) = self.write(row, it, &live, &mut sent, own).await? {
                        self.end(it, ItemState::Failed, None, Some(refused)).await?;
                        return Ok(Ok(()));
                    }
                    if let Some(error) = sent.doubt.clone().filter(|_| sent.unapplied) {
                        sent.refusals += 1;
                        let stop = self.attempt.stop.token();
                        match self.client.before_next_write(sent.refusals, &error, stop).await {
                            Err(error) if error.is_cancelled() => return Err(Break::stopped()),
                            Err(error) => return Ok(Err(error)),
                            Ok(()) => {}
                        }
                    }
                    wait = *limits.verify_wait;
                }
            }
        }
    }

    async fn place(&self) -> Result<WritePlace<'_>, Break> {
        let place = self.client.write_place(self.attempt.stop.token()).await;
        place.map_err(|error| Break::graph(&error, "waiting for the budget of writes"))
    }

    /// Reads the policy's assignments; the set that is read here is what the next step is decided by.
    async fn read(
        &self,
        row: &'static policy_types::PolicyType,
        it: &Todo,
    ) -> Result<Result<Option<LiveAssignments>, GraphError>, Break> {
        let stop = self.attempt.stop.token();
        match self.client.read_assignments(row, &it.entry.policy.policy_id, stop).await {
            Err(error) if error.is_cancelled() => Err(Break::stopped()),
            read => Ok(read),
        }
    }

    /// Marks the policy as sent, and sends. A refusal that is certain is given back; anything else is found out by
    /// reading.
    async fn write(
        &self,
        row: &policy_types::PolicyType,
        it: &mut Todo,
        live: &LivePolicy,
        sent: &mut Sent,
        place: WritePlace<'_>,
    ) -> Result<Result<(), Failure>, Break> {
        let attempt = self.attempt;
        let policy = &it.entry.policy;
        self.may_act()?;
        let base = live.assignments.direct();
        let marked = attempt.parts.store.mark_sent(attempt.lease, policy, &base, &it.wanted).await?;
        it.entry.sent_at = Some(marked.ok_or_else(Break::not_canonical)?);
        it.entry.state = ItemState::Sent;
        it.entry.base = Some(base.hash());
        it.base = base;
        sent.times += 1;
        sent.sending = Sending::Applied;
        (sent.doubt, sent.unapplied) = (None, false);
        let mut place = Some(place);
        let mut applied = 0;
        for call in writes(row, &policy.policy_id, live, &it.wanted) {
            self.may_act()?;
            let stop = attempt.stop.token();
            let fate = match place.take() {
                Some(place) => self.client.write_fresh(&call, place, LOOK_FRESH, stop).await,
                // A further call adds or takes away one assignment, and overwrites nothing else.
                None => self.client.write(&call, stop).await,
            };
            sent.quiet_since = self.now();
            match fate {
                WriteFate::Applied => applied += 1,
                WriteFate::NotApplied(error) | WriteFate::Unknown(error) if error.is_cancelled() => {
                    return Err(Break::stopped());
                }
                WriteFate::Late => {
                    sent.times -= 1;
                    sent.unapplied = true;
                    break;
                }
                WriteFate::NotApplied(error) if error.transient && applied == 0 => {
                    sent.times -= 1;
                    (sent.doubt, sent.unapplied) = (Some(error), true);
                    break;
                }
                WriteFate::NotApplied(error) if !error.transient && error.code != Code::GraphConflict => {
                    let subject = match applied {
                        0 => "the write was refused, nothing was changed".to_owned(),
                        _ => format!("a write was refused after {applied} others of the policy were applied"),
                    };
                    return Ok(Err(error.failure(&subject)));
                }
                WriteFate::NotApplied(error) | WriteFate::Unknown(error) => {
                    tracing::warn!(
                        run.id = attempt.run.id.0,
                        error = &error as &dyn std::error::Error,
                        "a write has no certain end; the policy is read until it shows what became of it"
                    );
                    sent.sending = Sending::InDoubt;
                    sent.doubt = Some(error);
                    break;
                }
            }
        }
        Ok(Ok(()))
    }

    /// The last look before a write: an execution that lost its lease, or was told to stop, writes nothing more.
    fn may_act(&self) -> Result<(), Break> {
        let attempt = self.attempt;
        if attempt.parts.board.may_act(attempt.lease) { Ok(()) } else { Err(Break::stopped()) }
    }

    async fn end(
        &self,
        it: &Todo,
        state: ItemState,
        verified: Option<AssignmentSet>,
        failure: Option<Failure>,
    ) -> Result<(), Break> {
        let end = ItemEnd { state, verified, failure };
        let attempt = self.attempt;
        if attempt.parts.store.mark_item(attempt.lease, &it.entry.policy, end).await? {
            Ok(())
        } else {
            Err(Break::not_canonical())
        }
    }

    fn now(&self) -> Instant {
        self.attempt.parts.clock.now()
    }

    async fn pause(&self, wait: Duration) -> Result<(), Break> {
        tokio::select! {
            () = self.attempt.stop.token().cancelled() => Err(Break::stopped()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Notes that a policy has ended, for this attempt.
    fn done(&self, calls: u64) {
        let mut progress = self.lock();
        progress.policies_done += 1;
        progress.calls_to_come = progress.calls_to_come.saturating_sub(calls + 2);
        progress.writes_to_come = progress.writes_to_come.saturating_sub(calls);
        drop(progress);
        self.tell();
    }

    fn tell(&self) {
        let mut restore = *self.lock();
        let graph = &self.attempt.config.graph;
        restore.seconds_at_least = forecast(restore.calls_to_come, restore.writes_to_come, graph).as_secs();
        let progress = Progress {
            listed: restore.policies_total,
            read: restore.policies_total,
            calls: self.client.calls(),
            throttled_until: self.client.throttled_until(),
            restore: Some(restore),
            ..Progress::default()
        };
        self.attempt.parts.board.report(self.attempt.run.id, progress);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RestoreProgress> {
        self.progress.lock().expect("nobody panics while holding it: numbers are added")
    }
}
