//! How tenants are: a badge, and the map of them all. A square's shape and sign say the same as its colour.

use maud::{Markup, html};

use super::badges::{self, Tone};
use super::times;
use crate::clock::Instant;
use crate::domain::health::Health;
use crate::store::TenantHealth;

/// From so many tenants on the squares are small.
const MANY: usize = 120;

/// LIMIT: tenants that are named beside a sign; the others are squares.
const NAMED_MAX: usize = 3;

/// How a tenant is now.
pub fn of(tenant: &TenantHealth, now: Instant) -> Health {
    Health::of(tenant.fetched.map(|(_, at)| at), tenant.failing.is_some(), now)
}

/// What it feels like.
pub const fn tone(health: Health) -> Tone {
    match health {
        Health::Failing => Tone::Bad,
        Health::Stale => Tone::Warn,
        Health::Never | Health::Ageing => Tone::Calm,
        Health::Fresh => Tone::Good,
    }
}

/// In a word and a colour.
pub fn badge(health: Health) -> Markup {
    badges::badge(tone(health), health.word())
}

/// The sign within a square.
const fn sign(health: Health) -> &'static str {
    match health {
        Health::Failing => "×",
        Health::Stale => "!",
        Health::Never => "–",
        Health::Ageing => "○",
        Health::Fresh => "✓",
    }
}

/// How a tenant is, in a sentence.
pub fn told(tenant: &TenantHealth, now: Instant) -> String {
    let mut text = format!("{}: {}", tenant.name, of(tenant, now).word());
    if let Some((_, at)) = tenant.fetched {
        text.push_str(&format!(", fetched {}", times::relative_words(at, now)));
    }
    if let Some((_, at, code)) = tenant.failing {
        let code = code.map(|code| format!(" with {code}")).unwrap_or_default();
        text.push_str(&format!(", failed {}{code}", times::relative_words(at, now)));
    }
    if tenant.open.is_some() {
        text.push_str(", a run is open");
    }
    text
}

/// All tenants as squares, the worst first, and what the signs mean.
pub fn map(tenants: &[TenantHealth], now: Instant) -> Markup {
    let mut sorted: Vec<(Health, &TenantHealth)> =
        tenants.iter().map(|tenant| (of(tenant, now), tenant)).collect();
    sorted.sort_by_key(|(health, _)| *health);
    let count = |wanted: Health| sorted.iter().filter(|(health, _)| *health == wanted).count();
    html! {
        ul.signs aria-label="How many tenants are how" {
            @for health in Health::ALL.into_iter().filter(|health| count(*health) > 0) {
                li {
                    span class={ "square " (class(health)) } aria-hidden="true" { (sign(health)) }
                    strong { (count(health)) } " " (health.word())
                    span.muted { " " (health.meaning()) }
                    @if matches!(health, Health::Failing | Health::Stale) { (named(&sorted, health)) }
                }
            }
        }
        @if tenants.len() > 12 { a.skip.inline href="#after-map" { "Skip the map of tenants" } }
        ul class={ "map" @if tenants.len() >= MANY { " many" } } aria-label="Tenants" {
            @for (health, tenant) in sorted {
                li {
                    a href={ "/tenants/" (tenant.id) } title=(told(tenant, now)) aria-label=(told(tenant, now))
                        class={ "square " (class(health)) @if tenant.open.is_some() { " open" } } { (sign(health)) }
                }
            }
        }
        span #after-map tabindex="-1" {}
    }
}

/// The first tenants that are so, by name: whoever looks for trouble wants to know whose it is.
fn named(sorted: &[(Health, &TenantHealth)], wanted: Health) -> Markup {
    let mut tenants = sorted.iter().filter(|(health, _)| *health == wanted).map(|(_, tenant)| tenant);
    html! {
        span {
            @for (index, tenant) in tenants.by_ref().take(NAMED_MAX).enumerate() {
                @if index > 0 { ", " }
                a href={ "/tenants/" (tenant.id) } { (tenant.name) }
            }
            @let others = tenants.count();
            @if others > 0 { " and " (others) " more" }
        }
    }
}

const fn class(health: Health) -> &'static str {
    match health {
        Health::Failing => "failing",
        Health::Stale => "stale",
        Health::Never => "never",
        Health::Ageing => "ageing",
        Health::Fresh => "fresh",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Code;
    use crate::ids::{RunId, TenantId, WorkspaceId};

    fn now() -> Instant {
        Instant::from_micros(1_700_000_000_000_000).expect("within the calendar")
    }

    fn tenant(id: i64) -> TenantHealth {
        TenantHealth {
            id: TenantId(id),
            workspace_id: WorkspaceId(1),
            name: format!("<T{id}>"),
            fetched: Some((RunId(7), now() - chrono::Duration::minutes(5))),
            failing: None,
            open: None,
        }
    }

    #[test]
    fn a_square_says_in_words_what_it_says_in_colour() {
        let failing = TenantHealth {
            failing: Some((RunId(8), now() - chrono::Duration::minutes(1), Some(Code::GraphThrottled))),
            open: Some(RunId(9)),
            ..tenant(2)
        };
        let words = told(&failing, now());
        assert_eq!(
            words,
            "<T2>: failing, fetched 5 min ago, failed 1 min ago with graph.throttled, a run is open"
        );
        let text = map(&[tenant(1), failing], now()).into_string();
        assert!(text.contains("href=\"/tenants/2\"") && text.contains("square failing open"), "{text}");
        assert!(text.find("/tenants/2") < text.find("/tenants/1"), "the worst first: {text}");
        assert!(!text.contains("<T1>"), "names are escaped: {text}");
    }

    #[test]
    fn who_fails_is_named_and_who_is_fresh_is_counted() {
        let fails = |id| TenantHealth { failing: Some((RunId(8), now(), None)), ..tenant(id) };
        let text = map(&[tenant(1), fails(2), fails(3), fails(4), fails(5)], now()).into_string();
        assert!(text.contains(">&lt;T2&gt;</a>") && text.contains(" and 1 more"), "{text}");
        assert!(!text.contains(">&lt;T1&gt;</a>"), "{text}");
    }

    #[test]
    fn many_tenants_have_small_squares() {
        let many: Vec<_> = (0..1000).map(tenant).collect();
        let text = map(&many, now()).into_string();
        assert!(text.contains("class=\"map many\"") && text.matches("<a ").count() == 1001);
        assert!(text.len() < 300_000, "{}", text.len());
    }
}
