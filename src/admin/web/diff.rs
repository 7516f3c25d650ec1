//! What lies between two snapshots of a tenant, policy by policy, in words; what reaches more than before is called out.

use std::collections::BTreeSet;

use actix_web::{get, web};
use maud::{Markup, html};

use super::layout::{self, Tab};
use super::parts::assignments::Names;
use super::parts::badges::{self, Tone};
use super::parts::{assignments, figures, links, notes, snapshots, times};
use super::policies::name;
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::body::{PageQuery, Query};
use crate::admin::diff::{self, Between, Change, PolicyDiff};
use crate::admin::problem::Problem;
use crate::admin::tenants::visible_tenant;
use crate::clock::Instant;
use crate::domain::restore::widening::guarded;
use crate::ids::SnapshotId;
use crate::store::{Snapshot, Tenant};

/// What the page shows.
struct View {
    now: Instant,
    tenant: Tenant,
    between: Between,
    is_first: bool,
    names: Names,
}

/// Shows the way from one snapshot to another.
#[get("/snapshots/{a}/diff/{b}")]
pub(super) async fn show(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    ids: web::Path<(SnapshotId, SnapshotId)>,
    query: Query<PageQuery>,
) -> Result<Html, Problem> {
    let is_first = query.0.cursor.is_none();
    let page = query.0.page(&state.config().http)?;
    let between = diff::between(&state, &caller.0, ids.into_inner(), page).await?;
    let tenant = visible_tenant(&state, &caller.0, between.b.tenant_id).await?;
    let named = between.items.iter().flat_map(|item| assignments::named_in(&item.assignments));
    let names = Names::load(&state, tenant.id, named).await?;
    let view = View { now: state.store.now().await?, tenant, between, is_first, names };
    let title = format!("Snapshots {} and {} of {}", view.between.a.id, view.between.b.id, view.tenant.name);
    Ok(Html(layout::page(visit.shell(&title, Tab::Tenants), content(&view))))
}

fn content(view: &View) -> Markup {
    let View { between: Between { a, b, items, next_cursor, not_compared, total }, tenant, .. } = view;
    html! {
        div.head {
            p.crumbs { a href="/tenants" { "Tenants" } " / " a href={ "/tenants/" (tenant.id) } { (tenant.name) } }
            h1 { "What has changed" }
            div.actions {
                a.button href={ "/snapshots/" (b.id) "/diff/" (a.id) } { "The other way round" }
            }
            p.lead { "From " (about(a, view.now)) ", to " (about(b, view.now)) "." }
        }
        @if !not_compared.is_empty() {
            (left_out(not_compared))
        }
        section.panel aria-labelledby="differences" {
            header {
                h2 #differences { (figures::counted(*total as u64, "policy differs", "policies differ")) }
            }
            @if items.is_empty() {
                (notes::empty("Nothing has changed", html! { p { "Every policy that both have read is assigned to the same." } }))
            } @else {
                @for item in items { (policy(item, &view.names)) }
            }
            @if !view.is_first || next_cursor.is_some() {
                @let path = format!("/snapshots/{}/diff/{}", a.id, b.id);
                nav.pager aria-label="Parts of the list" {
                    span.where { (items.len()) " of " (total) " policies, by type" }
                    @if !view.is_first { a.button.small href=(path) { "From the start" } }
                    @if let Some(next) = next_cursor.as_deref() {
                        a.button.small rel="next" href=(links::address(&path, &[("cursor", Some(next))])) { "Next →" }
                    }
                }
            }
        }
    }
}

/// The types that one of the two has not read completely.
fn left_out(types: &BTreeSet<String>) -> Markup {
    let mut labels: Vec<_> = types.iter().map(|key| snapshots::label(key)).collect();
    labels.sort_unstable();
    notes::note(
        Tone::Warn,
        html! {
            strong { "Not everything can be compared: " (figures::counted(labels.len() as u64, "type", "types")) "." }
            p.why {
                "One of the two did not read them completely: a policy of them that only the other one has is left out. What both have is compared."
            }
            details open[labels.len() <= 3] {
                summary { "Which types" }
                ul { @for label in labels { li { (label) } } }
            }
        },
    )
}

fn about(snapshot: &Snapshot, now: Instant) -> Markup {
    html! {
        a href={ "/snapshots/" (snapshot.id) } { "snapshot " (snapshot.id) }
        ", " (snapshots::kind(snapshot)) " " (times::dated(snapshot.created_at, now))
    }
}

fn policy(item: &PolicyDiff, names: &Names) -> Markup {
    let (tone, word) = match item.change {
        Change::Added => (Tone::Good, "new policy"),
        Change::Removed => (Tone::Bad, "policy is gone"),
        Change::Changed => (Tone::Busy, "changed"),
    };
    html! {
        article.policy {
            div.line {
                h3 title=(item.policy_id) { (name(&item.name, &item.policy_id)) }
                span.muted { (snapshots::label(&item.policy_type)) }
                span.end { (badges::badge(tone, word)) }
            }
            @if guarded(&item.widens) { (assignments::widened(&item.widens)) }
            (assignments::difference(&item.assignments, names))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::assignment::{Assignment, SetDiff, Target};
    use crate::domain::restore::Widening;

    #[test]
    fn a_change_that_widens_is_called_out_and_one_that_adds_is_not() {
        let added = Assignment {
            target: Target::AllDevices,
            filter: None,
            intent: None,
            extras: BTreeMap::new(),
            inherited_from: None,
        };
        let mut item = PolicyDiff {
            policy_type: "compliancePolicy".to_owned(),
            policy_id: "p1".to_owned(),
            name: "<Baseline>".to_owned(),
            change: Change::Changed,
            assignments: SetDiff { added: vec![added], ..SetDiff::default() },
            widens: vec![Widening::GroupBecomesEverybody, Widening::TargetAdded],
        };
        let text = policy(&item, &Names::default()).into_string();
        assert!(text.contains("Groups became everybody") && text.contains("&lt;Baseline&gt;"), "{text}");
        item.widens = vec![Widening::TargetAdded];
        assert!(!policy(&item, &Names::default()).into_string().contains("widens"));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let at = snapshots::sample().created_at;
        let tenant = Tenant {
            id: crate::ids::TenantId(3),
            workspace_id: crate::ids::WorkspaceId(1),
            workspace_slug: "w".into(),
            external_id: uuid::Uuid::nil(),
            name: "Contoso".into(),
            cloud: "global".into(),
            credential: "c".into(),
            created_at: at,
            updated_at: at,
        };
        let between = Between {
            a: snapshots::sample(),
            b: snapshots::sample(),
            items: Vec::new(),
            total: 0,
            next_cursor: None,
            not_compared: BTreeSet::from(["mobileApp".to_owned()]),
        };
        let view = View { now: at, tenant, between, is_first: true, names: Names::default() };
        let text = content(&view).into_string();
        assert!(
            text.contains("Not everything can be compared: 1 type.") && text.contains("Nothing has changed"),
            "{text}"
        );
    }
}
