//! Admission on both engines: who is accepted, who is answered with the holder, and races.

#[path = "support/store.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use atlasd::domain::run::{Outcome, Status};
use atlasd::ids::{RunId, TenantId, UserId, WorkspaceId};
use atlasd::store::{Admitted, DuplicateCount};
use support::*;

on_each_engine! {
    async fn a_new_request_is_accepted_and_durable(lab: &Lab) {
        let mut request = lab.request();
        request.context.insert("note".into(), "nul \u{0} and \\u0000".into());
        request.user_id = Some(lab.store.add_user(lab.workspace, "ada").await.unwrap());
        let run = lab.accepted(request.clone()).await;
        assert_eq!((run.status, run.outcome), (Status::Queued, Outcome::Pending));
        assert!(run.holds_identity);
        let mut stored = lab.run(run.id).await;
        // PostgreSQL cannot hold a NUL: on both engines it is stored as U+FFFD.
        assert_eq!(stored.context["note"], "nul \u{fffd} and \\u0000");
        stored.context = run.context.clone();
        assert_eq!(stored, run);
        let clock = lab.store.now().await.unwrap();
        assert!((clock - run.created_at) < chrono::Duration::seconds(30) && run.created_at <= clock);
    }

    async fn a_repeat_gets_the_active_run(lab: &Lab) {
        let request = lab.request();
        let run = lab.accepted(request.clone()).await;
        assert_eq!(lab.held(request.clone()).await, run);
        let running = lab.claimed().await;
        assert_eq!(lab.held(request).await, running);
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM operation_runs"), 1);
    }

    async fn a_repeat_in_cooldown_gets_the_completed_run_until_it_ends(lab: &Lab) {
        let request = lab.request();
        lab.accepted(request.clone()).await;
        let run = lab.claimed().await;
        let done = lab.settled(lease(&run), succeeded()).await;
        assert_eq!(done.cooldown_until, done.completed_at.map(|at| at + COOLDOWN));
        assert_eq!(lab.held(request.clone()).await, done);
        lab.advance(COOLDOWN - Duration::from_secs(5));
        assert_eq!(lab.held(request.clone()).await.id, done.id);
        lab.advance(Duration::from_secs(6));
        let next = lab.accepted(request).await;
        assert!(next.id > done.id && next.created_at >= done.cooldown_until.unwrap());
        assert!(!lab.run(done.id).await.holds_identity);
    }

    async fn force_skips_the_cooldown_but_never_an_active_run(lab: &Lab) {
        let mut request = lab.request();
        request.force = true;
        lab.accepted(request.clone()).await;
        let run = lab.claimed().await;
        assert_eq!(lab.held(request.clone()).await.id, run.id);
        lab.settled(lease(&run), succeeded()).await;
        let forced = lab.accepted(request.clone()).await;
        assert_ne!(forced.id, run.id);
        assert_eq!(lab.held(request).await.id, forced.id);
    }

    async fn a_run_without_cooldown_is_accepted_again_at_once(lab: &Lab) {
        let request = lab.reconcile_request();
        let run = lab.accepted(request.clone()).await;
        assert_eq!(lab.held(request.clone()).await.id, run.id);
        let claimed = lab.store.claim_run(run.id, lab.instance).await.unwrap().unwrap();
        let mut end = succeeded();
        if let atlasd::domain::run::Settlement::Complete(end) = &mut end { end.cooldown = Duration::ZERO; }
        let done = lab.settled(lease(&claimed), end).await;
        assert!(!done.holds_identity && done.cooldown_until.is_none());
        assert_ne!(lab.accepted(request).await.id, run.id);
    }

    async fn a_batch_is_answered_in_its_order(lab: &Lab) {
        let held = lab.request_of(lab.tenant(), identity(200));
        let first = lab.accepted(held.clone()).await;
        let mut batch: Vec<_> = (0..50).rev().map(|n| lab.request_of(lab.tenants[n as usize % 3], identity(n))).collect();
        batch.insert(7, held);
        batch.push(lab.reconcile_request());
        let answers = lab.store.admit(batch.clone()).await.unwrap();
        for (index, (request, answer)) in batch.iter().zip(&answers).enumerate() {
            match answer {
                Admitted::Accepted(run) => {
                    assert_eq!((run.identity, run.tenant_id), (request.identity, request.tenant_id));
                    assert_eq!(&lab.run(run.id).await, run);
                }
                Admitted::Held(run) => assert_eq!((index, run.id), (7, first.id)),
                Admitted::Gone => panic!("nothing has gone"),
            }
        }
        let ids: BTreeSet<RunId> = answers.into_iter().filter_map(|answer| match answer {
            Admitted::Accepted(run) => Some(run.id),
            _ => None,
        }).collect();
        assert_eq!(ids.len(), 51);
    }

    async fn one_identity_in_two_tenants_is_two_identities(lab: &Lab) {
        let batch = vec![lab.request_of(lab.tenants[0], identity(9)), lab.request_of(lab.tenants[1], identity(9))];
        let answers = lab.store.admit(batch.clone()).await.unwrap();
        let runs: Vec<_> = answers.into_iter().map(accepted).collect();
        assert_eq!(runs[0].tenant_id, Some(lab.tenants[0]));
        assert_eq!(runs[1].tenant_id, Some(lab.tenants[1]));
        let again = lab.store.admit(batch).await.unwrap();
        assert!(matches!(&again[1], Admitted::Held(run) if run.id == runs[1].id));
    }

    async fn what_has_gone_does_not_fail_its_batch(lab: &Lab) {
        let mut lost_tenant = lab.request();
        lost_tenant.tenant_id = Some(TenantId(9_999));
        let mut lost_workspace = lab.reconcile_request();
        lost_workspace.workspace_id = WorkspaceId(9_999);
        let mut lost_user = lab.request();
        lost_user.user_id = Some(UserId(9_999));
        let mut foreign = lab.request();
        foreign.workspace_id = lab.store.add_workspace("fabrikam", "Fabrikam").await.unwrap().id;
        let good = lab.request();
        let answers =
            lab.store.admit(vec![lost_tenant, good, lost_workspace, lost_user, foreign]).await.unwrap();
        let gone: Vec<bool> = answers.iter().map(|answer| matches!(answer, Admitted::Gone)).collect();
        assert_eq!(gone, [true, false, true, true, true]);
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM operation_runs"), 1);
    }

    async fn an_empty_batch_is_nothing(lab: &Lab) {
        assert!(lab.store.admit(Vec::new()).await.unwrap().is_empty());
    }

    async fn of_racing_batches_one_wins_each_identity(lab: &Lab) {
        let winners = race(lab, 8, 200).await;
        assert_eq!(winners.len(), 40);
        for (identity, ids) in &winners {
            assert_eq!(ids.len(), 1, "identity {identity} has {ids:?}");
        }
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM operation_runs"), 40);
    }

    async fn of_racing_batches_one_takes_over_each_expired_identity(lab: &Lab) {
        for tenant in &lab.tenants {
            let batch = (0..40).map(|n| lab.request_of(*tenant, identity(n))).filter(|r| r.identity.0[0] % 3 == tenant_index(lab, *tenant)).collect();
            lab.store.admit(batch).await.unwrap();
        }
        let end = "UPDATE operation_runs SET status = 'completed', outcome = 'succeeded', completed_at = created_at, cooldown_until = created_at";
        lab.database.execute(end).unwrap();
        let winners = race(lab, 8, 50).await;
        assert!(winners.values().all(|ids| ids.len() == 1));
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM operation_runs"), 80);
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM operation_runs WHERE holds_identity"), 40);
    }

    async fn holders_are_the_active_and_the_cooling(lab: &Lab) {
        let expired = lab.completed().await;
        lab.advance(COOLDOWN);
        lab.store.heartbeat(lab.instance, LEASE).await.unwrap();
        let cooling = lab.completed().await;
        let queued = lab.accepted(lab.request()).await;
        let holders = lab.store.holders().await.unwrap();
        assert_eq!(holders, vec![cooling.clone(), queued]);
        assert!(!lab.run(expired.id).await.holds_identity);
        assert_eq!(lab.store.holder(cooling.identity).await.unwrap(), Some(cooling));
        assert_eq!(lab.store.holder(expired.identity).await.unwrap(), None);
    }

    async fn refused_requests_are_counted_on_completed_runs_too(lab: &Lab) {
        let run = lab.completed().await;
        let at = lab.clock.now();
        let count = |count, last_at| DuplicateCount { run_id: run.id, count, last_at };
        lab.store.count_duplicates(vec![count(3, at), count(1, at - chrono::Duration::seconds(9))]).await.unwrap();
        lab.store.count_duplicates(Vec::new()).await.unwrap();
        let counted = lab.run(run.id).await;
        assert_eq!((counted.duplicate_count, counted.last_duplicate_at), (4, Some(at)));
        assert_eq!(counted.updated_at, run.updated_at);
    }
}

fn tenant_index(lab: &Lab, tenant: TenantId) -> u8 {
    lab.tenants.iter().position(|other| *other == tenant).unwrap() as u8
}

/// `tasks` tasks of `batches` batches each, over 40 identities: the runs accepted per identity.
async fn race(lab: &Lab, tasks: usize, batches: usize) -> BTreeMap<u8, BTreeSet<RunId>> {
    let requests: Vec<_> =
        (0..40u8).map(|n| lab.request_of(lab.tenants[usize::from(n) % 3], identity(n))).collect();
    let requests = Arc::new(requests);
    let barrier = Arc::new(tokio::sync::Barrier::new(tasks));
    let mut racing = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (store, requests, barrier) = (lab.store.clone(), requests.clone(), barrier.clone());
        racing.spawn(async move {
            let mut won = Vec::new();
            barrier.wait().await;
            for round in 0..batches {
                // Overlapping, in an order of its own per task and round.
                let batch: Vec<_> =
                    (0..12).map(|n| requests[(task * 7 + round * 5 + n * 11) % 40].clone()).collect();
                let answers = store.admit(batch.clone()).await.expect("a verdict");
                for (request, answer) in batch.iter().zip(answers) {
                    match answer {
                        Admitted::Accepted(run) => won.push((request.identity.0[0], run.id)),
                        Admitted::Held(run) => assert_eq!(run.identity, request.identity),
                        Admitted::Gone => panic!("nothing has gone"),
                    }
                }
            }
            won
        });
    }
    let mut winners: BTreeMap<u8, BTreeSet<RunId>> = BTreeMap::new();
    while let Some(won) = racing.join_next().await {
        for (identity, run) in won.expect("no task panics") {
            winners.entry(identity).or_default().insert(run);
        }
    }
    winners
}

#[test]
#[ignore = "a measurement: cargo test --release --test store_admission -- --ignored --nocapture"]
fn distinct_runs_per_second_on_sqlite() {
    run(Engine::Sqlite, |lab| Box::pin(measure(lab)));
}

#[test]
#[ignore = "a measurement: cargo test --release --test store_admission -- --ignored --nocapture"]
fn distinct_runs_per_second_on_postgres() {
    run(Engine::Postgres, |lab| Box::pin(measure(lab)));
}

async fn measure(lab: &Lab) {
    for batch in [64usize, 128, 256, 512] {
        let total = 60_000 / batch * batch;
        let mut batches = Vec::new();
        for number in (0..total).step_by(batch) {
            let requests: Vec<_> = (number..number + batch)
                .map(|n| {
                    let mut bytes = [0u8; 32];
                    // Spread as a hash is.
                    bytes[..8]
                        .copy_from_slice(&((n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
                    bytes[8..16].copy_from_slice(&(batch as u64).to_be_bytes());
                    let mut request =
                        lab.request_of(lab.tenants[n % 3], atlasd::domain::identity::IdentityHash(bytes));
                    request.context.insert("identity_version".into(), 1.into());
                    request.context.insert(
                        "inputs".into(),
                        serde_json::json!({"policy_types": null, "policy_ids": null}),
                    );
                    request
                })
                .collect();
            batches.push(requests);
        }
        let begun = std::time::Instant::now();
        for requests in batches {
            let answers = lab.store.admit(requests).await.unwrap();
            assert!(answers.iter().all(|answer| matches!(answer, Admitted::Accepted(_))));
        }
        let rate = total as f64 / begun.elapsed().as_secs_f64();
        println!("{:?} batches of {batch}: {rate:.0} distinct runs/s", lab.engine);
    }
}
