//! The buffer: the latest events in order, oldest out first. Numbers grow by one and have no holes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::{Event, News};

/// The buffer.
#[derive(Debug)]
pub struct Ring {
    events: VecDeque<Arc<Event>>,
    /// LIMIT: `events.buffer`.
    room: usize,
    /// The number of the latest event; 0 before the first.
    head: u64,
}

/// What lies behind a number that a reader gives.
#[derive(Debug)]
pub enum Behind {
    /// What came after it, in order; empty when nothing did.
    Events(Vec<Arc<Event>>),
    /// Some of it has left the buffer already.
    Lost,
}

impl Ring {
    /// An empty buffer.
    pub fn new(room: usize) -> Self {
        Self { events: VecDeque::with_capacity(room.min(4096)), room, head: 0 }
    }

    /// Takes an event in; the oldest leaves when there is no room.
    pub fn push(&mut self, news: News) {
        self.head += 1;
        if self.events.len() == self.room {
            self.events.pop_front();
        }
        self.events.push_back(Event::new(self.head, news));
    }

    /// The number of the latest event.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The number before the oldest event in the buffer: the smallest from which nothing is missing.
    pub fn floor(&self) -> u64 {
        self.head - self.events.len() as u64
    }

    /// What is in the buffer, the latest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().rev()
    }

    /// At most `limit` events after the number `seq`.
    pub fn after(&self, seq: u64, limit: usize) -> Behind {
        if seq < self.floor() {
            return Behind::Lost;
        }
        let known = usize::try_from(seq - self.floor()).unwrap_or(usize::MAX);
        Behind::Events(self.events.iter().skip(known).take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples;

    fn numbers(behind: &Behind) -> Option<Vec<u64>> {
        match behind {
            Behind::Events(events) => Some(events.iter().map(|event| event.seq).collect()),
            Behind::Lost => None,
        }
    }

    #[test]
    fn it_keeps_the_latest_and_knows_what_it_has_lost() {
        let mut ring = Ring::new(3);
        assert_eq!(numbers(&ring.after(0, 9)), Some(vec![]));
        for number in 1..=5 {
            ring.push(samples::news(number));
        }
        assert_eq!((ring.head(), ring.floor()), (5, 2));
        assert_eq!(numbers(&ring.after(2, 9)), Some(vec![3, 4, 5]));
        assert_eq!(numbers(&ring.after(2, 2)), Some(vec![3, 4]));
        assert_eq!(numbers(&ring.after(5, 9)), Some(vec![]));
        assert_eq!(numbers(&ring.after(1, 9)), None);
    }
}
