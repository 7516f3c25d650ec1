//! Reading the journal of a restore: for its next attempt, for plans carried out and undone, for people.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::super::backend::Backend;
use super::super::cursor::{after_policy, next_of, rows_of};
use super::super::error::{Problem, StoreError};
use super::super::records::{ItemTally, Page, PageRequest, RestoreItem};
use super::super::rows::{instant, item_state_word};
use super::super::sets::parsed;
use super::super::statement::{Statement, sql};
use super::super::types::{Document, SqlInstant, Word, sql as types};
use crate::domain::assignment::{AssignmentSet, AssignmentsHash, PolicyKey};
use crate::domain::failure::{Code, Failure};
use crate::domain::restore::{ItemState, JournalItem, Widening};
use crate::ids::RunId;

/// A row of `restore_items`.
#[derive(QueryableByName)]
struct ItemRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    state: Word<ItemState>,
    #[diesel(sql_type = Nullable<Text>)]
    base_hash: Option<Word<AssignmentsHash>>,
    #[diesel(sql_type = Nullable<Text>)]
    wanted_hash: Option<Word<AssignmentsHash>>,
    #[diesel(sql_type = Nullable<Text>)]
    sent_hash: Option<Word<AssignmentsHash>>,
    #[diesel(sql_type = Nullable<Text>)]
    verified_hash: Option<Word<AssignmentsHash>>,
    #[diesel(sql_type = types::Document)]
    widens: Document<Vec<Widening>>,
    #[diesel(sql_type = Nullable<Text>)]
    code: Option<Word<Code>>,
    #[diesel(sql_type = Nullable<Text>)]
    message: Option<String>,
    #[diesel(sql_type = BigInt)]
    calls: i64,
    #[diesel(sql_type = Nullable<types::Instant>)]
    sent_at: Option<SqlInstant>,
    #[diesel(sql_type = types::Instant)]
    updated_at: SqlInstant,
}

/// The columns of an [`ItemRow`], of a table or alias `i`.
macro_rules! item_columns {
    () => {
        "i.policy_type, i.policy_id, i.name, i.state, i.base_hash, i.wanted_hash, i.sent_hash, i.verified_hash, \
         i.widens, i.code, i.message, i.calls, i.sent_at, i.updated_at"
    };
}

impl ItemRow {
    fn failure(&self) -> Option<Failure> {
        let code = self.code.as_ref()?.0;
        Some(Failure::new(code, self.message.as_deref().unwrap_or_default()))
    }

    fn calls(&self) -> u32 {
        u32::try_from(self.calls).unwrap_or(u32::MAX)
    }
}

fn hash(word: Option<Word<AssignmentsHash>>) -> Option<AssignmentsHash> {
    word.map(|Word(hash)| hash)
}

impl From<ItemRow> for JournalItem {
    fn from(row: ItemRow) -> Self {
        Self {
            failure: row.failure(),
            calls: row.calls(),
            policy: PolicyKey { policy_type: row.policy_type, policy_id: row.policy_id },
            name: row.name,
            state: row.state.0,
            base: hash(row.base_hash),
            wanted: hash(row.wanted_hash),
            sent: hash(row.sent_hash),
            verified: hash(row.verified_hash),
            widens: row.widens.0,
            sent_at: instant(row.sent_at),
        }
    }
}

/// See [`super::super::Store::journal`].
pub async fn journal(backend: &Backend, run: RunId) -> Result<Vec<JournalItem>, StoreError> {
    const TEXT: &str = concat!(
        "SELECT ",
        item_columns!(),
        " FROM restore_items i WHERE i.operation_run_id = $1 ORDER BY i.policy_type, i.policy_id"
    );
    let rows: Vec<ItemRow> = backend
        .read("reading a journal", move |conn| {
            Box::pin(async move { conn.rows(sql(TEXT).bind(run.0)).await })
        })
        .await?;
    Ok(rows.into_iter().map(JournalItem::from).collect())
}

/// An item with the content of its sets.
#[derive(QueryableByName)]
struct ShownRow {
    #[diesel(embed)]
    item: ItemRow,
    #[diesel(sql_type = Nullable<Text>)]
    base: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    wanted: Option<String>,
}

/// A select of items with their sets, up to its further conditions.
const SHOWN: &str = concat!(
    "SELECT ",
    item_columns!(),
    ", b.assignments AS base, w.assignments AS wanted FROM restore_items i \
     LEFT JOIN assignment_sets b ON b.hash = i.base_hash \
     LEFT JOIN assignment_sets w ON w.hash = i.wanted_hash \
     WHERE i.operation_run_id = $1"
);

async fn listed(backend: &Backend, statement: Statement) -> Result<Vec<RestoreItem>, StoreError> {
    const OPERATION: &str = "listing a restore's items";
    let rows: Vec<ShownRow> =
        backend.read(OPERATION, move |conn| Box::pin(async move { conn.rows(statement).await })).await?;
    let items: Result<Vec<RestoreItem>, Problem> = rows.into_iter().map(shown).collect();
    items.map_err(|problem| problem.during(OPERATION))
}

fn push_state(statement: &mut Statement, state: Option<ItemState>) {
    if let Some(state) = state {
        statement.push(" AND i.state = ");
        statement.push_value(item_state_word(state));
    }
}

/// See [`super::super::Store::restore_items`].
pub async fn items(
    backend: &Backend,
    run: RunId,
    state: Option<ItemState>,
    page: PageRequest,
) -> Result<Page<RestoreItem>, StoreError> {
    let (after_type, after_id) = after_policy(page.cursor.as_deref())?.unwrap_or_default();
    let mut statement = sql(SHOWN).bind(run.0).bind(after_type).bind(after_id);
    statement.push(" AND (i.policy_type, i.policy_id) > ($2, $3)");
    push_state(&mut statement, state);
    statement.push(" ORDER BY i.policy_type, i.policy_id LIMIT ");
    statement.push_value(rows_of(page.limit));
    let items = listed(backend, statement).await?;
    let key = |item: &RestoreItem| (item.policy_type.clone(), item.policy_id.clone());
    Ok(next_of(items, page.limit, key))
}

/// See [`super::super::Store::restore_items_to_review`].
pub async fn to_review(
    backend: &Backend,
    run: RunId,
    state: Option<ItemState>,
    limit: usize,
) -> Result<(Vec<RestoreItem>, bool), StoreError> {
    // Guarded is what widens in any other way than by a target that is added (`domain::restore::widening::guarded`).
    const ORDER: &str = " ORDER BY CASE WHEN i.state = 'failed' THEN 0 \
         WHEN replace(CAST(i.widens AS text), '\"target_added\"', '') LIKE '%\"%' THEN 1 ELSE 2 END, \
         i.policy_type, i.policy_id LIMIT ";
    let mut statement = sql(SHOWN).bind(run.0);
    statement.push(" AND i.state <> 'skipped'");
    push_state(&mut statement, state);
    statement.push(ORDER);
    statement.push_value(rows_of(limit));
    let mut items = listed(backend, statement).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    Ok((items, more))
}

#[derive(QueryableByName)]
struct TallyRow {
    #[diesel(sql_type = Text)]
    state: Word<ItemState>,
    #[diesel(sql_type = types::Document)]
    widens: Document<Vec<Widening>>,
    #[diesel(sql_type = Nullable<Text>)]
    code: Option<Word<Code>>,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// See [`super::super::Store::restore_tally`].
pub async fn tally(backend: &Backend, run: RunId) -> Result<Vec<ItemTally>, StoreError> {
    const TEXT: &str = "SELECT i.state, i.widens, i.code, count(*) AS n FROM restore_items i \
         WHERE i.operation_run_id = $1 GROUP BY i.state, i.widens, i.code";
    let rows: Vec<TallyRow> = backend
        .read("counting a restore's items", move |conn| {
            Box::pin(async move { conn.rows(sql(TEXT).bind(run.0)).await })
        })
        .await?;
    let tally = rows.into_iter().map(|row| ItemTally {
        state: row.state.0,
        widens: row.widens.0,
        code: row.code.map(|Word(code)| code),
        count: u64::try_from(row.n).unwrap_or(0),
    });
    Ok(tally.collect())
}

fn shown(row: ShownRow) -> Result<RestoreItem, Problem> {
    let item = row.item;
    let (base_hash, wanted_hash) =
        (item.base_hash.as_ref().map(|word| word.0), item.wanted_hash.as_ref().map(|word| word.0));
    let set =
        |hash: Option<AssignmentsHash>, text: Option<String>| -> Result<Option<AssignmentSet>, Problem> {
            hash.zip(text).map(|(hash, text)| parsed(hash, &text)).transpose()
        };
    Ok(RestoreItem {
        base: set(base_hash, row.base)?,
        wanted: set(wanted_hash, row.wanted)?,
        failure: item.failure(),
        calls: item.calls(),
        policy_type: item.policy_type,
        policy_id: item.policy_id,
        name: item.name,
        state: item.state.0,
        base_hash,
        wanted_hash,
        sent_hash: hash(item.sent_hash),
        verified_hash: hash(item.verified_hash),
        widens: item.widens.0,
        sent_at: instant(item.sent_at),
        updated_at: item.updated_at.0,
    })
}

#[derive(QueryableByName)]
struct HashRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    hash: Word<AssignmentsHash>,
}

async fn hashes(
    backend: &Backend,
    operation: &'static str,
    text: &'static str,
    run: RunId,
) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
    let rows: Vec<HashRow> = backend
        .read(operation, move |conn| Box::pin(async move { conn.rows(sql(text).bind(run.0)).await }))
        .await?;
    let keyed = rows
        .into_iter()
        .map(|row| (PolicyKey { policy_type: row.policy_type, policy_id: row.policy_id }, row.hash.0));
    Ok(keyed.collect())
}

/// See [`super::super::Store::verified_hashes`].
pub async fn verified_hashes(
    backend: &Backend,
    run: RunId,
) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
    // One that an earlier attempt wrote, and a later one found as wanted, is skipped: its base is what was read. One
    // that was written and never verified (a cancel, a read that failed) counts when it has what was sent.
    const TEXT: &str = "SELECT i.policy_type, i.policy_id, \
         CASE i.state WHEN 'verified' THEN i.verified_hash WHEN 'skipped' THEN i.base_hash ELSE i.sent_hash END \
         AS hash FROM restore_items i WHERE i.operation_run_id = $1 AND i.replaced_hash IS NOT NULL \
         AND i.base_hash IS NOT NULL AND (i.state = 'skipped' OR i.sent_hash IS NOT NULL)";
    hashes(backend, "reading what a restore left behind", TEXT, run).await
}

/// See [`super::super::Store::planned_hashes`].
pub async fn planned_hashes(
    backend: &Backend,
    run: RunId,
) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
    // What the plan said it would not touch is not carried out either, whatever it had; a guard may be lifted.
    const TEXT: &str = "SELECT i.policy_type, i.policy_id, i.base_hash AS hash FROM restore_items i \
         WHERE i.operation_run_id = $1 AND i.base_hash IS NOT NULL \
         AND (i.state <> 'failed' OR i.code = 'assignments.guard_blocked') AND EXISTS \
         (SELECT 1 FROM operation_runs r JOIN restore_runs a ON a.operation_run_id = r.id \
         AND a.lease_token = r.lease_token WHERE r.id = $1 AND r.status = 'completed' AND a.state = 'finished' \
         AND a.dry_run)";
    hashes(backend, "reading what a plan showed", TEXT, run).await
}
