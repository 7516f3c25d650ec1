//! Why a request is refused, in plain words: what makes it the same as this run, which inputs count, and from when on it
//! is accepted again.

use maud::{Markup, html};
use serde_json::{Map, Value};

use crate::admin::AdminState;
use crate::admin::auth::Principal;
use crate::admin::identity::holder;
use crate::admin::problem::Problem;
use crate::admin::web::parts::badges::Tone;
use crate::admin::web::parts::{facts, notes, times, words};
use crate::clock::Instant;
use crate::domain::operation::{Operation, Scope};
use crate::domain::run::Run;
use crate::ids::RunId;
use crate::intake;

/// What makes a request the same as a run, and what would become of one now.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The canonical JSON; `None` where the run's inputs cannot be read any more.
    canonical: Option<String>,
    /// What its cooldown is configured to be.
    cooldown: std::time::Duration,
    standing: Standing,
}

/// What becomes of the same request now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// This run answers it: it has not ended.
    Active,
    /// This run answers it, for so long.
    Cooling { until: Instant },
    /// Another run answers it.
    Held { by: RunId, until: Option<Instant> },
    /// It is accepted; this run's cooldown ended then, where it left one.
    Free { since: Option<Instant> },
}

impl Explained {
    /// Asks the ledger who answers the same request now.
    ///
    /// # Errors
    /// What the ledger answers.
    pub async fn of(
        state: &AdminState,
        caller: &Principal,
        run: &Run,
        now: Instant,
    ) -> Result<Self, Problem> {
        let resolved = intake::resolve_run(&state.directory, run, &caller.initiator()).await.ok();
        let canonical = resolved.and_then(|resolved| String::from_utf8(resolved.canonical()).ok());
        let held = holder(state, run.identity).await?;
        Ok(Self {
            canonical,
            cooldown: state.config().cooldown(run.operation),
            standing: Standing::of(run, held.as_ref(), now),
        })
    }

    #[cfg(test)]
    pub fn sample(run: &Run) -> Self {
        let cooldown = run.operation.default_cooldown();
        Self { canonical: None, cooldown, standing: Standing::of(run, Some(run), run.created_at) }
    }

    /// The panel.
    pub fn panel(&self, run: &Run, now: Instant) -> Markup {
        html! {
            section.panel aria-labelledby="why" {
                header { h2 #why { (self.title()) } }
                div.body.stack {
                    (self.standing(run.operation, now))
                    div {
                        p { "A request is the same as this run when all of this is the same:" }
                        (same(run, self.canonical.as_deref()))
                    }
                    details {
                        summary { "The rules, and the identity for programs" }
                        div.stack {
                            p.muted.small {
                                "Who asks, when, how often, by which way (page, command line, schedule, HTTP) and any context of its own make no difference."
                            }
                            (self.rule(run))
                            p.wrap { code { (run.identity) } " " a href={ "/runs?run_identity_hash=" (run.identity) } { "all runs with it" } }
                            @if let Some(canonical) = &self.canonical {
                                p.small.muted { "It is the SHA-256 of this canonical JSON (RFC 8785):" }
                                pre { (canonical) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn title(&self) -> &'static str {
        match self.standing {
            Standing::Free { .. } => "When the same is asked for again",
            _ => "Why the same request is refused",
        }
    }

    fn standing(&self, operation: Operation, now: Instant) -> Markup {
        match &self.standing {
            Standing::Active => notes::note(
                Tone::Busy,
                html! {
                    strong { "Refused until this run has ended." }
                    p.why { "The same request is answered " code { "active" } " with this run, forced or not: nothing runs twice at a time." }
                },
            ),
            Standing::Cooling { until } => notes::note(
                Tone::Warn,
                html! {
                    strong { "Accepted again " (times::relative(*until, now)) ", from " (times::clock(*until)) "." }
                    p.why { "Until then the same request is answered " code { "cooldown" } " with this run. " (skips(operation)) }
                },
            ),
            Standing::Held { by, until } => notes::note(
                Tone::Warn,
                html! {
                    strong { "Answered by " a href={ "/runs/" (by) } { "run #" (by) } " now." }
                    @match until {
                        Some(until) => p.why { "It did the same; accepted again " (times::relative(*until, now)) ", from " (times::clock(*until)) "." }
                        None => p.why { "It does the same and has not ended." }
                    }
                },
            ),
            Standing::Free { since } => notes::note(
                Tone::Good,
                html! {
                    strong { "The same request is accepted now." }
                    @match since {
                        Some(since) => p.why { "The cooldown of this run ended " (times::relative(*since, now)) "." }
                        None => p.why { "This run left no cooldown." }
                    }
                },
            ),
        }
    }

    /// The rule behind it.
    fn rule(&self, run: &Run) -> Markup {
        let word = words::operation(run.operation).to_lowercase();
        html! {
            p.muted.small {
                @if self.cooldown.is_zero() {
                    "Runs of this operation leave no cooldown: only while one is active the same request is refused."
                } @else {
                    "The cooldown of a " (word) " is "
                    (times::took(chrono::Duration::from_std(self.cooldown).unwrap_or_default()))
                    " (" code { "operations.\"" (run.operation) "\".cooldown" }
                    "), whether it succeeds or fails. A cancelled run and a dry run leave none."
                }
            }
        }
    }
}

impl Standing {
    fn of(run: &Run, holder: Option<&Run>, now: Instant) -> Self {
        let ended = |run: &Run| run.cooldown_until.filter(|until| *until <= now);
        match holder {
            Some(held) if held.id == run.id && held.is_active() => Self::Active,
            Some(held) if held.id == run.id => match held.cooldown_until {
                Some(until) => Self::Cooling { until },
                None => Self::Free { since: None },
            },
            Some(other) => {
                Self::Held { by: other.id, until: other.cooldown_until.filter(|_| !other.is_active()) }
            }
            None => Self::Free { since: ended(run) },
        }
    }
}

/// What skips a cooldown. A restore has no button for that: it is planned again.
fn skips(operation: Operation) -> Markup {
    html! {
        @if operation == Operation::Fetch { "“Fetch again” and " code { "force" } " skip that." }
        @else { code { "force" } " skips that." }
    }
}

/// What has to be the same.
fn same(run: &Run, canonical: Option<&str>) -> Markup {
    let identity: Option<Value> = canonical.and_then(|text| serde_json::from_str(text).ok());
    let at = |pointer: &str| {
        identity.as_ref().and_then(|identity| identity.pointer(pointer)).and_then(Value::as_str)
    };
    let own = run.context.get("inputs").and_then(Value::as_object);
    let inputs =
        identity.as_ref().and_then(|identity| identity.get("inputs")).and_then(Value::as_object).or(own);
    html! {
        dl.facts {
            dt { "Operation" } dd { code { (run.operation) } }
            @if let Some(workspace) = at("/scope/workspace") { dt { "Workspace" } dd { (workspace) } }
            @if let Some(tenant) = at("/scope/tenant") { dt { "Directory" } dd { span.mono { (tenant) } } }
            @for (key, value) in inputs.unwrap_or(&Map::new()) {
                dt { (facts::label(key)) } dd { (input(run.operation, key, value)) }
            }
        }
    }
}

/// An input; what was left out has its default, in words.
fn input(operation: Operation, key: &str, value: &Value) -> Markup {
    let all = match key {
        _ if operation.scope() == Scope::Workspace || !value.is_null() => None,
        "policy_types" => Some("all types"),
        "policy_ids" if operation == Operation::Restore => Some("all of the snapshot"),
        "policy_ids" => Some("all policies"),
        _ => None,
    };
    match all {
        Some(words) => html! { (words) },
        None => facts::value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::{Status, fixture};

    fn at(second: i64) -> Instant {
        Instant::from_micros(second * 1_000_000).unwrap()
    }

    fn cooling(id: i64, until: i64) -> Run {
        Run { id: RunId(id), cooldown_until: Some(at(until)), ..fixture(Status::Completed) }
    }

    #[test]
    fn a_request_is_refused_by_whoever_holds_its_identity() {
        let active = fixture(Status::Running);
        assert_eq!(Standing::of(&active, Some(&active), at(0)), Standing::Active);
        let run = cooling(1, 900);
        assert_eq!(Standing::of(&run, Some(&run), at(10)), Standing::Cooling { until: at(900) });
        assert_eq!(Standing::of(&run, None, at(1000)), Standing::Free { since: Some(at(900)) });
        let later = cooling(2, 2000);
        assert_eq!(
            Standing::of(&run, Some(&later), at(1000)),
            Standing::Held { by: RunId(2), until: Some(at(2000)) }
        );
        let busy = Run { id: RunId(3), ..fixture(Status::Queued) };
        assert_eq!(Standing::of(&run, Some(&busy), at(1000)), Standing::Held { by: RunId(3), until: None });
        let cancelled = fixture(Status::Completed);
        assert_eq!(Standing::of(&cancelled, None, at(10)), Standing::Free { since: None });
    }

    #[test]
    fn the_panel_says_when_and_why() {
        let run = cooling(1, 900);
        let explained = Explained {
            canonical: Some(
                r#"{"identity_version":1,"inputs":{"policy_ids":null,"policy_types":["mobileApp"]},"operation":"assignments.fetch","scope":{"tenant":"t-1","workspace":"contoso"}}"#
                    .to_owned(),
            ),
            cooldown: std::time::Duration::from_mins(15),
            standing: Standing::Cooling { until: at(900) },
        };
        let text = explained.panel(&run, at(0)).into_string();
        for words in
            ["in 15 min", "00:15:00 UTC", "mobileApp", "all policies", "contoso", "15 min", "cooldown"]
        {
            assert!(text.contains(words), "{words} in {text}");
        }
    }
}
