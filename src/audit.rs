//! The writer of the audit: takes lines one by one and writes them many at a time, so that a change waits for no write
//! but its own.
//!
//! Who notes a line waits only for a place among those that are to be written; a stop that is orderly writes them all.
//! A process that is killed loses the lines of its last moments: for runs, the ledger's row says who asked all the same.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::audit::{Asker, Change, Line};
use crate::store::Store;

/// LIMIT: lines that wait to be written.
const WAITING_MAX: usize = 4096;
/// LIMIT: lines of one transaction.
const BATCH_MAX: usize = 256;
/// How long a line waits for a place before it goes to the log instead.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after a write that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// The way to the writer. Clones share it.
#[derive(Clone)]
pub struct Audit {
    lines: mpsc::Sender<Line>,
    clock: Clock,
    closing: CancellationToken,
    closed: CancellationToken,
}

impl Audit {
    /// The way, and the writer, which is to be spawned where the store's operations run.
    pub fn new(store: Store, clock: Clock) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (lines, waiting) = mpsc::channel(WAITING_MAX);
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let writer = Writer { store, waiting, closing: closing.clone() };
        let ended = closed.clone();
        let write = async move {
            writer.write().await;
            ended.cancel();
        };
        (Self { lines, clock, closing, closed }, write)
    }

    /// Keeps a change.
    pub async fn note(&self, change: Change, asker: Asker) {
        let line = change.by(asker, self.clock.now());
        if let Err(error) = self.lines.send_timeout(line, PATIENCE).await {
            let (mpsc::error::SendTimeoutError::Timeout(line) | mpsc::error::SendTimeoutError::Closed(line)) =
                error;
            lost(&line);
        }
    }

    /// Writes what waits, at most for `patience`; takes nothing more.
    pub async fn close(&self, patience: Duration) {
        self.closing.cancel();
        let _ = tokio::time::timeout(patience, self.closed.cancelled()).await;
    }
}

/// What cannot be kept is at least told.
fn lost(line: &Line) {
    tracing::error!(
        audit.actor = line.actor.as_str(),
        audit.action = line.action(),
        audit.object = line.object().map(|(_, id)| id),
        "a line of the audit could not be kept"
    );
}

struct Writer {
    store: Store,
    waiting: mpsc::Receiver<Line>,
    closing: CancellationToken,
}

impl Writer {
    async fn write(mut self) {
        let mut batch = Vec::new();
        loop {
            let came = tokio::select! {
                biased;
                came = self.waiting.recv_many(&mut batch, BATCH_MAX) => came,
                () = self.closing.cancelled(), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    continue;
                }
            };
            if came == 0 {
                return;
            }
            self.write_all(std::mem::take(&mut batch)).await;
        }
    }

    /// A ledger that does not answer is asked again, until the daemon stops.
    async fn write_all(&self, lines: Vec<Line>) {
        let mut tries = 0;
        while let Err(error) = self.store.write_audit(lines.clone()).await {
            tries += 1;
            if tries == 1 {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, lines = lines.len(), "the audit cannot be written now");
            }
            if self.closing.is_cancelled() && tries > 3 {
                lines.iter().for_each(lost);
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
