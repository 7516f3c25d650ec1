//! Who holds which identity, as one process's memory knows it: the fast answer in front of the unique indexes
//! (SPEC section 4). It holds no more than what is active, cooling, or being written.
//!
//! Memory decides, the database guards: a wrong memory can at worst ask the database in vain or answer with a run
//! that has just ended, never admit twice.
//!
//! Where other processes write to the ledger too, a memory ages: each entry says when the ledger last showed it, as the
//! time since the memory began by a clock that never steps. Who asks decides how old is too old.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::admission::{Decision, Verdict, decide};
use super::identity::IdentityHash;
use super::run::Run;
use crate::clock::Instant;
use crate::ids::RunId;

/// What to do about a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answer now; nothing is written.
    Refuse(Verdict),
    /// Another request for the identity is being written: wait for it.
    Wait,
    /// Write a new run.
    Write,
}

/// The memory; `W` is whatever stands for a caller that waits.
#[derive(Debug)]
pub struct Identities<W> {
    entries: HashMap<IdentityHash, Entry<W>>,
    /// When completed holders cease to matter; one entry per cooling identity.
    expiries: BTreeSet<(Instant, IdentityHash)>,
}

#[derive(Debug)]
enum Entry<W> {
    /// A run for the identity is on its way into the ledger.
    Writing {
        waiters: Vec<W>,
        /// What became of the run before its own write was answered: it may be claimed and even completed by then.
        news: Option<Arc<Run>>,
    },
    /// This run holds the identity.
    Held {
        run: Arc<Run>,
        /// When the ledger last showed it so.
        seen: Duration,
    },
}

impl<W> Default for Identities<W> {
    fn default() -> Self {
        Self { entries: HashMap::new(), expiries: BTreeSet::new() }
    }
}

impl<W> Identities<W> {
    /// Starts from what the ledger held at the beginning of time.
    pub fn warm(holders: Vec<Run>) -> Self {
        let mut identities = Self::default();
        for run in holders {
            identities.hold(Arc::new(run), Duration::ZERO);
        }
        identities
    }

    /// Decides on a request without changing anything.
    pub fn ask(&self, identity: &IdentityHash, force: bool, now: Instant) -> Answer {
        match self.entries.get(identity) {
            None => Answer::Write,
            Some(Entry::Writing { .. }) => Answer::Wait,
            Some(Entry::Held { run, .. }) => match decide(run, force, now) {
                Decision::Refuse(verdict) => Answer::Refuse(verdict),
                Decision::Insert => Answer::Write,
            },
        }
    }

    /// A run for the identity is on its way into the ledger.
    pub fn begin_write(&mut self, identity: IdentityHash) {
        self.forget(&identity);
        self.entries.insert(identity, Entry::Writing { waiters: Vec::new(), news: None });
    }

    /// Lets a caller wait for the write in flight.
    ///
    /// # Errors
    /// Gives the caller back when there is no such write.
    pub fn wait(&mut self, identity: &IdentityHash, waiter: W) -> Result<(), W> {
        match self.entries.get_mut(identity) {
            Some(Entry::Writing { waiters, .. }) => {
                waiters.push(waiter);
                Ok(())
            }
            _ => Err(waiter),
        }
    }

    /// The write was answered: `holder` held the identity at `seen`. Gives the run as it is by now, and those who waited.
    pub fn end_write(&mut self, holder: Run, seen: Duration) -> (Arc<Run>, Vec<W>) {
        let holder = Arc::new(holder);
        let identity = holder.identity;
        let (waiters, news) = match self.entries.remove(&identity) {
            Some(Entry::Writing { waiters, news }) => (waiters, news),
            Some(Entry::Held { run, .. }) => (Vec::new(), Some(run)),
            None => (Vec::new(), None),
        };
        let latest = news.filter(|run| is_later(run, &holder)).unwrap_or(holder);
        if holds(&latest) {
            self.hold(latest.clone(), seen);
        }
        (latest, waiters)
    }

    /// The write failed: nobody knows who holds the identity, so the next request asks the database.
    pub fn fail_write(&mut self, identity: &IdentityHash) -> Vec<W> {
        match self.entries.remove(identity) {
            Some(Entry::Writing { waiters, .. }) => waiters,
            Some(held @ Entry::Held { .. }) => {
                self.entries.insert(*identity, held);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The ledger showed a run like this at `seen`. News of an older run than the one that holds the identity, or of an
    /// earlier state of the same, is ignored.
    pub fn observe(&mut self, run: Arc<Run>, seen: Duration) {
        match self.entries.get_mut(&run.identity) {
            Some(Entry::Writing { news, .. }) => {
                let known = news.take().filter(|known| is_later(known, &run));
                *news = Some(known.unwrap_or(run));
            }
            Some(Entry::Held { run: known, .. }) if is_later(known, &run) => {}
            Some(Entry::Held { run: known, seen: before }) => {
                // News that overtook each other do not make a memory older.
                let seen = if known.id == run.id { seen.max(*before) } else { seen };
                self.forget(&run.identity);
                if holds(&run) {
                    self.hold(run, seen);
                }
            }
            None if holds(&run) => self.hold(run, seen),
            None => {}
        }
    }

    /// The ledger has no such run any more.
    pub fn gone(&mut self, identity: &IdentityHash, id: RunId) {
        if self.holder(identity).is_some_and(|run| run.id == id) {
            self.forget(identity);
        }
    }

    /// When the ledger last showed the run that holds an identity.
    pub fn seen(&self, identity: &IdentityHash) -> Option<Duration> {
        match self.entries.get(identity) {
            Some(Entry::Held { seen, .. }) => Some(*seen),
            _ => None,
        }
    }

    /// Something may have happened to the run: whoever relies on it should look.
    pub fn doubt(&mut self, identity: &IdentityHash, id: RunId) {
        if let Some(Entry::Held { run, seen }) = self.entries.get_mut(identity)
            && run.id == id
        {
            *seen = Duration::ZERO;
        }
    }

    /// Drops what has cooled down by `now`, at most `limit` entries; how many went.
    pub fn expire(&mut self, now: Instant, limit: usize) -> usize {
        let mut expired = 0;
        while expired < limit
            && let Some((until, identity)) = self.expiries.first().copied()
            && until <= now
        {
            self.forget(&identity);
            expired += 1;
        }
        expired
    }

    /// The run that holds an identity, if memory knows one.
    pub fn holder(&self, identity: &IdentityHash) -> Option<&Arc<Run>> {
        match self.entries.get(identity) {
            Some(Entry::Held { run, .. }) => Some(run),
            _ => None,
        }
    }

    /// Changes the run that holds an identity in place, such as its count of refused requests.
    pub fn touch(&mut self, identity: &IdentityHash, change: impl FnOnce(&mut Run)) {
        if let Some(Entry::Held { run, .. }) = self.entries.get_mut(identity) {
            change(Arc::make_mut(run));
        }
    }

    /// How many identities memory holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn hold(&mut self, run: Arc<Run>, seen: Duration) {
        self.forget(&run.identity);
        if !run.is_active()
            && let Some(until) = run.cooldown_until
        {
            self.expiries.insert((until, run.identity));
        }
        self.entries.insert(run.identity, Entry::Held { run, seen });
    }

    /// Removes a held entry and its expiry; a write in flight stays.
    fn forget(&mut self, identity: &IdentityHash) {
        if let Some(Entry::Held { run, .. }) = self.entries.get(identity) {
            if let Some(until) = run.cooldown_until {
                self.expiries.remove(&(until, *identity));
            }
            self.entries.remove(identity);
        }
    }
}

/// Whether `a` tells of the identity's later state than `b`: of a later run, or of the same run further on.
fn is_later(a: &Run, b: &Run) -> bool {
    (a.id, a.stage()) > (b.id, b.stage())
}

/// Whether memory needs to remember a run: it is active, or completed with a cooldown.
fn holds(run: &Run) -> bool {
    run.is_active() || (run.holds_identity && run.cooldown_until.is_some())
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;
    use crate::domain::counts::Counts;
    use crate::domain::operation::Operation;
    use crate::domain::run::{Outcome, Status};
    use crate::ids::{LeaseToken, TenantId, WorkspaceId};

    /// Where the age of a memory is of no matter.
    const NEVER: Duration = Duration::ZERO;

    fn at(second: i64) -> Instant {
        Instant::from_micros(second * 1_000_000).expect("seconds of a test are small")
    }

    fn run(id: i64, status: Status, cooldown_until: Option<Instant>) -> Run {
        Run {
            id: RunId(id),
            workspace_id: WorkspaceId(1),
            tenant_id: Some(TenantId(1)),
            user_id: None,
            initiator_name: "test".to_owned(),
            operation: Operation::Fetch,
            status,
            outcome: if status == Status::Completed { Outcome::Succeeded } else { Outcome::Pending },
            identity: IdentityHash([7; 32]),
            summary_counts: Counts::default(),
            failure_summary: Vec::new(),
            context: serde_json::Map::new(),
            started_at: None,
            completed_at: None,
            created_at: at(0),
            updated_at: at(id),
            attempt: 0,
            next_attempt_at: None,
            cancel_requested_at: None,
            cooldown_until,
            duplicate_count: 0,
            last_duplicate_at: None,
            holds_identity: true,
            lease_token: LeaseToken(0),
            lease_owner: None,
        }
    }

    const IDENTITY: IdentityHash = IdentityHash([7; 32]);

    #[test]
    fn callers_wait_for_the_write_in_flight_and_learn_its_run() {
        let mut identities = Identities::default();
        assert!(matches!(identities.ask(&IDENTITY, false, at(0)), Answer::Write));
        identities.begin_write(IDENTITY);
        assert!(matches!(identities.ask(&IDENTITY, true, at(0)), Answer::Wait));
        identities.wait(&IDENTITY, "second").expect("a write is in flight");
        let (holder, waiters) = identities.end_write(run(1, Status::Queued, None), NEVER);
        assert_eq!((holder.id, waiters), (RunId(1), vec!["second"]));
        assert!(matches!(identities.ask(&IDENTITY, true, at(0)), Answer::Refuse(Verdict::Active(_))));
    }

    #[test]
    fn a_run_that_completed_before_its_write_was_answered_is_not_remembered_as_active() {
        let mut identities = Identities::<()>::default();
        identities.begin_write(IDENTITY);
        identities.observe(Arc::new(run(1, Status::Running, None)), NEVER);
        identities.observe(Arc::new(run(1, Status::Completed, Some(at(100)))), NEVER);
        let (latest, _) = identities.end_write(run(1, Status::Queued, None), NEVER);
        assert_eq!(latest.status, Status::Completed);
        assert!(matches!(identities.ask(&IDENTITY, false, at(50)), Answer::Refuse(Verdict::Cooldown { .. })));
    }

    #[test]
    fn news_of_the_predecessor_does_not_hide_the_new_run() {
        let mut identities = Identities::<()>::default();
        identities.begin_write(IDENTITY);
        identities.observe(Arc::new(run(1, Status::Completed, Some(at(1)))), NEVER);
        let (latest, _) = identities.end_write(run(2, Status::Queued, None), NEVER);
        assert_eq!(latest.id, RunId(2));
        identities.observe(Arc::new(run(1, Status::Completed, Some(at(1)))), NEVER);
        assert_eq!(identities.holder(&IDENTITY).expect("run 2 is active").id, RunId(2));
    }

    /// A run's way through the ledger, with a clock that stepped back before its end.
    fn way() -> Vec<Run> {
        let with =
            |status, token, cooldown| Run { lease_token: LeaseToken(token), ..run(1, status, cooldown) };
        let mut way = vec![
            with(Status::Queued, 0, None),
            with(Status::Running, 1, None),
            with(Status::Queued, 1, None),
            with(Status::Running, 2, None),
            with(Status::Completed, 2, Some(at(100))),
        ];
        for (seen, second) in way.iter_mut().zip([5, 6, 7, 8, 3]) {
            seen.updated_at = at(second);
        }
        way
    }

    #[test]
    fn an_end_is_believed_whatever_the_clock_says() {
        let mut identities = Identities::<()>::default();
        for run in way() {
            identities.observe(Arc::new(run), NEVER);
        }
        assert!(matches!(identities.ask(&IDENTITY, false, at(50)), Answer::Refuse(Verdict::Cooldown { .. })));
    }

    proptest::proptest! {
        #[test]
        fn news_that_overtake_each_other_end_in_the_same_memory(
            order in proptest::sample::subsequence(vec![0, 1, 2, 3], 0..=4).prop_shuffle(), writing: bool,
        ) {
            let mut identities = Identities::<()>::default();
            if writing {
                identities.begin_write(IDENTITY);
            }
            let way = way();
            identities.observe(Arc::new(way[4].clone()), NEVER);
            for index in order {
                identities.observe(Arc::new(way[index].clone()), NEVER);
            }
            if writing {
                identities.end_write(way[0].clone(), NEVER);
            }
            proptest::prop_assert_eq!(identities.holder(&IDENTITY).map(|run| run.status), Some(Status::Completed));
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let mut identities = Identities::default();
        identities.begin_write(IDENTITY);
        identities.wait(&IDENTITY, 1).expect("a write is in flight");
        assert_eq!(identities.fail_write(&IDENTITY), vec![1]);
        assert!(identities.is_empty());
        assert!(matches!(identities.ask(&IDENTITY, false, at(0)), Answer::Write));
    }

    #[test]
    fn what_has_cooled_down_is_forgotten_and_what_is_active_is_not() {
        let mut identities = Identities::<()>::warm(vec![run(1, Status::Completed, Some(at(10)))]);
        assert_eq!(identities.expire(at(9), 100), 0);
        assert_eq!(identities.expire(at(10), 100), 1);
        assert!(identities.is_empty());
        identities.observe(Arc::new(run(2, Status::Queued, None)), NEVER);
        assert_eq!(identities.expire(at(1_000_000), 100), 0);
        assert_eq!(identities.len(), 1);
    }

    #[test]
    fn a_run_without_cooldown_is_forgotten_when_it_completes() {
        let mut identities = Identities::<()>::warm(vec![run(1, Status::Running, None)]);
        identities.observe(Arc::new(Run { holds_identity: false, ..run(1, Status::Completed, None) }), NEVER);
        assert!(identities.is_empty());
    }

    #[test]
    fn a_memory_is_as_old_as_the_last_look_at_the_ledger_that_showed_it() {
        let second = Duration::from_secs;
        let mut identities = Identities::<()>::warm(vec![run(1, Status::Running, None)]);
        assert_eq!(identities.seen(&IDENTITY), Some(NEVER));
        identities.observe(Arc::new(run(1, Status::Running, None)), second(5));
        identities.observe(Arc::new(run(1, Status::Running, None)), second(4));
        assert_eq!(identities.seen(&IDENTITY), Some(second(5)), "a late answer makes nothing older");
        identities.doubt(&IDENTITY, RunId(2));
        assert_eq!(identities.seen(&IDENTITY), Some(second(5)));
        identities.doubt(&IDENTITY, RunId(1));
        assert_eq!(identities.seen(&IDENTITY), Some(NEVER));
        // Another process has replaced the holder by force: what memory knew no longer holds the identity.
        identities.observe(Arc::new(run(1, Status::Completed, Some(at(100)))), second(6));
        identities.observe(
            Arc::new(Run { holds_identity: false, ..run(1, Status::Completed, Some(at(100))) }),
            second(7),
        );
        assert!(identities.is_empty());
        identities.observe(Arc::new(run(2, Status::Queued, None)), second(8));
        identities.gone(&IDENTITY, RunId(1));
        assert_eq!(identities.len(), 1);
        identities.gone(&IDENTITY, RunId(2));
        assert!(identities.is_empty());
    }
}
