//! Notes and empty places: what there is to know, and what to do where there is nothing to see.

use maud::{Markup, html};

use super::badges::Tone;

/// A note within a page.
pub fn note(tone: Tone, content: Markup) -> Markup {
    html! { div class={ "note " (tone.class()) } { (content) } }
}

/// Nothing to show: why, and what to do.
pub fn empty(title: &str, content: Markup) -> Markup {
    html! {
        div.empty {
            h3 { (title) }
            (content)
        }
    }
}
