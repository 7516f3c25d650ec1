//! Hints between instances, by PostgreSQL's LISTEN and NOTIFY: something may have changed, look.
//!
//! A hint may be lost, late or wrong; whoever gets one looks at the ledger, and polling finds what no hint announced.
//! After every gap comes [`Hint::Rescan`].
//!
//! Hints go out over the listener's own connection, gathered for a moment and never within a transaction of the
//! ledger's: a NOTIFY takes a lock of the whole server until its transaction ends, and group commit with it. On SQLite
//! there is nobody to tell, and nothing arrives.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

use super::error::StoreError;
use super::postgres::{Driver, Target, told};
use crate::ids::{InstanceId, RunId, TenantId};
use crate::metrics::{Metrics, Reason};

/// Something to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hint {
    /// A run of the tenant may be due.
    Work(TenantId),
    /// The tenant's lease may be free.
    Released(TenantId),
    /// A run may have ended.
    Ended(RunId),
    /// Somebody may have asked to cancel a run.
    Cancel(RunId),
    /// A workspace-scoped run may be due.
    WorkspaceWork,
    /// Notifications may have been lost: look at everything once.
    Rescan,
}

/// PostgreSQL's channel.
const CHANNEL: &str = "atlasd";
/// LIMIT: PostgreSQL takes payloads of less than 8000 bytes.
const PAYLOAD_MAX: usize = 7_900;
/// LIMIT: hints that wait to go out; further ones are left to the poll.
const OUTBOX_MAX: usize = 20_000;
/// LIMIT: batches of hints that wait for the reader; more become one rescan.
const INBOX_MAX: usize = 256;
/// How long hints are gathered before they go out.
const GATHER: Duration = Duration::from_millis(10);
/// How often a quiet connection is asked for a sign of life, and how long it has for it.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The first wait before the connection is made anew.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// The longest such wait.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// The way out. Clones share it.
#[derive(Clone, Default)]
pub struct Outbox {
    inner: Arc<OutboxInner>,
}

#[derive(Default)]
struct OutboxInner {
    waiting: Mutex<BTreeSet<Hint>>,
    filled: Notify,
    /// Set once somebody listens: before that, and on SQLite, hints go nowhere.
    open: OnceLock<()>,
    closed: CancellationToken,
}

impl Outbox {
    /// Puts a hint among those that go out next. Never waits.
    pub fn put(&self, hint: Hint) {
        if self.inner.open.get().is_none() {
            return;
        }
        let mut waiting = self.inner.waiting.lock().expect("nobody panics while holding the outbox");
        if waiting.len() < OUTBOX_MAX {
            waiting.insert(hint);
            drop(waiting);
            self.inner.filled.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<Hint> {
        std::mem::take(&mut self.inner.waiting.lock().expect("nobody panics while holding the outbox"))
    }

    /// Ends the listener.
    pub fn close(&self) {
        self.inner.closed.cancel();
    }
}

/// Starts to listen on the current runtime; what arrives from others comes out of the receiver, in batches.
pub fn start(target: Target, outbox: Outbox, me: InstanceId, metrics: Metrics) -> mpsc::Receiver<Vec<Hint>> {
    let (inbox, received) = mpsc::channel(INBOX_MAX);
    let _ = outbox.inner.open.set(());
    let closed = outbox.inner.closed.clone();
    let listener = Listener { target, outbox, tag: me.to_string(), metrics, inbox };
    tokio::spawn(async move { closed.run_until_cancelled(listener.listen()).await });
    received
}

struct Listener {
    target: Target,
    outbox: Outbox,
    /// How this instance's own notifications are known.
    tag: String,
    metrics: Metrics,
    inbox: mpsc::Sender<Vec<Hint>>,
}

impl Listener {
    /// Listens for as long as somebody reads.
    async fn listen(self) {
        let mut wait = RECONNECT_FIRST;
        let mut first = true;
        loop {
            if !first {
                self.metrics.listener_reconnects.inc();
            }
            first = false;
            match self.connection().await {
                Ok(()) if self.inbox.is_closed() => return,
                // It listened for a while: the next try may come soon.
                Ok(()) => wait = RECONNECT_FIRST,
                Err(error) => tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "hints from other instances cannot be received; tried again, the ledger is polled meanwhile"
                ),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RECONNECT_MAX);
        }
    }

    /// One connection, from its beginning to its end.
    async fn connection(&self) -> Result<(), StoreError> {
        let lost = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable {
            operation: "listening for hints",
            source,
        };
        let (client, driver) = self.target.connect_raw().await.map_err(|error| lost(error.into()))?;
        let drive = drive(driver, self.tag.clone(), self.inbox.clone(), self.metrics.clone());
        let mut driver = tokio::spawn(drive);
        let served = tokio::select! {
            served = self.serve(&client) => served,
            // The server has ended it.
            _ = &mut driver => Ok(()),
        };
        driver.abort();
        served.map_err(|error| lost(told(&error).into()))
    }

    async fn serve(&self, client: &tokio_postgres::Client) -> Result<(), tokio_postgres::Error> {
        // Nothing of the ledger's is written here: what goes out need not outlive a crash.
        let text = format!("SET synchronous_commit = off; SET statement_timeout = 5000; LISTEN {CHANNEL}");
        client.batch_execute(&text).await?;
        // ORDER: first listen, then look: what happened before is seen by the look, what comes after is announced.
        if self.inbox.send(vec![Hint::Rescan]).await.is_err() {
            return Ok(());
        }
        loop {
            let filled = tokio::time::timeout(PING_EVERY, self.outbox.inner.filled.notified());
            tokio::select! {
                filled = filled => match filled {
                    Ok(()) => {
                        tokio::time::sleep(GATHER).await;
                        self.send(client).await?;
                    }
                    Err(_) => match tokio::time::timeout(PING_EVERY, client.simple_query("SELECT 1")).await {
                        Ok(answered) => drop(answered?),
                        // Half-open: nobody is there any more.
                        Err(_) => return Ok(()),
                    },
                },
                () = self.inbox.closed() => return Ok(()),
            }
        }
    }

    async fn send(&self, client: &tokio_postgres::Client) -> Result<(), tokio_postgres::Error> {
        let hints = self.outbox.take();
        for payload in written(&self.tag, &hints) {
            let text = format!("NOTIFY {CHANNEL}, '{payload}'");
            match tokio::time::timeout(PING_EVERY, client.batch_execute(&text)).await {
                Ok(sent) => sent?,
                Err(_) => return Ok(()),
            }
            self.metrics.notifications.get_or_create(&Reason { reason: "sent" }).inc();
        }
        Ok(())
    }
}

/// Moves the connection on and hands on what arrives. Ends with the connection.
async fn drive(mut driver: Driver, tag: String, inbox: mpsc::Sender<Vec<Hint>>, metrics: Metrics) {
    let mut missed = false;
    loop {
        match poll_fn(|context| driver.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                let mut hints = read(&tag, notification.payload());
                if hints.is_empty() {
                    continue;
                }
                metrics.notifications.get_or_create(&Reason { reason: "received" }).inc();
                if missed {
                    hints = vec![Hint::Rescan];
                }
                // LIMIT: a reader that is behind gets one rescan instead of all that it missed.
                missed = inbox.try_send(hints).is_err();
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// Hints as payloads: the sender, then a word per hint. No word has a character that SQL knows.
fn written(tag: &str, hints: &BTreeSet<Hint>) -> Vec<String> {
    let mut payloads = Vec::new();
    let mut payload = tag.to_owned();
    for hint in hints {
        let word = match hint {
            Hint::Work(tenant) => format!("w{tenant}"),
            Hint::Released(tenant) => format!("t{tenant}"),
            Hint::Ended(run) => format!("e{run}"),
            Hint::Cancel(run) => format!("c{run}"),
            Hint::WorkspaceWork => "r".to_owned(),
            Hint::Rescan => "s".to_owned(),
        };
        if payload.len() + 1 + word.len() > PAYLOAD_MAX {
            payloads.push(std::mem::replace(&mut payload, tag.to_owned()));
        }
        let _ = write!(payload, " {word}");
    }
    if payload.len() > tag.len() {
        payloads.push(payload);
    }
    payloads
}

/// The hints of a payload; none of this instance's own, and none that only a newer program knows.
fn read(tag: &str, payload: &str) -> Vec<Hint> {
    let mut words = payload.split(' ');
    if words.next() == Some(tag) {
        return Vec::new();
    }
    let hint = |word: &str| {
        let kind = word.chars().next()?;
        let number = || word[kind.len_utf8()..].parse::<i64>().ok();
        Some(match kind {
            'w' => Hint::Work(TenantId(number()?)),
            't' => Hint::Released(TenantId(number()?)),
            'e' => Hint::Ended(RunId(number()?)),
            'c' => Hint::Cancel(RunId(number()?)),
            'r' => Hint::WorkspaceWork,
            's' => Hint::Rescan,
            _ => return None,
        })
    };
    words.filter_map(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_survive_their_way_and_ones_own_are_ignored() {
        let hints: BTreeSet<Hint> = [
            Hint::Work(TenantId(1)),
            Hint::Released(TenantId(22)),
            Hint::Ended(RunId(i64::MAX)),
            Hint::Cancel(RunId(4)),
            Hint::WorkspaceWork,
            Hint::Rescan,
        ]
        .into();
        let payloads = written("a", &hints);
        assert_eq!(payloads.len(), 1);
        assert_eq!(read("b", &payloads[0]), hints.iter().copied().collect::<Vec<_>>());
        assert!(read("a", &payloads[0]).is_empty());
        assert_eq!(read("b", "a x1 w é w7 w7x 77"), [Hint::Work(TenantId(7))]);
        assert!(read("b", "").is_empty() && written("a", &BTreeSet::new()).is_empty());
    }

    #[test]
    fn many_hints_become_several_payloads_and_none_is_lost() {
        let hints: BTreeSet<Hint> = (0..5_000).map(|n| Hint::Ended(RunId(1_000_000 + n))).collect();
        let payloads = written("0123456789", &hints);
        assert!(payloads.len() > 1 && payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
        let read: BTreeSet<Hint> = payloads.iter().flat_map(|payload| read("", payload)).collect();
        assert_eq!(read, hints);
    }
}
