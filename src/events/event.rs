//! One event: what happened to which run, and the frame in which every reader gets it.
//!
//! An event holds what the ledger shows anybody with a token: ids, words, counts, codes. No message, no context, no
//! inputs (SPEC section 7).

use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::clock::Instant;
use crate::domain::counts::Counts;
use crate::domain::failure::{Code, sanitise};
use crate::domain::operation::Operation;
use crate::domain::run::{Outcome, Run, Status};
use crate::ids::{RunId, TenantId, WorkspaceId};

/// Declares the names of events.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What an event tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum Name { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Name {
            /// Every name, in the order of the SPEC.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// As readers get it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

names! {
    /// A run waits for an instance: it was accepted, or handed back.
    RunQueued = "run.queued",
    /// An attempt has begun.
    RunStarted = "run.started",
    /// An attempt is further than before.
    RunProgress = "run.progress",
    /// A run has ended.
    RunCompleted = "run.completed",
    /// An attempt has failed, and another follows.
    RunRetrying = "run.retrying",
    /// Requests were answered with a run that was there already.
    RequestRefused = "request.refused",
    /// Reconcile has repaired a run.
    ReconcileRepaired = "reconcile.repaired",
}

impl Name {
    /// What has become of a run that is now as `run` shows it.
    pub fn of(run: &Run) -> Self {
        match run.status {
            Status::Completed => Self::RunCompleted,
            Status::Running => Self::RunStarted,
            Status::Queued if run.next_attempt_at.is_some() => Self::RunRetrying,
            Status::Queued => Self::RunQueued,
        }
    }
}

impl std::str::FromStr for Name {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text).ok_or(())
    }
}

/// Which run an event is about, and whose it is: what readers filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The run.
    pub run_id: RunId,
    /// Its operation.
    #[serde(rename = "type")]
    pub operation: Operation,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// Its tenant, where the operation has one.
    pub tenant_id: Option<TenantId>,
}

impl From<&Run> for Subject {
    fn from(run: &Run) -> Self {
        Self {
            run_id: run.id,
            operation: run.operation,
            workspace_id: run.workspace_id,
            tenant_id: run.tenant_id,
        }
    }
}

/// How a run stands.
#[derive(Debug, Serialize)]
pub struct State {
    status: Status,
    outcome: Outcome,
    attempt: i32,
    initiator_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Instant>,
    summary_counts: Counts,
    /// Of the first failure.
    failure_code: Option<Code>,
}

impl From<&Run> for State {
    fn from(run: &Run) -> Self {
        Self {
            status: run.status,
            outcome: run.outcome,
            attempt: run.attempt,
            initiator_name: sanitise(&run.initiator_name),
            next_attempt_at: run.next_attempt_at,
            summary_counts: run.summary_counts.clone(),
            failure_code: run.failure_summary.first().map(|failure| failure.code),
        }
    }
}

/// Requests that one asker made in one window and that one run answered.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// `active` or `cooldown`.
    pub verdict: &'static str,
    /// Who asked; `None` stands for several who are not told one by one.
    pub initiator_name: Option<String>,
    /// How many requests.
    pub count: u64,
    /// The first of them; the last is the event's `at`.
    pub first_at: Instant,
}

/// What reconcile did.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// The repair.
    pub repair: &'static str,
    /// Status and outcome before.
    pub before: String,
    /// Status and outcome after.
    pub after: String,
    /// The pass, unless the watch over the ledger repaired the run by itself.
    pub reconcile_run_id: Option<RunId>,
}

/// What an event says beside its name, its time and its subject.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Told {
    /// How the run stands.
    State(State),
    /// How far its execution is.
    Progress {
        /// As `GET /runs/{id}` shows it.
        progress: serde_json::Value,
    },
    /// Who was refused.
    Refusal(Refusal),
    /// What was repaired.
    Repaired(Repaired),
}

/// An event before it has its number.
#[derive(Debug, Serialize)]
pub struct News {
    /// What.
    #[serde(rename = "event")]
    pub name: Name,
    /// When.
    pub at: Instant,
    /// Of which run.
    #[serde(flatten)]
    pub subject: Subject,
    /// The rest.
    #[serde(flatten)]
    pub told: Told,
}

/// An event in the buffer.
#[derive(Debug)]
pub struct Event {
    /// Its number: 1 for the first of this process, without holes.
    pub seq: u64,
    /// What it says.
    pub news: News,
    /// Written once, by the first reader that gets it: nothing is written where nobody reads.
    frame: OnceLock<String>,
}

impl Event {
    /// Numbers the news.
    pub fn new(seq: u64, news: News) -> Arc<Self> {
        Arc::new(Self { seq, news, frame: OnceLock::new() })
    }

    /// The event as server-sent events write it; `boot` is the first part of its id.
    pub fn frame(&self, boot: &str) -> &str {
        self.frame.get_or_init(|| {
            let data = serde_json::to_string(&self.news).expect("an event consists of words and numbers");
            format!("id: {boot}-{}\nevent: {}\ndata: {data}\n\n", self.seq, self.news.name.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples;

    #[test]
    fn a_frame_is_three_lines_and_says_how_the_run_stands() {
        let run = samples::failed_run(7);
        let news = News {
            name: Name::of(&run),
            at: run.updated_at,
            subject: Subject::from(&run),
            told: Told::State(State::from(&run)),
        };
        let frame = Event::new(3, news).frame("b").to_owned();
        let lines: Vec<_> = frame.lines().collect();
        assert_eq!(lines[..2], ["id: b-3", "event: run.completed"]);
        let data: serde_json::Value = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["event"], "run.completed");
        assert_eq!((data["run_id"].as_i64(), data["type"].as_str()), (Some(7), Some("assignments.fetch")));
        assert_eq!((data["status"].as_str(), data["outcome"].as_str()), (Some("completed"), Some("failed")));
        assert_eq!(data["failure_code"], "graph.network");
        assert!(!frame.contains("a message"), "{frame}");
        assert!(frame.ends_with("\n\n") && lines.len() == 4, "{frame}");
    }

    #[test]
    fn what_looks_like_an_address_is_no_name_of_an_asker() {
        let mut run = samples::failed_run(7);
        run.initiator_name = "jane@contoso.com".to_owned();
        assert_eq!(State::from(&run).initiator_name, "[e-mail]");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse(), Ok(*name));
        }
        assert_eq!("run.gone".parse::<Name>(), Err(()));
    }
}
