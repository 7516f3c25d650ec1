//! The admission gate: bounds the requests that wait for a verdict, since actix mailboxes bound nothing, and closes
//! when the daemon drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::handle::AdmitError;

/// Lets at most `waiting_max` requests through at a time. Clones share it.
#[derive(Clone)]
pub struct Gate {
    places: Arc<Semaphore>,
    waiting_max: usize,
    draining: Arc<AtomicBool>,
}

impl Gate {
    /// LIMIT: `waiting_max` requests (`admission.waiting_max`).
    pub fn new(waiting_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(waiting_max)), waiting_max, draining: Arc::default() }
    }

    /// Takes a place for each of `requests` until the permit is dropped. A call with more requests than there are
    /// places takes them all.
    ///
    /// # Errors
    /// [`AdmitError::Draining`] once closed, [`AdmitError::Full`] when too many wait.
    pub fn enter(&self, requests: usize) -> Result<SemaphorePermit<'_>, AdmitError> {
        if self.is_closed() {
            return Err(AdmitError::Draining);
        }
        let places = u32::try_from(requests.clamp(1, self.waiting_max)).unwrap_or(u32::MAX);
        self.places.try_acquire_many(places).map_err(|_| AdmitError::Full { waiting_max: self.waiting_max })
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting_max - self.places.available_permits()
    }

    /// From now on nothing is let in. Idempotent.
    pub fn close(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether [`Gate::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_refuses_and_a_dropped_permit_frees_its_places() {
        let gate = Gate::new(2);
        let first = gate.enter(1).expect("two places are free");
        let second = gate.enter(1).expect("one place is free");
        assert!(matches!(gate.enter(1), Err(AdmitError::Full { waiting_max: 2 })));
        assert_eq!(gate.waiting(), 2);
        drop((first, second));
        assert!(gate.enter(1000).is_ok(), "a bulk call larger than the gate takes all places, no more");
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn a_closed_gate_says_draining() {
        let gate = Gate::new(1);
        gate.close();
        gate.close();
        assert!(matches!(gate.enter(1), Err(AdmitError::Draining)));
    }
}
