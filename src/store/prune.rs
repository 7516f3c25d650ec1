//! Retention: what is old, or too much, goes, in small transactions, oldest first (rules: [`crate::domain::retention`]).
//!
//! What stays whatever its age: a run that is active or holds its identity; the last good snapshot of a tenant; a
//! snapshot that a policy, a restore that is kept or an active run refers to; a plan that a restore that is kept or
//! an active run refers to; a run as long as its snapshot; what a restore replaced, as long as its run.
//!
//! Each step looks with a reader and then removes by id, where the look is repeated in the statement that removes.
//! RACE: on PostgreSQL a restore may be admitted, for a snapshot or a plan that is old, between that statement and its
//! commit; it finds them gone, as if it had been admitted a moment later.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Text};

use super::Store;
use super::admission::release_expired;
use super::backend::{Backend, Conn, Engine};
use super::claims::to_limit;
use super::error::{Problem, StoreError};
use super::records::{PruneRequest, PruneStep, Pruned};
use super::rows::{NumberRow, TextRow};
use super::statement::{Statement, sql};
use super::types::{DocumentText, Word};
use crate::domain::assignment::AssignmentsHash;
use crate::domain::operation::Operation;
use crate::domain::retention::{Cutoffs, fitting};
use crate::ids::{TenantId, WorkspaceId};

impl Store {
    /// Takes one bounded step of pruning; the answer names the next one. A pass is over when there is none.
    pub async fn prune(&self, request: PruneRequest) -> Result<Pruned, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { Pruner { backend: &backend, request }.step().await }).await
    }
}

/// Whether something that stays refers to the snapshot `s`.
const SNAPSHOT_NEEDED: &str = "(EXISTS (SELECT 1 FROM policies p WHERE p.snapshot_id = s.id) \
     OR EXISTS (SELECT 1 FROM restore_runs x WHERE x.snapshot_id = s.id) \
     OR CAST(s.id AS text) IN (SELECT CAST(a.context -> 'inputs' ->> 'snapshot_id' AS text) FROM operation_runs a \
     WHERE a.status IN ('queued', 'running') AND a.type = 'assignments.restore' \
     AND (a.context -> 'inputs' ->> 'snapshot_id') IS NOT NULL))";

/// Whether the snapshot `s` is the last good one of its tenant.
const SNAPSHOT_LAST_GOOD: &str = "s.id = coalesce((SELECT max(g.id) FROM snapshots g \
     WHERE g.tenant_id = s.tenant_id AND g.state = 'finished' AND g.kind = 'fetched' \
     AND g.outcome = 'succeeded'), 0)";

/// Whether the run `r` may go, apart from its age.
fn run_removable() -> String {
    format!(
        "r.status = 'completed' AND NOT r.holds_identity \
         AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.operation_run_id = r.id \
         AND (s.kind <> 'replaced' OR {SNAPSHOT_NEEDED})) \
         AND NOT EXISTS (SELECT 1 FROM restore_runs x WHERE x.plan_run_id = r.id AND x.operation_run_id <> r.id) \
         AND CAST(r.id AS text) NOT IN (SELECT CAST(a.context -> 'inputs' ->> 'plan_run_id' AS text) \
         FROM operation_runs a WHERE a.status IN ('queued', 'running') AND a.type = 'assignments.restore' \
         AND (a.context -> 'inputs' ->> 'plan_run_id') IS NOT NULL)"
    )
}

/// Windows of assignment sets that one step looks through, in batches.
const SETS_WINDOW: usize = 10;

struct Pruner<'a> {
    backend: &'a Backend,
    request: PruneRequest,
}

#[derive(QueryableByName)]
struct CandidateRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct SetRow {
    #[diesel(sql_type = Text)]
    hash: Word<AssignmentsHash>,
    #[diesel(sql_type = Bool)]
    needed: bool,
}

impl Pruner<'_> {
    async fn step(&self) -> Result<Pruned, StoreError> {
        match self.request.step {
            PruneStep::Holders => self.release_holders().await,
            PruneStep::Snapshots(after) => self.snapshots_of_next_tenant(after).await,
            PruneStep::Abandoned => self.abandoned().await,
            PruneStep::Attempts => self.attempts().await,
            PruneStep::Runs(after) => self.runs_of_next_tenant(after).await,
            PruneStep::WorkspaceRuns(after) => self.runs_of_next_workspace(after).await,
            PruneStep::Sets(after) => self.sets(after).await,
        }
    }

    fn limit(&self) -> i64 {
        to_limit(self.request.batch_max.max(1))
    }

    /// The step again while it finds a full batch, else `then`.
    fn next(&self, done: usize, then: PruneStep) -> Option<PruneStep> {
        Some(if done >= self.request.batch_max.max(1) { self.request.step } else { then })
    }

    async fn cutoffs(&self) -> Result<Cutoffs, StoreError> {
        let now =
            self.backend.read("reading the clock", |conn| Box::pin(async move { conn.now().await })).await?;
        Ok(self.request.rules.cutoffs(now))
    }

    async fn numbers(&self, statement: Statement) -> Result<Vec<i64>, StoreError> {
        let rows: Vec<NumberRow> = self
            .backend
            .read("looking for what is old", move |conn| Box::pin(async move { conn.rows(statement).await }))
            .await?;
        Ok(rows.into_iter().map(|row| row.n).collect())
    }

    /// As admission would when the identity is asked for again; without it a run whose identity nobody asks for again
    /// would stay for ever.
    async fn release_holders(&self) -> Result<Pruned, StoreError> {
        let limit = self.limit();
        let released = self
            .backend
            .write("releasing identities", move |conn| {
                Box::pin(async move { release_expired(conn, limit).await })
            })
            .await?;
        let next = self.next(released, PruneStep::Snapshots(TenantId(0)));
        Ok(Pruned { released, next, ..Pruned::default() })
    }

    // --- snapshots ---------------------------------------------------------------------------------------------------

    async fn next_tenant(&self, after: TenantId) -> Result<Option<TenantId>, StoreError> {
        const TEXT: &str = "SELECT id AS n FROM tenants WHERE id > $1 ORDER BY id LIMIT 1";
        Ok(self.numbers(sql(TEXT).bind(after.0)).await?.first().map(|id| TenantId(*id)))
    }

    async fn snapshots_of_next_tenant(&self, after: TenantId) -> Result<Pruned, StoreError> {
        let Some(tenant) = self.next_tenant(after).await? else {
            return Ok(Pruned { next: Some(PruneStep::Abandoned), ..Pruned::default() });
        };
        let cutoffs = self.cutoffs().await?;
        let policies = self.forget_policies(tenant, cutoffs).await?;
        let old = self.old_snapshots(tenant, cutoffs).await?;
        let snapshots = if old.is_empty() { 0 } else { self.hide(old).await? };
        let next = self.next(snapshots.max(policies), PruneStep::Snapshots(tenant));
        Ok(Pruned { policies, snapshots, next, ..Pruned::default() })
    }

    /// A policy that is gone keeps the snapshot that read it last; at some time that is enough.
    async fn forget_policies(&self, tenant: TenantId, cutoffs: Cutoffs) -> Result<usize, StoreError> {
        const TEXT: &str = "DELETE FROM policies WHERE tenant_id = $1 AND deleted_at <= $2 \
             AND (policy_type, policy_id) IN (SELECT g.policy_type, g.policy_id FROM policies g \
             WHERE g.tenant_id = $1 AND g.deleted_at <= $2 ORDER BY g.policy_type, g.policy_id LIMIT $3)";
        let limit = self.limit();
        self.backend
            .write("forgetting policies", move |conn| {
                Box::pin(async move {
                    conn.execute(sql(TEXT).bind(tenant.0).bind(cutoffs.snapshots).bind(limit)).await
                })
            })
            .await
    }

    async fn old_snapshots(&self, tenant: TenantId, cutoffs: Cutoffs) -> Result<Vec<i64>, StoreError> {
        // The newest that is too much; what a restore replaced goes with its run and does not count.
        const SURPLUS: &str = "SELECT id AS n FROM snapshots WHERE tenant_id = $1 AND state = 'finished' \
             AND kind <> 'replaced' ORDER BY id DESC LIMIT 1 OFFSET $2";
        let keep = to_limit(self.request.rules.snapshots_keep);
        let surplus = self.numbers(sql(SURPLUS).bind(tenant.0).bind(keep)).await?;
        let text = format!(
            "SELECT s.id AS n FROM snapshots s WHERE s.tenant_id = $1 AND s.state = 'finished' \
             AND s.kind <> 'replaced' AND (s.completed_at <= $2 OR s.id <= $3) \
             AND NOT {SNAPSHOT_NEEDED} AND NOT {SNAPSHOT_LAST_GOOD} ORDER BY s.id LIMIT $4"
        );
        let newest = surplus.first().copied().unwrap_or(0);
        let statement = sql(text).bind(tenant.0).bind(cutoffs.snapshots).bind(newest).bind(self.limit());
        self.numbers(statement).await
    }

    /// Out of everybody's sight first, and without coverage, so that nobody restores from one that is half removed.
    async fn hide(&self, ids: Vec<i64>) -> Result<usize, StoreError> {
        self.backend
            .write("hiding old snapshots", move |conn| {
                Box::pin(async move {
                    let text = format!(
                        "UPDATE snapshots AS s SET state = 'abandoned', outcome = 'failed', coverage = '{{}}' \
                         WHERE s.id IN ({}) AND s.state = 'finished' AND NOT {SNAPSHOT_NEEDED} \
                         AND NOT {SNAPSHOT_LAST_GOOD}",
                        given(conn)
                    );
                    conn.execute(with(conn, text, &ids)).await
                })
            })
            .await
    }

    /// Removes the items of one snapshot that nobody sees, as many as one transaction may, and with the last the
    /// snapshot.
    async fn abandoned(&self) -> Result<Pruned, StoreError> {
        const IMPORTS: &str = "UPDATE snapshots SET state = 'abandoned', outcome = 'failed', coverage = '{}', \
             completed_at = $1 WHERE kind = 'imported' AND state = 'building' AND created_at <= $2";
        // RACE: another instance may be removing it: then this one takes the next.
        macro_rules! next {
            ($lock:literal) => {
                concat!(
                    "SELECT s.id AS n FROM snapshots s WHERE s.state = 'abandoned' \
                     AND NOT EXISTS (SELECT 1 FROM operation_runs r WHERE r.id = s.operation_run_id \
                     AND r.status <> 'completed') ORDER BY s.id LIMIT 1",
                    $lock
                )
            };
        }
        const ITEMS: &str = "DELETE FROM snapshot_items WHERE snapshot_id = $1 AND (policy_type, policy_id) IN \
             (SELECT i.policy_type, i.policy_id FROM snapshot_items i WHERE i.snapshot_id = $1 \
             ORDER BY i.policy_type, i.policy_id LIMIT $2)";
        const SNAPSHOT: &str = "DELETE FROM snapshots WHERE id = $1 AND state = 'abandoned'";
        let (cutoffs, limit) = (self.cutoffs().await?, self.limit());
        let (snapshot_items, more) = self
            .backend
            .write("removing snapshots", move |conn| {
                Box::pin(async move {
                    let next = match conn.engine() {
                        Engine::Sqlite => next!(""),
                        Engine::Postgres => next!(" FOR UPDATE OF s SKIP LOCKED"),
                    };
                    let abandoned: Option<NumberRow> = conn.row(sql(next)).await?;
                    let Some(NumberRow { n: id }) = abandoned else {
                        let now = conn.now().await?;
                        let left = conn.execute(sql(IMPORTS).bind(now).bind(cutoffs.imports)).await?;
                        return Ok((0, left > 0));
                    };
                    let items = conn.execute(sql(ITEMS).bind(id).bind(limit)).await?;
                    if to_limit(items) < limit {
                        conn.execute(sql(SNAPSHOT).bind(id)).await?;
                    }
                    Ok((items, true))
                })
            })
            .await?;
        let next = if more { PruneStep::Abandoned } else { PruneStep::Attempts };
        Ok(Pruned { snapshot_items, next: Some(next), ..Pruned::default() })
    }

    // --- runs --------------------------------------------------------------------------------------------------------

    async fn attempts(&self) -> Result<Pruned, StoreError> {
        const OLD: &str = "SELECT DISTINCT a.run_id AS n FROM run_attempts a \
             JOIN operation_runs r ON r.id = a.run_id WHERE r.status = 'completed' AND r.completed_at <= $1 \
             ORDER BY n LIMIT $2";
        let cutoffs = self.cutoffs().await?;
        let old = self.numbers(sql(OLD).bind(cutoffs.attempts).bind(self.limit())).await?;
        let next = self.next(old.len(), PruneStep::Runs(TenantId(0)));
        let mut attempts = 0;
        if !old.is_empty() {
            attempts = self
                .backend
                .write("removing attempts", move |conn| {
                    Box::pin(async move {
                        let text = format!("DELETE FROM run_attempts WHERE run_id IN ({})", given(conn));
                        conn.execute(with(conn, text, &old)).await
                    })
                })
                .await?;
        }
        Ok(Pruned { attempts, next, ..Pruned::default() })
    }

    async fn runs_of_next_tenant(&self, after: TenantId) -> Result<Pruned, StoreError> {
        let Some(tenant) = self.next_tenant(after).await? else {
            let next = Some(PruneStep::WorkspaceRuns(WorkspaceId(0)));
            return Ok(Pruned { next, ..Pruned::default() });
        };
        let operations = [Operation::Fetch, Operation::Restore];
        let (runs, more) = self.runs_of("r.tenant_id", tenant.0, &operations).await?;
        let next = if more { self.request.step } else { PruneStep::Runs(tenant) };
        Ok(Pruned { runs, next: Some(next), ..Pruned::default() })
    }

    async fn runs_of_next_workspace(&self, after: WorkspaceId) -> Result<Pruned, StoreError> {
        const TEXT: &str = "SELECT id AS n FROM workspaces WHERE id > $1 ORDER BY id LIMIT 1";
        let Some(workspace) = self.numbers(sql(TEXT).bind(after.0)).await?.first().copied() else {
            return Ok(Pruned { next: Some(PruneStep::Sets(None)), ..Pruned::default() });
        };
        let (runs, more) = self.runs_of("r.workspace_id", workspace, &[Operation::Reconcile]).await?;
        let next = if more { self.request.step } else { PruneStep::WorkspaceRuns(WorkspaceId(workspace)) };
        Ok(Pruned { runs, next: Some(next), ..Pruned::default() })
    }

    /// Removes one batch of the runs whose `column` is `owner`; how many, and whether there may be more.
    async fn runs_of(
        &self,
        column: &'static str,
        owner: i64,
        operations: &[Operation],
    ) -> Result<(usize, bool), StoreError> {
        for operation in operations {
            let old = self.old_runs(column, owner, *operation).await?;
            if old.is_empty() {
                continue;
            }
            let rows = old.iter().map(|row| usize::try_from(row.n).unwrap_or(usize::MAX));
            let fit = fitting(rows, self.request.batch_max);
            let ids: Vec<i64> = old.iter().take(fit).map(|row| row.id).collect();
            let removed = self
                .backend
                .write("removing old runs", move |conn| Box::pin(async move { remove_runs(conn, ids).await }))
                .await?;
            if removed > 0 {
                return Ok((removed, true));
            }
        }
        Ok((0, false))
    }

    /// The oldest runs that may go, with how many items each has.
    async fn old_runs(
        &self,
        column: &'static str,
        owner: i64,
        operation: Operation,
    ) -> Result<Vec<CandidateRow>, StoreError> {
        // The newest that is too much.
        let surplus = format!(
            "SELECT r.id AS n FROM operation_runs r WHERE {column} = $1 AND r.type = $2 AND r.status = 'completed' \
             ORDER BY r.id DESC LIMIT 1 OFFSET $3"
        );
        let keep = to_limit(self.request.rules.runs_keep);
        let surplus = self.numbers(sql(surplus).bind(owner).bind(operation.as_str()).bind(keep)).await?;
        let newest = surplus.first().copied().unwrap_or(0);
        let cutoffs = self.cutoffs().await?;
        let text = format!(
            "SELECT r.id, (SELECT count(*) FROM restore_items i WHERE i.operation_run_id = r.id) AS n \
             FROM operation_runs r WHERE {column} = $1 AND r.type = $2 AND (r.completed_at <= $3 OR r.id <= $4) \
             AND {} ORDER BY r.id LIMIT $5",
            run_removable()
        );
        let statement =
            sql(text).bind(owner).bind(operation.as_str()).bind(cutoffs.runs).bind(newest).bind(self.limit());
        self.backend
            .read("looking for old runs", move |conn| Box::pin(async move { conn.rows(statement).await }))
            .await
    }

    // --- assignment sets ---------------------------------------------------------------------------------------------

    /// Looks through the next sets in the order of their hashes and removes those that nothing refers to.
    async fn sets(&self, after: Option<AssignmentsHash>) -> Result<Pruned, StoreError> {
        let text = format!(
            "SELECT a.hash, {} AS needed FROM assignment_sets a WHERE a.hash > $1 ORDER BY a.hash LIMIT $2",
            set_needed("a.hash")
        );
        let after = after.map(|hash| hash.to_string()).unwrap_or_default();
        let window = to_limit(self.request.batch_max.max(1).saturating_mul(SETS_WINDOW));
        let seen: Vec<SetRow> = self
            .backend
            .read("looking for sets", move |conn| {
                Box::pin(async move { conn.rows(sql(text).bind(after).bind(window)).await })
            })
            .await?;
        let orphans: Vec<&SetRow> =
            seen.iter().filter(|row| !row.needed).take(self.request.batch_max.max(1)).collect();
        // A full batch may have left some of the window behind it.
        let last =
            if orphans.len() < self.request.batch_max.max(1) { seen.last() } else { orphans.last().copied() };
        let ended = last.is_none_or(|last| {
            to_limit(seen.len()) < window && seen.last().is_some_and(|row| row.hash.0 == last.hash.0)
        });
        let next = last.filter(|_| !ended).map(|row| PruneStep::Sets(Some(row.hash.0)));
        let hashes: Vec<String> = orphans.iter().map(|row| row.hash.0.to_string()).collect();
        let mut sets = 0;
        if !hashes.is_empty() {
            sets = self
                .backend
                .write("removing sets", move |conn| Box::pin(async move { remove_sets(conn, hashes).await }))
                .await?;
        }
        Ok(Pruned { sets, next, ..Pruned::default() })
    }
}

/// Whether something refers to the set with the hash that `hash` names.
fn set_needed(hash: &str) -> String {
    format!(
        "(EXISTS (SELECT 1 FROM snapshot_items i WHERE i.assignments_hash = {hash}) \
         OR EXISTS (SELECT 1 FROM policies p WHERE p.assignments_hash = {hash}) \
         OR EXISTS (SELECT 1 FROM restore_items b WHERE b.base_hash = {hash}) \
         OR EXISTS (SELECT 1 FROM restore_items w WHERE w.wanted_hash = {hash}) \
         OR EXISTS (SELECT 1 FROM restore_items t WHERE t.sent_hash = {hash}) \
         OR EXISTS (SELECT 1 FROM restore_items v WHERE v.verified_hash = {hash}) \
         OR EXISTS (SELECT 1 FROM restore_items o WHERE o.replaced_hash = {hash}))"
    )
}

/// RACE: on PostgreSQL a writer that uses one of the sets has locked it; then it is left alone. One that comes later
/// waits until it is gone and writes it again ([`super::sets::Sets::store`]). The look at what refers to them is a
/// statement of its own, after the locks, so that it sees all that was written before them.
async fn remove_sets(conn: &mut Conn<'_>, hashes: Vec<String>) -> Result<usize, Problem> {
    const LOCK: &str = "SELECT hash AS word FROM assignment_sets WHERE hash = ANY ($1) ORDER BY hash \
         FOR UPDATE SKIP LOCKED";
    let hashes = match conn.engine() {
        Engine::Sqlite => hashes,
        Engine::Postgres => {
            let locked: Vec<TextRow> = conn.rows(sql(LOCK).bind(hashes)).await?;
            locked.into_iter().map(|row| row.word).collect()
        }
    };
    let text = format!(
        "DELETE FROM assignment_sets AS a WHERE a.hash IN ({}) AND NOT {}",
        given(conn),
        set_needed("a.hash")
    );
    let statement = match conn.engine() {
        Engine::Sqlite => sql(text).bind(DocumentText::of(&hashes)),
        Engine::Postgres => sql(text).bind(hashes),
    };
    conn.execute(statement).await
}

/// Removes runs with all that is theirs alone. They are completed, so that nothing changes them any more.
async fn remove_runs(conn: &mut Conn<'_>, ids: Vec<i64>) -> Result<usize, Problem> {
    let given = given(conn);
    let lock = conn.lock(" FOR UPDATE SKIP LOCKED");
    let text = format!(
        "SELECT r.id AS n FROM operation_runs r WHERE r.id IN ({given}) AND {} ORDER BY r.id{lock}",
        run_removable()
    );
    let rows: Vec<NumberRow> = conn.rows(with(conn, text, &ids)).await?;
    let ids: Vec<i64> = rows.into_iter().map(|row| row.n).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    for text in [
        "DELETE FROM snapshot_items WHERE snapshot_id IN (SELECT s.id FROM snapshots s \
         WHERE s.kind = 'replaced' AND s.operation_run_id IN ({given}))",
        "DELETE FROM snapshots WHERE kind = 'replaced' AND operation_run_id IN ({given})",
        "DELETE FROM restore_items WHERE operation_run_id IN ({given})",
        "DELETE FROM restore_runs WHERE operation_run_id IN ({given})",
        "DELETE FROM run_attempts WHERE run_id IN ({given})",
    ] {
        conn.execute(with(conn, text.replace("{given}", given), &ids)).await?;
    }
    let text = format!("DELETE FROM operation_runs WHERE id IN ({given}) AND NOT holds_identity");
    conn.execute(with(conn, text, &ids)).await
}

/// The ids that a statement is given as its only value, as a select.
fn given(conn: &Conn<'_>) -> &'static str {
    match conn.engine() {
        Engine::Sqlite => "SELECT j.value FROM json_each($1) j",
        Engine::Postgres => "SELECT unnest($1)",
    }
}

/// A statement that is given ids.
fn with(conn: &Conn<'_>, text: String, ids: &[i64]) -> Statement {
    match conn.engine() {
        Engine::Sqlite => sql(text).bind(DocumentText::of(&ids)),
        Engine::Postgres => sql(text).bind(ids.iter().map(|id| Some(*id)).collect::<Vec<_>>()),
    }
}
