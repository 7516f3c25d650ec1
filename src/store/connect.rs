//! Opening: the URL, the pools, and what every connection is told first.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, ConnectionError, SqliteConnection};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use secrecy::{ExposeSecret, SecretString};

use super::backend::{Backend, SqliteConn};
use super::error::StoreError;
use super::postgres::{self, Target};
use super::records::DatabaseUrl;
use super::writer::Writer;
use crate::clock::Clock;
use crate::config::DatabaseConfig;

impl FromStr for DatabaseUrl {
    type Err = StoreError;

    /// `sqlite://PATH` (relative: `sqlite://a/b.db`, absolute: `sqlite:///a/b.db`) or `postgres://…`.
    fn from_str(text: &str) -> Result<Self, StoreError> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            if path.is_empty() || path.starts_with(':') || path.contains(['?', '\0']) {
                return Err(StoreError::Url("expected `sqlite://` followed by the path of a file".into()));
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(StoreError::Url("expected `sqlite://PATH` or `postgres://…`".into()));
        }
        postgres::parse(text)?;
        Ok(Self::Postgres(SecretString::from(text)))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(url.expose_secret())),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// The URL without the password of its authority, and without its parameters (one of them may be a password).
fn without_password(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(before, _)| before);
    let Some((scheme, rest)) = url.split_once("://") else { return "postgres://…".into() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}://{name}@{host}")
        }
        None => format!("{scheme}://{rest}"),
    }
}

/// Opens the pools, empty as yet, after a look at what is between us and PostgreSQL. Must be called on the runtime that will use them: a connection's driver
/// dies with the runtime that it was made on.
pub async fn open(url: &DatabaseUrl, config: &DatabaseConfig, clock: Clock) -> Result<Backend, StoreError> {
    Ok(match url {
        DatabaseUrl::Sqlite(path) => {
            let connection = sqlite_pool(path, config, Access::ReadWrite, 1)?;
            let (waiting_max, patience) = (config.writes_waiting_max, *config.acquire_timeout);
            Backend::Sqlite {
                writer: Writer::start(connection, clock.clone(), waiting_max, patience),
                read: sqlite_pool(path, config, Access::ReadOnly, config.connections_max)?,
                clock,
            }
        }
        DatabaseUrl::Postgres(url) => {
            let target = Target::of(url.expose_secret(), config)?;
            target.refuse_transaction_pooler().await?;
            Backend::Postgres {
                pool: postgres_pool(target.clone(), config)?,
                target: Arc::new(target),
                patience: *config.statement_timeout * 2,
                clock,
            }
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

/// What a SQLite connection is told, in this order: the time to wait for a lock comes first, since the switch to WAL
/// may already have to wait.
///
/// The writer gets a page cache that holds what a batch of admissions touches, and a log that is copied back every 16
/// MiB instead of every 4: with hashes in unique indexes each row touches pages of its own.
fn pragmas(busy: Duration, access: Access) -> String {
    let by_access = match access {
        Access::ReadOnly => "PRAGMA query_only = ON;",
        Access::ReadWrite => "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4096;",
    };
    format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         {by_access}",
        busy.as_millis()
    )
}

/// A connection to the file for writing, as migrations use it.
pub fn sqlite_connection(path: &Path, busy: Duration) -> Result<SqliteConnection, ConnectionError> {
    connect_sqlite(&sqlite_target(path)?, &pragmas(busy, Access::ReadWrite))
}

fn connect_sqlite(target: &str, pragmas: &str) -> Result<SqliteConnection, ConnectionError> {
    let mut conn = SqliteConnection::establish(target)?;
    conn.batch_execute(pragmas).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

fn sqlite_target(path: &Path) -> Result<String, ConnectionError> {
    let text =
        path.to_str().ok_or_else(|| ConnectionError::BadConnection("expected a path in UTF-8".into()))?;
    // A path that begins with `file:` would be taken for a URI.
    Ok(if path.is_absolute() { text.to_owned() } else { format!("./{text}") })
}

fn sqlite_pool(
    path: &Path,
    config: &DatabaseConfig,
    access: Access,
    size: usize,
) -> Result<Pool<SqliteConn>, StoreError> {
    let target = sqlite_target(path).map_err(|error| StoreError::Url(error.to_string()))?;
    let pragmas = pragmas(*config.statement_timeout, access);
    let mut manager = ManagerConfig::default();
    manager.recycling_method = RecyclingMethod::Fast;
    manager.custom_setup = Box::new(move |_| {
        let (target, pragmas) = (target.clone(), pragmas.clone());
        async move {
            let opened = tokio::task::spawn_blocking(move || connect_sqlite(&target, &pragmas)).await;
            let opened = opened.map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
            opened.map(SqliteConn::new)
        }
        .boxed()
    });
    pool(AsyncDieselConnectionManager::new_with_config(String::new(), manager), config, size)
}

/// Every query of ours has an index to go by. Without statistics (a fresh ledger) the planner would take a table of
/// thousands of rows for an empty one, read it whole, and keep that plan: so it is told to prefer indexes always.
fn postgres_pool(target: Target, config: &DatabaseConfig) -> Result<Pool<AsyncPgConnection>, StoreError> {
    let setup = format!(
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SET TIME ZONE 'UTC'; SET enable_seqscan = off; SET jit = off",
        config.statement_timeout.as_millis(),
        config.statement_timeout.as_millis(),
    );
    let mut manager = ManagerConfig::default();
    // Fast: a connection that its server closed is known as closed without a round trip.
    manager.recycling_method = RecyclingMethod::Fast;
    manager.custom_setup = Box::new(move |_| {
        let (target, setup) = (target.clone(), setup.clone());
        async move {
            let mut conn = target.connect().await?;
            conn.batch_execute(&setup).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(conn)
        }
        .boxed()
    });
    pool(
        AsyncDieselConnectionManager::new_with_config(String::new(), manager),
        config,
        config.connections_max,
    )
}

fn pool<C>(
    manager: AsyncDieselConnectionManager<C>,
    config: &DatabaseConfig,
    size: usize,
) -> Result<Pool<C>, StoreError>
where
    C: AsyncConnection + 'static,
    AsyncDieselConnectionManager<C>: deadpool::managed::Manager<Type = C>,
    Pool<C>: Clone,
{
    let patience = Some(*config.acquire_timeout);
    Pool::builder(manager)
        .max_size(size)
        .wait_timeout(patience)
        .create_timeout(patience)
        .recycle_timeout(patience)
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Refused { operation: "opening the pool", source: Box::new(error) })
}
