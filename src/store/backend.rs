//! The two engines behind one kind of connection.
//!
//! A store operation is one `async fn` over [`Conn`]. On PostgreSQL it awaits each statement. On SQLite the whole of
//! it runs in one hop to a blocking thread, where no statement waits for anything: the future is ready at its first
//! poll. So a SQLite transaction costs one hop however many statements it has, and cannot be left open by a future
//! that is dropped.

use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::{Connection, QueryableByName, SqliteConnection};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::error::{Problem, StoreError};
use super::postgres::Target;
use super::statement::{Statement, sql};
use super::types::{SqlInstant, sql as types};
use super::writer::Writer;
use crate::clock::{Clock, Instant};

/// What a pool of SQLite connections holds.
pub type SqliteConn = SyncConnectionWrapper<SqliteConnection>;

/// The pools of one engine.
#[derive(Clone)]
pub enum Backend {
    /// One writer: a write that waits for another of this process waits in its queue, never for the file's lock.
    Sqlite {
        /// One connection, and group commit.
        writer: Writer,
        /// Read-only connections.
        read: Pool<SqliteConn>,
        /// SQLite has no clock of its own.
        clock: Clock,
    },
    /// Reads and writes.
    Postgres {
        /// All connections.
        pool: Pool<AsyncPgConnection>,
        /// Where they lead.
        target: Arc<Target>,
        /// LIMIT: how long one operation may take. The server ends a statement that takes too long, but a server that is
        /// gone without a word ends nothing.
        patience: Duration,
        /// For its shift alone.
        clock: Clock,
    },
}

/// A connection in use by one operation.
pub struct Conn<'a> {
    raw: Raw<'a>,
    clock: &'a Clock,
}

enum Raw<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut AsyncPgConnection),
}

/// Which engine a statement runs on, where one text cannot serve both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// The future of an operation's body.
pub type Body<'c, T> = BoxFuture<'c, Result<T, Problem>>;

#[derive(QueryableByName)]
struct ClockRow {
    #[diesel(sql_type = types::Instant)]
    at: SqlInstant,
}

impl Conn<'_> {
    /// The engine.
    pub fn engine(&self) -> Engine {
        match self.raw {
            Raw::Sqlite(_) => Engine::Sqlite,
            Raw::Postgres(_) => Engine::Postgres,
        }
    }

    /// A row lock to put behind a SELECT: nothing on SQLite, where a write transaction is alone.
    pub fn lock(&self, clause: &'static str) -> &'static str {
        match self.raw {
            Raw::Sqlite(_) => "",
            Raw::Postgres(_) => clause,
        }
    }

    /// The rows of a statement.
    pub async fn rows<T>(&mut self, statement: Statement) -> Result<Vec<T>, Problem>
    where
        T: QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::pg::Pg> + Send + 'static,
    {
        Ok(match &mut self.raw {
            Raw::Sqlite(conn) => diesel::RunQueryDsl::load(statement, *conn).map_err(Problem::of_sqlite)?,
            Raw::Postgres(conn) => diesel_async::RunQueryDsl::load(statement, *conn).await?,
        })
    }

    /// The first row of a statement.
    pub async fn row<T>(&mut self, statement: Statement) -> Result<Option<T>, Problem>
    where
        T: QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::pg::Pg> + Send + 'static,
    {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Runs a statement; how many rows it touched.
    pub async fn execute(&mut self, statement: Statement) -> Result<usize, Problem> {
        Ok(match &mut self.raw {
            Raw::Sqlite(conn) => {
                diesel::RunQueryDsl::execute(statement, *conn).map_err(Problem::of_sqlite)?
            }
            Raw::Postgres(conn) => diesel_async::RunQueryDsl::execute(statement, *conn).await?,
        })
    }

    /// The time that decides (SPEC section 2): the database's on PostgreSQL, the process's on SQLite; in a write
    /// transaction read after its beginning.
    pub async fn now(&mut self) -> Result<Instant, Problem> {
        if self.engine() == Engine::Sqlite {
            return Ok(self.clock.now());
        }
        let row: Option<ClockRow> = self.row(sql("SELECT clock_timestamp() AS at")).await?;
        Ok(self.time(Some(row.ok_or(DieselError::NotFound)?.at)))
    }

    /// The same, where a statement has already brought along the database's `clock_timestamp()`: nothing on SQLite.
    pub fn time(&self, at: Option<SqlInstant>) -> Instant {
        at.map_or_else(|| self.clock.now(), |SqlInstant(at)| at + self.clock.shift())
    }

    /// How far tests have moved time.
    pub fn shift(&self) -> chrono::Duration {
        self.clock.shift()
    }

    /// The same in microseconds, as statements take it that read the clock by themselves.
    pub fn shift_us(&self) -> i64 {
        self.shift().num_microseconds().unwrap_or(0)
    }
}

/// How an operation uses its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Reads with one statement.
    Read,
    /// Reads with several statements that see one state.
    View,
    /// Reads and writes in one transaction.
    Write,
}

impl Backend {
    /// Runs `body` on a connection for reading with one statement (or several that need not agree).
    pub async fn read<T, F>(&self, operation: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
    {
        self.run(Mode::Read, body).await.map_err(|problem| problem.during(operation))
    }

    /// Runs `body` on a connection for reading; all its statements see one state of the database.
    pub async fn view<T, F>(&self, operation: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
    {
        self.run(Mode::View, body).await.map_err(|problem| problem.during(operation))
    }

    /// Runs `body` in a transaction that is alone on SQLite (`BEGIN IMMEDIATE`) and READ COMMITTED on PostgreSQL.
    pub async fn write<T, F>(&self, operation: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
    {
        self.try_write(body).await.map_err(|problem| problem.during(operation))
    }

    /// [`Backend::write`], for callers that look at the problem themselves.
    pub async fn try_write<T, F>(&self, body: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
    {
        self.run(Mode::Write, body).await
    }

    /// Runs `body`, one statement that may write, without a transaction around it: PostgreSQL gives it one of its own.
    pub async fn try_at_once<T, F>(&self, body: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
    {
        self.run(Mode::Read, body).await
    }

    async fn run<T, F>(&self, mode: Mode, body: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T> + Send + 'static,
    {
        match self {
            Self::Sqlite { writer, .. } if mode == Mode::Write => writer.run(body).await,
            Self::Sqlite { read, clock, .. } => {
                let mut conn = read.get().await?;
                let clock = clock.clone();
                conn.spawn_blocking(move |conn| {
                    Ok(match mode {
                        Mode::View => conn.transaction(|conn| on_sqlite(conn, &clock, body)),
                        Mode::Read | Mode::Write => on_sqlite(conn, &clock, body),
                    })
                })
                .await?
            }
            Self::Postgres { pool, clock, patience, .. } => {
                let mut conn = pool.get().await?;
                let ended = tokio::time::timeout(*patience, on_postgres(&mut conn, mode, clock, body)).await;
                ended.unwrap_or_else(|_| {
                    // Whatever it was waiting for may still come: nobody else gets this connection.
                    drop(deadpool::managed::Object::take(conn));
                    Err(DieselError::DatabaseError(
                        DatabaseErrorKind::ClosedConnection,
                        Box::new("the server did not answer in time".to_owned()),
                    )
                    .into())
                })
            }
        }
    }

    /// Closes the pools and waits, at most `patience`, until what is in use has come back.
    pub async fn close(&self, patience: Duration) {
        let begun = tokio::time::Instant::now();
        let in_use = || match self {
            Self::Sqlite { read, .. } => in_use(read),
            Self::Postgres { pool, .. } => in_use(pool),
        };
        match self {
            Self::Sqlite { read, writer, .. } => {
                read.close();
                writer.close(patience).await;
            }
            Self::Postgres { pool, .. } => pool.close(),
        }
        while in_use() > 0 && begun.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Backend {
    /// See [`super::Store::connections`].
    pub fn connections(&self) -> (usize, usize, usize) {
        match self {
            Self::Sqlite { read, .. } => counts(read),
            Self::Postgres { pool, .. } => counts(pool),
        }
    }
}

fn counts<C>(pool: &Pool<C>) -> (usize, usize, usize)
where
    diesel_async::pooled_connection::AsyncDieselConnectionManager<C>: deadpool::managed::Manager,
    C: AsyncConnection + 'static,
{
    let status = pool.status();
    (status.size.saturating_sub(status.available), status.available, status.waiting)
}

fn in_use<C>(pool: &Pool<C>) -> usize
where
    diesel_async::pooled_connection::AsyncDieselConnectionManager<C>: deadpool::managed::Manager,
    C: AsyncConnection + 'static,
{
    let status = pool.status();
    status.size.saturating_sub(status.available)
}

/// Runs `body` on a SQLite connection, in whatever transaction that is in.
pub(super) fn on_sqlite<T, F>(conn: &mut SqliteConnection, clock: &Clock, body: F) -> Result<T, Problem>
where
    F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T>,
{
    let mut conn = Conn { raw: Raw::Sqlite(conn), clock };
    body(&mut conn).now_or_never().expect("no statement of the SQLite arm awaits anything")
}

async fn on_postgres<T, F>(
    conn: &mut AsyncPgConnection,
    mode: Mode,
    clock: &Clock,
    body: F,
) -> Result<T, Problem>
where
    F: for<'c, 'a> FnOnce(&'c mut Conn<'a>) -> Body<'c, T>,
{
    type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
    if mode == Mode::Read {
        return body(&mut Conn { raw: Raw::Postgres(conn), clock }).await;
    }
    Manager::begin_transaction(conn).await?;
    if mode == Mode::View {
        conn.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    }
    match body(&mut Conn { raw: Raw::Postgres(conn), clock }).await {
        Ok(value) => {
            Manager::commit_transaction(conn).await?;
            Ok(value)
        }
        Err(problem) => {
            // A rollback that fails leaves the connection marked as broken, and the pool throws it away; what the
            // caller needs to know is the first problem.
            let _ = Manager::rollback_transaction(conn).await;
            Err(problem)
        }
    }
}
