//! The frame of every page: navigation, who is logged in, what the last change had to say.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::parts::{forms, icons};
use super::visit::{Theme, Visit};
use crate::clock::Instant;
use crate::store::Role;

/// A part of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// What goes on.
    Overview,
    /// The ledger.
    Runs,
    /// Directories.
    Tenants,
    /// Writing back.
    Restore,
    /// What failed.
    Failures,
    /// What is asked for by the clock.
    Schedules,
    /// The daemon.
    System,
    /// Who changed what.
    Audit,
}

impl Tab {
    /// In the order of the navigation.
    pub const ALL: [Self; 8] = [
        Self::Overview,
        Self::Runs,
        Self::Tenants,
        Self::Restore,
        Self::Failures,
        Self::Schedules,
        Self::System,
        Self::Audit,
    ];

    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Runs => "Runs",
            Self::Tenants => "Tenants",
            Self::Restore => "Restore",
            Self::Failures => "Failures",
            Self::Schedules => "Schedules",
            Self::System => "System",
            Self::Audit => "Audit",
        }
    }

    /// Where it leads.
    pub const fn address(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Runs => "/runs",
            Self::Tenants => "/tenants",
            Self::Restore => "/restore",
            Self::Failures => "/failures",
            Self::Schedules => "/schedules",
            Self::System => "/system",
            Self::Audit => "/audit",
        }
    }

    /// Who may open it.
    const fn role(self) -> Role {
        match self {
            Self::Audit => Role::Admin,
            _ => Role::Viewer,
        }
    }

    const fn icon(self) -> icons::Icon {
        match self {
            Self::Overview => icons::OVERVIEW,
            Self::Runs => icons::RUNS,
            Self::Tenants => icons::TENANTS,
            Self::Restore => icons::RESTORE,
            Self::Failures => icons::FAILURES,
            Self::Schedules => icons::SCHEDULES,
            Self::System => icons::SYSTEM,
            Self::Audit => icons::AUDIT,
        }
    }
}

/// Whether a page follows what happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Live {
    /// It does not.
    #[default]
    No,
    /// It follows the events that a query of `GET /api/v1/events` lets through, such as `?run_id=7`; empty for all.
    Events(String),
}

/// What the frame is made of.
#[derive(Clone, Debug)]
pub struct Shell<'a> {
    /// The page's title.
    pub title: &'a str,
    /// The part of the navigation that it belongs to.
    pub active: Option<Tab>,
    /// Who looks, and how.
    pub visit: &'a Visit,
    /// Which events it follows.
    pub live: Live,
    /// It is fetched anew after so many seconds, whatever happens; for what no event tells.
    pub every_s: Option<u32>,
    /// The time that its relative times were written at.
    pub now: Option<Instant>,
}

impl<'a> Shell<'a> {
    /// A page outside of the navigation.
    pub fn bare(visit: &'a Visit, title: &'a str) -> Self {
        Self { title, active: None, visit, live: Live::No, every_s: None, now: None }
    }

    /// It shows `now`, and follows the events of a query.
    pub fn following(self, now: Instant, query: impl Into<String>) -> Self {
        Self { live: Live::Events(query.into()), now: Some(now), ..self }
    }

    /// It is fetched anew every so many seconds.
    pub fn every(self, seconds: u32) -> Self {
        Self { every_s: Some(seconds), ..self }
    }
}

/// A page: the frame around `content`. Without a caller there is nothing to navigate.
pub fn page(shell: Shell<'_>, content: Markup) -> Markup {
    let visit = shell.visit;
    let theme = (visit.theme != Theme::Auto).then(|| visit.theme.as_str());
    let events = match &shell.live {
        Live::No => None,
        Live::Events(query) => Some(query.as_str()),
    };
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] data-now=[shell.now] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (shell.title) " · atlasd" }
                link rel="icon" type="image/svg+xml" href=(assets::icon());
                link rel="stylesheet" href=(assets::css());
                // In the head and not deferred: the look is known before anything is drawn.
                script src=(assets::script()) {}
            }
            body class=[visit.caller.is_none().then_some("bare")] data-events=[events] data-every=[shell.every_s] {
                a.skip href="#main" { "Skip to the content" }
                @if visit.caller.is_some() { (side(&shell)) }
                div.main {
                    main #main tabindex="-1" {
                        @if visit.read_only {
                            div.note role="status" { "This daemon only shows: every change is refused (http.read_only)." }
                        }
                        @if let Some(flash) = &visit.flash { (flash) }
                        (content)
                    }
                    p #announcer .hidden-visually role="status" aria-live="polite" {}
                }
            }
        }
    }
}

fn side(shell: &Shell<'_>) -> Markup {
    html! {
        div.side {
            a.brand href="/" { (icons::BRAND) "atlasd" }
            @if shell.live != Live::No {
                span #live .live.needs-script role="status" aria-live="polite" { "Connecting" }
            } @else {
                span.live.still.needs-script aria-hidden="true" {}
            }
            nav aria-label="Pages" {
                ul {
                    @for tab in Tab::ALL.into_iter().filter(|tab| shell.visit.is_at_least(tab.role())) {
                        li {
                            a href=(tab.address()) aria-current=[current(shell.active, tab)] {
                                (tab.icon()) (tab.label())
                            }
                        }
                    }
                }
            }
            (foot(shell.visit))
        }
    }
}

fn current(active: Option<Tab>, tab: Tab) -> Option<&'static str> {
    (active == Some(tab)).then_some("page")
}

/// Who is logged in, the look, the way out.
fn foot(visit: &Visit) -> Markup {
    html! {
        div.foot {
            @if let Some(caller) = &visit.caller {
                div.who { strong { (caller.name) } (role(caller.role)) }
            }
            div.row {
                form method="post" action="/theme" data-theme-form {
                    (forms::csrf(visit))
                    input type="hidden" name="next" value=(visit.address);
                    button.quiet.small name="theme" value=(visit.theme.next().as_str()) title="Change the look" {
                        (icons::LOOK) span.long { "Look: " } span data-look { (visit.theme.as_str()) }
                    }
                }
                form method="post" action="/logout" {
                    (forms::csrf(visit))
                    button.quiet.small { "Sign out" }
                }
            }
        }
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admin::auth::Principal;

    fn visit() -> Visit {
        let caller = Principal { name: "<b>ci</b>".to_owned(), role: Role::Operator, workspace: None };
        Visit {
            caller: Some(Arc::new(caller)),
            csrf: "c5rf".to_owned(),
            address: "/runs?a=\"><script>".to_owned(),
            ..Visit::default()
        }
    }

    fn shown(visit: &Visit) -> String {
        page(visit.shell("A & B", Tab::Runs), html! { p { "content" } }).into_string()
    }

    #[test]
    fn names_and_addresses_are_escaped() {
        let text = shown(&visit());
        assert!(text.contains("&lt;b&gt;ci&lt;/b&gt;") && text.contains("A &amp; B"), "{text}");
        assert!(!text.contains("<b>") && !text.contains("\"><script>"), "{text}");
    }

    #[test]
    fn the_current_page_is_marked_once_and_every_form_has_its_token() {
        let text = shown(&visit());
        assert_eq!(text.matches("aria-current=\"page\"").count(), 1);
        assert_eq!(text.matches("method=\"post\"").count(), text.matches("value=\"c5rf\"").count());
    }

    #[test]
    fn nothing_stands_in_a_page_that_its_policy_forbids() {
        let text = shown(&visit());
        for forbidden in [" style=", "<style", " onclick=", "javascript:", "http://", "https://"] {
            assert!(!text.contains(forbidden), "{forbidden} in {text}");
        }
        assert_eq!(text.matches("<script").count(), 1, "{text}");
    }

    #[test]
    fn nobody_is_led_to_a_page_that_refuses_them() {
        assert!(!shown(&visit()).contains("href=\"/audit\""));
        let admin = Principal { name: "a".to_owned(), role: Role::Admin, workspace: None };
        let admin = Visit { caller: Some(Arc::new(admin)), read_only: true, ..visit() };
        assert!(shown(&admin).contains("href=\"/audit\"") && !admin.may(Role::Viewer));
    }

    #[test]
    fn before_the_login_there_is_nothing_to_navigate() {
        let text = shown(&Visit::default());
        assert!(!text.contains("<nav") && !text.contains("Sign out"), "{text}");
    }

    #[test]
    fn the_look_that_was_chosen_is_in_the_page() {
        let dark = Visit { theme: Theme::Dark, ..visit() };
        assert!(shown(&dark).contains("data-theme=\"dark\""));
        assert!(!shown(&visit()).contains("data-theme=\""));
    }
}
