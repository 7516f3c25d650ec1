//! The stream of events (SPEC section 10): what happens in this process, for whoever listens.
//!
//! It is a view, not a record: the ledger is the truth, and a reader that has missed something is told so and looks
//! there. Events live in a bounded buffer in memory; ids begin anew with every process and carry its mark, so that a
//! restart is a gap that readers see. This is no queue between parts of the daemon: nothing depends on an event.
//!
//! Invariants: the emitting side never waits for a reader (it takes a short lock and wakes one task at the most); a
//! refused request costs one atomic load while nobody listens; an event holds no message, no context and no inputs.
//!
//! News of a run from another instance comes the same way as all news: whoever learns of it tells the registry
//! (`RunChanged`), which calls [`Events::run`]; what was told before is not told again.
//!
//! Reading order: [`event`], `ring` (the buffer), `known` (nothing twice), `refusals` (many become few),
//! [`reader`].

pub mod event;
pub mod reader;

mod known;
mod refusals;
mod ring;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::EventsConfig;
use crate::domain::admission::Verdict;
use crate::domain::run::Run;
use crate::ids::{InstanceId, RunId};
use crate::metrics::Metrics;
use event::{Event, Name, News, Repaired, State, Subject, Told};
use known::Known;
use reader::{Filter, Gap, Place, Reader};
use refusals::Refusals;
use ring::{Behind, Ring};

const LOCK: &str = "nobody panics while holding a lock of the stream: only values are moved under it";

/// The stream. Clones share it.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    config: EventsConfig,
    clock: Clock,
    metrics: Metrics,
    /// The mark of this process in ids.
    boot: String,
    known: Mutex<Known>,
    ring: RwLock<Ring>,
    refusals: Mutex<Refusals>,
    audience: Mutex<Audience>,
    /// Somebody listens, or did a moment ago: refused requests and progress are recorded.
    attended: AtomicBool,
    closed: AtomicBool,
    /// Wakes the herald.
    stirred: Notify,
    /// Tells it that readers should not be left to sleep much longer.
    crowded: Notify,
    /// Wakes the readers: the number of the latest event that they were told of.
    told: watch::Sender<u64>,
}

/// Who listens.
#[derive(Default)]
struct Audience {
    /// LIMIT: `events.readers_max`.
    readers: HashMap<u64, Arc<Place>>,
    next_key: u64,
    last_left: Option<Instant>,
    /// The event after which refused requests and progress are recorded.
    recorded_from: u64,
}

/// No place for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// All places are taken.
    #[error("{readers_max} readers listen already (events.readers_max)")]
    Full {
        /// How many there are.
        readers_max: usize,
    },
    /// The daemon is stopping.
    #[error("the daemon is draining: the stream of events is closed")]
    Closed,
}

impl Events {
    /// An empty stream; `instance` marks its ids.
    pub fn new(config: &EventsConfig, instance: InstanceId, clock: Clock, metrics: Metrics) -> Self {
        let boot = instance.0.simple().to_string()[..12].to_owned();
        let inner = Inner {
            ring: RwLock::new(Ring::new(config.buffer)),
            config: config.clone(),
            clock,
            metrics,
            boot,
            known: Mutex::default(),
            refusals: Mutex::default(),
            audience: Mutex::default(),
            attended: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stirred: Notify::new(),
            crowded: Notify::new(),
            told: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    // --- telling -------------------------------------------------------------------------------------------------

    /// A run is now as `run` shows it, by the ledger: queued, started, back in the queue, completed. What was told
    /// before, or is older than what was told, is not told.
    pub fn run(&self, run: &Run) {
        // Held until the event is in the buffer, so that two sides cannot tell of a run in the wrong order.
        let mut known = self.inner.known.lock().expect(LOCK);
        if known.advance(run) {
            let told = Told::State(State::from(run));
            self.publish([News {
                name: Name::of(run),
                at: run.updated_at,
                subject: Subject::from(run),
                told,
            }]);
        }
    }

    /// Reconcile has repaired a run, which is now as `run` shows it.
    pub fn repaired(&self, run: &Run, repaired: Repaired) {
        let told = Told::Repaired(repaired);
        let at = self.inner.clock.now();
        self.publish([News { name: Name::ReconcileRepaired, at, subject: Subject::from(run), told }]);
    }

    /// A request of `by` was answered with a run that was there already. The hot path: an atomic load while nobody
    /// listens, else a count; told once in a window ([`Events::flush`]).
    pub fn refused(&self, verdict: &Verdict, by: &str) {
        if !self.is_attended() || matches!(verdict, Verdict::Accepted(_)) {
            return;
        }
        let now = self.inner.clock.now();
        let runs_max = self.inner.config.refused_runs_max;
        if !self.inner.refusals.lock().expect(LOCK).count(verdict, by, now, runs_max) {
            self.inner.metrics.refusals_untold.inc();
        }
    }

    /// An execution of this process is so far. Told only of a run that was told of as running.
    pub fn progress(&self, run: RunId, progress: serde_json::Value) {
        let known = self.inner.known.lock().expect(LOCK);
        if let Some(subject) = known.running(run) {
            let at = self.inner.clock.now();
            self.publish([News { name: Name::RunProgress, at, subject, told: Told::Progress { progress } }]);
        }
    }

    fn publish(&self, news: impl IntoIterator<Item = News>) {
        let mut ring = self.inner.ring.write().expect(LOCK);
        news.into_iter().for_each(|news| ring.push(news));
        let head = ring.head();
        drop(ring);
        if self.is_attended() {
            self.inner.stirred.notify_one();
            if self.is_crowded(head) {
                self.inner.crowded.notify_one();
            }
        }
    }

    /// Whether readers have not been told of a quarter of what the buffer holds: a reader that sleeps on is overtaken.
    fn is_crowded(&self, head: u64) -> bool {
        let untold = head.saturating_sub(*self.inner.told.borrow());
        untold >= self.inner.config.buffer as u64 / 4
    }

    /// Whether anybody listens, or did a moment ago (`events.linger`).
    pub fn is_attended(&self) -> bool {
        self.inner.attended.load(Ordering::Relaxed)
    }

    // --- the herald's part: one task of the daemon ---------------------------------------------------------------

    /// Waits until there is something for readers, or a first reader.
    pub async fn stirred(&self) {
        self.inner.stirred.notified().await;
    }

    /// Waits until readers that are told nothing for much longer would be overtaken by the buffer.
    pub async fn crowded(&self) {
        self.inner.crowded.notified().await;
    }

    /// Tells the refused requests of the window that ends now.
    pub fn flush(&self) {
        let mut refusals = self.inner.refusals.lock().expect(LOCK);
        if !refusals.is_empty() {
            let gathered = refusals.take();
            drop(refusals);
            self.publish(gathered);
        }
    }

    /// Wakes the readers, and takes the place of those that the buffer has overtaken: one that does not read at all
    /// would hold it for as long as its connection lasts.
    pub fn wake_readers(&self) {
        let (head, floor) = {
            let ring = self.inner.ring.read().expect(LOCK);
            (ring.head(), ring.floor())
        };
        let mut audience = self.audience();
        let before = audience.readers.len();
        audience.readers.retain(|_, place| {
            let slow = place.cursor.load(Ordering::Relaxed) < floor;
            if slow {
                place.dropped.store(true, Ordering::Relaxed);
            }
            !slow
        });
        let dropped = before - audience.readers.len();
        if dropped > 0 {
            self.inner.metrics.event_readers_dropped.inc_by(dropped as u64);
            tracing::info!(
                readers = dropped,
                "readers of the stream of events were too slow and are dropped"
            );
            self.note_readers(&mut audience);
        }
        drop(audience);
        self.inner.told.send_if_modified(|told| std::mem::replace(told, head) != head);
    }

    /// Stops recording what is recorded for readers alone once nobody has listened for `events.linger`.
    pub fn rest(&self) {
        let audience = self.audience();
        let left_long_ago = audience.last_left.is_some_and(|at| at.elapsed() >= *self.inner.config.linger);
        if audience.readers.is_empty() && left_long_ago {
            self.inner.attended.store(false, Ordering::Relaxed);
            self.inner.refusals.lock().expect(LOCK).take();
        }
    }

    /// Tells what is left, then ends every reader; nobody gets a place any more.
    pub fn close(&self) {
        self.flush();
        // ORDER: under the lock of the audience, so that nobody takes a place after the last were told.
        let audience = self.audience();
        self.inner.closed.store(true, Ordering::Release);
        drop(audience);
        self.inner.told.send_modify(|_| {});
    }

    // --- listening -----------------------------------------------------------------------------------------------

    /// A place for a reader that hears what `filter` lets through: from now on, or from after the event whose id it
    /// got last.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn subscribe(&self, filter: Filter, last_id: Option<&str>) -> Result<Reader, NoPlace> {
        let mut audience = self.audience();
        if self.is_closed() {
            return Err(NoPlace::Closed);
        }
        let readers_max = self.inner.config.readers_max;
        if audience.readers.len() >= readers_max {
            return Err(NoPlace::Full { readers_max });
        }
        // ORDER: first it is known that somebody listens, then the place in the buffer is taken, so that no event
        // falls between the two without waking the herald.
        if !self.inner.attended.swap(true, Ordering::SeqCst) {
            audience.recorded_from = self.inner.ring.read().expect(LOCK).head();
            self.inner.stirred.notify_one();
        }
        let (cursor, gap) = self.resume(last_id, audience.recorded_from);
        let place = Arc::new(Place { cursor: AtomicU64::new(cursor), dropped: AtomicBool::new(false) });
        let key = audience.next_key;
        audience.next_key += 1;
        audience.readers.insert(key, place.clone());
        self.note_readers(&mut audience);
        drop(audience);
        Ok(Reader::new(self.clone(), key, place, filter, gap, self.inner.told.subscribe()))
    }

    /// Where a reader goes on, and what it has missed.
    fn resume(&self, last_id: Option<&str>, recorded_from: u64) -> (u64, Option<Gap>) {
        let ring = self.inner.ring.read().expect(LOCK);
        let Some(last_id) = last_id else { return (ring.head(), None) };
        let parsed = last_id.split_once('-').and_then(|(boot, seq)| Some((boot, seq.parse::<u64>().ok()?)));
        match parsed {
            None => (ring.head(), Some(Gap::UnknownId)),
            Some((boot, _)) if boot != self.inner.boot => (ring.floor(), Some(Gap::Restarted)),
            Some((_, seq)) if seq > ring.head() => (ring.head(), Some(Gap::UnknownId)),
            Some((_, seq)) if seq < ring.floor() => (ring.floor(), Some(Gap::TooOld)),
            Some((_, seq)) if seq < recorded_from => (seq, Some(Gap::Unattended)),
            Some((_, seq)) => (seq, None),
        }
    }

    /// The newest refused requests of a run that are still in the buffer, newest first.
    pub fn refusals_of(&self, run: RunId, limit: usize) -> Vec<Arc<Event>> {
        let ring = self.inner.ring.read().expect(LOCK);
        let refused = ring
            .newest_first()
            .filter(|event| event.news.name == Name::RequestRefused && event.news.subject.run_id == run);
        refused.take(limit).cloned().collect()
    }

    /// How many listen.
    pub fn readers(&self) -> usize {
        self.audience().readers.len()
    }

    fn leave(&self, key: u64) {
        let mut audience = self.audience();
        if audience.readers.remove(&key).is_some() {
            self.note_readers(&mut audience);
        }
    }

    fn note_readers(&self, audience: &mut Audience) {
        let readers = audience.readers.len();
        audience.last_left = (readers == 0).then(Instant::now);
        self.inner.metrics.event_readers.set(readers.try_into().unwrap_or(i64::MAX));
    }

    fn audience(&self) -> MutexGuard<'_, Audience> {
        self.inner.audience.lock().expect(LOCK)
    }

    fn after(&self, seq: u64, limit: usize) -> Behind {
        self.inner.ring.read().expect(LOCK).after(seq, limit)
    }

    fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    fn heartbeat(&self) -> Duration {
        *self.inner.config.heartbeat
    }

    fn boot(&self) -> &str {
        &self.inner.boot
    }
}
