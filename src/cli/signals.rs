//! Signals of a running daemon (SPEC section 11): SIGTERM and SIGINT drain and stop, a second one stops at once; SIGHUP
//! reads the configuration again; SIGUSR1 reconciles every workspace; SIGUSR2 logs the actor tree.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::CliError;
use crate::config::Config;
use crate::daemon::{Control, Daemon};

/// The exit code of a process that a second signal stopped at once, as shells count it: 128 + SIGTERM.
const STOPPED_AT_ONCE: i32 = 143;

/// What SIGHUP reads again, and what beats it: the same as at the start.
pub struct Reread {
    /// The configuration file, if there is one.
    pub path: Option<PathBuf>,
    /// What flags, the environment and the command itself add to what the file says.
    pub amend: Box<dyn Fn(&mut Config) + Send>,
}

/// Listens to signals from the moment it is made: one that comes while the daemon starts is carried out once it has.
pub struct Signals {
    runtime: Runtime,
    streams: Streams,
}

struct Streams {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// Listens.
    ///
    /// # Errors
    /// When the operating system does not let it.
    pub fn listen() -> Result<Self, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(CliError::io("start the runtime of signals"))?;
        let streams =
            runtime.block_on(async { Streams::listen() }).map_err(CliError::io("listen to signals"))?;
        Ok(Self { runtime, streams })
    }

    /// Waits for `work`; `None` when SIGTERM or SIGINT came first.
    pub fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Some(done),
                () = self.streams.stop() => None,
            }
        })
    }

    /// Runs a daemon until it ends, carrying signals to it.
    ///
    /// # Errors
    /// When the daemon ended by itself.
    pub fn run(self, daemon: Daemon, reread: Reread) -> Result<(), CliError> {
        self.runtime.spawn(self.streams.carry(daemon.control(), reread));
        daemon.wait().map_err(CliError::server("run the daemon"))
    }
}

impl Streams {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn carry(mut self, control: mpsc::Sender<Control>, reread: Reread) {
        let mut stopping = false;
        loop {
            let command = tokio::select! {
                _ = self.terminate.recv() => Some(Control::Stop),
                _ = self.interrupt.recv() => Some(Control::Stop),
                _ = self.hangup.recv() => reread.read(),
                _ = self.user_1.recv() => Some(Control::ReconcileAll("signal:SIGUSR1")),
                _ = self.user_2.recv() => Some(Control::LogTree),
            };
            let Some(command) = command else { continue };
            if matches!(command, Control::Stop) {
                if stopping {
                    stop_at_once();
                }
                stopping = true;
                tracing::info!("stopping: a second signal stops at once");
                // Waits for its place behind what is full, beside this loop: the second signal must be heard.
                let control = control.clone();
                tokio::spawn(async move { control.send(command).await });
                continue;
            }
            // Full: the daemon is busy with earlier signals of the same kind. Closed: it has ended.
            let _ = control.try_send(command);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a second signal asks for exactly this; the next start takes the runs up"
)]
fn stop_at_once() -> ! {
    tracing::warn!("stopped at once: what was executing is taken up by the next start");
    std::process::exit(STOPPED_AT_ONCE)
}

impl Reread {
    /// A bad configuration is refused and the old one stays.
    fn read(&self) -> Option<Control> {
        let Some(path) = &self.path else {
            tracing::info!("SIGHUP: there is no configuration file to read again");
            return None;
        };
        match Config::load(path) {
            Ok(mut config) => {
                (self.amend)(&mut config);
                Some(Control::Reload(Arc::new(config)))
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the new configuration cannot be used; the old one stays"
                );
                None
            }
        }
    }
}
