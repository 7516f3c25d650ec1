//! What other instances say by notification, handed on to whoever looks at the ledger for it. Nothing is done because of
//! a hint alone: it only makes somebody look sooner than the poll would have.

use std::sync::Arc;

use actix::Addr;
use tokio::sync::{Notify, mpsc};

use crate::actors::Handle;
use crate::actors::supervisor::{DueWork, Supervisor, TenantsHinted};
use crate::store::Hint;

/// Who is told.
pub struct Hints {
    /// The registry's door.
    pub handle: Handle,
    /// Who wakes tenants.
    pub supervisor: Addr<Supervisor>,
    /// Makes the heartbeat beat: its answer says what is to be cancelled.
    pub beat_soon: Arc<Notify>,
    /// Makes the watch look.
    pub look_soon: Arc<Notify>,
}

impl Hints {
    /// Hands on what arrives until nothing more can.
    pub async fn hand_on(self, mut arriving: mpsc::Receiver<Vec<Hint>>) {
        while let Some(hints) = arriving.recv().await {
            self.batch(hints).await;
        }
    }

    async fn batch(&self, hints: Vec<Hint>) {
        let (mut tenants, mut ended) = (Vec::new(), Vec::new());
        let (mut cancel, mut workspace_runs, mut rescan) = (false, false, false);
        for hint in hints {
            match hint {
                Hint::Work(tenant) | Hint::Released(tenant) => tenants.push(tenant),
                Hint::Ended(run) => ended.push(run),
                Hint::Cancel(_) => cancel = true,
                Hint::WorkspaceWork => workspace_runs = true,
                Hint::Rescan => rescan = true,
            }
        }
        if cancel || rescan {
            self.beat_soon.notify_one();
        }
        if rescan {
            self.look_soon.notify_one();
        }
        // A closed actor needs no hints: the process ends.
        if !tenants.is_empty() {
            let _ = self.supervisor.send(TenantsHinted { tenants }).await;
        }
        if workspace_runs {
            let _ = self.supervisor.send(DueWork { tenants: Vec::new(), workspace_runs }).await;
        }
        if !ended.is_empty() {
            self.handle.ended_elsewhere(ended).await;
        }
    }
}
