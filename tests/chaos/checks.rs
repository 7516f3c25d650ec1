//! What must hold afterwards, whatever struck: by the clients' book, by the ledger, and by the double's own log of
//! what was written to it.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use crate::bed::{PATIENCE, tick};
use crate::load::Book;
use crate::world::World;

/// Ended attempts of one tenant, a late result apart: that is written whenever it comes.
const OVERLAPPING: &str = "SELECT count(*) AS n FROM run_attempts a JOIN operation_runs r ON r.id = a.run_id \
     JOIN operation_runs s ON s.tenant_id = r.tenant_id JOIN run_attempts b ON b.run_id = s.id \
     WHERE a.outcome <> 'stale' AND b.outcome <> 'stale' \
     AND (a.run_id < b.run_id OR (a.run_id = b.run_id AND a.lease_token < b.lease_token)) \
     AND a.started_at < b.ended_at AND b.started_at < a.ended_at";

/// Every claim is on record as an attempt: what became of none was thrown away.
const CLAIMS_WITHOUT_ATTEMPT: &str = "SELECT count(*) AS n FROM operation_runs r WHERE r.lease_token <> \
     (SELECT count(*) FROM run_attempts a WHERE a.run_id = r.id)";

const TRESPASSES: &str = "SELECT count(*) AS n FROM operation_runs WHERE initiator_name LIKE '%stranger%'";

const UNFINISHED: &str = "SELECT count(*) AS n FROM operation_runs WHERE status <> 'completed'";

impl World {
    /// Waits until everything has ended, and looks at what it has come to. `clocks_jumped`: times in the ledger tell
    /// nothing about the order of things.
    pub async fn check(&self, book: &Book, clocks_jumped: bool) {
        println!("answers: {:?}", book.answers);
        assert!(book.wrong.is_empty(), "answers that no client should get: {:#?}", book.wrong);
        assert!(book.accepted.len() > 10, "there was load: {:?}", book.answers);
        assert_eq!(self.bed().database.number(TRESPASSES), 0, "no run by the token of another workspace");
        self.everything_ends().await;
        self.nothing_accepted_is_lost(book);
        let database = &self.bed().database;
        assert_eq!(database.number(CLAIMS_WITHOUT_ATTEMPT), 0, "every claim is an attempt on record");
        if !clocks_jumped {
            assert_eq!(database.number(OVERLAPPING), 0, "no two attempts of a tenant at once");
        }
        self.nothing_was_written_twice();
        self.bed().cli(&["doctor"]);
        for seat in &self.seats {
            println!("ended by itself: {:?}", seat.ends().await);
            assert_eq!(seat.leave().await, Some(0), "it stops in order");
            let log = seat.log();
            let panics: Vec<_> = log.lines().filter(|line| line.contains("panicked at")).collect();
            assert!(panics.is_empty(), "{panics:#?}");
            assert!(self.ground.needs.here || log.len() > 1_000, "the log is there: {log}");
            assert!(
                self.secrets().iter().all(|secret| !log.contains(*secret)),
                "a secret is in the log: {log}"
            );
        }
        self.bed().cli(&["doctor"]);
        println!("attempts: {:?}", self.attempts());
    }

    async fn everything_ends(&self) {
        let begun = Instant::now();
        while self.bed().database.number(UNFINISHED) > 0 {
            assert!(begun.elapsed() < PATIENCE, "runs that do not end: {:?}", self.unfinished());
            tick().await;
        }
    }

    fn unfinished(&self) -> Vec<String> {
        self.bed().database.words(
            "SELECT CAST(id AS text) || ' ' || type || ' ' || status || ' ' || context AS word FROM operation_runs \
             WHERE status <> 'completed'",
        )
    }

    fn nothing_accepted_is_lost(&self, book: &Book) {
        let database = &self.bed().database;
        let number = |word: &String| word.parse::<i64>().expect("an id");
        let completed = "SELECT CAST(id AS text) AS word FROM operation_runs WHERE status = 'completed'";
        let completed: HashSet<i64> = database.words(completed).iter().map(number).collect();
        let lost: Vec<_> = book.accepted.iter().filter(|run| !completed.contains(run)).collect();
        assert!(lost.is_empty(), "accepted, and not in the ledger: {lost:?}");
        let failed = "SELECT CAST(id AS text) || ' ' || CAST(failure_summary AS text) AS word FROM operation_runs \
             WHERE outcome = 'failed'";
        let cancelled: HashSet<String> = book.cancelled.iter().map(ToString::to_string).collect();
        let failed: Vec<_> = database
            .words(failed)
            .into_iter()
            .filter(|word| {
                let run = word.split(' ').next().expect("it begins with an id");
                !(cancelled.contains(run) && word.contains("run.cancelled"))
            })
            .collect();
        assert!(failed.is_empty(), "nobody cancelled them, and Graph was well: {failed:#?}");
    }

    /// A restore takes a policy from one set to another and leaves alone what is right, so the same content twice in a
    /// row is a write that happened twice.
    fn nothing_was_written_twice(&self) {
        let state = self.bed().sandbox.state();
        let mut applied = 0;
        for tenant in &self.restored {
            let mut last = BTreeMap::<String, String>::new();
            for write in state.writes_of(tenant.external_id).into_iter().filter(|write| write.applied) {
                applied += 1;
                let before = last.insert(write.policy_id.clone(), write.content_sha256.clone());
                assert_ne!(before.as_ref(), Some(&write.content_sha256), "written twice: {write:#?}");
            }
        }
        println!("writes: {applied}");
        assert!(applied > 0, "restores wrote something");
    }

    fn attempts(&self) -> Vec<String> {
        self.bed().database.words(
            "SELECT outcome || ' ' || CAST(count(*) AS text) AS word FROM run_attempts GROUP BY outcome",
        )
    }
}
