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

/// No tenants, and how there are some.
pub fn no_tenants() -> Markup {
    empty(
        "No tenants yet",
        html! {
            p { "A workspace owns its tenants. From the command line:" }
            pre {
                "atlasd workspaces add " span.blank { "SLUG" } "\n"
                "atlasd tenants add " span.blank { "NAME" }
                @for (option, value) in
                    [("--workspace", "SLUG"), ("--external-id", "DIRECTORY_ID"), ("--credential", "ENTRY")]
                {
                    " " span.nowrap { (option) " " span.blank { (value) } }
                }
            }
            p { "Then open the tenant here and fetch it." }
        },
    )
}
