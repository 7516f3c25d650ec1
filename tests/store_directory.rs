//! Workspaces, tenants, users, tokens, and lists by page, on both engines.

#[path = "support/store.rs"]
mod support;

use atlasd::domain::operation::Operation;
use atlasd::domain::run::{Outcome, Status};
use atlasd::ids::{RunId, TenantId, WorkspaceId};
use atlasd::store::{NewToken, PageRequest, Role, RunQuery, StoreError, TenantChange};
use support::*;

fn page(limit: usize, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

on_each_engine! {
    async fn workspaces_have_one_slug_each(lab: &Lab) {
        let added = lab.store.add_workspace("fabrikam", "Fabrikam").await.unwrap();
        let taken = lab.store.add_workspace("fabrikam", "Other").await;
        assert!(matches!(&taken, Err(StoreError::Duplicate { what }) if what.contains("`fabrikam`")), "{taken:?}");
        assert_eq!(lab.store.workspace(added.id).await.unwrap().unwrap().name, "Fabrikam");
        assert_eq!(lab.store.workspace_by_slug("fabrikam").await.unwrap().unwrap().id, added.id);
        assert!(lab.store.workspace_by_slug("nobody").await.unwrap().is_none());
        assert!(lab.store.workspace(WorkspaceId(99)).await.unwrap().is_none());
        let only = lab.store.workspaces(Some(added.id), page(10, None)).await.unwrap().items;
        assert_eq!(only.iter().map(|w| w.id).collect::<Vec<_>>(), [added.id]);
        let first = lab.store.workspaces(None, page(1, None)).await.unwrap();
        assert_eq!(first.items[0].id, lab.workspace);
        let rest = lab.store.workspaces(None, page(1, first.next_cursor)).await.unwrap();
        assert_eq!((rest.items[0].id, rest.next_cursor), (added.id, None));
    }

    async fn tenants_are_unique_in_their_workspace_alone(lab: &Lab) {
        let other = lab.store.add_workspace("fabrikam", "Fabrikam").await.unwrap().id;
        let mut new = tenant_of(lab.workspace, "four");
        let added = lab.store.add_tenant(new.clone()).await.unwrap();
        assert_eq!((added.workspace_slug.as_str(), added.external_id), ("contoso", new.external_id));
        assert!(matches!(lab.store.add_tenant(new.clone()).await, Err(StoreError::Duplicate { .. })));
        new.workspace_id = other;
        let twin = lab.store.add_tenant(new.clone()).await.unwrap();
        let both = lab.store.tenants_by_external_id(new.external_id, None).await.unwrap();
        assert_eq!(both.iter().map(|t| t.id).collect::<Vec<_>>(), [added.id, twin.id]);
        let one = lab.store.tenants_by_external_id(new.external_id, Some(other)).await.unwrap();
        assert_eq!(one.iter().map(|t| t.id).collect::<Vec<_>>(), [twin.id]);
        assert_eq!(lab.store.tenants(Some(lab.workspace), page(10, None)).await.unwrap().items.len(), 4);
        assert!(lab.store.tenant(TenantId(99)).await.unwrap().is_none());
    }

    async fn a_tenant_changes_only_where_asked(lab: &Lab) {
        let before = lab.store.tenant(lab.tenant()).await.unwrap().unwrap();
        lab.advance(std::time::Duration::from_secs(1));
        let change = TenantChange { cloud: Some("usgov".into()), ..TenantChange::default() };
        let after = lab.store.change_tenant(lab.tenant(), change).await.unwrap().unwrap();
        assert_eq!((after.cloud.as_str(), &after.name, &after.credential), ("usgov", &before.name, &before.credential));
        assert!(after.updated_at > before.updated_at && after.created_at == before.created_at);
        assert!(lab.store.change_tenant(TenantId(99), TenantChange::default()).await.unwrap().is_none());
    }

    async fn a_user_is_added_once(lab: &Lab) {
        let ada = lab.store.add_user(lab.workspace, "ada").await.unwrap();
        assert_eq!(lab.store.add_user(lab.workspace, "ada").await.unwrap(), ada);
        assert_ne!(lab.store.add_user(lab.workspace, "eve").await.unwrap(), ada);
    }

    async fn a_token_is_found_by_its_hash_alone(lab: &Lab) {
        let new = NewToken { name: "ci".into(), sha256: [7; 32], role: Role::Operator, workspace_id: Some(lab.workspace) };
        let id = lab.store.add_token(new.clone()).await.unwrap();
        let found = lab.store.token([7; 32]).await.unwrap().unwrap();
        assert_eq!((found.id, found.name.as_str(), found.role, found.workspace_id), (id, "ci", Role::Operator, Some(lab.workspace)));
        assert!(lab.store.token([8; 32]).await.unwrap().is_none());
        assert!(matches!(lab.store.add_token(new).await, Err(StoreError::Duplicate { what }) if what.contains("`ci`")));
    }

    async fn runs_are_listed_newest_first_and_filtered(lab: &Lab) {
        let done = lab.completed().await;
        let mut elsewhere = lab.request();
        elsewhere.tenant_id = Some(lab.tenants[1]);
        let elsewhere = lab.accepted(elsewhere).await;
        let reconcile = lab.accepted(lab.reconcile_request()).await;
        let other = lab.store.add_workspace("fabrikam", "Fabrikam").await.unwrap().id;
        let everything = RunQuery { page: page(10, None), ..RunQuery::default() };
        for (query, wanted) in [
            (everything.clone(), vec![reconcile.id, elsewhere.id, done.id]),
            (RunQuery { workspace_id: Some(other), ..everything.clone() }, vec![]),
            (RunQuery { tenant_id: Some(lab.tenant()), ..everything.clone() }, vec![done.id]),
            (RunQuery { operation: Some(Operation::Reconcile), ..everything.clone() }, vec![reconcile.id]),
            (RunQuery { status: Some(Status::Queued), ..everything.clone() }, vec![reconcile.id, elsewhere.id]),
            (RunQuery { outcome: Some(Outcome::Succeeded), ..everything.clone() }, vec![done.id]),
            (RunQuery { identity: Some(elsewhere.identity), ..everything.clone() }, vec![elsewhere.id]),
            (RunQuery { workspace_id: Some(lab.workspace), tenant_id: Some(lab.tenants[1]), status: Some(Status::Queued), ..everything.clone() }, vec![elsewhere.id]),
            (RunQuery { page: page(0, None), ..everything.clone() }, vec![]),
        ] {
            let found: Vec<RunId> = lab.store.runs(query.clone()).await.unwrap().items.iter().map(|run| run.id).collect();
            assert_eq!(found, wanted, "{query:?}");
        }
        let totals = lab.store.run_totals().await.unwrap();
        assert!(totals.contains(&(Operation::Fetch, Status::Completed, Outcome::Succeeded, 1)));
        assert_eq!(totals.iter().map(|total| total.3).sum::<i64>(), 3);
    }

    async fn pages_stay_where_they_are_while_runs_come(lab: &Lab) {
        let mut expected = Vec::new();
        for _ in 0..7 { expected.push(lab.accepted(lab.request()).await.id); }
        expected.reverse();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let query = RunQuery { page: page(3, cursor), ..RunQuery::default() };
            let part = lab.store.runs(query).await.unwrap();
            seen.extend(part.items.iter().map(|run| run.id));
            lab.accepted(lab.request()).await;
            cursor = part.next_cursor;
            if cursor.is_none() { break; }
        }
        assert_eq!(seen, expected);
        for cursor in ["x", "", "WzEsMl0"] {
            let query = RunQuery { page: page(3, Some(cursor.into())), ..RunQuery::default() };
            assert!(matches!(lab.store.runs(query).await, Err(StoreError::Cursor)), "{cursor}");
        }
    }
}
