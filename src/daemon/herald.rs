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
/// LIMIT: how much less often for each of them, so that however many listen, a thousand are woken in a second.
const WAKE_EVERY_PER_READER: Duration = Duration::from_millis(1);
/// LIMIT: news of a window that ends now is heard within a second of what it tells.
const WAKE_EVERY_MAX: Duration = Duration::from_millis(400);

/// The wait between two wakings of so many readers.
fn pace(readers: usize) -> Duration {
    let each = WAKE_EVERY_PER_READER * u32::try_from(readers).unwrap_or(u32::MAX);
    each.clamp(WAKE_EVERY, WAKE_EVERY_MAX)
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
                () = self.events.stirred() => {}
                () = tokio::time::sleep_until(window_ends), if self.events.is_attended() => {
                    self.events.flush();
                    self.tell_progress();
                    self.events.rest();
                    // From now, not from when it was due: two windows are never closer than one is long.
                    window_ends = Instant::now() + self.window;
                }
            }
            self.events.wake_readers();
            tokio::time::sleep(pace(self.events.readers())).await;
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
    fn few_readers_hear_at_once_and_many_within_half_a_second() {
        assert_eq!(pace(0), WAKE_EVERY);
        assert_eq!(pace(20), Duration::from_millis(20));
        assert_eq!(pace(200), Duration::from_millis(200));
        assert_eq!(pace(usize::MAX), WAKE_EVERY_MAX);
    }
}
