//! The board: what executes in this process. Executions write themselves on it, everybody else may read it and tell
//! an execution to stop.
//!
//! It is not an actor: a cancellation and a self-fencing must reach an execution even while actors are busy.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handle::Progress;
use crate::domain::run::Lease;
use crate::ids::RunId;

/// Why an execution has to stop before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Somebody cancelled the run.
    Cancelled,
    /// The daemon stops, and the time to drain is over.
    Draining,
    /// The instance could not renew its lease in time, or the execution's actor died.
    Fenced,
}

/// Tells one execution to stop; the first cause counts. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    cause: Arc<OnceLock<StopCause>>,
    token: CancellationToken,
}

impl StopSignal {
    /// Stops the execution.
    pub fn stop(&self, cause: StopCause) {
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// Why, once stopped.
    pub fn cause(&self) -> Option<StopCause> {
        self.cause.get().copied()
    }

    /// What the execution awaits beside its work.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

/// One line of the board.
struct Execution {
    lease: Lease,
    stop: StopSignal,
    progress: Progress,
}

/// LIMIT: refused leases in memory. Each is a claim whose answer was lost.
const REFUSED_MAX: usize = 1000;

/// What the board shows.
#[derive(Default)]
struct Shown {
    executions: HashMap<RunId, Execution>,
    /// Nothing may execute here at present: whoever enters is stopped at once. A claim may be answered late.
    closed: Option<StopCause>,
    /// When the lease that was renewed last runs out: from then on the board is closed, even before anybody has come
    /// to close it. A process that was stopped wakes up with all its tasks at once.
    leased_until: Option<Instant>,
    /// Leases that were given back because nothing executed under them; the oldest are forgotten.
    refused: VecDeque<Lease>,
}

impl Shown {
    fn closed(&self) -> Option<StopCause> {
        let expired = self.leased_until.is_some_and(|until| Instant::now() >= until);
        self.closed.or(expired.then_some(StopCause::Fenced))
    }

    fn close(&mut self, cause: StopCause) {
        if self.closed != Some(StopCause::Draining) {
            self.closed = Some(cause);
        }
    }
}

/// The board. Clones share it.
#[derive(Clone, Default)]
pub struct Board {
    shown: Arc<Mutex<Shown>>,
}

/// Keeps an execution on the board until dropped.
pub struct BoardEntry {
    board: Board,
    lease: Lease,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().expect("nobody panics while holding the board: its methods only move values")
    }

    /// Writes an execution on the board; it is told to stop at once while the board is closed.
    pub fn enter(&self, lease: Lease, stop: StopSignal) -> BoardEntry {
        let mut shown = self.lock();
        if let Some(cause) = shown.closed() {
            stop.stop(cause);
        }
        if shown.refused.contains(&lease) {
            stop.stop(StopCause::Fenced);
        }
        shown.executions.insert(lease.run_id, Execution { lease, stop, progress: Progress::default() });
        drop(shown);
        BoardEntry { board: self.clone(), lease }
    }

    /// Stops the execution of `run`, if it is here.
    pub fn stop(&self, run: RunId, cause: StopCause) -> bool {
        self.lock().executions.get(&run).map(|execution| execution.stop.stop(cause)).is_some()
    }

    /// What enters from now on is stopped at once: until [`Board::reopen`], or for ever when the daemon drains.
    pub fn close(&self, cause: StopCause) {
        self.lock().close(cause);
    }

    /// Closes the board and stops everything that is on it; how many that were.
    pub fn stop_all(&self, cause: StopCause) -> usize {
        let mut shown = self.lock();
        shown.close(cause);
        shown.executions.values().for_each(|execution| execution.stop.stop(cause));
        shown.executions.len()
    }

    /// The lease has been renewed until `until`: executions may enter again. A daemon that drains stays closed.
    pub fn reopen(&self, until: Instant) {
        let mut shown = self.lock();
        shown.leased_until = Some(until);
        if shown.closed != Some(StopCause::Draining) {
            shown.closed = None;
        }
    }

    /// Nothing may execute here at present.
    pub fn is_closed(&self) -> bool {
        self.lock().closed().is_some()
    }

    /// The leases that execute here.
    pub fn leases(&self) -> Vec<Lease> {
        self.lock().executions.values().map(|execution| execution.lease).collect()
    }

    /// Stops the execution under exactly this lease, if it is here.
    pub fn stop_lease(&self, lease: Lease, cause: StopCause) -> bool {
        let shown = self.lock();
        let execution = shown.executions.get(&lease.run_id).filter(|execution| execution.lease == lease);
        execution.map(|execution| execution.stop.stop(cause)).is_some()
    }

    /// Whether this lease executes here.
    pub fn holds(&self, lease: Lease) -> bool {
        self.lock().executions.get(&lease.run_id).is_some_and(|execution| execution.lease == lease)
    }

    /// Refuses a lease under which nothing executes: whoever enters with it from now on is stopped at once. False when
    /// somebody has entered meanwhile.
    pub fn refuse(&self, lease: Lease) -> bool {
        let mut shown = self.lock();
        if shown.executions.get(&lease.run_id).is_some_and(|execution| execution.lease == lease) {
            return false;
        }
        if !shown.refused.contains(&lease) {
            shown.refused.truncate(REFUSED_MAX - 1);
            shown.refused.push_front(lease);
        }
        true
    }

    /// Whether the execution under this lease may still act: the last look before anything that cannot be undone. It
    /// asks this process alone, and so costs nothing.
    pub fn may_act(&self, lease: Lease) -> bool {
        let shown = self.lock();
        let execution = shown.executions.get(&lease.run_id).filter(|execution| execution.lease == lease);
        // Draining stops nobody by itself: what runs gets its time to end.
        shown.closed() != Some(StopCause::Fenced)
            && execution.is_some_and(|execution| execution.stop.cause().is_none())
    }

    /// How many executions there are.
    pub fn len(&self) -> usize {
        self.lock().executions.len()
    }

    /// Nothing executes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the execution of `run` is, if it is here.
    pub fn progress(&self, run: RunId) -> Option<Progress> {
        self.lock().executions.get(&run).map(|execution| execution.progress.clone())
    }

    /// How far every execution is.
    pub fn progresses(&self) -> Vec<(RunId, Progress)> {
        let shown = self.lock();
        shown.executions.iter().map(|(run, execution)| (*run, execution.progress.clone())).collect()
    }

    /// Says how far an execution is.
    pub fn report(&self, run: RunId, progress: Progress) {
        if let Some(execution) = self.lock().executions.get_mut(&run) {
            execution.progress = progress;
        }
    }
}

impl Drop for BoardEntry {
    fn drop(&mut self) {
        let mut shown = self.board.lock();
        if shown.executions.get(&self.lease.run_id).is_some_and(|execution| execution.lease == self.lease) {
            shown.executions.remove(&self.lease.run_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaseToken;

    fn lease(token: i64) -> Lease {
        Lease { run_id: RunId(7), token: LeaseToken(token) }
    }

    fn later() -> Instant {
        Instant::now() + std::time::Duration::from_secs(3600)
    }

    #[test]
    fn a_lease_that_has_run_out_closes_the_board_by_itself() {
        let board = Board::default();
        board.reopen(later());
        let signal = StopSignal::default();
        let _entry = board.enter(lease(1), signal.clone());
        assert!(board.may_act(lease(1)) && !board.may_act(lease(2)) && !board.is_closed());
        board.reopen(Instant::now());
        assert!(!board.may_act(lease(1)) && board.is_closed());
        let late = StopSignal::default();
        let _late = board.enter(lease(2), late.clone());
        assert_eq!(late.cause(), Some(StopCause::Fenced));
        board.reopen(later());
        assert!(board.may_act(lease(2)) == late.cause().is_none());
    }

    #[test]
    fn a_lease_that_was_given_back_is_not_executed_when_its_claim_is_answered_at_last() {
        let board = Board::default();
        assert!(board.refuse(lease(1)) && board.refuse(lease(1)), "nothing executes under it");
        let (late, next) = (StopSignal::default(), StopSignal::default());
        let _late = board.enter(lease(1), late.clone());
        assert_eq!(late.cause(), Some(StopCause::Fenced));
        let _next = board.enter(lease(2), next.clone());
        assert!(
            next.cause().is_none() && !board.refuse(lease(2)),
            "another claim of the run is another lease"
        );
    }

    #[test]
    fn the_first_cause_counts() {
        let signal = StopSignal::default();
        assert_eq!(signal.cause(), None);
        signal.stop(StopCause::Cancelled);
        signal.stop(StopCause::Fenced);
        assert_eq!(signal.cause(), Some(StopCause::Cancelled));
        assert!(signal.token().is_cancelled());
    }

    #[test]
    fn an_older_entry_does_not_remove_its_successor() {
        let board = Board::default();
        let old = board.enter(lease(1), StopSignal::default());
        let new = board.enter(lease(2), StopSignal::default());
        drop(old);
        assert!(board.holds(lease(2)) && !board.holds(lease(1)));
        drop(new);
        assert!(board.is_empty());
    }

    #[test]
    fn what_enters_a_closed_board_is_stopped_at_once() {
        let board = Board::default();
        let (early, late, renewed) = (StopSignal::default(), StopSignal::default(), StopSignal::default());
        let _early = board.enter(lease(1), early.clone());
        assert_eq!(board.stop_all(StopCause::Fenced), 1);
        let _late = board.enter(lease(2), late.clone());
        assert_eq!((early.cause(), late.cause()), (Some(StopCause::Fenced), Some(StopCause::Fenced)));
        board.reopen(later());
        let _renewed = board.enter(lease(3), renewed.clone());
        assert_eq!((renewed.cause(), board.is_closed()), (None, false));
        board.stop_all(StopCause::Draining);
        board.stop_all(StopCause::Fenced);
        board.reopen(later());
        let last = StopSignal::default();
        let _last = board.enter(lease(4), last.clone());
        assert_eq!(last.cause(), Some(StopCause::Draining), "a daemon that drains takes nothing up again");
    }

    #[test]
    fn only_the_named_lease_is_stopped() {
        let board = Board::default();
        let signal = StopSignal::default();
        let _entry = board.enter(lease(2), signal.clone());
        assert!(!board.stop_lease(lease(1), StopCause::Fenced) && signal.cause().is_none());
        assert!(board.stop_lease(lease(2), StopCause::Fenced) && signal.cause().is_some());
        assert_eq!(board.leases(), [lease(2)]);
    }

    #[test]
    fn stopping_an_absent_run_says_so() {
        assert!(!Board::default().stop(RunId(1), StopCause::Cancelled));
    }
}
