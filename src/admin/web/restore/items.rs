//! The items of a plan or a restore, policy by policy: what differs, what widens, what stands in the way.

use maud::{Markup, html};

use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::admin::web::parts::assignments::{self, Names};
use crate::admin::web::parts::badges::{self, Tone};
use crate::admin::web::parts::snapshots;
use crate::admin::web::policies::name;
use crate::domain::assignment::{self, SetDiff};
use crate::domain::failure::Code;
use crate::domain::restore::ItemState;
use crate::domain::restore::widening::guarded;
use crate::ids::{RunId, TenantId};
use crate::store::{PageRequest, RestoreItem};

/// What is shown of a run's items.
pub(super) struct Items {
    /// Each with what differs, where both sets are known.
    shown: Vec<(RestoreItem, Option<SetDiff>)>,
    /// There are more than are shown.
    pub more: bool,
    names: Names,
}

impl Items {
    /// The first part of the run's items; with `state`, of those alone.
    pub async fn load(
        state: &AdminState,
        tenant: TenantId,
        run: RunId,
        only: Option<ItemState>,
    ) -> Result<Self, Problem> {
        let page = PageRequest { limit: state.config().http.page_max, cursor: None };
        let part = state.store.restore_items(run, only, page).await?;
        let shown: Vec<_> = part
            .items
            .into_iter()
            .map(|item| {
                let sets = item.base.as_ref().zip(item.wanted.as_ref());
                // Inherited assignments are not written, so they are no part of the difference.
                let diff = sets.map(|(base, wanted)| assignment::diff(&base.direct(), &wanted.direct()));
                (item, diff)
            })
            .collect();
        let diffs = shown.iter().filter_map(|(_, diff)| diff.as_ref());
        let names = Names::load(state, tenant, diffs.flat_map(assignments::named_in)).await?;
        Ok(Self { shown, more: part.next_cursor.is_some(), names })
    }

    /// How many are in a state.
    pub fn count(&self, state: ItemState) -> usize {
        self.shown.iter().filter(|(item, _)| item.state == state).count()
    }

    /// Whether anything that is to be written widens in a way that needs to be allowed.
    pub fn widens(&self) -> bool {
        self.shown.iter().any(|(item, _)| guarded(&item.widens) && item.state != ItemState::Skipped)
    }

    /// Why the guard would stop what is to be written until it is allowed; `policies_max` is `restore.policies_max`.
    pub fn guard(&self, policies_max: usize) -> Option<&'static str> {
        if self.widens() {
            return Some("Policies would reach more than they do now.");
        }
        (self.count(ItemState::Planned) > policies_max)
            .then_some("More policies would be written than restore.policies_max allows at once.")
    }

    /// Whether a group stands in the way that another could stand for.
    pub fn lacks_groups(&self) -> bool {
        let of_groups = [Code::AssignmentsGroupUnmapped, Code::AssignmentsGroupDeleted];
        let code = |item: &RestoreItem| item.failure.as_ref().map(|failure| failure.code);
        self.shown.iter().any(|(item, _)| code(item).is_some_and(|code| of_groups.contains(&code)))
    }

    /// Each policy that is not already as wanted; what failed, and what widens, first.
    pub fn list(&self) -> Markup {
        let mut sorted: Vec<_> =
            self.shown.iter().filter(|(item, _)| item.state != ItemState::Skipped).collect();
        sorted.sort_by_key(|(item, _)| (item.state != ItemState::Failed, !guarded(&item.widens)));
        html! {
            @for (item, diff) in sorted { (self.policy(item, diff.as_ref())) }
            @if self.more { div.policy { p.muted { "The first " (self.shown.len()) " policies are shown." } } }
        }
    }

    fn policy(&self, item: &RestoreItem, diff: Option<&SetDiff>) -> Markup {
        html! {
            article.policy {
                div.line {
                    h3 title=(item.policy_id) { (name(&item.name, &item.policy_id)) }
                    span.muted { (snapshots::label(&item.policy_type)) }
                    span.end { (state(item)) }
                }
                @if let Some(failure) = &item.failure {
                    div {
                        p.wrap { span.code { (failure.code) } " " (failure.message()) }
                        p.small.muted { (failure.code.advice()) }
                    }
                }
                @if guarded(&item.widens) { (assignments::widening(&item.widens)) }
                @if let Some(diff) = diff { (assignments::difference(diff, &self.names)) }
            }
        }
    }
}

/// How far the restore got with a policy, in the words of who reads a plan.
fn state(item: &RestoreItem) -> Markup {
    match item.state {
        ItemState::Planned => badges::badge(Tone::Calm, "to be written"),
        ItemState::Sent => badges::badge(Tone::Busy, "sent, not read back yet"),
        ItemState::Verified => badges::badge(Tone::Good, "written and read back"),
        ItemState::Skipped => badges::badge(Tone::Calm, "as wanted"),
        ItemState::Failed if item.sent_hash.is_none() => badges::badge(Tone::Bad, "not touched"),
        ItemState::Failed => badges::badge(Tone::Bad, "failed"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Instant;
    use crate::domain::failure::Failure;
    use crate::domain::restore::Widening;

    pub fn item(state: ItemState, widens: Vec<Widening>) -> RestoreItem {
        RestoreItem {
            policy_type: "compliancePolicy".to_owned(),
            policy_id: format!("{state}"),
            name: format!("<{state}>"),
            state,
            base_hash: None,
            wanted_hash: None,
            sent_hash: None,
            verified_hash: None,
            base: None,
            wanted: None,
            widens,
            failure: (state == ItemState::Failed)
                .then(|| Failure::new(Code::AssignmentsGroupUnmapped, "group g9 is not in the map")),
            calls: 1,
            sent_at: None,
            updated_at: Instant::from_micros(0).expect("within the calendar"),
        }
    }

    pub fn items(list: Vec<RestoreItem>) -> Items {
        Items {
            shown: list.into_iter().map(|item| (item, None)).collect(),
            more: false,
            names: Names::default(),
        }
    }

    #[test]
    fn what_stands_in_the_way_comes_first_and_what_is_as_wanted_is_left_out() {
        let all = items(vec![
            item(ItemState::Skipped, vec![]),
            item(ItemState::Planned, vec![]),
            item(ItemState::Verified, vec![Widening::FilterLost]),
            item(ItemState::Failed, vec![]),
        ]);
        let text = all.list().into_string();
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in {text}"));
        assert!(
            at("&lt;failed&gt;") < at("&lt;verified&gt;") && at("&lt;verified&gt;") < at("&lt;planned&gt;")
        );
        assert!(!text.contains("skipped") && text.contains("group g9 is not in the map"), "{text}");
        assert!(all.widens() && all.lacks_groups() && all.count(ItemState::Planned) == 1);
    }

    #[test]
    fn what_is_as_wanted_widens_nothing() {
        assert!(!items(vec![item(ItemState::Skipped, vec![Widening::FilterLost])]).widens());
        assert!(!items(vec![item(ItemState::Planned, vec![Widening::TargetAdded])]).widens());
    }
}
