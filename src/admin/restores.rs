//! What a restore plans and does, policy by policy; and undoing it.

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::auth::{Operator, Viewer};
use super::body::{self, MaybeBody, Query};
use super::list::List;
use super::problem::Problem;
use super::runs::visible_run;
use super::verdict::{self, VerdictBody};
use crate::clock::Instant;
use crate::domain::assignment::{self, AssignmentsHash, SetDiff};
use crate::domain::audit::Action;
use crate::domain::failure::Failure;
use crate::domain::restore::{ItemState, Widening};
use crate::ids::RunId;
use crate::intake::{self, Undo};
use crate::store::{Page, RestoreItem};

/// Which items.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ItemsQuery {
    /// In a state.
    #[param(value_type = Option<ItemState>)]
    state: Option<String>,
    /// Items at the most; 1 to `http.page_max`, default `http.page_default`.
    #[param(value_type = Option<usize>)]
    limit: Option<String>,
    /// The `next_cursor` of the part before.
    cursor: Option<String>,
}

/// One policy of a restore: what is planned for it, and how far it got.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "policy_type": "compliancePolicy", "policy_id": "5b1f0c52-7a31-4a0e-8d5c-2f6a1c9e4b70", "name": "Baseline",
    "state": "verified", "widens": ["target_added"],
    "diff": {
        "added": [{"target": {"type": "group", "group_id": "aaaaaaaa-0000-4000-8000-000000000001"}, "filter": null}],
        "removed": [], "changed": []
    },
    "base_hash": "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
    "wanted_hash": "d04b98f48e8f8bcc15c6ae5ac050801cd6dcfd428fb5f9e65c4e16e7807340fa",
    "sent_hash": "d04b98f48e8f8bcc15c6ae5ac050801cd6dcfd428fb5f9e65c4e16e7807340fa",
    "verified_hash": "d04b98f48e8f8bcc15c6ae5ac050801cd6dcfd428fb5f9e65c4e16e7807340fa",
    "failure": null, "calls": 1,
    "sent_at": "2026-11-24T08:15:00.000000Z", "updated_at": "2026-11-24T08:15:01.000000Z"
}))]
pub(super) struct ItemBody {
    /// The catalogue's key.
    policy_type: String,
    /// As Graph gives it.
    policy_id: String,
    /// Its name.
    name: String,
    /// How far the restore got with it; `planned` is where a dry run ends.
    state: ItemState,
    /// In which ways it reaches more than before.
    widens: Vec<Widening>,
    /// From the live set to the wanted one; null where one of the two is not known.
    diff: Option<SetDiff>,
    /// Hash of the live set that is, or would be, replaced; null where it was not read.
    base_hash: Option<AssignmentsHash>,
    /// Hash of what the policy is to have; null where that could not be worked out.
    wanted_hash: Option<AssignmentsHash>,
    /// Hash of what was sent; null before a write.
    sent_hash: Option<AssignmentsHash>,
    /// Hash of what was read back; null before that.
    verified_hash: Option<AssignmentsHash>,
    /// Why it failed, or is refused.
    failure: Option<Failure>,
    /// The calls that the plan foresees.
    calls: u32,
    /// When its last write was announced.
    sent_at: Option<Instant>,
    /// When it last changed.
    updated_at: Instant,
}

impl From<RestoreItem> for ItemBody {
    fn from(item: RestoreItem) -> Self {
        let sets = item.base.as_ref().zip(item.wanted.as_ref());
        Self {
            // Inherited assignments are not written, so they are no part of the difference.
            diff: sets.map(|(base, wanted)| assignment::diff(&base.direct(), &wanted.direct())),
            policy_type: item.policy_type,
            policy_id: item.policy_id,
            name: item.name,
            state: item.state,
            widens: item.widens,
            base_hash: item.base_hash,
            wanted_hash: item.wanted_hash,
            sent_hash: item.sent_hash,
            verified_hash: item.verified_hash,
            failure: item.failure,
            calls: item.calls,
            sent_at: item.sent_at,
            updated_at: item.updated_at,
        }
    }
}

/// Lists what a restore plans and does, by type and id. A run that is no restore has no items.
#[utoipa::path(
    operation_id = "list_items",
    tag = "runs",
    params(("id" = i64, Path, description = "The run"), ItemsQuery),
    responses(
        (status = 200, body = List<ItemBody>, description = "A part of the list"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/runs/{id}/items")]
pub(super) async fn items(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
    query: Query<ItemsQuery>,
) -> Result<HttpResponse, Problem> {
    let ItemsQuery { state: wanted, limit, cursor } = query.0;
    let wanted: Option<ItemState> =
        body::word("state", wanted.as_deref(), "planned, sent, verified, skipped or failed")?;
    let page = body::page(limit.as_deref(), cursor, &state.config().http)?;
    let run = visible_run(&state, &caller.0, *id).await?;
    let Page { items, next_cursor } = state.store.restore_items(run.id, wanted, page).await?;
    let items = items.into_iter().map(ItemBody::from).collect();
    Ok(HttpResponse::Ok().json(List { items, next_cursor }))
}

/// How to undo a restore; every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"dry_run": true}))]
pub(super) struct UndoRequest {
    /// Show what would be put back, and write nothing.
    dry_run: Option<bool>,
    /// Put back also what reaches more than the live set does.
    allow_widening: Option<bool>,
    /// Skip the cooldown (never the rule that one run is active).
    force: Option<bool>,
}

/// Puts back what a restore replaced: a restore of its own, with an identity and all checks of its own. A policy that
/// somebody changed since the restore is left alone.
#[utoipa::path(
    operation_id = "undo_run",
    tag = "runs",
    params(("id" = i64, Path, description = "The restore to undo")),
    request_body(content = Option<UndoRequest>, description = "May be left out"),
    responses(
        (status = 202, body = VerdictBody, description = "Accepted: the new run, durable"),
        (status = 200, body = VerdictBody, description = "Active or in cooldown: the run that holds the identity",
         headers(("Retry-After" = u64, description = "Seconds, with a cooldown"))),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "`run.not_completed`"),
        (status = 422, body = super::problem::Problem, content_type = "application/problem+json",
         description = "`run.nothing_to_undo`"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/runs/{id}/undo")]
pub(super) async fn undo(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
    asked: MaybeBody<UndoRequest>,
) -> Result<HttpResponse, Problem> {
    let UndoRequest { dry_run, allow_widening, force } = asked.0;
    let undo = Undo {
        dry_run: dry_run.unwrap_or(false),
        allow_widening: allow_widening.unwrap_or(false),
        force: force.unwrap_or(false),
    };
    let run = visible_run(&state, &caller.0, *id).await?;
    let by = caller.0.initiator();
    let request = intake::undo_of(&state.directory, &state.store, &run, undo, &by).await?;
    Ok(verdict::reply(verdict::ask_as(&state, Action::RunUndone, request).await?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::assignment::{Assignment, AssignmentSet, Target};

    fn assignment(group: &str, inherited_from: Option<&str>) -> Assignment {
        Assignment {
            target: Target::Group { group_id: group.to_owned() },
            filter: None,
            intent: None,
            extras: BTreeMap::new(),
            inherited_from: inherited_from.map(str::to_owned),
        }
    }

    fn item(base: Option<AssignmentSet>, wanted: Option<AssignmentSet>) -> ItemBody {
        let hash = |set: &Option<AssignmentSet>| set.as_ref().map(AssignmentSet::hash);
        ItemBody::from(RestoreItem {
            policy_type: "compliancePolicy".to_owned(),
            policy_id: "a".to_owned(),
            name: "A".to_owned(),
            state: ItemState::Planned,
            base_hash: hash(&base),
            wanted_hash: hash(&wanted),
            sent_hash: None,
            verified_hash: None,
            base,
            wanted,
            widens: vec![],
            failure: None,
            calls: 1,
            sent_at: None,
            updated_at: Instant::from_micros(0).expect("within the calendar"),
        })
    }

    #[test]
    fn the_difference_leads_from_the_live_set_to_the_wanted_one_and_knows_direct_ones_alone() {
        let base = AssignmentSet::new(vec![assignment("g1", None), assignment("g3", Some("policySets"))]);
        let wanted = AssignmentSet::new(vec![assignment("g2", None)]);
        let diff = item(Some(base), Some(wanted)).diff.expect("both are known");
        assert_eq!((diff.added, diff.removed), (vec![assignment("g2", None)], vec![assignment("g1", None)]));
    }

    #[test]
    fn without_one_of_the_sets_there_is_no_difference() {
        assert_eq!(item(None, Some(AssignmentSet::default())).diff, None);
        assert_eq!(item(Some(AssignmentSet::default()), None).diff, None);
    }
}
