//! The herald: wakes the readers of the stream of events, and tells each `events.window` what is told in portions,
//! the refused requests and how far executions are. A task on the multi-thread runtime; while nobody listens it sleeps.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::actors::Progress;
use crate::actors::board::Board;
use crate::config::Config;
use crate::events::Events;
use crate::ids::RunId;

/// LIMIT: how often readers are woken. What happens meanwhile comes to them together.
const WAKE_EVERY: Duration = Duration::from_millis(20);
/// LIMIT: how much less often for each of them. Up to [`WAKE_EVERY_MAX`] that is a thousand wakings in a second, however
/// many listen.
const WAKE_EVERY_PER_READER: Duration = Duration::from_millis(1);
/// LIMIT: news is never held longer, and never so long that a window's comes later than a second after what it tells.
const WAKE_EVERY_MAX: Duration = Duration::from_millis(400);

/// The wait between two wakings of so many readers.
fn pace(readers: usize, window: Duration) -> Duration {
    let each = WAKE_EVERY_PER_READER * u32::try_from(readers).unwrap_or(u32::MAX);
    let most = Duration::from_secs(1).saturating_sub(window).min(WAKE_EVERY_MAX);
    each.min(most).max(WAKE_EVERY)
}

/// The herald.
pub struct Herald {
    events: Events,
    board: Board,
    window: Duration,
    /// What was told last of what executes here.
    told: HashMap<RunId, Progress>,
}

impl Herald {
    /// A herald that has not begun.
    pub fn new(events: Events, board: Board, config: &Config) -> Self {
        Self { events, board, window: *config.events.window, told: HashMap::new() }
    }

    /// Tells for as long as the process lives.
    pub async fn tell(mut self) {
        let mut window_ends = Instant::now() + self.window;
        loop {
            tokio::select! {
                // ORDER: the window first, or a stream of news would put it off.
                biased;
                () = tokio::time::sleep_until(window_ends), if self.events.is_attended() => {
                    self.events.flush();
                    self.tell_progress();
                    self.events.rest();
                    // From now, not from when it was due: two windows are never closer than one is long.
                    window_ends = Instant::now() + self.window;
                }
                () = self.events.stirred() => {}
            }
            self.events.wake_readers();
            self.pause().await;
        }
    }

    /// Lets news gather, for as long as the buffer holds it.
    async fn pause(&self) {
        let long = pace(self.events.readers(), self.window) - WAKE_EVERY;
        tokio::time::sleep(WAKE_EVERY).await;
        tokio::select! {
            () = tokio::time::sleep(long) => {}
            () = self.events.crowded() => {}
        }
    }

    fn tell_progress(&mut self) {
        let shown = self.board.progresses();
        self.told.retain(|run, _| shown.iter().any(|(id, _)| id == run));
        for (run, progress) in shown {
            let begun = progress != Progress::default();
            if begun && self.told.get(&run) != Some(&progress) {
                let text = serde_json::to_value(&progress).expect("progress consists of numbers and times");
                self.events.progress(run, text);
                self.told.insert(run, progress);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_readers_hear_at_once_and_many_within_a_second_of_what_a_window_tells() {
        let half = Duration::from_millis(500);
        assert_eq!(pace(0, half), WAKE_EVERY);
        assert_eq!(pace(20, half), Duration::from_millis(20));
        assert_eq!(pace(200, half), Duration::from_millis(200));
        assert_eq!(pace(usize::MAX, half), WAKE_EVERY_MAX);
        assert_eq!(pace(200, Duration::from_millis(900)), Duration::from_millis(100));
        assert_eq!(pace(200, Duration::from_secs(1)), WAKE_EVERY);
    }
}
