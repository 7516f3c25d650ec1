//! Triggers of reconcile (SPEC section 8): each is a request like any other and gets a verdict like any other.

use crate::actors::Handle;
use crate::ids::WorkspaceId;
use crate::intake;
use crate::store::{PageRequest, StoreError, Workspace};

/// Workspaces looked up at once.
const PAGE: usize = 500;

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
                for workspace in &workspaces {
                    self.reconcile(workspace, by).await;
                }
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
        for id in workspaces {
            match self.handle.store().workspace(*id).await {
                Ok(Some(workspace)) => self.reconcile(&workspace, by).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        workspace.id = id.0,
                        error = &error as &dyn std::error::Error,
                        "a workspace to reconcile could not be read"
                    );
                    return;
                }
            }
        }
    }

    async fn reconcile(&self, workspace: &Workspace, by: &'static str) {
        let request = intake::reconcile_request(workspace, false, by, None);
        if let Err(error) = self.handle.admit(vec![request]).await {
            tracing::warn!(
                workspace.id = workspace.id.0,
                error = &error as &dyn std::error::Error,
                trigger = by,
                "a reconcile run was not admitted"
            );
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
