//! What a restore names must be there before it is admitted: its snapshot, and the run whose plan it carries out.
//!
//! Only requests for restores ask the ledger here, and only those whose identity nobody is known to hold; a fetch and
//! a duplicate pay nothing. What is found here may be gone when the run executes: execution looks again.

use std::collections::BTreeMap;

use super::error::IntakeError;
use super::{Resolved, Subject};
use crate::domain::identity::{Inputs, RestoreInputs, RestoreMode};
use crate::domain::operation::Operation;
use crate::domain::run::{Outcome, Run, Status};
use crate::ids::{RunId, SnapshotId, TenantId};
use crate::store::{Snapshot, SnapshotKind, Store};

/// Checks what a restore names; every other operation passes at once. A request whose identity is held passes, too:
/// it gets its verdict, whatever has become of its snapshot.
///
/// # Errors
/// [`IntakeError::Field`], naming the input; [`IntakeError::Store`].
pub async fn check_named(store: &Store, resolved: &Resolved, force: bool) -> Result<(), IntakeError> {
    let (Inputs::Restore(inputs), Subject::Tenant(tenant)) = (&resolved.inputs, &resolved.subject) else {
        return Ok(());
    };
    match look_up(store, inputs, tenant.id).await {
        Err(error @ IntakeError::Field { .. }) if !is_held(store, resolved, force).await? => Err(error),
        Err(IntakeError::Field { .. }) | Ok(()) => Ok(()),
        Err(other) => Err(other),
    }
}

/// Checks what the inputs of a restore name, whoever holds its identity.
///
/// # Errors
/// As [`check_named`].
pub(super) async fn look_up(
    store: &Store,
    inputs: &RestoreInputs,
    tenant: TenantId,
) -> Result<(), IntakeError> {
    let snapshot = match i64::try_from(inputs.snapshot_id) {
        Ok(id) => store.snapshot(SnapshotId(id)).await?,
        Err(_) => None,
    };
    let snapshot = check_snapshot(snapshot, tenant)?;
    let Some(plan_run_id) = inputs.plan_run_id else { return Ok(()) };
    let plan = match i64::try_from(plan_run_id) {
        Ok(id) => store.run(RunId(id)).await?,
        Err(_) => None,
    };
    check_plan(plan.as_ref(), &snapshot, inputs, tenant)
}

/// Whether admission would answer with a run that there is already. Asked only when a request is about to be refused.
async fn is_held(store: &Store, resolved: &Resolved, force: bool) -> Result<bool, IntakeError> {
    let Some(holder) = store.holder(resolved.identity).await? else { return Ok(false) };
    if holder.is_active() {
        return Ok(true);
    }
    let now = store.now().await?;
    Ok(!force && holder.cooldown_until.is_some_and(|until| now < until))
}

/// The snapshot is the tenant's, and complete in itself. What is unknown and what is another tenant's are told apart
/// by nobody.
fn check_snapshot(found: Option<Snapshot>, tenant: TenantId) -> Result<Snapshot, IntakeError> {
    let refused = |problem: &str| IntakeError::field("inputs.snapshot_id", problem.to_owned());
    let snapshot = found
        .filter(|snapshot| snapshot.tenant_id == tenant)
        .ok_or_else(|| refused("expected a snapshot of this tenant, found none with this id"))?;
    if !snapshot.finished {
        return Err(refused("expected a snapshot that was read to its end, found one that was not"));
    }
    Ok(snapshot)
}

/// The run is one whose plan this very request may carry out: a dry run of it, or, for an undo, the restore whose
/// replaced sets the snapshot holds.
fn check_plan(
    found: Option<&Run>,
    snapshot: &Snapshot,
    inputs: &RestoreInputs,
    tenant: TenantId,
) -> Result<(), IntakeError> {
    let refused = |problem: String| Err(IntakeError::field("inputs.plan_run_id", problem));
    let is_own = |run: &&Run| run.tenant_id == Some(tenant) && run.operation == Operation::Restore;
    let Some(plan) = found.filter(is_own) else {
        return refused("expected a restore of this tenant, found none with this id".to_owned());
    };
    if plan.status != Status::Completed {
        return refused(format!("expected a run that is completed, found one that is {}", plan.status));
    }
    if snapshot.kind == SnapshotKind::Replaced && snapshot.operation_run_id == Some(plan.id) {
        return Ok(());
    }
    let Some(planned) = restore_inputs(plan).filter(|planned| planned.dry_run) else {
        return refused(
            "expected a dry run, or the restore whose replaced sets the snapshot holds, found another restore"
                .to_owned(),
        );
    };
    if inputs.dry_run {
        return refused("expected none with dry_run: a dry run makes a plan of its own".to_owned());
    }
    if plan.outcome != Outcome::Succeeded {
        return refused("expected a dry run that succeeded, found one that failed".to_owned());
    }
    match differing_field(&planned, inputs) {
        None => Ok(()),
        Some(field) => refused(format!("expected a plan for the same `{field}`, found one for another")),
    }
}

/// Whether a run may have replaced something that can be put back.
///
/// # Errors
/// [`IntakeError::RunNotCompleted`] while it may still write; [`IntakeError::NothingToUndo`].
pub(super) fn check_undo(run: &Run) -> Result<(), IntakeError> {
    if run.operation != Operation::Restore {
        return Err(IntakeError::NothingToUndo { run: run.id, why: "it is no restore" });
    }
    if run.status != Status::Completed {
        return Err(IntakeError::RunNotCompleted(run.id));
    }
    if restore_inputs(run).is_some_and(|inputs| inputs.dry_run) {
        return Err(IntakeError::NothingToUndo { run: run.id, why: "it was a dry run" });
    }
    Ok(())
}

/// The inputs of a restore that puts back what `run` replaced. The restore is named as the plan, so that a policy that
/// somebody changed since is left alone.
///
/// # Errors
/// [`IntakeError::NothingToUndo`] when it replaced nothing.
pub(super) fn undo_inputs(
    run: RunId,
    replaced: Option<&Snapshot>,
    undo: super::Undo,
) -> Result<RestoreInputs, IntakeError> {
    let snapshot_id = replaced.and_then(|snapshot| u64::try_from(snapshot.id.0).ok());
    Ok(RestoreInputs {
        snapshot_id: snapshot_id.ok_or(IntakeError::NothingToUndo { run, why: "it replaced nothing" })?,
        policy_ids: None,
        group_map: BTreeMap::new(),
        mode: RestoreMode::Exact,
        dry_run: undo.dry_run,
        plan_run_id: u64::try_from(run.0).ok(),
        allow_widening: undo.allow_widening,
    })
}

/// The normalised inputs of a restore; `None` for another operation, or where its context cannot be read any more.
fn restore_inputs(run: &Run) -> Option<RestoreInputs> {
    match Inputs::normalise(run.operation, run.context.get("inputs")?) {
        Ok(Inputs::Restore(inputs)) => Some(inputs),
        _ => None,
    }
}

/// What a plan was made for and this request is not.
fn differing_field(planned: &RestoreInputs, asked: &RestoreInputs) -> Option<&'static str> {
    [
        ("snapshot_id", planned.snapshot_id == asked.snapshot_id),
        ("policy_ids", planned.policy_ids == asked.policy_ids),
        ("group_map", planned.group_map == asked.group_map),
        ("mode", planned.mode == asked.mode),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::admin::samples;

    const TENANT: TenantId = TenantId(3);

    fn inputs(value: Value) -> RestoreInputs {
        match Inputs::normalise(Operation::Restore, &value) {
            Ok(Inputs::Restore(inputs)) => inputs,
            other => panic!("expected the inputs of a restore, got {other:?}"),
        }
    }

    /// A restore of the tenant that has succeeded.
    fn restore(inputs: Value) -> Run {
        let mut run = samples::run(RunId(9), Map::new());
        run.operation = Operation::Restore;
        run.status = Status::Completed;
        run.outcome = Outcome::Succeeded;
        run.context.insert("inputs".to_owned(), inputs);
        run
    }

    fn snapshot(kind: SnapshotKind, run: i64) -> Snapshot {
        let at = crate::clock::Instant::from_micros(0).expect("within the calendar");
        Snapshot {
            id: SnapshotId(5),
            kind,
            operation_run_id: Some(RunId(run)),
            tenant_id: TENANT,
            workspace_id: crate::ids::WorkspaceId(1),
            outcome: Outcome::Succeeded,
            finished: true,
            source_tenant: None,
            label: None,
            created_at: at,
            completed_at: Some(at),
            summary_counts: crate::domain::counts::Counts::default(),
            coverage: BTreeMap::new(),
        }
    }

    fn refusal(plan: Option<&Run>, asked: Value) -> Option<String> {
        let fetched = snapshot(SnapshotKind::Fetched, 1);
        check_plan(plan, &fetched, &inputs(asked), TENANT).err().map(|error| error.to_string())
    }

    #[test]
    fn a_dry_run_of_the_same_request_can_be_carried_out() {
        let plan = restore(json!({"snapshot_id": 5, "policy_ids": ["b", "a"], "dry_run": true}));
        let asked =
            json!({"snapshot_id": 5, "policy_ids": ["a", "b"], "plan_run_id": 9, "allow_widening": true});
        assert_eq!(refusal(Some(&plan), asked), None);
    }

    #[test]
    fn a_plan_for_another_request_is_refused_by_the_input_that_differs() {
        let plan = restore(json!({"snapshot_id": 5, "dry_run": true}));
        for (asked, field) in [
            (json!({"snapshot_id": 6, "plan_run_id": 9}), "snapshot_id"),
            (json!({"snapshot_id": 5, "plan_run_id": 9, "policy_ids": ["a"]}), "policy_ids"),
            (json!({"snapshot_id": 5, "plan_run_id": 9, "mode": "merge"}), "mode"),
        ] {
            let text = refusal(Some(&plan), asked).expect("refused");
            assert!(
                text.starts_with("`inputs.plan_run_id`:") && text.contains(&format!("`{field}`")),
                "{text}"
            );
        }
    }

    #[test]
    fn only_a_finished_restore_of_the_tenant_has_a_plan() {
        let asked = || json!({"snapshot_id": 5, "plan_run_id": 9});
        let good = restore(json!({"snapshot_id": 5, "dry_run": true}));
        assert_eq!(refusal(Some(&good), asked()), None);
        let unknown = refusal(None, asked()).expect("refused");
        let changed = |change: fn(&mut Run)| {
            let mut plan = good.clone();
            change(&mut plan);
            refusal(Some(&plan), asked()).expect("refused")
        };
        assert_eq!(changed(|plan| plan.tenant_id = Some(TenantId(4))), unknown, "foreign is unknown");
        assert_eq!(changed(|plan| plan.operation = Operation::Fetch), unknown);
        assert!(changed(|plan| plan.status = Status::Running).contains("running"));
        assert!(changed(|plan| plan.outcome = Outcome::Failed).contains("failed"));
        let wrote = changed(|plan| {
            plan.context.insert("inputs".to_owned(), json!({"snapshot_id": 5}));
        });
        assert!(wrote.contains("another restore"), "{wrote}");
    }

    #[test]
    fn a_dry_run_of_a_plan_is_refused_but_for_an_undo() {
        let plan = restore(json!({"snapshot_id": 5, "dry_run": true}));
        let asked = json!({"snapshot_id": 5, "plan_run_id": 9, "dry_run": true});
        assert!(refusal(Some(&plan), asked).expect("refused").contains("with dry_run"));
        let undone = restore(json!({"snapshot_id": 4}));
        let undo = inputs(json!({"snapshot_id": 5, "plan_run_id": 9, "dry_run": true}));
        let replaced = snapshot(SnapshotKind::Replaced, 9);
        assert!(check_plan(Some(&undone), &replaced, &undo, TENANT).is_ok());
        let of_another = snapshot(SnapshotKind::Replaced, 8);
        assert!(check_plan(Some(&undone), &of_another, &undo, TENANT).is_err());
    }

    #[test]
    fn an_undo_puts_back_what_the_restore_replaced_and_passes_its_own_check() {
        let mut run = restore(json!({"snapshot_id": 4, "mode": "merge", "policy_ids": ["a"]}));
        run.outcome = Outcome::Failed;
        assert!(check_undo(&run).is_ok());
        let replaced = snapshot(SnapshotKind::Replaced, 9);
        let how = crate::intake::Undo { allow_widening: true, ..Default::default() };
        let undo = undo_inputs(run.id, Some(&replaced), how).expect("it replaced something");
        assert_eq!(undo, inputs(json!({"snapshot_id": 5, "plan_run_id": 9, "allow_widening": true})));
        assert!(check_plan(Some(&run), &replaced, &undo, TENANT).is_ok());
        assert_eq!(undo_inputs(run.id, None, how).unwrap_err().code(), "run.nothing_to_undo");
    }

    #[test]
    fn what_replaced_nothing_cannot_be_undone() {
        let code = |run: &Run| check_undo(run).unwrap_err().code();
        let mut run = restore(json!({"snapshot_id": 5, "dry_run": true}));
        assert_eq!(code(&run), "run.nothing_to_undo");
        run.status = Status::Running;
        assert_eq!(code(&run), "run.not_completed");
        run.operation = Operation::Fetch;
        assert_eq!(code(&run), "run.nothing_to_undo");
    }

    #[test]
    fn a_snapshot_of_another_tenant_is_told_like_one_that_is_not_there() {
        let text = |found| check_snapshot(found, TENANT).unwrap_err().to_string();
        let foreign = Snapshot { tenant_id: TenantId(4), ..snapshot(SnapshotKind::Fetched, 1) };
        assert_eq!(text(Some(foreign)), text(None));
        let open = Snapshot { finished: false, ..snapshot(SnapshotKind::Fetched, 1) };
        assert!(text(Some(open)).contains("to its end"));
        assert!(check_snapshot(Some(snapshot(SnapshotKind::Imported, 1)), TENANT).is_ok());
    }
}
