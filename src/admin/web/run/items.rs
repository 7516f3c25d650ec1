//! What a restore plans and does, policy by policy.

use maud::{Markup, html};

use crate::admin::AdminState;
use crate::admin::body;
use crate::admin::problem::Problem;
use crate::admin::web::parts::badges::{self, Tone};
use crate::admin::web::parts::figures::counted;
use crate::admin::web::parts::links::address;
use crate::admin::web::parts::snapshots;
use crate::domain::assignment;
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::store::{Page, RestoreItem};

/// A part of them.
#[derive(Debug)]
pub struct Items {
    page: Page<RestoreItem>,
    is_first: bool,
}

impl Items {
    /// The part after `cursor`; `None` for a run that is no restore.
    ///
    /// # Errors
    /// A cursor of another list, or what the ledger answers.
    pub async fn load(
        state: &AdminState,
        run: &Run,
        cursor: Option<String>,
    ) -> Result<Option<Self>, Problem> {
        if run.operation != Operation::Restore {
            return Ok(None);
        }
        let is_first = cursor.is_none();
        let part = body::page(None, cursor, &state.config().http)?;
        let page = state.store.restore_items(run.id, None, part).await?;
        Ok(Some(Self { page, is_first }))
    }

    /// The panel.
    pub fn panel(&self, run: &Run) -> Markup {
        html! {
            section.panel aria-labelledby="items" {
                header { h2 #items { "Policies" } }
                @if self.page.items.is_empty() {
                    div.body { p.muted { "The plan is not made yet, or there is nothing in it." } }
                } @else {
                    table.table.cards {
                        caption.hidden-visually { "What the restore plans and does, policy by policy" }
                        thead { tr {
                            th scope="col" { "Policy" }
                            th scope="col" { "State" }
                            th scope="col" { "Change" }
                        } }
                        tbody { @for item in &self.page.items { (line(item)) } }
                    }
                }
                @if !self.is_first || self.page.next_cursor.is_some() {
                    nav.pager aria-label="Parts of the policies" {
                        span.where { (counted(self.page.items.len() as u64, "policy", "policies")) }
                        @if !self.is_first { a.button.small href={ "/runs/" (run.id) "#items" } { "First" } }
                        @if let Some(next) = &self.page.next_cursor {
                            a.button.small rel="next" href={ (address(&format!("/runs/{}", run.id), &[("items", Some(next.as_str()))])) "#items" } { "More →" }
                        }
                    }
                }
            }
        }
    }
}

fn line(item: &RestoreItem) -> Markup {
    html! {
        tr {
            th.wrap scope="row" { div { (item.name) div.muted.small { (snapshots::label(&item.policy_type)) } } }
            td.nowrap data-label="State" { (badges::item(item.state)) }
            td data-label="Change" {
                span {
                    (change(item))
                    @if !item.widens.is_empty() { " " (badges::badge(Tone::Warn, "widens")) }
                    @if let Some(failure) = &item.failure { br; span.code { (failure.code) } " " span.small.wrap { (failure.message()) } }
                }
            }
        }
    }
}

/// How many assignments come, go and change.
fn change(item: &RestoreItem) -> String {
    let Some((base, wanted)) = item.base.as_ref().zip(item.wanted.as_ref()) else {
        return "not worked out".to_owned();
    };
    let diff = assignment::diff(&base.direct(), &wanted.direct());
    let parts =
        [(diff.added.len(), "added"), (diff.removed.len(), "removed"), (diff.changed.len(), "changed")];
    let words: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
