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
use crate::store::{ItemTally, RestoreItem};

/// What is shown of a run's items.
pub(super) struct Items {
    /// Those that somebody should look at, each with what differs, where both sets are known; at most `http.page_max`.
    shown: Vec<(RestoreItem, Option<SetDiff>)>,
    /// There are more than are shown.
    pub more: bool,
    /// All of them, shown or not: what is decided is decided by these.
    tally: Vec<ItemTally>,
    run: RunId,
    names: Names,
}

impl Items {
    /// The run's items; with `only`, those in that state alone.
    pub async fn load(
        state: &AdminState,
        tenant: TenantId,
        run: RunId,
        only: Option<ItemState>,
    ) -> Result<Self, Problem> {
        let mut tally = state.store.restore_tally(run).await?;
        tally.retain(|alike| only.is_none_or(|only| only == alike.state));
        let limit = state.config().http.page_max;
        let (items, more) = state.store.restore_items_to_review(run, only, limit).await?;
        let shown: Vec<_> = items
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
        Ok(Self { shown, more, tally, run, names })
    }

    /// How many are in a state.
    pub fn count(&self, state: ItemState) -> usize {
        let alike = self.tally.iter().filter(|alike| alike.state == state);
        usize::try_from(alike.map(|alike| alike.count).sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Whether anything that is to be written widens in a way that needs to be allowed.
    pub fn widens(&self) -> bool {
        self.tally.iter().any(|alike| guarded(&alike.widens) && alike.state != ItemState::Skipped)
    }

    /// Whether the guard has stopped any: what it stops fails by itself, the run goes on and may succeed.
    pub fn are_guarded(&self) -> bool {
        self.has_failed_by(&[Code::AssignmentsGuardBlocked])
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
        self.has_failed_by(&[Code::AssignmentsGroupUnmapped, Code::AssignmentsGroupDeleted])
    }

    fn has_failed_by(&self, codes: &[Code]) -> bool {
        self.tally.iter().any(|alike| alike.code.is_some_and(|code| codes.contains(&code)))
    }

    /// Each policy that is not already as wanted; what failed, and what widens, first.
    pub fn list(&self) -> Markup {
        html! {
            @for (item, diff) in &self.shown { (self.policy(item, diff.as_ref())) }
            @if self.more {
                div.policy {
                    p {
                        strong { "The first " (self.shown.len()) " are shown." }
                        " What failed and what has to be allowed is among them, as far as there is room. "
                        a href={ "/runs/" (self.run) "#items" } { "All of them, page by page" }
                    }
                }
            }
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
                (why_not(item))
                @if guarded(&item.widens) { (assignments::widening(&item.widens)) }
                @if let Some(diff) = diff { (assignments::difference(diff, &self.names)) }
            }
        }
    }
}

fn is_guarded(item: &RestoreItem) -> bool {
    item.failure.as_ref().is_some_and(|failure| failure.code == Code::AssignmentsGuardBlocked)
}

/// What stands in the way of a policy. Where that is the guard, what widens is said below in the page's own words.
fn why_not(item: &RestoreItem) -> Markup {
    html! {
        @if is_guarded(item) && guarded(&item.widens) {
            p.small.muted { "Left alone: what widens was not allowed." }
        } @else if let Some(failure) = &item.failure {
            div {
                p.wrap { span.code { (failure.code) } " " (failure.message()) }
                p.small.muted { (failure.code.advice()) }
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
        ItemState::Failed if is_guarded(item) => badges::badge(Tone::Warn, "left alone"),
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

    /// What the guard has stopped.
    pub fn stopped_by_the_guard(widens: Widening) -> RestoreItem {
        let failure = Failure::new(Code::AssignmentsGuardBlocked, "it widens: then say `allow_widening`");
        RestoreItem { failure: Some(failure), ..item(ItemState::Failed, vec![widens]) }
    }

    pub fn items(list: Vec<RestoreItem>) -> Items {
        let tally = |item: &RestoreItem| ItemTally {
            state: item.state,
            widens: item.widens.clone(),
            code: item.failure.as_ref().map(|failure| failure.code),
            count: 1,
        };
        Items {
            tally: list.iter().map(tally).collect(),
            shown: list.into_iter().map(|item| (item, None)).collect(),
            more: false,
            run: RunId(7),
            names: Names::default(),
        }
    }

    #[test]
    fn what_is_not_shown_is_decided_on_too() {
        let mut all = items(vec![
            item(ItemState::Verified, vec![]),
            item(ItemState::Planned, vec![Widening::FilterLost]),
            item(ItemState::Failed, vec![]),
        ]);
        all.shown.truncate(1);
        all.more = true;
        assert!(all.widens() && all.lacks_groups());
        assert_eq!(ItemState::ALL.iter().map(|state| all.count(*state)).sum::<usize>(), 3);
        let text = all.list().into_string();
        assert!(text.contains("The first 1 are shown") && text.contains("/runs/7#items"), "{text}");
    }

    #[test]
    fn what_the_guard_stopped_is_said_in_words_and_once() {
        let all = items(vec![stopped_by_the_guard(Widening::FilterLost)]);
        let text = all.list().into_string();
        assert!(all.are_guarded() && !all.lacks_groups());
        assert!(text.contains("Left alone") && text.contains("A filter would be lost"), "{text}");
        assert!(!text.contains("allow_widening") && !text.contains("guard_blocked"), "{text}");
    }

    #[test]
    fn what_is_as_wanted_widens_nothing() {
        assert!(!items(vec![item(ItemState::Skipped, vec![Widening::FilterLost])]).widens());
        assert!(!items(vec![item(ItemState::Planned, vec![Widening::TargetAdded])]).widens());
    }
}
