//! The schema: embedded migrations, applied and reverted off any actor system (they block their thread).
//!
//! diesel's migrations take no lock of their own: on PostgreSQL an advisory lock keeps two processes apart, on SQLite
//! one transaction over them all.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Integer, Nullable};
use diesel::sqlite::Sqlite;
use diesel::{ConnectionError, QueryableByName, RunQueryDsl, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use secrecy::ExposeSecret;
use tokio::runtime::Handle;

use super::connect::sqlite_connection;
use super::error::{Problem, StoreError};
use super::postgres::Target;
use super::records::DatabaseUrl;
use crate::config::DatabaseConfig;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// How long a migration waits for the file's lock.
const SQLITE_BUSY: Duration = Duration::from_secs(30);
/// How long a migration on PostgreSQL waits for a table that is in use: less than a heartbeat may wait behind it, or all
/// instances would fence themselves.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between two looks whether another process has ended its migration.
const LOCK_PAUSE: Duration = Duration::from_millis(500);
/// Any number that nobody else takes in this database: "atlasd" in ASCII.
const ADVISORY_LOCK: i64 = 0x6174_6c61_7364;

type PgConn = AsyncConnectionWrapper<AsyncPgConnection>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Applies what is missing; the versions that were applied, in order. Must not be called on a thread of a runtime.
///
/// # Errors
/// [`StoreError::SchemaNewer`] (nothing is changed then), [`StoreError::Unavailable`], [`StoreError::Refused`].
pub fn migrate(url: &DatabaseUrl) -> Result<Vec<String>, StoreError> {
    migrate_with(url, &DatabaseConfig::default())
}

/// [`migrate`], over connections as `config` has them.
///
/// # Errors
/// As [`migrate`], and [`StoreError::Url`], [`StoreError::Tls`].
pub fn migrate_with(url: &DatabaseUrl, config: &DatabaseConfig) -> Result<Vec<String>, StoreError> {
    match url {
        DatabaseUrl::Sqlite(_) => {
            let mut conn = connect_sqlite(url)?;
            // RACE: the look and the change are one transaction, or two processes would both see nothing applied.
            let applied =
                conn.immediate_transaction(|conn| apply::<Sqlite, _>(conn, SQLITE).map_err(Problem::from));
            applied.map_err(|problem| problem.during("migrating"))
        }
        DatabaseUrl::Postgres(_) => with_postgres(url, config, |conn| apply::<Pg, _>(conn, POSTGRES)),
    }
}

/// The versions that [`migrate`] would apply.
///
/// # Errors
/// As [`migrate`].
pub fn pending(url: &DatabaseUrl) -> Result<Vec<String>, StoreError> {
    pending_with(url, &DatabaseConfig::default())
}

/// [`pending`], over connections as `config` has them.
///
/// # Errors
/// As [`migrate_with`].
pub fn pending_with(url: &DatabaseUrl, config: &DatabaseConfig) -> Result<Vec<String>, StoreError> {
    match url {
        DatabaseUrl::Sqlite(_) => {
            let mut conn = connect_sqlite(url)?;
            missing::<Sqlite, _>(&mut conn, &SQLITE)
        }
        DatabaseUrl::Postgres(_) => on_postgres(url, config, |conn| missing::<Pg, _>(conn, &POSTGRES)),
    }
}

/// Reverts every migration: all data is gone. For tests.
///
/// # Errors
/// As [`migrate`].
pub fn revert_all(url: &DatabaseUrl) -> Result<(), StoreError> {
    match url {
        DatabaseUrl::Sqlite(_) => {
            let mut conn = connect_sqlite(url)?;
            conn.revert_all_migrations(SQLITE).map_err(refused)?;
        }
        DatabaseUrl::Postgres(_) => with_postgres(url, &DatabaseConfig::default(), |conn| {
            conn.revert_all_migrations(POSTGRES).map_err(refused)?;
            Ok(())
        })?,
    }
    Ok(())
}

/// Reverts the migrations after `version`, the latest first. For tests: what an older schema cannot say is lost.
///
/// # Errors
/// As [`migrate`].
pub fn revert_to(url: &DatabaseUrl, version: &str) -> Result<(), StoreError> {
    match url {
        DatabaseUrl::Sqlite(_) => revert_after::<Sqlite, _>(&mut connect_sqlite(url)?, || SQLITE, version),
        DatabaseUrl::Postgres(_) => {
            let config = DatabaseConfig::default();
            with_postgres(url, &config, |conn| revert_after::<Pg, _>(conn, || POSTGRES, version))
        }
    }
}

fn revert_after<DB, C>(
    conn: &mut C,
    source: fn() -> EmbeddedMigrations,
    version: &str,
) -> Result<(), StoreError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let later = |conn: &mut C| -> Result<bool, StoreError> {
        let applied = conn.applied_migrations().map_err(refused)?;
        Ok(applied.iter().any(|applied| applied.to_string().as_str() > version))
    };
    while later(conn)? {
        conn.revert_last_migration(source()).map_err(refused)?;
    }
    Ok(())
}

/// The versions that this program knows: the same on both engines.
pub fn known_versions() -> BTreeSet<String> {
    versions::<Sqlite>(&SQLITE).expect("the embedded migrations have names")
}

/// The same, as PostgreSQL's folder has them.
pub fn known_versions_postgres() -> BTreeSet<String> {
    versions::<Pg>(&POSTGRES).expect("the embedded migrations have names")
}

/// What a database says of its schema.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The migrations that it has.
    pub versions: BTreeSet<String>,
    /// Those that a program which does not know them cannot live with (table `schema_breaks`).
    pub breaks: BTreeSet<String>,
}

/// Compares what a database has with what this program knows. A program may run on a schema that is newer, so that an
/// old and a new instance can live side by side while one is replaced by the other: migrations only add, and one that
/// does more says so in `schema_breaks`. Newer and older at once is nobody's schema.
///
/// # Errors
/// [`StoreError::SchemaNewer`], [`StoreError::SchemaOlder`].
pub fn check(applied: &Applied) -> Result<(), StoreError> {
    check_known(applied, &known_versions())
}

fn check_known(applied: &Applied, known: &BTreeSet<String>) -> Result<(), StoreError> {
    let missing = known.difference(&applied.versions).count();
    let mut unknown = applied.versions.difference(known);
    if let Some(version) = unknown.find(|version| missing > 0 || applied.breaks.contains(*version)) {
        return Err(StoreError::SchemaNewer { version: version.clone() });
    }
    match missing {
        0 => Ok(()),
        missing => Err(StoreError::SchemaOlder { missing }),
    }
}

fn versions<DB: diesel::backend::Backend>(
    source: &EmbeddedMigrations,
) -> diesel::migration::Result<BTreeSet<String>>
where
    EmbeddedMigrations: MigrationSource<DB>,
{
    let migrations = MigrationSource::<DB>::migrations(source)?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}

fn missing<DB, C>(conn: &mut C, source: &EmbeddedMigrations) -> Result<Vec<String>, StoreError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let applied = conn.applied_migrations().map_err(refused)?;
    // On a schema that is only newer there is nothing to do, whoever can live with it: `Store::open` says that.
    let applied =
        Applied { versions: applied.iter().map(ToString::to_string).collect(), ..Applied::default() };
    if let Err(error @ StoreError::SchemaNewer { .. }) = check(&applied) {
        return Err(error);
    }
    let known = versions::<DB>(source).map_err(refused)?;
    Ok(known.difference(&applied.versions).cloned().collect())
}

fn apply<DB, C>(conn: &mut C, source: EmbeddedMigrations) -> Result<Vec<String>, StoreError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    missing::<DB, C>(conn, &source)?;
    let applied = conn.run_pending_migrations(source).map_err(refused)?;
    Ok(applied.iter().map(ToString::to_string).collect())
}

fn connect_sqlite(url: &DatabaseUrl) -> Result<diesel::SqliteConnection, StoreError> {
    let DatabaseUrl::Sqlite(path) = url else { return Err(StoreError::Url("expected sqlite://PATH".into())) };
    sqlite_connection(path, SQLITE_BUSY).map_err(unreachable_database)
}

/// Runs `work` on a connection of its own under the advisory lock, which ends with the session.
fn with_postgres<T>(
    url: &DatabaseUrl,
    config: &DatabaseConfig,
    work: impl FnOnce(&mut PgConn) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    on_postgres(url, config, |conn| {
        lock(conn, *config.migration_wait)?;
        // A change of a table waits for whoever uses it, and everybody else for the change: rather give up than hold all
        // up.
        let patience = format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
        conn.batch_execute(&patience).map_err(|error| refused(error.into()))?;
        work(conn)
    })
}

#[derive(QueryableByName)]
struct LockRow {
    #[diesel(sql_type = Bool)]
    taken: bool,
    #[diesel(sql_type = Nullable<Integer>)]
    holder: Option<i32>,
}

/// Takes the advisory lock, and says so when it has to wait for another process that migrates.
fn lock(conn: &mut PgConn, patience: Duration) -> Result<(), StoreError> {
    let text = format!(
        "SELECT pg_try_advisory_lock({ADVISORY_LOCK}) AS taken, (SELECT min(l.pid) FROM pg_locks l \
         WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_backend_pid() AND l.objsubid = 1 \
         AND (l.classid::bigint << 32) + l.objid::bigint = {ADVISORY_LOCK}) AS holder"
    );
    let begun = std::time::Instant::now();
    let mut told = false;
    loop {
        let row: LockRow =
            sql_query(text.as_str()).get_result(conn).map_err(|error| refused(error.into()))?;
        if row.taken {
            return Ok(());
        }
        if begun.elapsed() >= patience {
            return Err(StoreError::Migrating { waited: patience, holder: row.holder });
        }
        if !told {
            tracing::warn!(server.pid = row.holder, "another process migrates this database: waiting for it");
        }
        told = true;
        // On the runtime of the connection; this thread has nothing else to do.
        Handle::current().block_on(tokio::time::sleep(LOCK_PAUSE.min(patience)));
    }
}

/// Runs `work` on a connection of its own.
fn on_postgres<T>(
    url: &DatabaseUrl,
    config: &DatabaseConfig,
    work: impl FnOnce(&mut PgConn) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let DatabaseUrl::Postgres(url) = url else {
        return Err(StoreError::Url("expected postgres://…".into()));
    };
    let target = Target::of(url.expose_secret(), config)?;
    // A runtime for the connection alone: its driver runs beside the migrations, which block this thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| refused(error.into()))?;
    let _entered = runtime.enter();
    runtime.block_on(target.refuse_transaction_pooler())?;
    let mut conn = PgConn::from(runtime.block_on(target.connect()).map_err(unreachable_database)?);
    work(&mut conn)
}

fn unreachable_database(error: ConnectionError) -> StoreError {
    StoreError::Unavailable { operation: "connecting to migrate", source: Box::new(error) }
}

fn refused(source: Failure) -> StoreError {
    StoreError::Refused { operation: "migrating", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(versions: &[&str]) -> BTreeSet<String> {
        versions.iter().map(ToString::to_string).collect()
    }

    fn checked(versions: &[&str], breaks: &[&str]) -> Result<(), StoreError> {
        check_known(&Applied { versions: set(versions), breaks: set(breaks) }, &set(&["0001", "0002"]))
    }

    #[test]
    fn a_newer_schema_is_lived_with_unless_it_says_otherwise() {
        assert!(checked(&["0001", "0002"], &[]).is_ok());
        assert!(checked(&["0001", "0002", "0003"], &[]).is_ok());
        assert!(checked(&["0001", "0002", "0003"], &["0002"]).is_ok(), "a break that is known is no break");
        let broken = checked(&["0001", "0002", "0003", "0004"], &["0004"]);
        assert!(matches!(broken, Err(StoreError::SchemaNewer { version }) if version == "0004"));
        assert!(matches!(checked(&["0001"], &[]), Err(StoreError::SchemaOlder { missing: 1 })));
        assert!(matches!(checked(&["0001", "0003"], &[]), Err(StoreError::SchemaNewer { .. })));
    }
}
