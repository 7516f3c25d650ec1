//! Identities whose latest run failed: what a bulk retry asks for again.

use super::Store;
use super::backend::{Backend, Engine};
use super::cursor::rows_of;
use super::error::StoreError;
use super::rows::{RunRow, run_columns};
use super::statement::sql;
use crate::clock::Instant;
use crate::domain::failure::Code;
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::ids::{TenantId, WorkspaceId};

/// Whose failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedOf {
    /// Everybody's.
    All,
    /// A workspace's, and those of its tenants.
    Workspace(WorkspaceId),
    /// A workspace's own runs, without those of its tenants.
    WorkspaceItself(WorkspaceId),
    /// A tenant's.
    Tenant(TenantId),
}

/// Which failed runs.
#[derive(Clone, Copy, Debug)]
pub struct FailedQuery {
    /// With this code among theirs.
    pub code: Code,
    /// Of an operation.
    pub operation: Option<Operation>,
    /// Whose.
    pub of: FailedOf,
    /// Completed since.
    pub since: Instant,
    /// Runs at the most.
    pub limit: usize,
}

/// Failed runs, newest first, and whether there are more.
#[derive(Clone, Debug)]
pub struct FailedRuns {
    /// One for each identity.
    pub runs: Vec<Run>,
    /// There are more than were asked for.
    pub more: bool,
}

impl Store {
    /// The newest completed run of each identity, where that failed with the code: an identity that has succeeded since,
    /// or failed otherwise, is not among them.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn failed_runs(&self, query: FailedQuery) -> Result<FailedRuns, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { failed_runs(&backend, query).await }).await
    }
}

async fn failed_runs(backend: &Backend, query: FailedQuery) -> Result<FailedRuns, StoreError> {
    let rows: Vec<RunRow> = backend
        .read("finding failed runs", move |conn| {
            Box::pin(async move {
                // Words that indexes are made by stand in the text, so that the engines see what an index holds.
                let mut statement = sql(concat!(
                    "SELECT ",
                    run_columns!(),
                    " FROM operation_runs r WHERE r.status = 'completed' AND r.outcome = 'failed' AND r.completed_at >= $1"
                ))
                .bind(query.since);
                match query.of {
                    FailedOf::All => {}
                    FailedOf::Tenant(id) => {
                        statement.push(" AND r.tenant_id = ");
                        statement.push_value(id.0);
                    }
                    FailedOf::Workspace(id) | FailedOf::WorkspaceItself(id) => {
                        statement.push(" AND r.workspace_id = ");
                        statement.push_value(id.0);
                        if matches!(query.of, FailedOf::WorkspaceItself(_)) {
                            statement.push(" AND r.tenant_id IS NULL");
                        }
                    }
                }
                if let Some(operation) = query.operation {
                    statement.push(" AND r.type = ");
                    statement.push_value(operation.as_str());
                }
                match conn.engine() {
                    Engine::Sqlite => {
                        statement.push(
                            " AND EXISTS (SELECT 1 FROM json_each(r.failure_summary) j WHERE j.value ->> 'code' = ",
                        );
                        statement.push_value(query.code.as_str());
                        statement.push(")");
                    }
                    Engine::Postgres => {
                        statement.push(" AND r.failure_summary @> jsonb_build_array(jsonb_build_object('code', CAST(");
                        statement.push_value(query.code.as_str());
                        statement.push(" AS text)))");
                    }
                }
                statement.push(
                    " AND NOT EXISTS (SELECT 1 FROM operation_runs n WHERE n.status = 'completed' \
                     AND n.run_identity_hash = r.run_identity_hash AND n.id > r.id) ORDER BY r.id DESC LIMIT ",
                );
                statement.push_value(rows_of(query.limit));
                conn.rows(statement).await
            })
        })
        .await?;
    let more = rows.len() > query.limit;
    Ok(FailedRuns { runs: rows.into_iter().take(query.limit).map(Run::from).collect(), more })
}
