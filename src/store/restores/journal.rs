//! Writing the journal of a restore: plan, announce a write, end an item.

use super::super::backend::{Backend, Conn};
use super::super::error::{Problem, StoreError};
use super::super::lease::{Under, under};
use super::super::records::ItemEnd;
use super::super::rows::{NumberRow, item_state_word};
use super::super::sets::Sets;
use super::super::statement::sql;
use super::super::types::DocumentText;
use crate::clock::Instant;
use crate::domain::assignment::{AssignmentSet, PolicyKey};
use crate::domain::failure::Failure;
use crate::domain::restore::{Decision, ItemState, PlannedItem, Widening};
use crate::domain::run::Lease;

/// An item of a plan as it is written.
struct Planned {
    policy: PolicyKey,
    name: String,
    base: Option<String>,
    wanted: Option<String>,
    widens: Vec<Widening>,
    state: ItemState,
    failure: Option<Failure>,
    calls: u32,
}

impl Planned {
    fn of(item: PlannedItem, sets: &mut Sets) -> Self {
        let (state, failure, calls) = match item.decision {
            Decision::Unchanged => (ItemState::Skipped, None, 0),
            Decision::Write { calls } => (ItemState::Planned, None, calls),
            Decision::Refused(failure) => (ItemState::Failed, Some(failure), 0),
        };
        Self {
            base: sets.add_some(item.base.as_ref()),
            wanted: sets.add_some(item.wanted.as_ref()),
            policy: item.policy,
            name: item.name,
            widens: item.widens,
            state,
            failure,
            calls,
        }
    }
}

/// See [`super::super::Store::plan_items`].
pub async fn plan_items(
    backend: &Backend,
    lease: Lease,
    items: Vec<PlannedItem>,
) -> Result<bool, StoreError> {
    // Canonical texts are made before the writer is taken.
    let mut sets = Sets::default();
    let items: Vec<Planned> = items.into_iter().map(|item| Planned::of(item, &mut sets)).collect();
    backend
        .write("storing a plan", move |conn| {
            Box::pin(async move {
                let Some(Under { now, .. }) = under(conn, lease).await? else { return Ok(false) };
                sets.store(conn, now).await?;
                for item in items {
                    plan_item(conn, lease, item, now).await?;
                }
                Ok(true)
            })
        })
        .await
}

/// A failed item may have been written by an earlier attempt: what it had before that stays with it.
async fn plan_item(conn: &mut Conn<'_>, lease: Lease, item: Planned, now: Instant) -> Result<(), Problem> {
    const TEXT: &str = "INSERT INTO restore_items (operation_run_id, policy_type, policy_id, name, state, \
         base_hash, wanted_hash, widens, code, message, calls, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (operation_run_id, policy_type, policy_id) DO UPDATE SET name = excluded.name, \
         state = excluded.state, base_hash = excluded.base_hash, wanted_hash = excluded.wanted_hash, \
         sent_hash = NULL, sent_at = NULL, verified_hash = NULL, widens = excluded.widens, code = excluded.code, \
         message = excluded.message, calls = excluded.calls, updated_at = excluded.updated_at \
         WHERE restore_items.state IN ('planned', 'failed')";
    let statement = sql(TEXT)
        .bind(lease.run_id.0)
        .bind(item.policy.policy_type)
        .bind(item.policy.policy_id)
        .bind(item.name)
        .bind(item_state_word(item.state))
        .bind(item.base)
        .bind(item.wanted)
        .bind(DocumentText::of(&item.widens))
        .bind(item.failure.as_ref().map(|failure| failure.code.as_str()))
        .bind(item.failure.as_ref().map(|failure| failure.message().to_owned()))
        .bind(i64::from(item.calls))
        .bind(now);
    conn.execute(statement).await?;
    Ok(())
}

/// See [`super::super::Store::mark_sent`].
pub async fn mark_sent(
    backend: &Backend,
    lease: Lease,
    policy: PolicyKey,
    base: &AssignmentSet,
    sent: &AssignmentSet,
) -> Result<Option<Instant>, StoreError> {
    const TEXT: &str = "UPDATE restore_items SET state = 'sent', base_hash = $1, sent_hash = $2, sent_at = $3, \
         verified_hash = NULL, replaced_hash = coalesce(replaced_hash, $1), updated_at = $3 \
         WHERE operation_run_id = $4 AND policy_type = $5 AND policy_id = $6 AND state IN ('planned', 'sent')";
    let mut sets = Sets::default();
    let (base, sent) = (sets.add(base), sets.add(sent));
    backend
        .write("announcing a write", move |conn| {
            Box::pin(async move {
                let Some(Under { now, .. }) = under(conn, lease).await? else { return Ok(None) };
                sets.store(conn, now).await?;
                let statement = sql(TEXT)
                    .bind(base)
                    .bind(sent)
                    .bind(now)
                    .bind(lease.run_id.0)
                    .bind(policy.policy_type)
                    .bind(policy.policy_id);
                Ok((conn.execute(statement).await? == 1).then_some(now))
            })
        })
        .await
}

/// See [`super::super::Store::mark_item`].
pub async fn mark_item(
    backend: &Backend,
    lease: Lease,
    policy: PolicyKey,
    end: ItemEnd,
) -> Result<bool, StoreError> {
    debug_assert!(
        (end.state == ItemState::Failed) == end.failure.is_some()
            && (end.state != ItemState::Verified || end.verified.is_some()),
        "a failed item says why, a verified one what was read"
    );
    let mut sets = Sets::default();
    let verified = sets.add_some(end.verified.as_ref());
    backend
        .write("ending an item", move |conn| {
            Box::pin(async move {
                let Some(Under { now, .. }) = under(conn, lease).await? else { return Ok(false) };
                sets.store(conn, now).await?;
                Ok(end_item(conn, lease, &policy, &end, verified.clone(), now).await?
                    || has_ended_so(conn, lease, policy, &end, verified).await?)
            })
        })
        .await
}

async fn end_item(
    conn: &mut Conn<'_>,
    lease: Lease,
    policy: &PolicyKey,
    end: &ItemEnd,
    verified: Option<String>,
    now: Instant,
) -> Result<bool, Problem> {
    /// What may be followed by the end that the name says.
    macro_rules! end_of {
        ($before:literal) => {
            concat!(
                "UPDATE restore_items SET state = $1, verified_hash = $2, code = $3, message = $4, updated_at = $5 \
                 WHERE operation_run_id = $6 AND policy_type = $7 AND policy_id = $8 AND state IN (",
                $before,
                ")"
            )
        };
    }
    let (text, verified) = match end.state {
        ItemState::Verified => (end_of!("'sent'"), verified),
        // Nothing was sent, so that nothing is to be read back: what was found is the base of the plan.
        ItemState::Skipped => (end_of!("'planned'"), None),
        ItemState::Failed => (end_of!("'planned', 'sent'"), verified),
        ItemState::Planned | ItemState::Sent => return Ok(false),
    };
    let failure = end.failure.as_ref();
    let statement = sql(text)
        .bind(item_state_word(end.state))
        .bind(verified)
        .bind(failure.map(|failure| failure.code.as_str()))
        .bind(failure.map(|failure| failure.message().to_owned()))
        .bind(now)
        .bind(lease.run_id.0)
        .bind(policy.policy_type.clone())
        .bind(policy.policy_id.clone());
    Ok(conn.execute(statement).await? == 1)
}

/// Whether the item shows this very end already: the answer to the first call got lost.
async fn has_ended_so(
    conn: &mut Conn<'_>,
    lease: Lease,
    policy: PolicyKey,
    end: &ItemEnd,
    verified: Option<String>,
) -> Result<bool, Problem> {
    const TEXT: &str = "SELECT operation_run_id AS n FROM restore_items WHERE operation_run_id = $1 \
         AND policy_type = $2 AND policy_id = $3 AND state = $4 AND coalesce(verified_hash, '') = $5 \
         AND coalesce(code, '') = $6 AND state NOT IN ('planned', 'sent')";
    let verified = verified.filter(|_| end.state != ItemState::Skipped);
    let row: Option<NumberRow> = conn
        .row(
            sql(TEXT)
                .bind(lease.run_id.0)
                .bind(policy.policy_type)
                .bind(policy.policy_id)
                .bind(item_state_word(end.state))
                .bind(verified.unwrap_or_default())
                .bind(end.failure.as_ref().map_or("", |failure| failure.code.as_str())),
        )
        .await?;
    Ok(row.is_some())
}
