//! The roll-up of failures, on both engines: every way to an end is counted, once.

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use atlasd::clock::Instant;
use atlasd::domain::admission::Request;
use atlasd::domain::counts::Counts;
use atlasd::domain::failure::{Code, Failure, summarise};
use atlasd::domain::operation::Operation;
use atlasd::domain::run::{Completion, Outcome, Run, Settlement};
use atlasd::ids::RunId;
use atlasd::store::{FailedOf, FailedQuery, FailureGroup, FailureGroups, FailureQuery};
use support::*;

const BY_CODE: FailureGroups = FailureGroups { code: true, operation: false, tenant: false };
const BY_TYPE: FailureGroups = FailureGroups { code: false, operation: true, tenant: false };
const BY_ALL: FailureGroups = FailureGroups { code: true, operation: true, tenant: true };

fn everything(groups: FailureGroups) -> FailureQuery {
    FailureQuery {
        groups,
        code: None,
        workspace_id: None,
        tenant_id: None,
        operation: None,
        since: Instant::from_micros(0).unwrap(),
        limit: 100,
    }
}

async fn rolled_up(lab: &Lab, query: FailureQuery) -> Vec<FailureGroup> {
    lab.store.failures(query).await.unwrap().groups
}

/// Code, runs and items of each group.
async fn by_code(lab: &Lab) -> Vec<(Code, i64, i64)> {
    let groups = rolled_up(lab, everything(BY_CODE)).await;
    groups.iter().map(|group| (group.code.unwrap(), group.runs, group.items)).collect()
}

fn with_failures(failures: &[Failure]) -> Settlement {
    Settlement::Complete(Completion {
        outcome: Outcome::Failed,
        counts: Counts::default(),
        failures: summarise(failures),
        context: serde_json::Map::new(),
        cooldown: Duration::ZERO,
    })
}

async fn fails_with(lab: &Lab, failures: &[Failure]) -> Run {
    let run = lab.running().await;
    lab.settled(lease(&run), with_failures(failures)).await
}

fn many(code: Code, items: usize) -> Vec<Failure> {
    vec![Failure::new(code, "it failed"); items]
}

on_each_engine! {
    async fn runs_and_items_are_counted_by_code(lab: &Lab) {
        assert_eq!(by_code(lab).await, []);
        let first = fails_with(lab, &many(Code::GraphThrottled, 1)).await;
        let both = [many(Code::GraphThrottled, 12), many(Code::GraphNetwork, 3)].concat();
        let second = fails_with(lab, &both).await;
        lab.completed().await;
        assert_eq!(by_code(lab).await, [(Code::GraphThrottled, 2, 13), (Code::GraphNetwork, 1, 3)]);
        let groups = rolled_up(lab, everything(BY_CODE)).await;
        assert_eq!(groups[0].first_at, first.completed_at.unwrap());
        assert_eq!((groups[0].last_at, groups[0].last_run), (second.completed_at.unwrap(), second.id));
        assert_eq!((groups[0].operation, groups[0].scope), (None, None));
    }

    async fn a_run_with_several_codes_is_one_run_where_codes_make_no_groups(lab: &Lab) {
        fails_with(lab, &[many(Code::GraphThrottled, 2), many(Code::GraphNetwork, 3)].concat()).await;
        fails_with(lab, &many(Code::GraphNetwork, 1)).await;
        let groups = rolled_up(lab, everything(BY_TYPE)).await;
        assert_eq!(groups.len(), 1);
        assert_eq!((groups[0].operation, groups[0].runs, groups[0].items), (Some(Operation::Fetch), 2, 6));
    }

    async fn every_way_to_a_failed_end_is_counted_once(lab: &Lab) {
        let cancelled = lab.accepted(lab.request()).await;
        lab.store.request_cancel(cancelled.id, "test").await.unwrap();
        let run = lab.running().await;
        let end = with_failures(&many(Code::GraphTimeout, 1));
        lab.settled(lease(&run), end.clone()).await;
        // The same end again, as after an answer that got lost.
        lab.settled(lease(&run), end).await;
        let retried = lab.running().await;
        let again = Settlement::Retry {
            next_attempt_at: retried.updated_at,
            counts: Counts::default(),
            failures: many(Code::GraphUnavailable, 1),
        };
        lab.settled(lease(&retried), again).await;
        let codes = by_code(lab).await;
        assert_eq!(codes, [(Code::GraphTimeout, 1, 1), (Code::RunCancelled, 1, 1)], "a retry is no end");
    }

    async fn workspaces_tenants_and_operations_are_groups_and_filters(lab: &Lab) {
        fails_with(lab, &many(Code::GraphNetwork, 1)).await;
        let pass = lab.accepted(lab.reconcile_request()).await;
        let pass = lab.store.claim_run(pass.id, lab.instance).await.unwrap().unwrap();
        lab.settled(lease(&pass), with_failures(&many(Code::RunCancelled, 1))).await;
        let groups = rolled_up(lab, everything(BY_ALL)).await;
        let scopes: Vec<_> = groups.iter().map(|group| (group.operation.unwrap(), group.scope.unwrap())).collect();
        let of_tenant = (Operation::Fetch, (lab.workspace, Some(lab.tenant())));
        let of_workspace = (Operation::Reconcile, (lab.workspace, None));
        assert_eq!(scopes, [of_workspace, of_tenant], "as many runs each: the newest first");
        let only = |change: fn(&mut FailureQuery, &Lab)| {
            let mut query = everything(BY_ALL);
            change(&mut query, lab);
            rolled_up(lab, query)
        };
        assert_eq!(only(|query, lab| query.tenant_id = Some(lab.tenant())).await.len(), 1);
        assert_eq!(only(|query, _| query.operation = Some(Operation::Reconcile)).await.len(), 1);
        assert_eq!(only(|query, lab| query.workspace_id = Some(lab.workspace)).await.len(), 2);
        assert_eq!(only(|query, _| query.workspace_id = Some(atlasd::ids::WorkspaceId(999))).await.len(), 0);
        assert_eq!(only(|query, _| query.limit = 1).await.len(), 1);
        let cut = FailureQuery { limit: 1, ..everything(BY_ALL) };
        assert!(lab.store.failures(cut).await.unwrap().more);
    }

    async fn days_before_are_left_out(lab: &Lab) {
        let run = fails_with(lab, &many(Code::GraphNetwork, 1)).await;
        let ended = run.completed_at.unwrap();
        let day = Duration::from_secs(24 * 3600);
        let since = |since| rolled_up(lab, FailureQuery { since, ..everything(BY_CODE) });
        assert_eq!(since(ended + day).await.len(), 0);
        assert_eq!(since(ended).await.len(), 1);
        let query = FailureQuery { since: ended, ..everything(BY_CODE) };
        assert!(query.counted_from() <= ended && ended - query.counted_from() < chrono::Duration::days(1));
    }

    async fn what_a_message_tells_of_items_is_not_believed_blindly(lab: &Lab) {
        let odd = ["(12 items)", "x (0 items)", "x (many items)", "x (1x2 items)", "x ( items)", "three items)", "x (1234567890 items)", "x (99999999999999999999 items)", "x (7 items) more"];
        for message in odd {
            fails_with(lab, &[Failure::new(Code::GraphProtocol, message)]).await;
        }
        assert_eq!(by_code(lab).await, [(Code::GraphProtocol, odd.len() as i64, odd.len() as i64)]);
        fails_with(lab, &[Failure::new(Code::GraphNetwork, "s (7 items)")]).await;
        assert!(by_code(lab).await.contains(&(Code::GraphNetwork, 1, 7)));
    }

    async fn a_code_that_stands_twice_in_a_summary_does_not_hold_the_end_up(lab: &Lab) {
        let run = lab.running().await;
        let mut end = with_failures(&[]);
        let Settlement::Complete(completion) = &mut end else { unreachable!("it was made as one") };
        completion.failures = many(Code::GraphNetwork, 2);
        lab.settled(lease(&run), end).await;
        assert_eq!(by_code(lab).await, [(Code::GraphNetwork, 1, 2)]);
    }

    async fn runs_that_come_with_their_end_are_counted_and_so_is_what_was_there_before(lab: &Lab) {
        let run = fails_with(lab, &many(Code::GraphNetwork, 4)).await;
        let copy = format!(
            "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
             run_identity_hash, failure_summary, completed_at, created_at, updated_at, priority, holds_identity) \
             SELECT workspace_id, tenant_id, initiator_name, type, status, outcome, run_identity_hash, \
             failure_summary, completed_at, created_at, updated_at, priority, FALSE FROM operation_runs WHERE id = {}",
            run.id.0
        );
        lab.database.execute(&copy).unwrap();
        let counted = rolled_up(lab, everything(BY_ALL)).await;
        assert_eq!((counted[0].runs, counted[0].items, counted[0].last_run), (2, 8, RunId(run.id.0 + 1)));
        // The migration itself counts what it finds.
        let engine = if lab.engine == Engine::Sqlite { "sqlite" } else { "postgres" };
        for direction in ["down", "up"] {
            let path = format!("{}/migrations/{engine}/0006_failures/{direction}.sql", env!("CARGO_MANIFEST_DIR"));
            lab.database.execute(&std::fs::read_to_string(path).unwrap()).unwrap();
        }
        assert_eq!(rolled_up(lab, everything(BY_ALL)).await, counted);
    }

    async fn a_code_is_a_filter(lab: &Lab) {
        fails_with(lab, &many(Code::GraphNetwork, 1)).await;
        fails_with(lab, &many(Code::GraphThrottled, 1)).await;
        let only = FailureQuery { code: Some(Code::GraphThrottled), ..everything(BY_ALL) };
        let groups = rolled_up(lab, only).await;
        assert_eq!((groups.len(), groups[0].code), (1, Some(Code::GraphThrottled)));
    }

    async fn what_is_asked_for_again_is_what_failed_last(lab: &Lab) {
        let failed = |query: FailedQuery| async move {
            let found = lab.store.failed_runs(query).await.unwrap();
            (found.runs.iter().map(|run| run.id).collect::<Vec<_>>(), found.more)
        };
        let all = FailedQuery {
            code: Code::GraphNetwork,
            operation: None,
            of: FailedOf::All,
            since: Instant::from_micros(0).unwrap(),
            limit: 10,
        };
        assert_eq!(failed(all).await, (vec![], false));
        let both = [many(Code::GraphThrottled, 1), many(Code::GraphNetwork, 2)].concat();
        let first = fails_with(lab, &both).await;
        let other = fails_with(lab, &many(Code::GraphTimeout, 1)).await;
        let last = fails_with(lab, &many(Code::GraphNetwork, 1)).await;
        assert_eq!(failed(all).await, (vec![last.id, first.id], false), "the newest first, whichever code is first");
        assert_eq!(failed(FailedQuery { limit: 1, ..all }).await, (vec![last.id], true));
        assert_eq!(failed(FailedQuery { code: Code::GraphTimeout, ..all }).await.0, [other.id]);
        assert_eq!(failed(FailedQuery { operation: Some(Operation::Restore), ..all }).await.0, []);
        assert_eq!(failed(FailedQuery { of: FailedOf::Tenant(lab.tenant()), ..all }).await.0.len(), 2);
        assert_eq!(failed(FailedQuery { of: FailedOf::Workspace(lab.workspace), ..all }).await.0.len(), 2);
        assert_eq!(failed(FailedQuery { of: FailedOf::WorkspaceItself(lab.workspace), ..all }).await.0, []);
        let later = last.completed_at.unwrap() + Duration::from_secs(1);
        assert_eq!(failed(FailedQuery { since: later, ..all }).await.0, []);
        // The identity of the last one is done since: nothing is left to ask for.
        let again = Request { identity: last.identity, force: true, ..lab.request() };
        let again = lab.accepted(again).await;
        let again = lab.store.claim_run(again.id, lab.instance).await.unwrap().unwrap();
        let done = Settlement::Complete(Completion {
            outcome: Outcome::Succeeded,
            counts: Counts::default(),
            failures: vec![],
            context: serde_json::Map::new(),
            cooldown: Duration::ZERO,
        });
        lab.settled(lease(&again), done).await;
        assert_eq!(failed(all).await.0, [first.id]);
    }

    async fn tenants_have_names(lab: &Lab) {
        let known = lab.store.tenant(lab.tenant()).await.unwrap().unwrap();
        let asked = vec![lab.tenant(), atlasd::ids::TenantId(999_999)];
        let names = lab.store.tenant_names(asked).await.unwrap();
        assert_eq!(names, std::collections::BTreeMap::from([(lab.tenant(), known.name)]));
        assert!(lab.store.tenant_names(vec![]).await.unwrap().is_empty());
    }
}
