//! Triggers of reconcile (SPEC section 8): each is a request like any other and gets a verdict like any other.

use crate::actors::Handle;
use crate::actors::handle::AdmitError;
use crate::ids::WorkspaceId;
use crate::intake;
use crate::store::{PageRequest, StoreError, Workspace};

/// Workspaces looked up at once.
const PAGE: usize = 500;
/// Reconcile runs asked for in one call: each takes a place of the admission gate.
const TOGETHER: usize = 100;

/// Asks for reconcile runs.
#[derive(Clone)]
pub struct Triggers {
    handle: Handle,
}

impl Triggers {
    /// Triggers that ask `handle`.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Asks for a pass over every workspace. A failure is logged: the next trigger comes.
    pub async fn reconcile_all(&self, by: &'static str) {
        match self.workspaces().await {
            Ok(workspaces) => {
                self.reconcile(&workspaces, by).await;
                tracing::info!(workspaces = workspaces.len(), trigger = by, "reconcile was asked for");
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                trigger = by,
                "reconcile could not be asked for"
            ),
        }
    }

    /// Asks for a pass over some workspaces.
    pub async fn reconcile_some(&self, workspaces: &[WorkspaceId], by: &'static str) {
        let mut known = Vec::new();
        for id in workspaces {
            match self.handle.store().workspace(*id).await {
                Ok(Some(workspace)) => known.push(workspace),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        workspace.id = id.0,
                        error = &error as &dyn std::error::Error,
                        "a workspace to reconcile could not be read"
                    );
                    break;
                }
            }
        }
        self.reconcile(&known, by).await;
    }

    /// Asks for many at once: while the ledger is away each call takes its whole patience, and whoever asks (the daemon
    /// itself, at its start and on a signal) has to hear the next command.
    async fn reconcile(&self, workspaces: &[Workspace], by: &'static str) {
        for some in workspaces.chunks(TOGETHER) {
            let requests = some.iter().map(|workspace| intake::reconcile_request(workspace, false, by, None));
            let failed = match self.handle.admit(requests.collect()).await {
                // A workspace that is gone is nobody's trouble.
                Ok(verdicts) => verdicts
                    .into_iter()
                    .filter_map(Result::err)
                    .find(|error| !matches!(error, AdmitError::ScopeGone)),
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    trigger = by,
                    "reconcile runs were not admitted; the next trigger comes"
                );
                return;
            }
        }
    }

    /// Every workspace.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, StoreError> {
        let mut all = Vec::new();
        let mut page = PageRequest { limit: PAGE, cursor: None };
        loop {
            let part = self.handle.store().workspaces(None, page).await?;
            all.extend(part.items);
            match part.next_cursor {
                Some(cursor) => page = PageRequest { limit: PAGE, cursor: Some(cursor) },
                None => return Ok(all),
            }
        }
    }
}
