//! A limit on what is sent in any window of time, wherever the window begins: exact at the other side, too.
//!
//! A bucket that refills evenly must choose: a large burst lets twice the limit through around it, a small one wastes
//! what it holds back. Here the whole limit may go at once, and each call's place is free again one window after the
//! call's *answer*: the service has counted the call before that, so that no two calls of one place ever meet in one
//! of its windows, however long either was on its way.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::GraphError;

/// Two clocks do not run alike: a window is kept longer by this part of it.
const MARGIN_PARTS: u32 = 500;

/// So many calls in any window of a length.
pub(super) struct Window {
    limit: u32,
    length: Duration,
    /// Who waits is served in order: a batch is not overtaken for ever by single calls.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Told when places change hands, to the one whose turn it is.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Places of calls that are not over.
    held: u32,
    /// Places of calls that are over, by the time of their end. LIMIT: never more than the window's.
    over: VecDeque<(Instant, u32)>,
    /// The sum of `over`.
    over_sum: u32,
}

/// Places in a window. Dropped after [`Spent::sent`] they are free again one window later, before that at once.
pub(super) struct Spent<'a> {
    window: &'a Window,
    places: u32,
    sent: bool,
}

impl Window {
    /// At most `limit` calls (at least one) in any window of `length`.
    pub(super) fn new(limit: u32, length: Duration) -> Self {
        Self {
            limit: limit.max(1),
            length: length + length / MARGIN_PARTS,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Waits until `calls` more may be sent, all at once; more than the limit are taken as the limit.
    ///
    /// # Errors
    /// Cancelled.
    pub(super) async fn take(&self, calls: u32, cancel: &CancellationToken) -> Result<Spent<'_>, GraphError> {
        let places = calls.min(self.limit);
        let taken = async {
            let _turn = self.turn.lock().await;
            loop {
                let Some(free_at) = self.try_take(places) else {
                    return Spent { window: self, places, sent: false };
                };
                tokio::select! {
                    // A change before this is kept by the notification: there is one waiter, whose turn it is.
                    () = self.changed.notified() => {}
                    () = until(free_at) => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(GraphError::cancelled()),
            spent = taken => Ok(spent),
        }
    }

    /// `None` when the places were taken; else when the next will be free, if that is known.
    fn try_take(&self, places: u32) -> Option<Option<Instant>> {
        self.state().take(places, self.limit, self.length, Instant::now()).err()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the places, or says when the next will be free, if that is known: a call under way has no end yet.
    fn take(
        &mut self,
        places: u32,
        limit: u32,
        length: Duration,
        now: Instant,
    ) -> Result<(), Option<Instant>> {
        while let Some((_, free)) = self.over.front().copied().filter(|(end, _)| *end + length <= now) {
            self.over.pop_front();
            self.over_sum -= free;
        }
        if self.held + self.over_sum + places > limit {
            return Err(self.over.front().map(|(end, _)| *end + length));
        }
        self.held += places;
        Ok(())
    }

    /// Gives places back: at once, or one window from now when their call was sent.
    fn give_back(&mut self, places: u32, sent: bool, now: Instant) {
        self.held -= places;
        if sent {
            self.over.push_back((now, places));
            self.over_sum += places;
        }
    }
}

impl Spent<'_> {
    /// The call leaves now: whatever becomes of it, it may count at the service.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// It did not leave after all.
    pub(super) fn not_sent(&mut self) {
        self.sent = false;
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        self.window.state().give_back(self.places, self.sent, Instant::now());
        self.window.changed.notify_one();
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(20);

    /// Sends calls of the given sizes one after the other, as soon as the window lets them, each under way for so
    /// many milliseconds; gives when each was sent and when it was answered, with its size.
    fn simulated(limit: u32, calls: &[(u32, u64)], parallel: usize) -> Vec<(Duration, Duration, u32)> {
        let begun = Instant::now();
        let (mut state, mut now) = (State::default(), begun);
        let mut under_way: Vec<(Instant, Instant, u32)> = Vec::new();
        let mut log = Vec::new();
        for (size, took) in calls {
            loop {
                let waiting_for =
                    match (under_way.len() < parallel).then(|| state.take(*size, limit, LENGTH, now)) {
                        Some(Ok(())) => break,
                        Some(Err(free_at)) => free_at,
                        None => None,
                    };
                // Whatever comes first: an answer, or a place that is free again.
                let answer = under_way.iter().map(|(_, end, _)| *end).min();
                now = waiting_for.into_iter().chain(answer).min().expect("something ends the wait").max(now);
                under_way.retain(|(sent, end, size)| {
                    let over = *end <= now;
                    if over {
                        state.give_back(*size, true, *end);
                        log.push((*sent - begun, *end - begun, *size));
                    }
                    !over
                });
            }
            under_way.push((now, now + Duration::from_millis(*took), *size));
        }
        log.extend(under_way.into_iter().map(|(sent, end, size)| (sent - begun, end - begun, size)));
        log
    }

    /// The most that the service may see in one window: each call counts anywhere between its sending and its answer.
    fn most_in_a_window(
        log: &[(Duration, Duration, u32)],
        at: impl Fn(&(Duration, Duration, u32)) -> Duration,
    ) -> u32 {
        let in_window = |from: Duration| {
            let calls = log.iter().filter(|call| at(call) >= from && at(call) < from + LENGTH);
            calls.map(|(_, _, size)| size).sum()
        };
        log.iter().map(|call| in_window(at(call))).max().unwrap_or_default()
    }

    proptest! {
        #[test]
        fn no_window_at_the_service_holds_more_than_the_limit(
            limit in 20_u32..60,
            parallel in 1_usize..6,
            calls in prop::collection::vec((1_u32..=20, 0_u64..9000), 1..120),
        ) {
            let log = simulated(limit, &calls, parallel);
            prop_assert_eq!(log.len(), calls.len());
            prop_assert!(most_in_a_window(&log, |(sent, _, _)| *sent) <= limit);
            prop_assert!(most_in_a_window(&log, |(_, answered, _)| *answered) <= limit);
            let either = most_in_a_window(&log, |(sent, end, size)| *if size % 2 == 0 { sent } else { end });
            prop_assert!(either <= limit);
        }
    }

    #[test]
    fn the_whole_limit_goes_at_once_and_then_once_per_window() {
        for (calls, windows) in [(100, 0), (101, 1), (1000, 9), (1001, 10)] {
            let log = simulated(100, &vec![(1, 0); calls], 4);
            let last = log.iter().map(|(sent, _, _)| *sent).max().expect("calls");
            assert_eq!(last, LENGTH * windows, "{calls} calls");
        }
    }

    #[tokio::test]
    async fn who_waits_is_served_in_order_when_places_are_given_back() {
        let window = Window::new(20, Duration::from_secs(3600));
        let cancel = CancellationToken::new();
        let held = window.take(15, &cancel).await.expect("free");
        let order = Mutex::new(Vec::new());
        let wait = async |places: u32| {
            drop(window.take(places, &cancel).await.expect("not cancelled"));
            order.lock().expect("no test panics with it").push(places);
        };
        // The second would fit at once and is not let past the first.
        tokio::join!(wait(20), wait(1), async { drop(held) });
        assert_eq!(*order.lock().expect("no test panics with it"), [20, 1]);
    }

    #[tokio::test]
    async fn what_was_not_sent_is_free_at_once_and_what_was_is_not() {
        let window = Window::new(5, Duration::from_secs(3600));
        let cancel = CancellationToken::new();
        drop(window.take(5, &cancel).await.expect("free"));
        let mut spent = window.take(5, &cancel).await.expect("free again");
        spent.sent();
        drop(spent);
        assert!(matches!(window.try_take(1), Some(Some(_))), "free in an hour");
        let (waiting, ()) = tokio::join!(window.take(1, &cancel), async { cancel.cancel() });
        assert!(waiting.err().expect("cancelled").is_cancelled());
    }

    #[tokio::test]
    async fn a_place_is_free_after_its_window() {
        let window = Window::new(2, Duration::from_millis(50));
        let cancel = CancellationToken::new();
        let begun = Instant::now();
        for _ in 0..6 {
            window.take(1, &cancel).await.expect("not cancelled").sent();
        }
        assert!(begun.elapsed() >= Duration::from_millis(100), "six calls, two a window");
    }

    #[tokio::test]
    async fn more_than_the_limit_is_taken_as_the_limit() {
        let window = Window::new(3, LENGTH);
        drop(window.take(20, &CancellationToken::new()).await.expect("taken"));
    }
}
