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

/// What went wrong within an operation that does not know its own name.
#[derive(Debug)]
pub enum Problem {
    /// A statement, or the connection under it.
    Database(diesel::result::Error),
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
    /// The error that the store answers with. A statement's values are never part of it.
    pub fn during(self, operation: &'static str) -> StoreError {
        match self {
            Self::Database(error) if is_passing(&error) => {
                StoreError::Unavailable { operation, source: Box::new(error) }
            }
            Self::Database(diesel::result::Error::DeserializationError(source)) => {
                StoreError::Corrupt { operation, what: source.to_string() }
            }
            Self::Database(error) => StoreError::Refused { operation, source: Box::new(error) },
            Self::Pool(error) => StoreError::Unavailable { operation, source: Box::new(error) },
            Self::Corrupt(what) => StoreError::Corrupt { operation, what },
            Self::Other(error) => error,
        }
    }

    /// Two transactions waited for each other, and the database ended this one: begin again.
    pub fn is_deadlock(&self) -> bool {
        match self {
            Self::Database(DieselError::DatabaseError(Kind::SerializationFailure, _)) => true,
            Self::Database(DieselError::DatabaseError(Kind::Unknown, info)) => {
                info.message().contains("deadlock detected")
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

/// What the engines say when trying again later can help. The driver gives no SQLSTATE for these, only the text; a
/// server with translated messages gets `Refused` instead, which retries no less but reads worse.
const PASSING: &[&str] = &[
    // PostgreSQL
    "terminating connection",
    "the database system is",
    "canceling statement due to",
    "deadlock detected",
    "remaining connection slots",
    "too many clients",
    "No space left on device",
    // SQLite
    "database is locked",
    "no transaction is active",
    "no such savepoint",
    "database table is locked",
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
];

fn is_passing(error: &DieselError) -> bool {
    match error {
        DieselError::BrokenTransactionManager | DieselError::RollbackErrorOnCommit { .. } => true,
        DieselError::DatabaseError(kind, info) => match kind {
            Kind::ClosedConnection
            | Kind::UnableToSendCommand
            | Kind::SerializationFailure
            | Kind::ReadOnlyTransaction => true,
            Kind::Unknown => PASSING.iter().any(|said| info.message().contains(said)),
            _ => false,
        },
        _ => false,
    }
}
