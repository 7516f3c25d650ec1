//! Forms: every one that changes something carries the session's token.

use maud::{Markup, html};

use crate::admin::web::visit::Visit;

/// The hidden field that shows a post to be the page's own.
pub fn csrf(visit: &Visit) -> Markup {
    html! { input type="hidden" name="_csrf" value=(visit.csrf); }
}

/// A button that posts to `action`.
pub fn button(visit: &Visit, action: &str, label: &str, class: &str) -> Markup {
    html! {
        form.inline method="post" action=(action) {
            (csrf(visit))
            button class=(class) { (label) }
        }
    }
}

/// A choice of one word among `options` (value and label), or of none: `any`.
pub fn select(
    name: &str,
    label: &str,
    any: &str,
    options: &[(String, String)],
    chosen: Option<&str>,
) -> Markup {
    html! {
        div.field {
            label for={ "f-" (name) } { (label) }
            select id={ "f-" (name) } name=(name) {
                option value="" selected[chosen.is_none()] { (any) }
                @for (value, label) in options {
                    option value=(value) selected[chosen == Some(value.as_str())] { (label) }
                }
            }
        }
    }
}

/// A line of text.
pub fn text(name: &str, label: &str, value: Option<&str>, placeholder: &str) -> Markup {
    html! {
        div.field {
            label for={ "f-" (name) } { (label) }
            input type="text" id={ "f-" (name) } name=(name) value=[value] placeholder=(placeholder) autocomplete="off"
                spellcheck="false";
        }
    }
}
