//! A run's attempts as a time line: a bar from the request to the end, and a step for each attempt.

use maud::{Markup, html};

use crate::admin::web::parts::badges::{self, Tone};
use crate::admin::web::parts::{figures, times, words};
use crate::clock::Instant;
use crate::domain::run::{Attempt, Run, Status};

/// The bar's length, in its own units.
const WIDTH: i64 = 1000;

/// LIMIT: attempts that are listed; the newest.
const LISTED_MAX: usize = 20;

/// A piece of the bar.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    from: i64,
    width: i64,
    tone: Tone,
    words: &'static str,
}

/// The panel.
pub fn panel(run: &Run, attempts: &[Attempt], now: Instant) -> Markup {
    let end = run.completed_at.unwrap_or(now);
    html! {
        section.panel aria-labelledby="attempts" {
            header {
                h2 #attempts { "Attempts" }
                span.muted.small { (figures::counted(attempts.len() as u64, "attempt", "attempts")) }
            }
            div.body {
                @if attempts.is_empty() {
                    p.muted { (none(run)) }
                } @else {
                    svg.bar viewBox={ "0 0 " (WIDTH) " 26" } preserveAspectRatio="none" role="img"
                        aria-label="When it waited and when it was at work, from the request to the end" {
                        @for piece in pieces(run.created_at, end, attempts) {
                            rect class=(piece.tone.class()) x=(piece.from) y="0" width=(piece.width) height="26" {
                                title { (piece.words) }
                            }
                        }
                    }
                    div.bar-ends { span { "asked " (times::clock(run.created_at)) } span { (end_word(run)) " " (times::clock(end)) } }
                    p.small.muted { "In all: " (waited_and_worked(run.created_at, end, attempts)) "." }
                    ol.steps {
                        li.calm { div.what { span { "Accepted and queued" } (times::clock(run.created_at)) } }
                        @for attempt in attempts.iter().skip(attempts.len().saturating_sub(LISTED_MAX)) { (step(attempt, now)) }
                    }
                }
            }
        }
    }
}

fn none(run: &Run) -> &'static str {
    match run.status {
        Status::Completed => {
            "It ended before an attempt began, or its attempts have been removed by retention."
        }
        _ => "It waits: a tenant's runs execute one at a time, oldest first, restores before fetches.",
    }
}

fn end_word(run: &Run) -> &'static str {
    if run.completed_at.is_some() { "ended" } else { "now" }
}

fn step(attempt: &Attempt, now: Instant) -> Markup {
    let (tone, how) = badges::attempt(attempt.outcome);
    let instance = attempt.instance_id.to_string();
    html! {
        li class=(tone.class()) {
            div.what {
                span { strong { "Attempt " (attempt.attempt) } " · " (how) }
                @if let Some(code) = attempt.code { span.code { (code) } }
                (times::clock(attempt.started_at))
                span.muted.small {
                    @match attempt.ended_at {
                        Some(ended) => (times::took(ended - attempt.started_at)),
                        None => (times::running_since(attempt.started_at, now)),
                    }
                    " on " span.mono title=(instance) { (instance.chars().take(8).collect::<String>()) }
                }
            }
            @if let Some(failure) = attempt.failure_summary.first() { p.muted.small.wrap { (words::message(failure)) } }
        }
    }
}

/// What the bar shows, in words. Colour is attempts at work; between them the run waits.
fn waited_and_worked(from: Instant, to: Instant, attempts: &[Attempt]) -> String {
    let worked = attempts.iter().map(|attempt| {
        let (begun, ended) = (attempt.started_at.max(from), attempt.ended_at.unwrap_or(to).min(to));
        (ended - begun).max(chrono::Duration::zero())
    });
    let worked = worked.fold(chrono::Duration::zero(), |sum, next| sum + next);
    format!("waited {}, at work {}", times::took((to - from) - worked), times::took(worked))
}

/// The pieces of the bar: what lies between them is waiting.
fn pieces(from: Instant, to: Instant, attempts: &[Attempt]) -> Vec<Piece> {
    let whole = (to - from).num_microseconds().unwrap_or(i64::MAX).max(1);
    let place = |at: Instant| {
        let passed = (at - from).num_microseconds().unwrap_or(whole).clamp(0, whole);
        i64::try_from(i128::from(passed) * i128::from(WIDTH) / i128::from(whole)).unwrap_or(WIDTH)
    };
    let piece = |attempt: &Attempt| {
        let start = place(attempt.started_at).min(WIDTH - 4);
        let width = (place(attempt.ended_at.unwrap_or(to)) - start).max(4);
        let (tone, words) = badges::attempt(attempt.outcome);
        Piece { from: start, width, tone, words }
    };
    attempts.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::counts::Counts;
    use crate::domain::run::AttemptOutcome;
    use crate::ids::{InstanceId, LeaseToken, RunId};

    fn at(second: i64) -> Instant {
        Instant::from_micros(second * 1_000_000).unwrap()
    }

    fn attempt(from: i64, to: Option<i64>, outcome: AttemptOutcome) -> Attempt {
        Attempt {
            run_id: RunId(1),
            attempt: 1,
            lease_token: LeaseToken(1),
            instance_id: InstanceId(uuid::Uuid::nil()),
            started_at: at(from),
            ended_at: to.map(at),
            outcome,
            code: None,
            summary_counts: Counts::default(),
            failure_summary: vec![],
        }
    }

    #[test]
    fn the_bar_goes_from_the_request_to_the_end() {
        let attempts =
            [attempt(2, Some(4), AttemptOutcome::Retried), attempt(6, None, AttemptOutcome::Running)];
        assert_eq!(
            pieces(at(0), at(10), &attempts),
            [
                Piece { from: 200, width: 200, tone: Tone::Warn, words: "failed in passing, tried again" },
                Piece { from: 600, width: 400, tone: Tone::Busy, words: "running" }
            ]
        );
        assert_eq!(waited_and_worked(at(0), at(10), &attempts), "waited 4.0 s, at work 6.0 s");
    }

    #[test]
    fn clocks_that_disagree_stay_within_the_bar() {
        for (from, to) in [(-5, Some(-1)), (50, Some(60)), (3, Some(1)), (10, None)] {
            let [piece] = &pieces(at(0), at(10), &[attempt(from, to, AttemptOutcome::Failed)])[..] else {
                panic!()
            };
            assert!(piece.from >= 0 && piece.width >= 4 && piece.from + piece.width <= WIDTH, "{piece:?}");
        }
        assert_eq!(pieces(at(0), at(0), &[attempt(0, Some(0), AttemptOutcome::Failed)]).len(), 1);
    }
}
