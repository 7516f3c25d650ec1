//! What can go wrong at the door to the database.

use diesel::result::{DatabaseErrorKind as Kind, Error as DieselError};

/// An operation of the store failed. Not found is an `Option`, a lost race is a value; these are neither.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection in time, a connection lost, a server that is stopping: try again later. What was being written
    /// may or may not be durable.
    #[error("the database is unavailable ({operation})")]
    Unavailable {
        /// The store's operation.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refused a statement: a bug, or a schema that somebody changed.
    #[error("the database refused {operation}")]
    Refused {
        /// The store's operation.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something with the same unique name exists.
    #[error("{what} exists already")]
    Duplicate {
        /// Such as "a workspace with the slug `contoso`".
        what: String,
    },
    /// A row holds what no version of this program writes.
    #[error("{operation}: {what}")]
    Corrupt {
        /// The store's operation.
        operation: &'static str,
        /// Which column, and what was expected.
        what: String,
    },
    /// The database lacks migrations.
    #[error(
        "the database's schema is older than this program ({missing} migrations to go): run `atlasd migrate`"
    )]
    SchemaOlder {
        /// How many.
        missing: usize,
    },
    /// The database has a migration that this program does not know and cannot live with.
    #[error(
        "the database's schema is newer than this program (it has migration `{version}`, which this program does not know and cannot live with): use a newer atlasd"
    )]
    SchemaNewer {
        /// The first unknown version.
        version: String,
    },
    /// A cursor that no list of ours gave.
    #[error("the cursor is malformed: expected the next_cursor of an earlier part of the same list")]
    Cursor,
    /// Another process migrates the same database, for longer than one waits.
    #[error(
        "another process{} migrates this database for more than {} s (database.migration_wait): look at what it does, then \
         try again",
        serving(*.holder), .waited.as_secs()
    )]
    Migrating {
        /// How long was waited.
        waited: std::time::Duration,
        /// PostgreSQL's process that serves it.
        holder: Option<i32>,
    },
    /// Another process has the SQLite file.
    #[error("another atlasd{} uses the database: the lock file {} is taken", process(*.holder), .file.display())]
    Locked {
        /// The lock file.
        file: std::path::PathBuf,
        /// The process that has it, where it wrote its id down.
        holder: Option<u32>,
    },
    /// The URL cannot be used.
    #[error("database URL: {0}")]
    Url(String),
    /// TLS cannot be set up as configured.
    #[error("TLS to the database: {0}")]
    Tls(String),
    /// A pooler in transaction mode stands before the server.
    #[error(
        "the database is reached through a pooler in transaction mode, and atlasd needs sessions (prepared statements, \
         settings, notifications): set the pooler to session mode, or connect to the server itself"
    )]
    Pooler,
}

fn process(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

fn serving(holder: Option<i32>) -> String {
    holder.map(|pid| format!(" (served by PostgreSQL's process {pid})")).unwrap_or_default()
}

/// What went wrong within an operation that does not know its own name.
#[derive(Debug)]
pub enum Problem {
    /// A statement, or the connection under it.
    Database(diesel::result::Error),
    /// A statement that SQLite refuses, now and later.
    Refused(diesel::result::Error),
    /// No connection.
    Pool(PoolError),
    /// See [`StoreError::Corrupt`].
    Corrupt(String),
    /// Any other.
    Other(StoreError),
}

type PoolError = diesel_async::pooled_connection::deadpool::PoolError;

impl From<diesel::result::Error> for Problem {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

impl Problem {
    /// What a statement on SQLite ended with. SQLite speaks English alone, so what passes is known there.
    pub fn of_sqlite(error: diesel::result::Error) -> Self {
        match &error {
            DieselError::DatabaseError(Kind::Unknown, info)
                if !PASSING_ON_SQLITE.iter().any(|said| info.message().contains(said)) =>
            {
                Self::Refused(error)
            }
            _ => Self::Database(error),
        }
    }

    /// The error that the store answers with. A statement's values are never part of it.
    pub fn during(self, operation: &'static str) -> StoreError {
        match self {
            Self::Database(error) if is_passing(&error) => {
                StoreError::Unavailable { operation, source: Box::new(error) }
            }
            Self::Database(diesel::result::Error::DeserializationError(source)) => {
                StoreError::Corrupt { operation, what: source.to_string() }
            }
            Self::Database(error) | Self::Refused(error) => {
                StoreError::Refused { operation, source: Box::new(error) }
            }
            Self::Pool(error) => StoreError::Unavailable { operation, source: Box::new(error) },
            Self::Corrupt(what) => StoreError::Corrupt { operation, what },
            Self::Other(error) => error,
        }
    }

    /// Two transactions may have waited for each other, and the database ended this one: begin again. A deadlock is told
    /// from other ends that pass only by words, in the server's language.
    pub fn is_deadlock(&self) -> bool {
        match self {
            Self::Database(DieselError::DatabaseError(Kind::SerializationFailure, _)) => true,
            Self::Database(DieselError::DatabaseError(Kind::Unknown, info)) => {
                !is_lasting(info.message()) && !NO_DEADLOCK.iter().any(|said| info.message().contains(said))
            }
            _ => false,
        }
    }

    /// A unique index refused a row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(DieselError::DatabaseError(Kind::UniqueViolation, _)))
    }

    /// A foreign key names a row that does not exist.
    pub fn is_foreign_key_violation(&self) -> bool {
        matches!(self, Self::Database(DieselError::DatabaseError(Kind::ForeignKeyViolation, _)))
    }
}

/// What SQLite says when trying again later can help.
const PASSING_ON_SQLITE: &[&str] = &[
    "database is locked",
    "database table is locked",
    "no transaction is active",
    "no such savepoint",
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
];

/// What PostgreSQL says when trying again cannot help: a bug of ours, a schema that somebody changed, a right that is
/// missing. The driver gives no SQLSTATE with these, only the text, and that may be in any language. So whatever is not
/// known to last counts as passing: a run that is tried once more is better than one that failed because a server
/// was restarted.
const LASTING: &[&str] = &[
    "syntax error",
    "does not exist",
    "permission denied",
    "must be owner",
    "already exists",
    "is ambiguous",
    "invalid input",
    "out of range",
    "too long",
    "division by zero",
    "of type",
    "cannot be cast",
    "must appear in",
    "no partition of relation",
    // The ledger's own triggers.
    "never changes",
    "never deleted",
];

/// Ends that pass and are no deadlock, where the server speaks English: to begin again at once helps with none of them.
const NO_DEADLOCK: &[&str] = &[
    "terminating connection",
    "the database system is",
    "canceling statement due to",
    "remaining connection slots",
    "too many clients",
    "No space left on device",
];

fn is_lasting(message: &str) -> bool {
    LASTING.iter().any(|said| message.contains(said))
}

fn is_passing(error: &DieselError) -> bool {
    match error {
        DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. } => true,
        DieselError::DatabaseError(kind, info) => match kind {
            Kind::ClosedConnection
            | Kind::UnableToSendCommand
            | Kind::SerializationFailure
            | Kind::ReadOnlyTransaction => true,
            Kind::Unknown => !is_lasting(info.message()),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Problem {
        Problem::Database(DieselError::DatabaseError(Kind::Unknown, Box::new(message.to_owned())))
    }

    fn passes(message: &str) -> bool {
        matches!(said(message).during("a test"), StoreError::Unavailable { .. })
    }

    #[test]
    fn what_may_pass_is_tried_again_in_any_language() {
        for message in [
            "terminating connection due to administrator command",
            "breche Verbindung ab aufgrund von Anweisung des Administrators",
            "arrêt des connexions suite à la demande de l'administrateur",
            "canceling statement due to statement timeout",
        ] {
            assert!(passes(message), "{message}");
        }
    }

    #[test]
    fn what_lasts_is_refused() {
        for message in [
            "relation \"runs\" does not exist",
            "permission denied for table operation_runs",
            "a completed run never changes",
            "column \"x\" is of type jsonb but expression is of type text",
        ] {
            assert!(!passes(message) && !said(message).is_deadlock(), "{message}");
        }
    }

    #[test]
    fn sqlite_is_taken_at_its_word() {
        let ended = |message: &str| {
            let error = DieselError::DatabaseError(Kind::Unknown, Box::new(message.to_owned()));
            Problem::of_sqlite(error).during("a test")
        };
        assert!(matches!(ended("database is locked"), StoreError::Unavailable { .. }));
        for message in ["no such table: operation_runs", "whatever a trigger says"] {
            assert!(matches!(ended(message), StoreError::Refused { .. }), "{message}");
        }
    }

    #[test]
    fn a_deadlock_is_begun_again_in_any_language_and_a_restart_is_not() {
        for message in ["deadlock detected", "Verklemmung entdeckt"] {
            assert!(said(message).is_deadlock() && passes(message), "{message}");
        }
        assert!(!said("terminating connection due to administrator command").is_deadlock());
    }
}
