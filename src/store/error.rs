//! What can go wrong at the door to the database.

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
    /// The database has migrations that this program does not know.
    #[error(
        "the database's schema is newer than this program (it has migration `{version}`, which this program does not know): use a newer atlasd"
    )]
    SchemaNewer {
        /// The first unknown version.
        version: String,
    },
    /// The URL cannot be used.
    #[error("database URL: {0}")]
    Url(String),
}
