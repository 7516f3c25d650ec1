//! SQLite's one writer, with group commit: operations that come while a transaction is under way share the next one,
//! each within a savepoint of its own, and are answered when it is durable. One that is alone needs no savepoint, and
//! is spared its price: before-images of every page that it touches.
//!
//! One commit costs a sync of the disk; a claim, a heartbeat and an admission that share it cost one sync together. An
//! operation that fails undoes itself alone; a commit that fails fails them all.

use std::time::Duration;

use diesel::result::Error as DieselError;
use diesel::{Connection, SqliteConnection};
use diesel_async::pooled_connection::deadpool::Pool;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::backend::{Body, Conn, SqliteConn, on_sqlite};
use super::error::{Problem, StoreError};
use crate::clock::Clock;

/// LIMIT: operations that share a transaction.
const BATCH_MAX: usize = 256;

/// The way to the writer. Clones share it.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    patience: Duration,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl Writer {
    /// Starts the writer on the current runtime. `pool` holds its one connection; at most `waiting_max` operations wait
    /// for it, each at most `patience` for a place among them.
    pub fn start(pool: Pool<SqliteConn>, clock: Clock, waiting_max: usize, patience: Duration) -> Self {
        let (jobs, waiting) = mpsc::channel(waiting_max.max(1));
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn({
            let (closing, closed) = (closing.clone(), closed.clone());
            async move {
                write(pool, clock, waiting, closing).await;
                closed.cancel();
            }
        });
        Self { jobs, patience, closing, closed }
    }

    /// Runs `body` in a transaction that is alone; its result comes when it is durable.
    pub async fn run<T, F>(&self, body: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let job = TypedJob { body: Some(body), result: None, reply };
        match tokio::time::timeout(self.patience, self.jobs.reserve()).await {
            Ok(Ok(place)) => place.send(Box::new(job)),
            Ok(Err(_)) => return Err(unavailable("the store is closed")),
            Err(_) => return Err(unavailable("too many writes wait already (database.writes_waiting_max)")),
        }
        result.await.unwrap_or_else(|_| Err(unavailable("the writer died in the middle of a transaction")))
    }

    /// Lets what waits be written, at most for `patience`; takes nothing more.
    pub async fn close(&self, patience: Duration) {
        self.closing.cancel();
        // After that the process ends; what is not written was not answered either.
        let _ = tokio::time::timeout(patience, self.closed.cancelled()).await;
    }
}

fn unavailable(why: &'static str) -> Problem {
    Problem::Other(StoreError::Unavailable { operation: "waiting for SQLite's writer", source: why.into() })
}

/// An operation that waits, whatever its result.
trait Job: Send {
    /// Runs it within a savepoint and keeps the result.
    fn run(&mut self, conn: &mut SqliteConnection, clock: &Clock);
    /// Runs it as all that the transaction does, and keeps the result; false when the transaction has to go.
    fn run_alone(&mut self, conn: &mut SqliteConnection, clock: &Clock) -> bool;
    /// Answers: with the result, or with what kept the transaction from becoming durable.
    fn answer(self: Box<Self>, failure: Option<Problem>);
}

struct TypedJob<T, F> {
    body: Option<F>,
    result: Option<Result<T, Problem>>,
    reply: oneshot::Sender<Result<T, Problem>>,
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send + 'static,
    F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
{
    fn run(&mut self, conn: &mut SqliteConnection, clock: &Clock) {
        let Some(body) = self.body.take() else { return };
        // Within a transaction diesel makes this one a savepoint.
        self.result = Some(conn.transaction(|conn| on_sqlite(conn, clock, body)));
    }

    fn run_alone(&mut self, conn: &mut SqliteConnection, clock: &Clock) -> bool {
        let Some(body) = self.body.take() else { return true };
        let result = on_sqlite(conn, clock, body);
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, failure: Option<Problem>) {
        let result = match failure {
            Some(problem) => Err(problem),
            None => self.result.unwrap_or_else(|| Err(unavailable("the transaction ended early"))),
        };
        // A caller that has gone learns from the ledger what became of its operation.
        let _ = self.reply.send(result);
    }
}

async fn write(
    pool: Pool<SqliteConn>,
    clock: Clock,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    closing: CancellationToken,
) {
    let mut batch: Vec<Box<dyn Job>> = Vec::new();
    loop {
        let came = tokio::select! {
            biased;
            came = waiting.recv_many(&mut batch, BATCH_MAX) => came,
            () = closing.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        };
        if came == 0 {
            return;
        }
        let jobs = std::mem::take(&mut batch);
        let mut conn = match pool.get().await {
            Ok(conn) => conn,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    operations = jobs.len(),
                    "SQLite's writer has no connection"
                );
                jobs.into_iter().for_each(|job| job.answer(Some(unavailable("no connection to the file"))));
                continue;
            }
        };
        let clock = clock.clone();
        // A panic of an operation drops the others' replies, which answers them; the pool drops the connection.
        let _ = conn
            .spawn_blocking(move |conn| {
                transact(conn, &clock, jobs);
                Ok::<_, DieselError>(())
            })
            .await;
    }
}

fn transact(conn: &mut SqliteConnection, clock: &Clock, mut jobs: Vec<Box<dyn Job>>) {
    let committed = conn.immediate_transaction(|conn| {
        if let [job] = jobs.as_mut_slice() {
            return if job.run_alone(conn, clock) { Ok(()) } else { Err(DieselError::RollbackTransaction) };
        }
        jobs.iter_mut().for_each(|job| job.run(conn, clock));
        Ok(())
    });
    match committed {
        // A lone operation that failed has a result that says why.
        Ok(()) | Err(DieselError::RollbackTransaction) => jobs.into_iter().for_each(|job| job.answer(None)),
        Err(error) => jobs.into_iter().for_each(|job| job.answer(Some(Problem::Database(copy_of(&error))))),
    }
}

/// The same error once more: each of those who shared the transaction gets it.
fn copy_of(error: &DieselError) -> DieselError {
    match error {
        DieselError::DatabaseError(kind, information) => {
            DieselError::DatabaseError(*kind, Box::new(information.message().to_owned()))
        }
        // Whatever else keeps a transaction from beginning or ending: trying again can help.
        _ => DieselError::BrokenTransactionManager,
    }
}
