//! Sessions of the web page: known by the SHA-256 of their id, good as long as their token is.
//!
//! How long a session lasts is no part of its row: the limits of the moment decide, so that a shorter one ends sessions
//! that began before.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::Store;
use super::backend::Backend;
use super::claims::to_limit;
use super::error::StoreError;
use super::records::{ApiToken, Role};
use super::statement::sql;
use super::types::{SqlInstant, Word, sql as types};
use crate::clock::Instant;
use crate::ids::{TokenId, WorkspaceId};

/// How long a session lasts, and how many there are.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// From its beginning.
    pub ttl: Duration,
    /// From its last use.
    pub idle: Duration,
    /// Of one token at the same time; the one that was not used for the longest time makes room.
    pub per_token: usize,
}

/// Whether a look at a session is a use of it, from which it lasts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLook {
    /// Somebody asked for something.
    Use,
    /// A page or a stream that was left open asked by itself.
    Recheck,
}

impl SessionLimits {
    /// The times since which a session must have begun, and must have been used.
    fn since(&self, now: Instant) -> (Instant, Instant) {
        let before = |span: Duration| {
            now - chrono::Duration::from_std(span).unwrap_or(chrono::Duration::days(365 * 100))
        };
        (before(self.ttl), before(self.idle))
    }
}

impl Store {
    /// Begins a session of a token. Those that are over go, and the oldest of too many of the token.
    pub async fn begin_session(
        &self,
        sha256: [u8; 32],
        token: TokenId,
        limits: SessionLimits,
    ) -> Result<(), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { begin(&backend, sha256, token, limits).await }).await
    }

    /// The token of a session that lasts. A use of it is noted, seldom enough that looking costs no write.
    pub async fn session(
        &self,
        sha256: [u8; 32],
        limits: SessionLimits,
        look: SessionLook,
    ) -> Result<Option<ApiToken>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { session(&backend, sha256, limits, look).await }).await
    }

    /// Ends a session.
    pub async fn end_session(&self, sha256: [u8; 32]) -> Result<(), StoreError> {
        const TEXT: &str = "DELETE FROM sessions WHERE sha256 = $1";
        let backend = self.backend.clone();
        self.spawn(async move {
            let statement = sql(TEXT).bind(sha256.to_vec());
            backend
                .write("ending a session", move |conn| {
                    Box::pin(async move { conn.execute(statement).await.map(|_| ()) })
                })
                .await
        })
        .await
    }
}

async fn begin(
    backend: &Backend,
    sha256: [u8; 32],
    token: TokenId,
    limits: SessionLimits,
) -> Result<(), StoreError> {
    const OVER: &str = "DELETE FROM sessions WHERE created_at <= $1 OR seen_at <= $2";
    const ROOM: &str = "DELETE FROM sessions WHERE token_id = $1 AND sha256 NOT IN \
         (SELECT s.sha256 FROM sessions s WHERE s.token_id = $1 ORDER BY s.seen_at DESC, s.sha256 LIMIT $2)";
    const INSERT: &str =
        "INSERT INTO sessions (sha256, token_id, created_at, seen_at) VALUES ($1, $2, $3, $3)";
    backend
        .write("beginning a session", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let (begun, used) = limits.since(now);
                conn.execute(sql(OVER).bind(begun).bind(used)).await?;
                let others = to_limit(limits.per_token.saturating_sub(1));
                conn.execute(sql(ROOM).bind(token.0).bind(others)).await?;
                conn.execute(sql(INSERT).bind(sha256.to_vec()).bind(token.0).bind(now)).await?;
                Ok(())
            })
        })
        .await
}

#[derive(QueryableByName)]
struct SessionRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    role: Word<Role>,
    #[diesel(sql_type = Nullable<BigInt>)]
    workspace_id: Option<i64>,
    #[diesel(sql_type = types::Instant)]
    created_at: SqlInstant,
    #[diesel(sql_type = types::Instant)]
    seen_at: SqlInstant,
}

/// How many times within its idle time the use of a session is noted.
const NOTES_PER_IDLE: u32 = 20;

async fn session(
    backend: &Backend,
    sha256: [u8; 32],
    limits: SessionLimits,
    look: SessionLook,
) -> Result<Option<ApiToken>, StoreError> {
    const TEXT: &str = "SELECT t.id, t.name, t.role, t.workspace_id, s.created_at, s.seen_at FROM sessions s \
         JOIN api_tokens t ON t.id = s.token_id WHERE s.sha256 = $1";
    let found: Option<(SessionRow, Instant)> = backend
        .read("finding a session", move |conn| {
            Box::pin(async move {
                let row: Option<SessionRow> = conn.row(sql(TEXT).bind(sha256.to_vec())).await?;
                let now = conn.now().await?;
                Ok(row.map(|row| (row, now)))
            })
        })
        .await?;
    let Some((row, now)) = found else { return Ok(None) };
    let (begun, used) = limits.since(now);
    if row.created_at.0 <= begun || row.seen_at.0 <= used {
        return Ok(None);
    }
    if look == SessionLook::Use && now > row.seen_at.0 + limits.idle / NOTES_PER_IDLE {
        note_use(backend, sha256, now).await;
    }
    Ok(Some(ApiToken {
        id: TokenId(row.id),
        name: row.name,
        role: row.role.0,
        workspace_id: row.workspace_id.map(WorkspaceId),
    }))
}

/// Without success the session is good all the same; its next use is noted.
async fn note_use(backend: &Backend, sha256: [u8; 32], now: Instant) {
    const SEEN: &str = "UPDATE sessions SET seen_at = $2 WHERE sha256 = $1 AND seen_at < $2";
    let statement = sql(SEEN).bind(sha256.to_vec()).bind(now);
    let noted = backend
        .write("noting the use of a session", move |conn| {
            Box::pin(async move { conn.execute(statement).await })
        })
        .await;
    if let Err(error) = noted {
        tracing::debug!(error = &error as &dyn std::error::Error, "the use of a session could not be noted");
    }
}
