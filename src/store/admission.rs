//! Admission: one transaction for a batch, the database's unique indexes as the judge (SPEC sections 2 and 4).
//!
//! ORDER: a batch goes through its identities sorted by hash, on both engines, so that two batches cannot wait for
//! each other. RACE: the release of a holder whose cooldown has passed and the insert are one transaction; whoever
//! comes second waits for the first and then conflicts.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::backend::{Backend, Conn, Engine};
use super::error::{Problem, StoreError};
use super::records::{Admitted, DuplicateCount};
use super::rows::{NumberRow, RunRow, known_type, run_columns};
use super::statement::{Statement, sql};
use super::types::{DocumentText, SqlInstant, sql as types, storable};
use crate::clock::Instant;
use crate::domain::admission::Request;
use crate::domain::run::Run;
use crate::ids::RunId;

/// Times a batch is tried again after a deadlock that another kind of transaction caused.
const DEADLOCK_TRIES_MAX: u32 = 4;
/// Rounds of release and insert within a batch, before identities that keep changing hands are an error.
const ROUNDS_MAX: u32 = 8;
/// Holders released in one transaction at the most.
const RELEASE_BATCH: i64 = 1000;

/// A request with what is costly to make: built before the writer is taken.
struct Prepared {
    request: Request,
    hash: String,
    context: DocumentText,
}

/// What became of a request, before it is made into a run.
enum Answer {
    Inserted { id: i64, at: Instant },
    Held(Box<Run>),
    Gone,
}

/// Answers as they become known, in the order of the batch.
type Answers = Vec<Option<Answer>>;

/// See [`super::Store::admit`].
pub async fn admit(backend: &Backend, requests: Vec<Request>) -> Result<Vec<Admitted>, StoreError> {
    const OPERATION: &str = "admitting runs";
    let batch = Arc::new(requests.into_iter().map(prepare).collect::<Vec<_>>());
    let mut answers = insert_at_once(backend, &batch).await.map_err(|problem| problem.during(OPERATION))?;
    let mut screened = false;
    let mut tries = 0;
    while answers.iter().any(Option::is_none) {
        let shared = batch.clone();
        let open: Vec<usize> = (0..batch.len()).filter(|&index| answers[index].is_none()).collect();
        let attempt = backend
            .try_write(move |conn| Box::pin(async move { admit_open(conn, &shared, open, screened).await }))
            .await;
        match attempt {
            Ok(more) => {
                for (answer, found) in answers.iter_mut().zip(more) {
                    *answer = answer.take().or(found);
                }
            }
            // A workspace or tenant has gone: looking first costs reads, so only a batch that failed does.
            Err(problem) if problem.is_foreign_key_violation() && !screened => screened = true,
            Err(problem) if problem.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
            Err(problem) => return Err(problem.during(OPERATION)),
        }
    }
    // The blocking thread may still be about to drop its share; then the requests are copied.
    let batch = Arc::try_unwrap(batch)
        .unwrap_or_else(|shared| shared.iter().map(|one| prepare(one.request.clone())).collect());
    Ok(batch
        .into_iter()
        .zip(answers.into_iter().flatten())
        .map(|(one, answer)| admitted(one.request, answer))
        .collect())
}

/// On PostgreSQL one statement is a transaction of its own, and for new identities it is all that there is to do: one
/// round trip instead of four. What it did not insert is left to the transaction that may release.
async fn insert_at_once(backend: &Backend, batch: &Arc<Vec<Prepared>>) -> Result<Answers, Problem> {
    let mut answers = Answers::new();
    answers.resize_with(batch.len(), || None);
    if !matches!(backend, Backend::Postgres { .. }) {
        return Ok(answers);
    }
    let shared = batch.clone();
    let inserted = backend
        .try_at_once(move |conn| {
            Box::pin(async move {
                let order = in_order(&shared, (0..shared.len()).collect());
                let rows: Vec<InsertedRow> = conn.rows(insert_set(conn, &shared, &order)).await?;
                Ok(rows)
            })
        })
        .await;
    match inserted {
        Ok(rows) => {
            file_inserted(batch, rows, &mut answers);
            Ok(answers)
        }
        // Nothing was inserted; the transaction looks closer.
        Err(problem) if problem.is_foreign_key_violation() || problem.is_deadlock() => Ok(answers),
        Err(problem) => Err(problem),
    }
}

/// ORDER: by hash, in every batch.
fn in_order(batch: &[Prepared], mut indexes: Vec<usize>) -> Vec<usize> {
    indexes.sort_unstable_by(|&a, &b| batch[a].request.identity.cmp(&batch[b].request.identity));
    indexes
}

/// Answers those whose rows were inserted.
fn file_inserted(batch: &[Prepared], rows: Vec<InsertedRow>, answers: &mut Answers) {
    let mut inserted: HashMap<Key, InsertedRow> = rows.into_iter().map(keyed).collect();
    for (one, answer) in batch.iter().zip(answers).filter(|(_, answer)| answer.is_none()) {
        *answer = inserted.remove(&key(one)).map(|row| Answer::Inserted { id: row.id, at: row.created_at.0 });
    }
}

fn prepare(mut request: Request) -> Prepared {
    request.initiator_name = storable(request.initiator_name);
    let hash = request.identity.to_string();
    let context = DocumentText::of(&request.context);
    Prepared { request, hash, context }
}

fn admitted(request: Request, answer: Answer) -> Admitted {
    match answer {
        Answer::Held(run) => Admitted::Held(*run),
        Answer::Gone => Admitted::Gone,
        Answer::Inserted { id, at } => Admitted::Accepted(request.into_run(RunId(id), at)),
    }
}

/// Answers those of `batch` that are `open`, in the order of the batch.
async fn admit_open(
    conn: &mut Conn<'_>,
    batch: &[Prepared],
    open: Vec<usize>,
    screen: bool,
) -> Result<Answers, Problem> {
    let mut answers = Answers::new();
    answers.resize_with(batch.len(), || None);
    let mut pending = in_order(batch, open);
    if screen {
        let mut existing = Vec::with_capacity(pending.len());
        for index in pending {
            if scope_exists(conn, &batch[index]).await? {
                existing.push(index);
            } else {
                answers[index] = Some(Answer::Gone);
            }
        }
        pending = existing;
    }
    let asked = pending.clone();
    match conn.engine() {
        Engine::Sqlite => one_by_one(conn, batch, &pending, &mut answers).await?,
        Engine::Postgres => as_sets(conn, batch, pending, &mut answers).await?,
    }
    if asked.iter().all(|&index| answers[index].is_some()) {
        Ok(answers)
    } else {
        Err(Problem::Corrupt("an identity kept changing hands within one admission".into()))
    }
}

async fn scope_exists(conn: &mut Conn<'_>, one: &Prepared) -> Result<bool, Problem> {
    let request = &one.request;
    let found: Option<NumberRow> = conn
        .row(
            sql("SELECT w.id AS n FROM workspaces w WHERE w.id = $1 \
                 AND ($2 OR EXISTS (SELECT 1 FROM tenants t WHERE t.id = $3 AND t.workspace_id = w.id)) \
                 AND ($4 OR EXISTS (SELECT 1 FROM users u WHERE u.id = $5))")
            .bind(request.workspace_id.0)
            .bind(request.tenant_id.is_none())
            .bind(request.tenant_id.map(|tenant| tenant.0))
            .bind(request.user_id.is_none())
            .bind(request.user_id.map(|user| user.0)),
        )
        .await?;
    Ok(found.is_some())
}

// --- SQLite: the writer is alone, so the insert may come first and only a conflict costs more ------------------------

const INSERT_ONE: &str = "INSERT INTO operation_runs (workspace_id, tenant_id, user_id, initiator_name, type, status, \
     outcome, run_identity_hash, context, created_at, updated_at, priority) \
     VALUES ($1, $2, $3, $4, $5, 'queued', 'pending', $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING id AS n";

async fn one_by_one(
    conn: &mut Conn<'_>,
    batch: &[Prepared],
    order: &[usize],
    answers: &mut Answers,
) -> Result<(), Problem> {
    // The clock is read after BEGIN IMMEDIATE: no other writer can complete a run behind it.
    let at = conn.now().await?;
    for &index in order {
        let one = &batch[index];
        let mut inserted: Option<NumberRow> = conn.row(insert_one(one, at)).await?;
        if inserted.is_none() {
            let holder = holder_of(conn, &one.request).await?;
            let Some(holder) = holder else { continue };
            if !may_take_over(&holder, one.request.force, at) {
                answers[index] = Some(Answer::Held(Box::new(holder)));
                continue;
            }
            let release = sql("UPDATE operation_runs SET holds_identity = FALSE WHERE id = $1");
            conn.execute(release.bind(holder.id.0)).await?;
            inserted = conn.row(insert_one(one, at)).await?;
        }
        answers[index] = inserted.map(|row| Answer::Inserted { id: row.n, at });
    }
    Ok(())
}

fn insert_one(one: &Prepared, at: Instant) -> Statement {
    let request = &one.request;
    sql(INSERT_ONE)
        .bind(request.workspace_id.0)
        .bind(request.tenant_id.map(|tenant| tenant.0))
        .bind(request.user_id.map(|user| user.0))
        .bind(request.initiator_name.clone())
        .bind(request.operation.as_str())
        .bind(one.hash.clone())
        .bind(one.context.clone())
        .bind(at)
        .bind(at)
        .bind(request.operation.priority())
}

fn may_take_over(holder: &Run, force: bool, now: Instant) -> bool {
    !holder.is_active() && (force || holder.cooldown_until.is_none_or(|until| until <= now))
}

async fn holder_of(conn: &mut Conn<'_>, request: &Request) -> Result<Option<Run>, Problem> {
    const OF_TENANT: &str = concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.tenant_id = $1 AND r.run_identity_hash = $2 AND r.holds_identity"
    );
    const OF_WORKSPACE: &str = concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.tenant_id IS NULL AND r.workspace_id = $1 AND r.run_identity_hash = $2 \
         AND r.holds_identity"
    );
    let statement = match request.tenant_id {
        Some(tenant) => sql(OF_TENANT).bind(tenant.0),
        None => sql(OF_WORKSPACE).bind(request.workspace_id.0),
    };
    let row: Option<RunRow> = conn.row(statement.bind(request.identity.to_string())).await?;
    Ok(row.map(Run::from))
}

// --- PostgreSQL: a statement per step for the whole batch ------------------------------------------------------------

/// Locks every completed holder of the batch, whatever its cooldown: a batch that found one still cooling must not
/// run ahead of one that releases it. The lateral part keeps the planner on the holder index; so does asking for a
/// cooldown, which only completed runs have, in place of the status: indexes over completed runs would do for that,
/// and a planner without statistics takes them and reads a tenant's whole history for each request.
macro_rules! release {
    ($scope:literal) => {
        concat!(
            "WITH batch AS MATERIALIZED (SELECT * FROM unnest($1, $2, $3) AS b (scope, hash, force) \
             ORDER BY hash), \
             held AS MATERIALIZED (SELECT h.id FROM batch b CROSS JOIN LATERAL ( \
             SELECT r.id, r.cooldown_until FROM operation_runs r WHERE ",
            $scope,
            " AND r.run_identity_hash = b.hash AND r.holds_identity \
             AND r.cooldown_until IS NOT NULL FOR UPDATE) h \
             WHERE b.force OR h.cooldown_until <= clock_timestamp() + $4 * interval '1 microsecond') \
             UPDATE operation_runs SET holds_identity = FALSE WHERE id = ANY (ARRAY (SELECT id FROM held))"
        )
    };
}
const RELEASE_OF_TENANTS: &str = release!("r.tenant_id = b.scope");
const RELEASE_OF_WORKSPACES: &str = release!("r.tenant_id IS NULL AND r.workspace_id = b.scope");

/// The time of the new runs is read once, after the release.
const INSERT_SET: &str = "WITH t AS MATERIALIZED (SELECT clock_timestamp() + $1 * interval '1 microsecond' AS now) \
     INSERT INTO operation_runs (workspace_id, tenant_id, user_id, initiator_name, type, status, outcome, \
     run_identity_hash, context, created_at, updated_at, priority) \
     SELECT b.workspace_id, b.tenant_id, b.user_id, b.initiator_name, b.type, 'queued', 'pending', b.hash, \
     b.context::jsonb, t.now, t.now, b.priority \
     FROM t, unnest($2, $3, $4, $5, $6, $7, $8, $9) AS \
     b (workspace_id, tenant_id, user_id, initiator_name, type, hash, context, priority) \
     ORDER BY b.hash ON CONFLICT DO NOTHING RETURNING id, workspace_id, tenant_id, run_identity_hash, created_at";

macro_rules! holders {
    ($scope:literal) => {
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM unnest($1, $2) AS b (scope, hash) CROSS JOIN LATERAL (SELECT * FROM operation_runs r WHERE ",
            $scope,
            " AND r.run_identity_hash = b.hash AND r.holds_identity LIMIT 1) r"
        )
    };
}
const HOLDERS_OF_TENANTS: &str = holders!("r.tenant_id = b.scope");
const HOLDERS_OF_WORKSPACES: &str = holders!("r.tenant_id IS NULL AND r.workspace_id = b.scope");

#[derive(QueryableByName)]
struct InsertedRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    tenant_id: Option<i64>,
    #[diesel(sql_type = Text)]
    run_identity_hash: String,
    #[diesel(sql_type = types::Instant)]
    created_at: SqlInstant,
}

/// Who an identity belongs to, and its hash: the key of the unique indexes.
type Key = (Option<i64>, i64, String);

fn key(one: &Prepared) -> Key {
    let tenant = one.request.tenant_id.map(|tenant| tenant.0);
    // A tenant's runs are unique by tenant, whatever workspace the request names.
    (tenant, if tenant.is_some() { 0 } else { one.request.workspace_id.0 }, one.hash.clone())
}

async fn as_sets(
    conn: &mut Conn<'_>,
    batch: &[Prepared],
    mut pending: Vec<usize>,
    answers: &mut Answers,
) -> Result<(), Problem> {
    for _ in 0..ROUNDS_MAX {
        if pending.is_empty() {
            break;
        }
        release_set(conn, batch, &pending).await?;
        let inserted: Vec<InsertedRow> = conn.rows(insert_set(conn, batch, &pending)).await?;
        file_inserted(batch, inserted, answers);
        pending.retain(|&index| answers[index].is_none());
        if pending.is_empty() {
            break;
        }
        let holders = holders_of_set(conn, batch, &pending).await?;
        let now = conn.now().await?;
        pending.retain(|&index| {
            let one = &batch[index];
            match holders.get(&key(one)) {
                Some(holder) if !may_take_over(holder, one.request.force, now) => {
                    answers[index] = Some(Answer::Held(Box::new(holder.clone())));
                    false
                }
                // RACE: it has gone, or its cooldown has passed, since the insert: once more.
                _ => true,
            }
        });
    }
    Ok(())
}

fn keyed(row: InsertedRow) -> (Key, InsertedRow) {
    let workspace = if row.tenant_id.is_some() { 0 } else { row.workspace_id };
    ((row.tenant_id, workspace, row.run_identity_hash.clone()), row)
}

/// The scopes, hashes and force flags of a part of the batch.
struct Part {
    scopes: Vec<Option<i64>>,
    hashes: Vec<String>,
    force: Vec<bool>,
}

/// The tenants' part of the batch, and the workspaces'.
fn parts(batch: &[Prepared], pending: &[usize]) -> [Part; 2] {
    let part = |of_tenants: bool| {
        let of = |one: &&Prepared| one.request.tenant_id.is_some() == of_tenants;
        let some: Vec<&Prepared> = pending.iter().map(|&index| &batch[index]).filter(of).collect();
        let scope = |one: &&Prepared| {
            Some(one.request.tenant_id.map_or(one.request.workspace_id.0, |tenant| tenant.0))
        };
        Part {
            scopes: some.iter().map(scope).collect(),
            hashes: some.iter().map(|one| one.hash.clone()).collect(),
            force: some.iter().map(|one| one.request.force).collect(),
        }
    };
    [part(true), part(false)]
}

async fn release_set(conn: &mut Conn<'_>, batch: &[Prepared], pending: &[usize]) -> Result<(), Problem> {
    let shift = conn.shift_us();
    for (part, text) in parts(batch, pending).into_iter().zip([RELEASE_OF_TENANTS, RELEASE_OF_WORKSPACES]) {
        if !part.hashes.is_empty() {
            let statement = sql(text).bind(part.scopes).bind(part.hashes).bind(part.force).bind(shift);
            conn.execute(statement).await?;
        }
    }
    Ok(())
}

async fn holders_of_set(
    conn: &mut Conn<'_>,
    batch: &[Prepared],
    pending: &[usize],
) -> Result<HashMap<Key, Run>, Problem> {
    let mut holders = HashMap::new();
    for (part, text) in parts(batch, pending).into_iter().zip([HOLDERS_OF_TENANTS, HOLDERS_OF_WORKSPACES]) {
        if part.hashes.is_empty() {
            continue;
        }
        let rows: Vec<RunRow> = conn.rows(sql(text).bind(part.scopes).bind(part.hashes)).await?;
        for run in rows.into_iter().map(Run::from) {
            let tenant = run.tenant_id.map(|tenant| tenant.0);
            let workspace = if tenant.is_some() { 0 } else { run.workspace_id.0 };
            holders.insert((tenant, workspace, run.identity.to_string()), run);
        }
    }
    Ok(holders)
}

fn insert_set(conn: &Conn<'_>, batch: &[Prepared], pending: &[usize]) -> Statement {
    let each = || pending.iter().map(|&index| &batch[index]);
    sql(INSERT_SET)
        .bind(conn.shift_us())
        .bind(each().map(|one| Some(one.request.workspace_id.0)).collect::<Vec<_>>())
        .bind(each().map(|one| one.request.tenant_id.map(|tenant| tenant.0)).collect::<Vec<_>>())
        .bind(each().map(|one| one.request.user_id.map(|user| user.0)).collect::<Vec<_>>())
        .bind(each().map(|one| one.request.initiator_name.clone()).collect::<Vec<_>>())
        .bind(each().map(|one| one.request.operation.as_str().to_owned()).collect::<Vec<_>>())
        .bind(each().map(|one| one.hash.clone()).collect::<Vec<_>>())
        .bind(each().map(|one| one.context.0.clone()).collect::<Vec<_>>())
        .bind(each().map(|one| one.request.operation.priority()).collect::<Vec<_>>())
}

// --- what a registry starts with, and what it refused ----------------------------------------------------------------

/// See [`super::Store::holders`].
pub async fn holders(backend: &Backend) -> Result<Vec<Run>, StoreError> {
    const OPERATION: &str = "reading the holders";
    const ALL: &str = concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.holds_identity AND ",
        known_type!("r"),
        " ORDER BY r.id"
    );
    loop {
        let released = backend
            .write(OPERATION, |conn| Box::pin(async move { release_expired(conn, RELEASE_BATCH).await }))
            .await?;
        if released < RELEASE_BATCH as usize {
            break;
        }
    }
    let rows: Vec<RunRow> =
        backend.read(OPERATION, |conn| Box::pin(async move { conn.rows(sql(ALL)).await })).await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// Releases identities whose cooldown is over, at most `limit`; how many. What somebody else is just releasing is left to
/// them: waiting for it, in whatever order the rows come, could be waiting for each other.
pub async fn release_expired(conn: &mut Conn<'_>, limit: i64) -> Result<usize, Problem> {
    macro_rules! release {
        ($lock:literal) => {
            concat!(
                "UPDATE operation_runs SET holds_identity = FALSE WHERE id IN \
                 (SELECT id FROM operation_runs WHERE holds_identity AND status = 'completed' \
                 AND cooldown_until <= $1 ORDER BY run_identity_hash LIMIT $2",
                $lock,
                ")"
            )
        };
    }
    let text = match conn.engine() {
        Engine::Sqlite => release!(""),
        Engine::Postgres => release!(" FOR NO KEY UPDATE SKIP LOCKED"),
    };
    let now = conn.now().await?;
    conn.execute(sql(text).bind(now).bind(limit)).await
}

const HOUR_US: i64 = 3_600_000_000;

/// See [`super::Store::count_duplicates`].
pub async fn count_duplicates(backend: &Backend, mut counts: Vec<DuplicateCount>) -> Result<(), StoreError> {
    const ONE: &str = "UPDATE operation_runs SET duplicate_count = duplicate_count + $2, last_duplicate_at = \
         CASE WHEN last_duplicate_at > $3 THEN last_duplicate_at ELSE $3 END WHERE id = $1";
    // ORDER: the rows are locked in the order of their ids before any is written.
    const SET: &str = "WITH c AS MATERIALIZED (SELECT r.id, b.n, \
         timestamptz 'epoch' + b.us * interval '1 microsecond' AS at FROM unnest($1, $2, $3) AS b (id, n, us) \
         JOIN operation_runs r ON r.id = b.id ORDER BY r.id FOR NO KEY UPDATE OF r) \
         UPDATE operation_runs r SET duplicate_count = r.duplicate_count + c.n, \
         last_duplicate_at = greatest(r.last_duplicate_at, c.at) FROM c WHERE r.id = c.id";
    // By the hour, for the overview. ORDER: after the runs, by hour and workspace.
    const HOUR: &str = "INSERT INTO refused_hours (hour, workspace_id, refused) \
         SELECT $3, r.workspace_id, $2 FROM operation_runs r WHERE r.id = $1 \
         ON CONFLICT (hour, workspace_id) DO UPDATE SET refused = refused + excluded.refused";
    const HOURS: &str = "INSERT INTO refused_hours AS h (hour, workspace_id, refused) \
         SELECT b.us / 3600000000, r.workspace_id, sum(b.n) FROM unnest($1, $2, $3) AS b (id, n, us) \
         JOIN operation_runs r ON r.id = b.id GROUP BY 1, 2 ORDER BY 1, 2 \
         ON CONFLICT (hour, workspace_id) DO UPDATE SET refused = h.refused + excluded.refused";
    if counts.is_empty() {
        return Ok(());
    }
    // ORDER: by id; an admission that locks the same rows by hash may deadlock with it, and tries again by itself.
    counts.sort_unstable_by_key(|count| count.run_id);
    // A statement writes a row once.
    counts.dedup_by(|later, first| {
        let is_same = later.run_id == first.run_id;
        if is_same {
            first.count += later.count;
            first.last_at = first.last_at.max(later.last_at);
        }
        is_same
    });
    let mut tries = 0;
    loop {
        let counts = counts.clone();
        let attempt = backend
            .try_write(move |conn| {
                Box::pin(async move {
                    if conn.engine() == Engine::Postgres {
                        for text in [SET, HOURS] {
                            let column = |value: fn(&DuplicateCount) -> i64| {
                                counts.iter().map(|count| Some(value(count))).collect::<Vec<_>>()
                            };
                            let statement = sql(text)
                                .bind(column(|count| count.run_id.0))
                                .bind(column(|count| count.count))
                                .bind(column(|count| count.last_at.micros()));
                            conn.execute(statement).await?;
                        }
                        return Ok(());
                    }
                    for count in counts {
                        let statement = sql(ONE).bind(count.run_id.0).bind(count.count).bind(count.last_at);
                        conn.execute(statement).await?;
                        let hour = count.last_at.micros().div_euclid(HOUR_US);
                        conn.execute(sql(HOUR).bind(count.run_id.0).bind(count.count).bind(hour)).await?;
                    }
                    Ok(())
                })
            })
            .await;
        match attempt {
            Err(problem) if problem.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
            done => return done.map_err(|problem| problem.during("counting refused requests")),
        }
    }
}
