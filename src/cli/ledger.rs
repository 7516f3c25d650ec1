//! Opening the ledger for commands that work on the database themselves.

use super::{CliError, Global, settings};
use crate::clock::Clock;
use crate::config::Config;
use crate::ids::WorkspaceId;
use crate::store::{Page, PageRequest, Store, StoreError, Tenant, Workspace};

/// Items asked for at once while a whole list is read.
const PAGE_ITEMS: usize = 500;

/// Opens the ledger, does `work` with it, closes it.
///
/// # Errors
/// A configuration or URL that cannot be used, a database that cannot be opened or has another schema, and what
/// `work` answers.
pub fn with_store<T>(
    global: &Global,
    work: impl AsyncFnOnce(&Store, &Config) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let config = settings::config(global)?;
    let url = settings::database_url(global, &config)?;
    settings::check_exists(&url)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CliError::io("start the runtime"))?;
    let handle = runtime.handle().clone();
    runtime.block_on(async {
        let store = Store::open(&url, &config.database, Clock::system(), handle)
            .await
            .map_err(CliError::store(format!("open the ledger {url}")))?;
        let result = work(&store, &config).await;
        store.close().await;
        result
    })
}

/// A workspace by its slug.
///
/// # Errors
/// [`CliError::Usage`] when there is none; what the store answers.
pub async fn workspace(store: &Store, slug: &str) -> Result<Workspace, CliError> {
    let found = store.workspace_by_slug(slug).await.map_err(CliError::store("look for the workspace"))?;
    found.ok_or_else(|| {
        CliError::Usage(format!("no workspace has the slug `{slug}`: see `atlasd workspaces list`"))
    })
}

/// Every workspace, oldest first.
///
/// # Errors
/// What the store answers.
pub async fn workspaces(store: &Store) -> Result<Vec<Workspace>, StoreError> {
    all_parts(async |page| store.workspaces(None, page).await).await
}

/// Every tenant, of one workspace when given, oldest first.
///
/// # Errors
/// What the store answers.
pub async fn tenants(store: &Store, workspace: Option<WorkspaceId>) -> Result<Vec<Tenant>, StoreError> {
    all_parts(async |page| store.tenants(workspace, page).await).await
}

/// The parts of a list, put together.
async fn all_parts<T>(
    part_at: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let mut part = part_at(PageRequest { limit: PAGE_ITEMS, cursor }).await?;
        all.append(&mut part.items);
        match part.next_cursor {
            None => return Ok(all),
            next => cursor = next,
        }
    }
}
