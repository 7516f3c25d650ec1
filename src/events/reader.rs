//! A reader of the stream: where it stands, what it wants to hear, and why it ends.
//!
//! A reader has no queue of its own: it reads the buffer at its own pace, and one that falls behind the buffer is
//! dropped. So a thousand slow readers cost the emitting side nothing.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use super::Events;
use super::event::{Event, Name};
use super::ring::Behind;
use crate::domain::operation::Operation;
use crate::ids::{RunId, TenantId, WorkspaceId};

/// Events that a reader takes in one turn.
const TURN_MAX: usize = 256;

/// What a reader wants to hear; what is `None` is not asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of a workspace: also the wall around a caller that is bound to one.
    pub workspace_id: Option<WorkspaceId>,
    /// Of a tenant.
    pub tenant_id: Option<TenantId>,
    /// Of an operation.
    pub operation: Option<Operation>,
    /// Of a run.
    pub run_id: Option<RunId>,
    /// With one of these names.
    pub names: Option<Vec<Name>>,
}

impl Filter {
    /// Whether the reader hears of an event.
    pub fn lets(&self, event: &Event) -> bool {
        let subject = &event.news.subject;
        self.workspace_id.is_none_or(|id| id == subject.workspace_id)
            && self.tenant_id.is_none_or(|id| Some(id) == subject.tenant_id)
            && self.operation.is_none_or(|operation| operation == subject.operation)
            && self.run_id.is_none_or(|id| id == subject.run_id)
            && self.names.as_ref().is_none_or(|names| names.contains(&event.news.name))
    }
}

/// Why a reader that came back may have missed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// What followed its last event has left the buffer.
    TooOld,
    /// Its last event is another process's: ids survive nothing.
    Restarted,
    /// Nobody was listening for a while, so refused requests and progress were not recorded; all else was.
    Unattended,
    /// No event has such an id.
    UnknownId,
}

impl Gap {
    /// For programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooOld => "too_old",
            Self::Restarted => "restarted",
            Self::Unattended => "unattended",
            Self::UnknownId => "unknown_id",
        }
    }
}

/// Why a reader is told nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// It fell behind the buffer.
    Slow,
    /// Its token does not allow it any more.
    Unauthorised,
}

impl Drop {
    /// For programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Unauthorised => "unauthorised",
        }
    }
}

/// What a reader gets next.
#[derive(Debug)]
pub enum Turn {
    /// Something was missed; what is still there follows.
    Gap(Gap),
    /// Events, in order.
    Events(Vec<Arc<Event>>),
    /// Nothing for `events.heartbeat`.
    Quiet,
    /// The end, and the reader's own fault.
    Dropped(Drop),
    /// The end: the daemon stops.
    Closed,
}

impl Turn {
    /// Nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Dropped(_) | Self::Closed)
    }
}

/// What the emitting side sees of a reader.
#[derive(Debug)]
pub(super) struct Place {
    /// The number of the last event that it has looked at.
    pub(super) cursor: AtomicU64,
    /// It has fallen behind, and has no place any more.
    pub(super) dropped: AtomicBool,
}

/// A reader. Dropping it gives its place back.
pub struct Reader {
    events: Events,
    key: u64,
    place: Arc<Place>,
    filter: Filter,
    gap: Option<Gap>,
    told: watch::Receiver<u64>,
    /// When it is to hear that it is still connected.
    quiet_at: Instant,
}

impl Reader {
    pub(super) fn new(
        events: Events,
        key: u64,
        place: Arc<Place>,
        filter: Filter,
        gap: Option<Gap>,
        told: watch::Receiver<u64>,
    ) -> Self {
        let quiet_at = Instant::now() + events.heartbeat();
        Self { events, key, place, filter, gap, told, quiet_at }
    }

    /// Waits for what comes next.
    pub async fn next(&mut self) -> Turn {
        let turn = match self.gap.take() {
            Some(gap) => Turn::Gap(gap),
            None => self.wait().await,
        };
        self.quiet_at = Instant::now() + self.events.heartbeat();
        turn
    }

    async fn wait(&mut self) -> Turn {
        loop {
            // ORDER: first the mark, then the look: what comes between the two wakes the reader again.
            self.told.mark_unchanged();
            if let Some(turn) = self.look() {
                return turn;
            }
            // The sender lives as long as `self.events`, so the only end of the wait is news or time.
            if tokio::time::timeout_at(self.quiet_at, self.told.changed()).await.is_err() {
                return Turn::Quiet;
            }
        }
    }

    fn look(&mut self) -> Option<Turn> {
        // ORDER: whether the stream is closed is asked before its last events are read.
        let closed = self.events.is_closed();
        loop {
            if self.place.dropped.load(Ordering::Relaxed) {
                return Some(Turn::Dropped(Drop::Slow));
            }
            let Behind::Events(mut events) = self.events.after(self.cursor(), TURN_MAX) else {
                return Some(Turn::Dropped(Drop::Slow));
            };
            let Some(last) = events.last() else { return closed.then_some(Turn::Closed) };
            self.place.cursor.store(last.seq, Ordering::Relaxed);
            events.retain(|event| self.filter.lets(event));
            if !events.is_empty() {
                return Some(Turn::Events(events));
            }
        }
    }

    fn cursor(&self) -> u64 {
        self.place.cursor.load(Ordering::Relaxed)
    }

    /// What a client gets first: how soon to come back after a loss, and where it stands.
    pub fn greeting(&self) -> String {
        format!("retry: 2000\n{}", self.write(&Turn::Quiet))
    }

    /// A turn as server-sent events write it.
    pub fn write(&self, turn: &Turn) -> String {
        let boot = self.events.boot();
        match turn {
            Turn::Events(events) => events.iter().map(|event| event.frame(boot)).collect(),
            // An id without data moves the client's `Last-Event-ID` on and raises no event.
            Turn::Quiet => format!(": still here\nid: {boot}-{}\n\n", self.cursor()),
            Turn::Gap(gap) => stream_event("stream.gap", gap.as_str()),
            Turn::Dropped(why) => stream_event("stream.dropped", why.as_str()),
            Turn::Closed => stream_event("stream.closed", "draining"),
        }
    }
}

fn stream_event(name: &str, reason: &str) -> String {
    let mut text = format!("event: {name}\n");
    let _ = write!(text, "data: {{\"event\":\"{name}\",\"reason\":\"{reason}\"}}\n\n");
    text
}

impl std::ops::Drop for Reader {
    fn drop(&mut self) {
        self.events.leave(self.key);
    }
}
