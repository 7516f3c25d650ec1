//! The audit: lines are added, listed and, after `retention.audit`, removed; never changed.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Store;
use super::backend::{Backend, Conn, Engine};
use super::claims::to_limit;
use super::cursor::{after_id, next_of, rows_of};
use super::error::{Problem, StoreError};
use super::records::{Page, PageRequest};
use super::statement::{Statement, sql};
use super::types::{Document, DocumentText, SqlInstant, sql as types};
use crate::clock::Instant;
use crate::domain::audit::Line;
use crate::ids::WorkspaceId;

/// A line of the audit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditLine {
    /// Larger than that of every line before.
    pub id: i64,
    /// When.
    pub at: Instant,
    /// The token's name; the operating system's user for a command on the ledger; empty where nobody is known.
    pub actor: String,
    /// What, such as `run.submitted`.
    pub action: String,
    /// Whose members may see it; null for what concerns all.
    pub workspace_id: Option<WorkspaceId>,
    /// What it is about: `run`, `snapshot`, `workspace`, `tenant`, `token`, `schedule`.
    pub object_kind: Option<String>,
    /// Its id.
    pub object_id: Option<i64>,
    /// From where.
    pub peer: Option<String>,
    /// `api`, `page` or `cli`.
    pub via: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// What else there is to say.
    pub detail: Map<String, Value>,
}

/// Which lines; newest first.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Of a workspace.
    pub workspace_id: Option<WorkspaceId>,
    /// By somebody.
    pub actor: Option<String>,
    /// Of an action.
    pub action: Option<String>,
    /// About a thing: its kind and id.
    pub object: Option<(String, i64)>,
    /// Not before.
    pub since: Option<Instant>,
    /// Which part.
    pub page: PageRequest,
}

impl Store {
    /// Adds lines, in one transaction.
    pub async fn write_audit(&self, lines: Vec<Line>) -> Result<(), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { write(&backend, lines).await }).await
    }

    /// A page of the audit, newest first.
    pub async fn audit(&self, query: AuditQuery) -> Result<Page<AuditLine>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { audit(&backend, query).await }).await
    }

    /// Removes lines from before `age` ago, the oldest first, at most `batch_max`; how many.
    pub async fn prune_audit(&self, age: std::time::Duration, batch_max: usize) -> Result<usize, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { prune(&backend, age, batch_max).await }).await
    }
}

async fn write(backend: &Backend, lines: Vec<Line>) -> Result<(), StoreError> {
    backend
        .write("writing the audit", move |conn| {
            Box::pin(async move {
                match conn.engine() {
                    Engine::Sqlite => one_by_one(conn, lines).await,
                    Engine::Postgres => conn.execute(all_at_once(lines)).await.map(|_| ()),
                }
            })
        })
        .await
}

/// SQLite: a prepared statement again and again is the fastest.
async fn one_by_one(conn: &mut Conn<'_>, lines: Vec<Line>) -> Result<(), Problem> {
    const TEXT: &str = "INSERT INTO audit (at, actor, action, workspace_id, object_kind, object_id, peer, via, outcome, \
         detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    for line in lines {
        let object = line.object();
        let statement = sql(TEXT)
            .bind(line.at)
            .bind(line.actor.clone())
            .bind(line.action())
            .bind(line.workspace_id().map(|workspace| workspace.0))
            .bind(object.map(|(kind, _)| kind))
            .bind(object.map(|(_, id)| id))
            .bind(line.peer.clone())
            .bind(line.via.as_str())
            .bind(line.outcome())
            .bind(DocumentText::of(line.detail()));
        conn.execute(statement).await?;
    }
    Ok(())
}

/// PostgreSQL: one statement, one round trip. Lists have no NULL among their texts, so an empty one stands for it.
fn all_at_once(lines: Vec<Line>) -> Statement {
    const TEXT: &str = "INSERT INTO audit (at, actor, action, workspace_id, object_kind, object_id, peer, via, outcome, \
         detail) SELECT timestamptz 'epoch' + b.us * interval '1 microsecond', b.actor, b.action, b.workspace_id, \
         nullif(b.kind, ''), b.object_id, nullif(b.peer, ''), b.via, b.outcome, CAST(b.detail AS jsonb) \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) WITH ORDINALITY \
         AS b (us, actor, action, workspace_id, kind, object_id, peer, via, outcome, detail, place) ORDER BY b.place";
    let texts = |of: fn(&Line) -> String| lines.iter().map(of).collect::<Vec<_>>();
    let numbers = |of: fn(&Line) -> Option<i64>| lines.iter().map(of).collect::<Vec<_>>();
    sql(TEXT)
        .bind(numbers(|line| Some(line.at.micros())))
        .bind(texts(|line| line.actor.clone()))
        .bind(texts(|line| line.action().to_owned()))
        .bind(numbers(|line| line.workspace_id().map(|workspace| workspace.0)))
        .bind(texts(|line| line.object().map_or("", |(kind, _)| kind).to_owned()))
        .bind(numbers(|line| line.object().map(|(_, id)| id)))
        .bind(texts(|line| line.peer.clone().unwrap_or_default()))
        .bind(texts(|line| line.via.as_str().to_owned()))
        .bind(texts(|line| line.outcome().to_owned()))
        .bind(texts(|line| DocumentText::of(line.detail()).0))
}

#[derive(QueryableByName)]
struct AuditRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = types::Instant)]
    at: SqlInstant,
    #[diesel(sql_type = Text)]
    actor: String,
    #[diesel(sql_type = Text)]
    action: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    workspace_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    object_kind: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    object_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    peer: Option<String>,
    #[diesel(sql_type = Text)]
    via: String,
    #[diesel(sql_type = Text)]
    outcome: String,
    #[diesel(sql_type = types::Document)]
    detail: Document<Map<String, Value>>,
}

impl From<AuditRow> for AuditLine {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: row.at.0,
            actor: row.actor,
            action: row.action,
            workspace_id: row.workspace_id.map(WorkspaceId),
            object_kind: row.object_kind,
            object_id: row.object_id,
            peer: row.peer,
            via: row.via,
            outcome: row.outcome,
            detail: row.detail.0,
        }
    }
}

async fn audit(backend: &Backend, query: AuditQuery) -> Result<Page<AuditLine>, StoreError> {
    let before = after_id(query.page.cursor.as_deref())?.unwrap_or(i64::MAX);
    let mut statement = sql(
        "SELECT id, at, actor, action, workspace_id, object_kind, object_id, peer, via, outcome, detail \
         FROM audit WHERE id < ",
    );
    statement.push_value(before);
    if let Some(workspace) = query.workspace_id {
        statement.push(" AND workspace_id = ");
        statement.push_value(workspace.0);
    }
    if let Some(actor) = query.actor {
        statement.push(" AND actor = ");
        statement.push_value(actor);
    }
    if let Some(action) = query.action {
        // As the index of rare actions says it, so that both engines find it.
        if action != "run.submitted" {
            statement.push(" AND action <> 'run.submitted'");
        }
        statement.push(" AND action = ");
        statement.push_value(action);
    }
    if let Some((kind, id)) = query.object {
        statement.push(" AND object_kind = ");
        statement.push_value(kind);
        statement.push(" AND object_id = ");
        statement.push_value(id);
    }
    if let Some(since) = query.since {
        statement.push(" AND at >= ");
        statement.push_value(since);
    }
    statement.push(" ORDER BY id DESC LIMIT ");
    statement.push_value(rows_of(query.page.limit));
    let rows: Vec<AuditRow> = backend
        .read("listing the audit", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let items = rows.into_iter().map(AuditLine::from).collect();
    Ok(next_of(items, query.page.limit, |line: &AuditLine| line.id))
}

async fn prune(backend: &Backend, age: std::time::Duration, batch_max: usize) -> Result<usize, StoreError> {
    // Lines are written in the order of their time, almost: looking at the oldest alone needs no index over it.
    const TEXT: &str = "DELETE FROM audit WHERE id IN (SELECT o.id FROM \
         (SELECT a.id, a.at FROM audit a ORDER BY a.id LIMIT $1) o WHERE o.at < $2)";
    let age = chrono::Duration::from_std(age).unwrap_or(chrono::Duration::days(36_525));
    backend
        .write("pruning the audit", move |conn| {
            Box::pin(async move {
                let before = conn.now().await? - age;
                conn.execute(sql(TEXT).bind(to_limit(batch_max)).bind(before)).await
            })
        })
        .await
}
