//! Badges: how a run, an attempt or an item stands, in a word and a colour (never in the colour alone).

use maud::{Markup, html};

use crate::domain::restore::ItemState;
use crate::domain::run::{AttemptOutcome, Outcome, Run, Status};

/// What a badge feels like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Somebody should look.
    Bad,
    /// It may need a look.
    Warn,
    /// At work.
    Busy,
    /// Nothing to say.
    Calm,
}

impl Tone {
    /// Its class.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Busy => "busy",
            Self::Calm => "calm",
        }
    }
}

/// A word in a tone.
pub fn badge(tone: Tone, word: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (word) } }
}

/// How a run stands: its status, or how it ended.
pub fn run(run: &Run) -> Markup {
    let (tone, word) = stand(run);
    html! { span class={ "badge " (tone.class()) @if run.status == Status::Running { " moving" } } { (word) } }
}

/// How a run stands, as tone and word.
pub fn stand(run: &Run) -> (Tone, &'static str) {
    match (run.status, run.outcome) {
        (Status::Queued, _) if run.next_attempt_at.is_some() => (Tone::Warn, "retrying"),
        (Status::Queued, _) => (Tone::Calm, "queued"),
        (Status::Running, _) if run.cancel_requested_at.is_some() => (Tone::Warn, "stopping"),
        (Status::Running, _) => (Tone::Busy, "running"),
        (Status::Completed, Outcome::Succeeded) => (Tone::Good, "succeeded"),
        (Status::Completed, _) => (Tone::Bad, "failed"),
    }
}

/// How an attempt ended, as tone and words.
pub fn attempt(outcome: AttemptOutcome) -> (Tone, &'static str) {
    match outcome {
        AttemptOutcome::Running => (Tone::Busy, "running"),
        AttemptOutcome::Succeeded => (Tone::Good, "succeeded"),
        AttemptOutcome::Failed => (Tone::Bad, "failed"),
        AttemptOutcome::Retried => (Tone::Warn, "failed in passing, tried again"),
        AttemptOutcome::HandedBack => (Tone::Calm, "handed back: its instance stopped, or lost its lease"),
        AttemptOutcome::LeaseExpired => (Tone::Bad, "its instance died"),
        AttemptOutcome::Stale => (Tone::Calm, "came too late, nothing was taken over"),
    }
}

/// How far a restore got with a policy.
pub fn item(state: ItemState) -> Markup {
    let (tone, word) = match state {
        ItemState::Planned => (Tone::Calm, "planned"),
        ItemState::Sent => (Tone::Busy, "sent"),
        ItemState::Verified => (Tone::Good, "verified"),
        ItemState::Skipped => (Tone::Calm, "as wanted"),
        ItemState::Failed => (Tone::Bad, "failed"),
    };
    badge(tone, word)
}
