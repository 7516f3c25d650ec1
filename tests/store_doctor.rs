//! The doctor finds what breaks a guarantee, on both engines.

#[path = "support/store.rs"]
mod support;

#[path = "store_doctor/limits.rs"]
mod limits;
#[path = "store_doctor/schema.rs"]
mod schema;

use std::time::Duration;

use atlasd::config::{DatabaseConfig, Span};
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::reconcile::Repair;
use atlasd::domain::run::{HandBackReason, Outcome, Run, Settlement};
use atlasd::ids::RunId;
use atlasd::store::{self, CandidateFilter, Finding, RestoreEnd, Store};
use support::*;

async fn broken(lab: &Lab) -> Vec<Finding> {
    let findings = lab.store.doctor().await.unwrap();
    findings.into_iter().filter(|finding| finding.broken > 0).collect()
}

/// The one broken check of `guarantee` whose text has `part`.
async fn found(lab: &Lab, guarantee: &str, part: &str, run: RunId) {
    let broken = broken(lab).await;
    let finding =
        broken.iter().find(|finding| finding.guarantee == guarantee && finding.check.contains(part));
    let finding = finding.unwrap_or_else(|| panic!("expected {guarantee} {part}, got {broken:?}"));
    assert!(finding.examples.contains(&run), "{finding:?}");
    assert!(!finding.advice.is_empty());
}

fn copy(id: RunId, change: &str) -> String {
    format!(
        "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
         run_identity_hash, created_at, updated_at, priority, holds_identity, completed_at, cooldown_until, context, \
         started_at, lease_token, lease_owner) \
         SELECT workspace_id, tenant_id, initiator_name, type, {change} FROM operation_runs WHERE id = {id}"
    )
}

fn drop_trigger(lab: &Lab, name: &str) {
    let on = if lab.engine == Engine::Postgres { " ON operation_runs" } else { "" };
    lab.database.execute(&format!("DROP TRIGGER {name}{on}")).unwrap();
}

/// Exactly these checks are broken, and the first names `run`.
async fn only(lab: &Lab, expected: &[&str], run: RunId) {
    let found = broken(lab).await;
    assert_eq!(keys(&found), expected, "{found:?}");
    assert!(found[0].examples.contains(&run) && !found[0].advice.is_empty(), "{found:?}");
}

/// Of a schema that was changed for the test, these checks of rows are broken, and the first names `run`.
async fn only_rows(lab: &Lab, expected: &[&str], run: RunId) {
    let mut found = broken(lab).await;
    found.retain(|finding| !finding.is_of_schema());
    assert_eq!(keys(&found), expected, "{found:?}");
    assert!(found[0].examples.contains(&run) && !found[0].advice.is_empty(), "{found:?}");
}

fn keys(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.key.as_str()).collect()
}

/// An hour after what `column` says.
fn later(lab: &Lab, column: &str) -> String {
    match lab.engine {
        Engine::Sqlite => format!("{column} + 3600000000"),
        Engine::Postgres => format!("{column} + interval '1 hour'"),
    }
}

/// Runs statements that foreign keys would refuse.
fn without_foreign_keys(lab: &Lab, text: &str) {
    let off = match lab.engine {
        Engine::Sqlite => "PRAGMA foreign_keys = OFF",
        Engine::Postgres => "SET session_replication_role = replica",
    };
    lab.database.execute(&format!("{off}; {text}")).unwrap();
}

/// A restore that has succeeded, with a restore run that has, too.
async fn restored(lab: &Lab) -> Run {
    let run = lab.restoring().await;
    let restore = lab.store.begin_restore(lease(&run), false).await.unwrap().unwrap();
    let end = RestoreEnd { outcome: Outcome::Succeeded, counts: counts(3), failures: Vec::new() };
    assert!(lab.store.finish_restore(lease(&run), restore, end).await.unwrap());
    lab.settled(lease(&run), succeeded()).await
}

/// Puts an item into the journal of a run: these columns with these values, behind its key and name.
fn item(lab: &Lab, run: RunId, columns: &str, values: &str) {
    let hash = "a".repeat(64);
    let text = format!(
        "INSERT INTO assignment_sets (hash, assignments, created_at) SELECT '{hash}', '[]', created_at \
         FROM operation_runs WHERE id = {run} ON CONFLICT DO NOTHING; \
         INSERT INTO restore_items (operation_run_id, policy_type, policy_id, name, updated_at, {columns}) \
         SELECT id, 'compliancePolicy', 'p', 'P', created_at, {values} FROM operation_runs WHERE id = {run}"
    );
    lab.database.execute(&text.replace("{hash}", &hash)).unwrap();
}

const SENT: (&str, &str) = (
    "state, base_hash, replaced_hash, sent_hash, sent_at",
    "'sent', '{hash}', '{hash}', '{hash}', created_at",
);

/// Something with the looks of a token.
fn token() -> String {
    format!("eyJ{}.eyJ{}", "a".repeat(20), "b".repeat(20))
}

/// Runs a statement that the CHECK of this name would refuse.
fn unguarded(lab: &Lab, constraint: &str, text: &str) {
    let off = match lab.engine {
        Engine::Sqlite => "PRAGMA ignore_check_constraints = ON".to_owned(),
        Engine::Postgres => format!("ALTER TABLE operation_runs DROP CONSTRAINT {constraint}"),
    };
    lab.database.execute(&format!("{off}; {text}")).unwrap();
}

on_each_engine! {
    async fn a_ledger_in_use_is_well(lab: &Lab) {
        lab.completed().await;
        let run = lab.running().await;
        lab.store.begin_snapshot(lease(&run)).await.unwrap();
        lab.accepted(lab.request()).await;
        let mut forced = lab.request_of(lab.tenants[1], identity(77));
        for _ in 0..2 {
            forced.force = true;
            forced.context.insert("forced_by".into(), "ada".into());
            let run = lab.accepted(forced.clone()).await;
            let run = lab.store.claim_run(run.id, lab.instance).await.unwrap().unwrap();
            lab.settled(lease(&run), failed(Code::GraphTimeout)).await;
        }
        let findings = lab.store.doctor().await.unwrap();
        assert!(findings.len() > 15);
        assert!(findings.iter().all(|finding| finding.broken == 0 && finding.advice.is_empty()), "{:?}", broken(lab).await);
    }

    async fn two_active_runs_of_one_identity(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        lab.database.execute("DROP INDEX operation_runs_active_tenant; DROP INDEX operation_runs_holder_tenant").unwrap();
        lab.database.execute(&copy(run.id, "status, outcome, run_identity_hash, created_at, updated_at, priority, TRUE, NULL, NULL, context, NULL, 0, NULL")).unwrap();
        let second = RunId(run.id.0 + 1);
        found(lab, "G1", "one active run per identity", second).await;
        found(lab, "G1", "two holders", second).await;
        let broken = broken(lab).await;
        assert!(broken.iter().any(|f| f.guarantee == "G1" && f.check.contains("operation_runs_active_tenant")));
        assert!(broken.iter().any(|f| f.guarantee == "G2" && f.check.contains("operation_runs_holder_tenant")));
    }

    async fn two_running_runs_of_one_tenant(lab: &Lab) {
        let run = lab.running().await;
        lab.database.execute("DROP INDEX operation_runs_one_running").unwrap();
        lab.database.execute(&copy(run.id, "status, outcome, replace(run_identity_hash, '0', 'f'), created_at, updated_at, priority, TRUE, NULL, NULL, context, started_at, 1, lease_owner")).unwrap();
        found(lab, "G1", "one running run per tenant", RunId(run.id.0 + 1)).await;
        found(lab, "G3", "open attempt", RunId(run.id.0 + 1)).await;
    }

    async fn a_run_accepted_within_a_cooldown(lab: &Lab) {
        let run = lab.completed().await;
        lab.database.execute(&format!("UPDATE operation_runs SET holds_identity = FALSE WHERE id = {}", run.id)).unwrap();
        let again = lab.accepted(lab.request_of(lab.tenant(), run.identity)).await;
        only(lab, &["cooldown", "holder_lost"], again.id).await;
    }

    async fn a_run_in_cooldown_that_lost_its_identity(lab: &Lab) {
        let run = lab.completed().await;
        let text = format!("UPDATE operation_runs SET holds_identity = FALSE WHERE id = {}", run.id);
        lab.database.execute(&text).unwrap();
        only(lab, &["holder_lost"], run.id).await;
        lab.advance(COOLDOWN);
        assert!(broken(lab).await.is_empty(), "its cooldown is over");
    }

    async fn an_identity_that_was_free_by_a_clock_that_was_set_back(lab: &Lab) {
        let first = lab.completed().await;
        lab.advance(COOLDOWN + Duration::from_secs(60));
        let before = lab.store.now().await.unwrap();
        let second = lab.accepted(lab.request_of(lab.tenant(), first.identity)).await;
        lab.store.request_cancel(second.id, "ada").await.unwrap();
        lab.clock.advance(-chrono::Duration::minutes(10));
        let after = lab.store.now().await.unwrap();
        lab.accepted(lab.request_of(lab.tenant(), first.identity)).await;
        assert_eq!(keys(&broken(lab).await), ["cooldown", "holder_lost"], "by times alone");
        let step = atlasd::store::ClockStep { low: after, high: before };
        lab.store.clock_was_set_back(step, LEASE).await.unwrap();
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
    }

    async fn a_forced_run_between_does_not_excuse_what_comes_after_its_own_cooldown_began(lab: &Lab) {
        let first = lab.completed().await;
        let mut forced = lab.request_of(lab.tenant(), first.identity);
        forced.force = true;
        forced.context.insert("forced_by".into(), "ada".into());
        let forced = lab.accepted(forced).await;
        let forced = lab.store.claim_run(forced.id, lab.instance).await.unwrap().unwrap();
        lab.settled(lease(&forced), succeeded()).await;
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
        lab.database.execute("UPDATE operation_runs SET holds_identity = FALSE").unwrap();
        let again = lab.accepted(lab.request_of(lab.tenant(), first.identity)).await;
        only(lab, &["cooldown", "holder_lost"], again.id).await;
        let newest = lab.store.doctor_of_newest(1).await.unwrap();
        assert!(newest.iter().all(|finding| finding.broken == 0), "what came before is not looked at");
    }

    async fn a_forced_run_ends_the_cooldown_that_it_skips(lab: &Lab) {
        let first = lab.completed().await;
        let mut forced = lab.request_of(lab.tenant(), first.identity);
        forced.force = true;
        forced.context.insert("forced_by".into(), "ada".into());
        let forced = lab.accepted(forced).await;
        lab.store.request_cancel(forced.id, "ada").await.unwrap();
        lab.accepted(lab.request_of(lab.tenant(), first.identity)).await;
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
    }

    async fn a_run_of_a_dead_instance(lab: &Lab) {
        let run = lab.running().await;
        lab.advance(Duration::from_secs(16));
        assert!(broken(lab).await.is_empty(), "within its 15 s, wherever between two heartbeats it died");
        lab.advance(Duration::from_secs(2));
        found(lab, "G3", "dead instance", run.id).await;
    }

    async fn a_run_of_an_instance_that_is_slow(lab: &Lab) {
        let run = lab.running().await;
        assert!(lab.store.heartbeat(lab.instance, Duration::from_secs(60)).await.unwrap().renewed);
        lab.advance(Duration::from_secs(64));
        assert!(broken(lab).await.is_empty(), "it has its lease, and what a takeover may need after it");
        lab.advance(Duration::from_secs(2));
        found(lab, "G3", "dead instance", run.id).await;
    }

    async fn a_missing_trigger_and_a_changed_result(lab: &Lab) {
        let run = lab.completed().await;
        drop_trigger(lab, "operation_runs_completed_is_final");
        let broken_checks = broken(lab).await;
        assert_eq!((broken_checks.len(), broken_checks[0].guarantee.as_str()), (1, "G4"));
        lab.database.execute("UPDATE operation_runs SET summary_counts = '{\"total\":4}'").unwrap();
        found(lab, "G5", "final attempt", run.id).await;
    }

    async fn an_attempt_and_an_adapter_run_that_are_left_open(lab: &Lab) {
        let run = lab.running().await;
        lab.store.begin_snapshot(lease(&run)).await.unwrap();
        lab.settled(lease(&run), succeeded()).await;
        assert!(broken(lab).await.is_empty(), "the run's end closes them");
        lab.database.execute("UPDATE snapshots SET state = 'building', outcome = 'pending', completed_at = NULL").unwrap();
        found(lab, "G3", "adapter runs are closed", run.id).await;
        lab.database.execute("UPDATE run_attempts SET outcome = 'running', ended_at = NULL").unwrap();
        found(lab, "G3", "attempt is open", run.id).await;
    }

    async fn two_reconciles_of_one_workspace(lab: &Lab) {
        let first = lab.accepted(lab.reconcile_request()).await;
        lab.database.execute(&copy(first.id, "status, outcome, replace(run_identity_hash, '0', 'f'), created_at, updated_at, priority, TRUE, NULL, NULL, context, NULL, 0, NULL")).unwrap();
        found(lab, "G7", "one reconcile", RunId(first.id.0 + 1)).await;
    }

    async fn each_check_says_how_much_it_looked_at(lab: &Lab) {
        lab.completed().await;
        lab.running().await;
        let findings = lab.store.doctor().await.unwrap();
        let looked = |key: &str| findings.iter().find(|finding| finding.key == key).unwrap().looked_at;
        assert_eq!((looked("active_unique"), looked("final_attempt"), looked("tokens_grow")), (1, 1, 2));
        assert_eq!(looked("personal_or_secret"), 4);
        let newest = lab.store.doctor_of_newest(1).await.unwrap();
        let looked = |key: &str| newest.iter().find(|finding| finding.key == key).unwrap().looked_at;
        assert_eq!((looked("active_unique"), looked("final_attempt"), looked("tokens_grow")), (1, 0, 1));
    }

    async fn a_run_with_an_end_that_is_none(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        // It counts runs by the day that they ended on, and this one has none.
        drop_trigger(lab, "operation_runs_days_of_update");
        unguarded(lab, "operation_runs_pending_while_not_completed", "UPDATE operation_runs SET outcome = 'failed'");
        only_rows(lab, &["completed_has_end"], run.id).await;
    }

    async fn a_run_that_changed_after_its_end(lab: &Lab) {
        let run = lab.completed().await;
        drop_trigger(lab, "operation_runs_completed_is_final");
        lab.database.execute(&format!("UPDATE operation_runs SET updated_at = {}", later(lab, "updated_at"))).unwrap();
        only(lab, &["changed_after_end", "operation_runs_completed_is_final"], run.id).await;
    }

    async fn two_attempts_of_one_tenant_at_the_same_time(lab: &Lab) {
        let first = lab.completed().await;
        let second = lab.completed().await;
        let of_first = format!("(SELECT b.started_at FROM run_attempts b WHERE b.run_id = {})", first.id);
        lab.database.execute(&format!("UPDATE run_attempts SET started_at = {of_first} WHERE run_id = {}", second.id)).unwrap();
        let found = broken(lab).await;
        assert_eq!(keys(&found), ["tenant_overlap"], "{found:?}");
    }

    async fn times_that_the_clock_told_twice_break_nothing(lab: &Lab) {
        let first = lab.running().await;
        lab.advance(Duration::from_secs(3_600));
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        lab.settled(lease(&first), succeeded()).await;
        let spanning = lab.running().await;
        let before = lab.store.now().await.unwrap();
        lab.clock.advance(-chrono::Duration::hours(1));
        let after = lab.store.now().await.unwrap();
        lab.settled(lease(&spanning), succeeded()).await;
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        lab.completed().await;
        let by_times = broken(lab).await;
        assert_eq!(keys(&by_times), ["tenant_overlap", "attempt_after_end"], "{by_times:?}");
        let step = atlasd::store::ClockStep { low: after, high: before };
        lab.store.clock_was_set_back(step, LEASE).await.unwrap();
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
    }

    async fn an_attempt_that_began_after_the_end(lab: &Lab) {
        let run = lab.completed().await;
        lab.database.execute(&format!("UPDATE run_attempts SET started_at = {}", later(lab, "started_at"))).unwrap();
        only(lab, &["attempt_after_end"], run.id).await;
    }

    async fn a_token_that_did_not_grow(lab: &Lab) {
        let run = lab.running().await;
        let retry = Settlement::Retry {
            next_attempt_at: lab.store.now().await.unwrap(),
            counts: counts(1),
            failures: vec![Failure::new(Code::GraphThrottled, "throttled")],
        };
        lab.settled(lease(&run), retry).await;
        lab.claimed().await;
        lab.database.execute(&format!("UPDATE run_attempts SET started_at = {} WHERE lease_token = 1", later(lab, "started_at"))).unwrap();
        only(lab, &["tokens_grow"], run.id).await;
    }

    async fn two_reconciles_of_one_workspace_that_overlapped(lab: &Lab) {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let mut request = lab.reconcile_request();
            request.force = true;
            request.context.insert("forced_by".into(), "ada".into());
            let run = lab.accepted(request).await;
            let run = lab.store.claim_run(run.id, lab.instance).await.unwrap().unwrap();
            lab.settled(lease(&run), succeeded()).await;
            runs.push(run.id);
        }
        drop_trigger(lab, "operation_runs_completed_is_final");
        let of_first = format!("(SELECT b.started_at FROM operation_runs b WHERE b.id = {})", runs[0]);
        lab.database.execute(&format!("UPDATE operation_runs SET started_at = {of_first} WHERE id = {}", runs[1])).unwrap();
        only(lab, &["reconcile_overlap", "operation_runs_completed_is_final"], runs[1]).await;
    }

    async fn a_text_with_an_address(lab: &Lab) {
        let mut request = lab.request();
        request.initiator_name = ["jane", "contoso.example"].join("@");
        let run = lab.accepted(request).await;
        only(lab, &["personal_or_secret"], run.id).await;
    }

    async fn a_due_run_that_nobody_executes(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        lab.advance(Duration::from_secs(601));
        assert!(broken(lab).await.is_empty(), "nobody lives");
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        only(lab, &["tenant_neglected"], run.id).await;
    }

    async fn a_run_with_a_user_of_another_workspace(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        let other = lab.store.add_workspace("fabrikam", "Fabrikam").await.unwrap().id;
        let user = lab.store.add_user(other, "eve").await.unwrap();
        lab.database.execute(&format!("UPDATE operation_runs SET user_id = {}", user.0)).unwrap();
        only(lab, &["run_of_workspace"], run.id).await;
    }

    async fn a_snapshot_of_another_tenant(lab: &Lab) {
        let run = lab.running().await;
        lab.store.begin_snapshot(lease(&run)).await.unwrap();
        lab.database.execute(&format!("UPDATE snapshots SET tenant_id = {}", lab.tenants[1].0)).unwrap();
        only(lab, &["snapshot_of_tenant"], run.id).await;
    }

    async fn an_attempt_without_its_run(lab: &Lab) {
        let run = lab.completed().await;
        without_foreign_keys(lab, "UPDATE operation_runs SET holds_identity = FALSE; DELETE FROM operation_runs");
        only(lab, &["run_missing"], run.id).await;
    }

    async fn a_holder_whose_cooldown_never_ends(lab: &Lab) {
        let run = lab.completed().await;
        drop_trigger(lab, "operation_runs_completed_is_final");
        unguarded(lab, "operation_runs_completed_holds_in_cooldown", "UPDATE operation_runs SET cooldown_until = NULL");
        only_rows(lab, &["holder_for_ever"], run.id).await;
    }

    async fn what_the_ledger_itself_ends_is_well(lab: &Lab) {
        let retry = Settlement::Retry {
            next_attempt_at: lab.store.now().await.unwrap(),
            counts: counts(1),
            failures: vec![Failure::new(Code::GraphThrottled, "throttled")],
        };
        let retried = lab.running().await;
        lab.settled(lease(&retried), retry.clone()).await;
        lab.store.request_cancel(retried.id, "ada").await.unwrap();
        let between = lab.running().await;
        lab.store.request_cancel(between.id, "ada").await.unwrap();
        lab.settled(lease(&between), Settlement::HandBack { reason: HandBackReason::Draining }).await;
        let lost = lab.running().await;
        lab.advance(LEASE + Duration::from_secs(1));
        let filter = CandidateFilter { queued_max: Duration::from_secs(600), adapter_grace: Duration::from_secs(60) };
        let seen = lab.store.observe(lab.workspace, filter, RunId(0), 9).await.unwrap().remove(0);
        lab.store.repair(&seen, Repair::CompleteLeaseExpired, COOLDOWN).await.unwrap().unwrap();
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
        for run in [lost, between] {
            lab.store.settle(lease(&run), succeeded()).await.unwrap();
        }
        assert!(broken(lab).await.is_empty(), "results that came too late: {:?}", broken(lab).await);
    }

    async fn a_success_whose_final_attempt_was_none(lab: &Lab) {
        let run = lab.completed().await;
        for outcome in ["stale", "lease_expired", "retried", "failed"] {
            lab.database.execute(&format!("UPDATE run_attempts SET outcome = '{outcome}'")).unwrap();
            only(lab, &["final_attempt"], run.id).await;
        }
    }

    async fn a_failure_that_its_final_attempt_does_not_explain(lab: &Lab) {
        let run = lab.running().await;
        lab.settled(lease(&run), failed(Code::GraphTimeout)).await;
        lab.database.execute("UPDATE run_attempts SET outcome = 'lease_expired'").unwrap();
        only(lab, &["final_attempt"], run.id).await;
    }

    async fn a_restore_that_is_left_open(lab: &Lab) {
        let run = restored(lab).await;
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
        lab.database.execute("UPDATE restore_runs SET state = 'building', outcome = 'pending', completed_at = NULL").unwrap();
        only(lab, &["adapter_left_open"], run.id).await;
    }

    async fn a_policy_that_a_restore_left_as_it_was_before_its_write(lab: &Lab) {
        let run = restored(lab).await;
        item(lab, run.id, SENT.0, SENT.1);
        only(lab, &["item_left_open"], run.id).await;
        lab.database.execute("UPDATE restore_runs SET dry_run = TRUE").unwrap();
        only(lab, &["item_left_open"], run.id).await;
        let failed = "UPDATE restore_items SET state = 'failed', code = 'graph.not_found', message = 'not there'";
        lab.database.execute(failed).unwrap();
        assert!(broken(lab).await.is_empty(), "a plan that was made is a success");
        lab.database.execute("UPDATE restore_runs SET dry_run = FALSE").unwrap();
        only(lab, &["item_left_open"], run.id).await;
    }

    async fn a_restore_without_its_run(lab: &Lab) {
        let run = restored(lab).await;
        let gone = "UPDATE operation_runs SET holds_identity = FALSE; DELETE FROM run_attempts; DELETE FROM operation_runs";
        without_foreign_keys(lab, gone);
        only(lab, &["run_missing"], run.id).await;
    }

    async fn an_item_without_its_run(lab: &Lab) {
        let run = restored(lab).await;
        item(lab, run.id, "state, base_hash", "'skipped', '{hash}'");
        let gone = "UPDATE operation_runs SET holds_identity = FALSE; DELETE FROM run_attempts; DELETE FROM restore_runs; \
            DELETE FROM operation_runs";
        without_foreign_keys(lab, gone);
        only(lab, &["run_missing"], run.id).await;
    }

    async fn a_restore_of_another_tenant(lab: &Lab) {
        let run = restored(lab).await;
        let (own, other) = (lab.tenants[0].0, lab.tenants[1].0);
        lab.database.execute(&format!("UPDATE restore_runs SET tenant_id = {other}")).unwrap();
        only(lab, &["restore_of_tenant"], run.id).await;
        lab.database.execute(&format!("UPDATE restore_runs SET tenant_id = {own}; \
            INSERT INTO snapshots (tenant_id, lease_token, kind, state, outcome, created_at, completed_at) \
            SELECT {other}, 0, 'imported', 'finished', 'succeeded', created_at, created_at FROM operation_runs; \
            UPDATE restore_runs SET snapshot_id = (SELECT max(id) FROM snapshots)")).unwrap();
        only(lab, &["restore_of_tenant"], run.id).await;
        lab.database.execute("UPDATE restore_runs SET outcome = 'failed'").unwrap();
        assert!(broken(lab).await.is_empty(), "a request may name what is not the tenant's: it fails");
        item(lab, run.id, "state, base_hash", "'skipped', '{hash}'");
        only(lab, &["restore_of_tenant"], run.id).await;
    }

    async fn a_reconcile_that_nobody_executes(lab: &Lab) {
        let run = lab.accepted(lab.reconcile_request()).await;
        lab.advance(Duration::from_secs(3_590));
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
        lab.advance(Duration::from_secs(20));
        assert!(broken(lab).await.is_empty(), "nobody lives");
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        only(lab, &["reconcile_neglected"], run.id).await;
    }

    async fn a_schedule_of_another_workspace(lab: &Lab) {
        let other = lab.store.add_workspace("fabrikam", "Fabrikam").await.unwrap().id;
        let schedule = |workspace: i64, name: &str| format!("INSERT INTO schedules (workspace_id, tenant_id, name, source, type, \
            inputs, cron, timezone, jitter_s, enabled, created_by, created_at, updated_at) SELECT {workspace}, id, '{name}', \
            'api', 'assignments.fetch', '{{}}', '0 3 * * *', 'UTC', 0, TRUE, 'ada', created_at, created_at FROM tenants \
            WHERE id = {}", lab.tenant().0);
        lab.database.execute(&schedule(lab.workspace.0, "nightly")).unwrap();
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
        without_foreign_keys(lab, &schedule(other.0, "foreign"));
        let found = broken(lab).await;
        assert_eq!(keys(&found), ["schedule_of_workspace"], "{found:?}");
        assert!(found[0].examples.is_empty() && found[0].is_examined() && found[0].advice.contains("SELECT"));
    }

    async fn an_active_run_without_its_identity(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        unguarded(lab, "operation_runs_active_holds_identity", "UPDATE operation_runs SET holds_identity = FALSE");
        only_rows(lab, &["active_holds"], run.id).await;
    }

    async fn a_completed_holder_that_is_too_many_can_be_mended_as_advised(lab: &Lab) {
        let run = lab.completed().await;
        lab.database.execute("DROP INDEX operation_runs_holder_tenant").unwrap();
        lab.database.execute(&copy(run.id, "status, outcome, run_identity_hash, created_at, updated_at, priority, TRUE, completed_at, cooldown_until, context, started_at, 0, NULL")).unwrap();
        let found = broken(lab).await;
        let holders = found.iter().find(|finding| finding.key == "holder_unique").expect("two holders");
        let advised = "UPDATE operation_runs SET holds_identity = FALSE WHERE id = ID AND status = 'completed'";
        assert!(holders.advice.contains(advised), "{holders:?}");
        lab.database.execute(&advised.replace("ID", &holders.examples[0].to_string())).unwrap();
        assert!(broken(lab).await.iter().all(|finding| finding.key != "holder_unique"));
    }

    async fn a_token_in_a_message_of_a_restore(lab: &Lab) {
        let run = restored(lab).await;
        lab.database.execute("UPDATE restore_runs SET dry_run = TRUE").unwrap();
        item(lab, run.id, "state, code, message", &format!("'failed', 'graph.not_found', '{}'", token()));
        only(lab, &["personal_or_secret"], run.id).await;
    }

    async fn an_address_in_the_audit(lab: &Lab) {
        let address = ["jane", "contoso.example"].join("@");
        lab.database.execute(&format!("INSERT INTO audit (at, actor, action, via, outcome) \
            SELECT created_at, '{address}', 'run.submitted', 'cli', 'done' FROM workspaces")).unwrap();
        let found = broken(lab).await;
        assert_eq!(keys(&found), ["personal_or_secret"], "{found:?}");
        assert!(found[0].advice.contains("line 1 of the audit") && !found[0].advice.contains('@'), "{found:?}");
    }

    async fn a_token_in_a_schedule(lab: &Lab) {
        lab.database.execute(&format!("INSERT INTO schedules (workspace_id, name, source, type, inputs, cron, timezone, \
            jitter_s, enabled, created_by, created_at, updated_at) SELECT id, 'nightly', 'api', 'assignments.fetch', \
            '{{\"note\":\"{}\"}}', '0 3 * * *', 'UTC', 0, TRUE, 'ada', created_at, created_at FROM workspaces", token())).unwrap();
        let found = broken(lab).await;
        assert_eq!(keys(&found), ["personal_or_secret"], "{found:?}");
        assert!(found[0].advice.contains("schedule 1"), "{found:?}");
    }

    async fn a_name_may_hold_an_address_and_no_token(lab: &Lab) {
        let named = |id: &str, name: &str| format!("INSERT INTO directory_names (tenant_id, kind, object_id, name, read_at) \
            SELECT id, 'group', '{id}', '{name}', created_at FROM tenants WHERE id = {}", lab.tenant().0);
        lab.database.execute(&named("g1", &["helpdesk", "contoso.example"].join("@"))).unwrap();
        assert!(broken(lab).await.is_empty(), "{:?}", broken(lab).await);
        lab.database.execute(&named("g2", &token())).unwrap();
        let found = broken(lab).await;
        assert_eq!(keys(&found), ["personal_or_secret"], "{found:?}");
        assert!(found[0].advice.contains("group g2") && !found[0].advice.contains("g1"), "{found:?}");
    }
}
