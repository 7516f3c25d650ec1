//! How far a run is: a bar and a few words. The script moves both by the events, so it says the same in `progress`.

use maud::{Markup, html};

use super::figures::count;
use super::times;
use crate::actors::Progress;
use crate::clock::Instant;
use crate::domain::run::{Run, Status};

/// How far a run is, while it is at work; `None` stands for an execution of another instance, or one that has just
/// begun.
pub fn bar(run: &Run, progress: Option<&Progress>) -> Markup {
    let fresh = Progress::default();
    let shown = progress.unwrap_or(&fresh);
    let (done, total) = steps(shown);
    html! {
        div.progress data-progress=(run.id) {
            progress value=(done) max=(total.max(1)) aria-label={ "Progress of run " (run.id) } {}
            span.words { (words(progress)) }
            span.waits { @if let Some(until) = shown.throttled_until { (waits(until)) } }
        }
    }
}

/// What a run waits for, or how far it is.
pub fn cell(run: &Run, progress: Option<&Progress>, now: Instant) -> Markup {
    match run.status {
        Status::Running => bar(run, progress),
        Status::Queued => html! {
            span.muted.small {
                @match run.next_attempt_at {
                    Some(at) => { "next attempt " (times::relative(at, now)) }
                    None => "waits for its turn",
                }
            }
        },
        Status::Completed => html! { span.small { (super::words::result(run)) } },
    }
}

fn steps(progress: &Progress) -> (u64, u64) {
    match &progress.restore {
        Some(restore) => (restore.policies_done, restore.policies_total),
        None => (progress.types_done as u64, progress.types_total as u64),
    }
}

fn words(progress: Option<&Progress>) -> String {
    let Some(progress) = progress else { return "at work".to_owned() };
    let (done, total) = steps(progress);
    if total == 0 {
        return "beginning".to_owned();
    }
    match &progress.restore {
        Some(_) => format!("{} of {} policies to write", count(done), count(total)),
        None => {
            format!("{done} of {total} types, {} of {} policies read", progress.read, progress.listed)
        }
    }
}

fn waits(until: Instant) -> String {
    format!("waiting for Graph until {}", until.to_utc().format("%H:%M:%S UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::RestoreProgress;
    use crate::domain::run::fixture;

    #[test]
    fn a_fetch_goes_by_types_and_a_restore_by_policies() {
        let fetch = Progress { types_done: 3, types_total: 12, listed: 40, read: 31, ..Progress::default() };
        assert_eq!(
            (steps(&fetch), words(Some(&fetch))),
            ((3, 12), "3 of 12 types, 31 of 40 policies read".to_owned())
        );
        let restore = RestoreProgress { policies_total: 9, policies_done: 4, ..RestoreProgress::default() };
        let restore = Progress { restore: Some(restore), ..fetch };
        assert_eq!((steps(&restore), words(Some(&restore))), ((4, 9), "4 of 9 policies to write".to_owned()));
    }

    #[test]
    fn a_bar_of_nothing_is_empty_and_not_full() {
        let text = bar(&fixture(Status::Running), None).into_string();
        assert!(text.contains("value=\"0\" max=\"1\"") && text.contains("at work"), "{text}");
    }
}
