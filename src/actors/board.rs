//! The board: what executes in this process. Executions write themselves on it, everybody else may read it and tell
//! an execution to stop.
//!
//! It is not an actor: a cancellation and a self-fencing must reach an execution even while actors are busy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

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

/// The board. Clones share it.
#[derive(Clone, Default)]
pub struct Board {
    executions: Arc<Mutex<HashMap<RunId, Execution>>>,
}

/// Keeps an execution on the board until dropped.
pub struct BoardEntry {
    board: Board,
    lease: Lease,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Execution>> {
        self.executions.lock().expect("nobody panics while holding the board: its methods only move values")
    }

    /// Writes an execution on the board.
    pub fn enter(&self, lease: Lease, stop: StopSignal) -> BoardEntry {
        self.lock().insert(lease.run_id, Execution { lease, stop, progress: Progress::default() });
        BoardEntry { board: self.clone(), lease }
    }

    /// Stops the execution of `run`, if it is here.
    pub fn stop(&self, run: RunId, cause: StopCause) -> bool {
        self.lock().get(&run).map(|execution| execution.stop.stop(cause)).is_some()
    }

    /// Stops everything.
    pub fn stop_all(&self, cause: StopCause) -> usize {
        let executions = self.lock();
        executions.values().for_each(|execution| execution.stop.stop(cause));
        executions.len()
    }

    /// Whether this lease executes here.
    pub fn holds(&self, lease: Lease) -> bool {
        self.lock().get(&lease.run_id).is_some_and(|execution| execution.lease == lease)
    }

    /// How many executions there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Nothing executes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the execution of `run` is, if it is here.
    pub fn progress(&self, run: RunId) -> Option<Progress> {
        self.lock().get(&run).map(|execution| execution.progress.clone())
    }

    /// Says how far an execution is.
    pub fn report(&self, run: RunId, progress: Progress) {
        if let Some(execution) = self.lock().get_mut(&run) {
            execution.progress = progress;
        }
    }
}

impl Drop for BoardEntry {
    fn drop(&mut self) {
        let mut executions = self.board.lock();
        if executions.get(&self.lease.run_id).is_some_and(|execution| execution.lease == self.lease) {
            executions.remove(&self.lease.run_id);
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
    fn stopping_an_absent_run_says_so() {
        assert!(!Board::default().stop(RunId(1), StopCause::Cancelled));
    }
}
