//! What people look at, on both engines: how tenants are, sums over time, lists by every filter, policies by name.

#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use atlasd::clock::Instant;
use atlasd::domain::admission::Request;
use atlasd::domain::counts::Counts;
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::operation::Operation;
use atlasd::domain::run::{Completion, Outcome, Run, Settlement, Status};
use atlasd::ids::{RunId, TenantId, WorkspaceId};
use atlasd::store::{DuplicateCount, Ended, Named, Open, PageRequest, RunQuery, TenantHealth, TenantSearch};
use serde_json::json;
use support::*;

const DAY_US: i64 = 86_400_000_000;

fn page(limit: usize, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

async fn fails(lab: &Lab) -> Run {
    let run = lab.running().await;
    let end = Settlement::Complete(Completion {
        outcome: Outcome::Failed,
        counts: Counts::default(),
        failures: vec![Failure::new(Code::GraphThrottled, "it failed")],
        context: serde_json::Map::new(),
        cooldown: Duration::ZERO,
    });
    lab.settled(lease(&run), end).await
}

async fn tenants(lab: &Lab, search: TenantSearch) -> Vec<TenantHealth> {
    lab.store.tenant_health(search, page(100, None)).await.unwrap().items
}

async fn first(lab: &Lab) -> TenantHealth {
    let search = TenantSearch { tenant: Some(lab.tenant()), ..TenantSearch::default() };
    tenants(lab, search).await.remove(0)
}

async fn ids(lab: &Lab, query: RunQuery) -> Vec<RunId> {
    let query = RunQuery { page: page(100, None), ..query };
    lab.store.runs(query).await.unwrap().items.iter().map(|run| run.id).collect()
}

on_each_engine! {
    async fn a_tenant_is_fetched_then_fails_then_is_fetched_again(lab: &Lab) {
        let nothing = first(lab).await;
        assert_eq!((nothing.fetched, nothing.failing, nothing.open), (None, None, None));
        let fetched = lab.completed().await;
        let end = fetched.completed_at.unwrap();
        assert_eq!(first(lab).await.fetched, Some((fetched.id, end)));
        let failed = fails(lab).await;
        let failing = first(lab).await;
        assert_eq!(failing.fetched, Some((fetched.id, end)), "what was fetched stays");
        assert_eq!(failing.failing, Some((failed.id, failed.completed_at.unwrap(), Some(Code::GraphThrottled))));
        let waiting = lab.accepted(lab.request()).await;
        assert_eq!(first(lab).await.open, Some(waiting.id));
        let run = lab.store.claim_next(lab.tenant(), lab.instance).await.unwrap();
        let atlasd::store::Claim::Claimed { run, .. } = run else { panic!("the run is due") };
        let behind = lab.accepted(lab.request()).await;
        assert_eq!(first(lab).await.open, Some(run.id), "what runs goes before what is queued");
        lab.settled(lease(&run), succeeded()).await;
        let again = first(lab).await;
        assert_eq!((again.failing, again.open), (None, Some(behind.id)));
        assert_eq!(again.fetched.unwrap().0, waiting.id);
    }

    async fn a_fetch_of_some_policies_makes_no_tenant_fresh_and_cures_its_own_failure_alone(lab: &Lab) {
        let fetched = lab.completed().await;
        let some = |inputs| Request {
            context: serde_json::Map::from_iter([("inputs".to_owned(), inputs)]),
            ..lab.request()
        };
        for inputs in [json!({"policy_ids": ["a"]}), json!({"policy_ids": null, "policy_types": ["mobileApp"]})] {
            lab.accepted(some(inputs)).await;
            lab.settled(lease(&lab.claimed().await), succeeded()).await;
        }
        assert_eq!(first(lab).await.fetched.map(|(run, _)| run), Some(fetched.id), "only a part was read since");

        let everything = some(json!({"policy_ids": null, "policy_types": null}));
        lab.accepted(everything.clone()).await;
        let failed = lab.settled(lease(&lab.claimed().await), support::failed(Code::GraphThrottled)).await;
        lab.accepted(some(json!({"policy_ids": ["a"]}))).await;
        lab.settled(lease(&lab.claimed().await), succeeded()).await;
        assert_eq!(first(lab).await.failing.map(|(run, ..)| run), Some(failed.id), "a part makes up for nothing");
        lab.accepted(Request { force: true, ..everything }).await;
        let again = lab.settled(lease(&lab.claimed().await), succeeded()).await;
        let now = first(lab).await;
        assert_eq!((now.fetched.map(|(run, _)| run), now.failing), (Some(again.id), None));

        let part = some(json!({"policy_ids": ["b"]}));
        lab.accepted(part.clone()).await;
        let failed = lab.settled(lease(&lab.claimed().await), support::failed(Code::GraphThrottled)).await;
        assert_eq!(first(lab).await.failing.map(|(run, ..)| run), Some(failed.id));
        lab.accepted(Request { force: true, ..part }).await;
        lab.settled(lease(&lab.claimed().await), succeeded()).await;
        assert_eq!(first(lab).await.failing, None, "the same has succeeded since");
    }

    async fn tenants_are_listed_by_name_in_parts_and_searched(lab: &Lab) {
        let all = tenants(lab, TenantSearch::default()).await;
        let names: Vec<_> = all.iter().map(|tenant| tenant.name.as_str()).collect();
        assert_eq!(names, ["one", "three", "two"]);
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let part = lab.store.tenant_health(TenantSearch::default(), page(1, cursor)).await.unwrap();
            seen.extend(part.items.into_iter().map(|tenant| tenant.name));
            cursor = part.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, names);
        let named = |name: &str| TenantSearch { name: Some(name.to_owned()), ..TenantSearch::default() };
        assert_eq!(tenants(lab, named("TH")).await.len(), 1, "in any case");
        for nothing in ["%", "_", "x", "\\"] {
            assert_eq!(tenants(lab, named(nothing)).await.len(), 0, "{nothing} is a character");
        }
        let foreign = TenantSearch { workspace: Some(WorkspaceId(999)), ..TenantSearch::default() };
        assert_eq!(tenants(lab, foreign).await.len(), 0);
    }

    async fn every_end_is_counted_once_by_the_hour_and_by_the_day(lab: &Lab) {
        let run = lab.completed().await;
        fails(lab).await;
        let cancelled = lab.accepted(lab.request()).await;
        lab.store.request_cancel(cancelled.id, "test").await.unwrap();
        lab.accepted(lab.request()).await;
        let end = run.completed_at.unwrap();
        let days = lab.store.ended_by_day(Some(lab.workspace), Some(lab.tenant()), end).await.unwrap();
        let bucket = end.micros() / DAY_US;
        assert_eq!(days, [Ended { bucket, succeeded: 1, failed: 2 }]);
        let hours = lab.store.ended_by_hour(None, end).await.unwrap();
        assert_eq!(hours, [Ended { bucket: end.micros() / (DAY_US / 24), succeeded: 1, failed: 2 }]);
        assert_eq!(lab.store.ended_by_hour(Some(WorkspaceId(999)), end).await.unwrap(), []);
        assert_eq!(lab.store.ended_by_day(None, Some(TenantId(999)), end).await.unwrap(), []);
        let tomorrow = Instant::from_micros((bucket + 1) * DAY_US).unwrap();
        assert_eq!(lab.store.ended_by_day(None, None, tomorrow).await.unwrap(), []);
        // The migration itself counts what it finds.
        let engine = if lab.engine == Engine::Sqlite { "sqlite" } else { "postgres" };
        for direction in ["down", "up"] {
            let path = format!("{}/migrations/{engine}/0009_pages/{direction}.sql", env!("CARGO_MANIFEST_DIR"));
            lab.database.execute(&std::fs::read_to_string(path).unwrap()).unwrap();
        }
        assert_eq!(lab.store.ended_by_day(None, None, end).await.unwrap(), days);
    }

    async fn refused_requests_are_summed_by_the_hour(lab: &Lab) {
        let [first, second] = [lab.accepted(lab.request()).await, lab.accepted(lab.request()).await];
        let at = first.created_at;
        let count = |run: &Run, count, at| DuplicateCount { run_id: run.id, count, last_at: at };
        let earlier = at - chrono::Duration::hours(3);
        lab.store.count_duplicates(vec![count(&first, 3, at), count(&second, 4, at)]).await.unwrap();
        lab.store.count_duplicates(vec![count(&first, 5, at), count(&second, 100, earlier)]).await.unwrap();
        assert_eq!(lab.store.refused_since(Some(lab.workspace), at).await.unwrap(), 12);
        assert_eq!(lab.store.refused_since(None, earlier).await.unwrap(), 112);
        assert_eq!(lab.store.refused_since(Some(WorkspaceId(999)), earlier).await.unwrap(), 0);
        let absorbing = lab.store.absorbing_runs(None, 5).await.unwrap();
        let absorbed: Vec<_> = absorbing.iter().map(|run| (run.id, run.duplicate_count)).collect();
        assert_eq!(absorbed, [(second.id, 104), (first.id, 8)]);
        assert_eq!(lab.store.absorbing_runs(Some(WorkspaceId(999)), 5).await.unwrap().len(), 0);
    }

    async fn open_runs_are_counted(lab: &Lab) {
        lab.running().await;
        lab.accepted(lab.request()).await;
        assert_eq!(lab.store.open_runs(Some(lab.workspace)).await.unwrap(), Open { queued: 1, running: 1 });
        assert_eq!(lab.store.open_runs(Some(WorkspaceId(999))).await.unwrap(), Open::default());
    }

    async fn every_combination_of_filters_gives_what_a_plain_search_gives(lab: &Lab) {
        lab.completed().await;
        fails(lab).await;
        let pass = lab.accepted(lab.reconcile_request()).await;
        let pass = lab.store.claim_run(pass.id, lab.instance).await.unwrap().unwrap();
        lab.settled(lease(&pass), succeeded()).await;
        let restore = atlasd::domain::admission::Request { operation: Operation::Restore, ..lab.request() };
        lab.accepted(restore).await;
        lab.accepted(lab.request()).await;
        lab.running().await;
        let query = RunQuery { page: page(100, None), ..RunQuery::default() };
        let all = lab.store.runs(query).await.unwrap().items;
        assert!(all.len() >= 6);
        fn options<T: Copy>(all: &[T]) -> Vec<Option<T>> {
            std::iter::once(None).chain(all.iter().copied().map(Some)).collect()
        }
        for workspace_id in options(&[lab.workspace, WorkspaceId(999)]) {
            for tenant_id in options(&[lab.tenant(), lab.tenants[2]]) {
                for operation in options(&[Operation::Fetch, Operation::Restore, Operation::Reconcile]) {
                    for status in options(&[Status::Queued, Status::Running, Status::Completed]) {
                        for outcome in options(&[Outcome::Pending, Outcome::Succeeded, Outcome::Failed]) {
                            let plain: Vec<RunId> = all.iter().filter(|run| {
                                workspace_id.is_none_or(|id| id == run.workspace_id)
                                    && tenant_id.is_none_or(|id| Some(id) == run.tenant_id)
                                    && operation.is_none_or(|it| it == run.operation)
                                    && status.is_none_or(|it| it == run.status)
                                    && outcome.is_none_or(|it| it == run.outcome)
                            }).map(|run| run.id).collect();
                            let query = RunQuery { workspace_id, tenant_id, operation, status, outcome, ..RunQuery::default() };
                            assert_eq!(ids(lab, query.clone()).await, plain, "{query:?}");
                        }
                    }
                }
            }
        }
    }

    async fn a_repair_of_today_is_found_behind_any_number_of_passes(lab: &Lab) {
        let mut passes = Vec::new();
        for number in 0..6 {
            let request = Request { identity: identity(number), ..lab.reconcile_request() };
            passes.push(lab.accepted(request).await);
        }
        let counts = |run: &Run, counts: &str| {
            let change = format!("UPDATE operation_runs SET summary_counts = '{counts}' WHERE id = {}", run.id);
            lab.database.execute(&change).unwrap();
        };
        counts(&passes[0], r#"{"total":1,"updated":1}"#);
        counts(&passes[1], r#"{"total":1,"updated":1}"#);
        counts(&passes[2], r#"{"total":3,"failed":2}"#);
        counts(&passes[3], r#"{"total":3,"skipped":3,"updated":0}"#);
        counts(&passes[4], r#"{"total":1,"created":1}"#);
        let dry = format!("UPDATE operation_runs SET context = '{{\"dry_run\":true}}' WHERE id = {}", passes[4].id);
        lab.database.execute(&dry).unwrap();
        let since = passes[1].created_at;
        let earlier = match lab.engine {
            Engine::Sqlite => "created_at - 1000000",
            Engine::Postgres => "created_at - interval '1 second'",
        };
        let change = format!("UPDATE operation_runs SET created_at = {earlier} WHERE id = {}", passes[0].id);
        lab.database.execute(&change).unwrap();
        let found = async |workspace, limit| -> Vec<RunId> {
            let runs = lab.store.repairing_passes(workspace, since, limit).await.unwrap();
            runs.iter().map(|run| run.id).collect()
        };
        assert_eq!(found(None, 8).await, [passes[2].id, passes[1].id]);
        assert_eq!(found(Some(lab.workspace), 1).await, [passes[2].id]);
        assert!(found(Some(WorkspaceId(999)), 8).await.is_empty());
    }

    async fn a_cursor_is_looked_at_also_where_filters_contradict_each_other(lab: &Lab) {
        let query = RunQuery {
            status: Some(Status::Queued),
            outcome: Some(Outcome::Failed),
            page: page(5, Some("odd".to_owned())),
            ..RunQuery::default()
        };
        assert!(matches!(lab.store.runs(query).await, Err(atlasd::store::StoreError::Cursor)));
    }

    async fn names_are_kept_by_tenant_and_kind(lab: &Lab) {
        let names = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect()
        };
        let tenant = lab.tenant();
        lab.store.keep_names(tenant, Named::Group, names(&[("g1", "Sales"), ("g2", "IT")])).await.unwrap();
        lab.store.keep_names(tenant, Named::Group, names(&[("g1", "Sales EMEA")])).await.unwrap();
        lab.store.keep_names(tenant, Named::Filter, names(&[("g1", "Laptops")])).await.unwrap();
        let asked = || vec!["g1".to_owned(), "g2".to_owned(), "g3".to_owned()];
        let groups = lab.store.names_of(tenant, Named::Group, asked()).await.unwrap();
        assert_eq!(groups, names(&[("g1", "Sales EMEA"), ("g2", "IT")]));
        let filters = lab.store.names_of(tenant, Named::Filter, asked()).await.unwrap();
        assert_eq!(filters, names(&[("g1", "Laptops")]));
        assert!(lab.store.names_of(lab.tenants[1], Named::Group, asked()).await.unwrap().is_empty());
    }
}
