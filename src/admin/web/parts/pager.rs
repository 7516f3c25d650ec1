//! The two ways on from a part of a list that is read by key: newer and older. There are no page numbers, since a list
//! that grows at its top has none.

use maud::{Markup, html};

/// Where the two ways lead.
#[derive(Clone, Debug, Default)]
pub struct Pager {
    /// Says what is shown, such as `50 runs`.
    pub shown: String,
    /// To the beginning of the list, where this is not it.
    pub first: Option<String>,
    /// To the part before.
    pub newer: Option<String>,
    /// To the part after.
    pub older: Option<String>,
}

impl maud::Render for Pager {
    fn render(&self) -> Markup {
        html! {
            nav.pager aria-label="Parts of the list" {
                span.where { (self.shown) }
                @if let Some(first) = &self.first { a.button.small href=(first) { "Newest" } }
                @if let Some(newer) = &self.newer { a.button.small rel="prev" href=(newer) { "← Newer" } }
                @if let Some(older) = &self.older { a.button.small rel="next" href=(older) { "Older →" } }
            }
        }
    }
}
