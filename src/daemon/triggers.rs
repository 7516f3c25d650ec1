//! Triggers of reconcile (SPEC section 8): each is a request like any other and gets a verdict like any other.

use std::time::Duration;

use crate::actors::Handle;
use crate::actors::handle::AdmitError;
use crate::domain::admission::Request;
use crate::ids::WorkspaceId;
use crate::intake;
use crate::store::{PageRequest, StoreError, Workspace};

/// Workspaces looked up at once.
const PAGE: usize = 500;
/// Reconcile runs asked for in one call.
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
        self.reconcile_all_unless_within(Duration::ZERO, by).await;
    }

    /// The same, but for workspaces over which a pass began less than `apart` ago: the periods and starts of several
    /// instances come to one.
    pub async fn reconcile_all_unless_within(&self, apart: Duration, by: &'static str) {
        match self.workspaces().await {
            Ok(workspaces) => {
                let (asked, _) = self.reconcile(workspaces, apart, by).await;
                tracing::info!(workspaces = asked, trigger = by, "reconcile was asked for");
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                trigger = by,
                "reconcile could not be asked for"
            ),
        }
    }

    /// Asks for a pass over some workspaces; whether all that are there were asked for.
    pub async fn reconcile_some(&self, workspaces: &[WorkspaceId], by: &'static str) -> bool {
        self.reconcile_some_unless_within(workspaces, Duration::ZERO, by).await
    }

    /// The same, but for workspaces over which a pass began less than `apart` ago.
    pub async fn reconcile_some_unless_within(
        &self,
        workspaces: &[WorkspaceId],
        apart: Duration,
        by: &'static str,
    ) -> bool {
        let (mut known, mut all_read) = (Vec::new(), true);
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
                    all_read = false;
                    break;
                }
            }
        }
        let (_, all_asked) = self.reconcile(known, apart, by).await;
        all_read && all_asked
    }

    /// Those of `requests` whose identity had no pass that began less than `apart` ago.
    async fn due(&self, requests: Vec<Request>, apart: Duration) -> Vec<Request> {
        if apart.is_zero() || !self.handle.store().is_shared() {
            return requests;
        }
        let identities = requests.iter().map(|request| request.identity).collect();
        match self.handle.store().passes_within(identities, apart).await {
            Ok(recent) => requests.into_iter().filter(|one| !recent.contains(&one.identity)).collect(),
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the last passes could not be read; one more is asked for"
                );
                requests
            }
        }
    }

    /// Asks for many at once: while the ledger is away each call takes its whole patience, and whoever asks (the daemon
    /// itself, at its start and on a signal) has to hear the next command.
    ///
    /// How many were asked for, and whether that was all.
    async fn reconcile(
        &self,
        workspaces: Vec<Workspace>,
        apart: Duration,
        by: &'static str,
    ) -> (usize, bool) {
        let mut asked = 0;
        for some in workspaces.chunks(TOGETHER) {
            let requests = some.iter().map(|workspace| intake::reconcile_request(workspace, false, by, None));
            let requests = self.due(requests.collect(), apart).await;
            if requests.is_empty() {
                continue;
            }
            asked += requests.len();
            let failed = match self.handle.admit_own(requests).await {
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
                return (asked, false);
            }
        }
        (asked, true)
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
