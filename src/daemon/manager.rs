//! What systemd is told: ready, reloading, stopping, how it goes; and that the daemon lives (`Type=notify`,
//! `WatchdogSec=`). Where nobody listens (`NOTIFY_SOCKET` is not set) nothing is told.
//!
//! A sign of life is no timer's: it is given when the supervisor has answered, on the one thread of all actors, and when
//! the heartbeat has gone round since the last look. A heartbeat goes round whether the ledger answers or not: a daemon
//! whose database is away is well, and another process would not find it either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::actors::Handle;
use crate::config::Config;

/// How often `systemctl status` gets a new line where no watchdog sets the pace.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Counts the heartbeat's rounds. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Arc<AtomicU64>);

impl Rounds {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The service manager that started this process; deaf unless [`Manager::of_process`] made it, so that only one daemon
/// of a process speaks for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manager {
    listens: bool,
    watchdog: Option<Duration>,
}

impl Manager {
    /// Whoever listens on `NOTIFY_SOCKET`.
    pub fn of_process() -> Self {
        Self { listens: std::env::var_os("NOTIFY_SOCKET").is_some(), watchdog: sd_notify::watchdog_enabled() }
    }

    /// The daemon admits work.
    pub fn ready(self) {
        self.tell(&[NotifyState::Ready, NotifyState::Status("admits work")]);
    }

    /// The configuration is read again; [`Manager::ready`] follows.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// The daemon drains.
    pub fn stopping(self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("drains: nothing is admitted any more")]);
    }

    fn tell(self, states: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the service manager could not be told");
        }
    }

    /// Tells how it goes until it is aborted. A look that finds the daemon stuck gives no sign of life and says so once.
    pub async fn keep(self, handle: Handle, rounds: Rounds, config: Arc<Config>) {
        if !self.listens {
            return std::future::pending().await;
        }
        // Half of what the manager waits is what its manual asks for; a third leaves room for a machine that is busy.
        let every = self.watchdog.map_or(STATUS_EVERY, |timeout| timeout / 3);
        // A heartbeat may take as long as the lease; a look that comes sooner than that sees none.
        let patience = *config.execution.lease + *config.execution.heartbeat;
        let mut seen = (rounds.so_far(), tokio::time::Instant::now());
        let mut was_stuck = false;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if rounds.so_far() != seen.0 {
                seen = (rounds.so_far(), tokio::time::Instant::now());
            }
            let stuck = if seen.1.elapsed() > patience {
                Some("the heartbeat does not go round")
            } else {
                match tokio::time::timeout(every, handle.actors_answer()).await {
                    Ok(true) => None,
                    Ok(false) | Err(_) => Some("the actors do not answer"),
                }
            };
            match stuck {
                None => self.tell(&[NotifyState::Watchdog, NotifyState::Status(&status(&handle))]),
                Some(what) => {
                    self.tell(&[NotifyState::Status(what)]);
                    if !was_stuck {
                        tracing::error!(
                            what,
                            "the daemon is stuck: no sign of life is given to the service manager"
                        );
                    }
                }
            }
            was_stuck = stuck.is_some();
        }
    }
}

/// One line for `systemctl status`.
fn status(handle: &Handle) -> String {
    let readiness = handle.readiness();
    let state = readiness.reason.unwrap_or_else(|| "admits work".to_owned());
    format!("{state}; {} executions here", handle.metrics().executions_active.get())
}
