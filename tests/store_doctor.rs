//! The doctor finds what breaks a guarantee, on both engines.

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::run::Settlement;
use atlasd::ids::RunId;
use atlasd::store::Finding;
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

    async fn an_index_with_another_definition(lab: &Lab) {
        lab.database.execute("DROP INDEX operation_runs_holder_workspace; \
            CREATE UNIQUE INDEX operation_runs_holder_workspace ON operation_runs (workspace_id, run_identity_hash) WHERE tenant_id IS NULL AND status = 'queued'").unwrap();
        let broken = broken(lab).await;
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].check.contains("operation_runs_holder_workspace"));
    }

    async fn a_run_accepted_within_a_cooldown(lab: &Lab) {
        let run = lab.completed().await;
        lab.database.execute(&format!("UPDATE operation_runs SET holds_identity = FALSE WHERE id = {}", run.id)).unwrap();
        let again = lab.accepted(lab.request_of(lab.tenant(), run.identity)).await;
        found(lab, "G2", "within the cooldown", again.id).await;
        assert_eq!(broken(lab).await.len(), 1);
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
        lab.advance(LEASE + Duration::from_secs(14));
        assert!(broken(lab).await.is_empty(), "within its 15 s");
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
        only(lab, &["completed_has_end"], run.id).await;
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
        let free = "UPDATE operation_runs SET holds_identity = FALSE; DELETE FROM operation_runs";
        let off = if lab.engine == Engine::Postgres { "SET session_replication_role = replica" } else { "PRAGMA foreign_keys = OFF" };
        lab.database.execute(&format!("{off}; {free}")).unwrap();
        only(lab, &["run_missing"], run.id).await;
    }

    async fn a_holder_whose_cooldown_never_ends(lab: &Lab) {
        let run = lab.completed().await;
        drop_trigger(lab, "operation_runs_completed_is_final");
        unguarded(lab, "operation_runs_completed_holds_in_cooldown", "UPDATE operation_runs SET cooldown_until = NULL");
        only(lab, &["holder_for_ever", "operation_runs_completed_is_final"], run.id).await;
    }

    async fn an_index_or_a_trigger_that_is_not_there(lab: &Lab) {
        lab.database.execute("DROP INDEX operation_runs_holder_tenant").unwrap();
        let on = if lab.engine == Engine::Postgres { " ON operation_runs" } else { "" };
        lab.database.execute(&format!("DROP TRIGGER operation_runs_holder_stays{on}")).unwrap();
        let found = broken(lab).await;
        let expected = ["operation_runs_holder_tenant", "operation_runs_holder_tenant_valid", "operation_runs_holder_stays"];
        assert_eq!(keys(&found), expected, "{found:?}");
    }

    async fn what_is_there_but_does_not_work(lab: &Lab) {
        // SQLite has neither indexes that are not valid nor triggers that are switched off.
        if lab.engine == Engine::Postgres {
            lab.database.execute("UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'operation_runs_holder_tenant'::regclass; \
                ALTER TABLE operation_runs DISABLE TRIGGER operation_runs_completed_is_final").unwrap();
            let found = broken(lab).await;
            assert_eq!(keys(&found), ["operation_runs_holder_tenant_valid", "operation_runs_completed_is_final"], "{found:?}");
        }
    }
}
