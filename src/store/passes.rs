//! Reconcile passes that began of late: what the periods and starts of several instances are judged by.

use diesel::QueryableByName;
use diesel::sql_types::Text;

use super::backend::{Backend, Engine};
use super::error::StoreError;
use super::statement::sql;
use super::types::{Document, DocumentText, SqlInstant, Word, sql as types};
use crate::domain::identity::IdentityHash;

#[derive(QueryableByName)]
struct PassRow {
    #[diesel(sql_type = Text)]
    run_identity_hash: Word<IdentityHash>,
    #[diesel(sql_type = types::Instant)]
    started_at: SqlInstant,
    #[diesel(sql_type = types::Document)]
    context: Document<serde_json::Map<String, serde_json::Value>>,
}

/// See [`super::Store::passes_within`].
pub async fn within(
    backend: &Backend,
    identities: Vec<IdentityHash>,
    age: std::time::Duration,
) -> Result<Vec<IdentityHash>, StoreError> {
    /// The last run of each identity that has completed.
    macro_rules! last {
        ($identities:literal, $identity:literal) => {
            concat!(
                "SELECT r.run_identity_hash, coalesce(r.started_at, r.created_at) AS started_at, r.context FROM ",
                $identities,
                " JOIN operation_runs r ON r.id = (SELECT max(l.id) FROM operation_runs l \
                 WHERE l.status = 'completed' AND l.run_identity_hash = ",
                $identity,
                ")"
            )
        };
    }
    const SQLITE: &str = last!("json_each($1) b", "b.value");
    const POSTGRES: &str = last!("unnest($1) AS b (hash)", "b.hash");
    let hashes: Vec<String> = identities.iter().map(ToString::to_string).collect();
    backend
        .read("looking for passes", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let statement = match conn.engine() {
                    Engine::Sqlite => sql(SQLITE).bind(DocumentText::of(&hashes)),
                    Engine::Postgres => sql(POSTGRES).bind(hashes),
                };
                let rows: Vec<PassRow> = conn.rows(statement).await?;
                // A dry run repairs nothing.
                let is_dry = |row: &PassRow| row.context.0.get("dry_run").is_some_and(|value| value == true);
                let is_recent =
                    |row: &PassRow| (now - row.started_at.0).to_std().is_ok_and(|since| since < age);
                Ok(rows
                    .into_iter()
                    .filter(|row| !is_dry(row) && is_recent(row))
                    .map(|row| row.run_identity_hash.0)
                    .collect())
            })
        })
        .await
}
