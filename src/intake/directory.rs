//! What never changes about tenants and workspaces, kept in memory: so that the request for a run that exists
//! already is answered without the database.
//!
//! Only facts that are immutable in the ledger are kept (ids, slugs, directory ids), so nothing here goes stale, with
//! one exception: that a directory id belongs to one workspace alone may cease to be true, so the answer to an
//! unbound caller is trusted for `UNBOUND_TTL` only. What does not exist is not remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::error::IntakeError;
use crate::ids::{TenantId, WorkspaceId};
use crate::store::{Store, StoreError, Tenant, Workspace};

/// LIMIT: entries of each map. A full map is emptied and fills again: a tenant is one cheap query.
const ENTRIES_MAX: usize = 50_000;

/// How long "this directory id belongs to one workspace" is trusted; the daemon's own additions end it at once.
const UNBOUND_TTL: Duration = Duration::from_secs(5);

/// The immutable facts of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFacts {
    /// Its id.
    pub id: TenantId,
    /// The owner.
    pub workspace_id: WorkspaceId,
    /// The owner's slug.
    pub workspace_slug: Arc<str>,
    /// The directory id.
    pub external_id: Uuid,
}

impl From<Tenant> for TenantFacts {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            workspace_id: tenant.workspace_id,
            workspace_slug: tenant.workspace_slug.into(),
            external_id: tenant.external_id,
        }
    }
}

/// The immutable facts of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceFacts {
    /// Its id.
    pub id: WorkspaceId,
    /// Its slug.
    pub slug: Arc<str>,
}

impl From<&Workspace> for WorkspaceFacts {
    fn from(workspace: &Workspace) -> Self {
        Self { id: workspace.id, slug: workspace.slug.as_str().into() }
    }
}

/// The cache and the door behind it. Clones share the entries.
#[derive(Clone)]
pub struct Directory {
    store: Store,
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    tenants: HashMap<TenantId, TenantFacts>,
    workspaces: HashMap<WorkspaceId, WorkspaceFacts>,
    /// A directory id within a workspace: immutable.
    bound: HashMap<(WorkspaceId, Uuid), TenantId>,
    /// A directory id in the only workspace that had it at that time.
    unbound: HashMap<Uuid, (TenantId, Instant)>,
}

impl Directory {
    /// Knows nothing yet.
    pub fn new(store: Store) -> Self {
        Self { store, known: Arc::default() }
    }

    /// A tenant by id.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known and the ledger cannot be asked.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<TenantFacts>, StoreError> {
        if let Some(facts) = self.read(|known| known.tenants.get(&id).cloned()) {
            return Ok(Some(facts));
        }
        let found = self.store.tenant(id).await?.map(TenantFacts::from);
        if let Some(facts) = &found {
            self.write(|known| known.remember_tenant(facts));
        }
        Ok(found)
    }

    /// A workspace by id.
    ///
    /// # Errors
    /// [`StoreError`] when it is not known and the ledger cannot be asked.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceFacts>, StoreError> {
        if let Some(facts) = self.read(|known| known.workspaces.get(&id).cloned()) {
            return Ok(Some(facts));
        }
        let found = self.store.workspace(id).await?.as_ref().map(WorkspaceFacts::from);
        if let Some(facts) = &found {
            self.write(|known| insert_bounded(&mut known.workspaces, id, facts.clone()));
        }
        Ok(found)
    }

    /// The one tenant with a directory id, within `workspace` when given.
    ///
    /// # Errors
    /// [`IntakeError::TenantAmbiguous`] when several workspaces have one and none is given; [`IntakeError::Store`].
    pub async fn tenant_by_external_id(
        &self,
        external_id: Uuid,
        workspace: Option<WorkspaceId>,
    ) -> Result<Option<TenantFacts>, IntakeError> {
        let now = Instant::now();
        if let Some(facts) = self.read(|known| known.by_external_id(external_id, workspace, now)) {
            return Ok(Some(facts));
        }
        let mut found = self.store.tenants_by_external_id(external_id, workspace).await?;
        if found.len() > 1 {
            return Err(IntakeError::TenantAmbiguous);
        }
        let Some(facts) = found.pop().map(TenantFacts::from) else { return Ok(None) };
        self.write(|known| {
            known.remember_tenant(&facts);
            if workspace.is_none() {
                insert_bounded(&mut known.unbound, external_id, (facts.id, now));
            }
        });
        Ok(Some(facts))
    }

    /// A tenant was added here: its directory id may be in several workspaces from now on.
    pub fn added(&self, tenant: &Tenant) {
        self.write(|known| known.unbound.remove(&tenant.external_id));
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().expect("no code panics while it holds this lock"))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().expect("no code panics while it holds this lock"))
    }
}

impl Known {
    fn remember_tenant(&mut self, facts: &TenantFacts) {
        insert_bounded(&mut self.tenants, facts.id, facts.clone());
        insert_bounded(&mut self.bound, (facts.workspace_id, facts.external_id), facts.id);
    }

    fn by_external_id(
        &self,
        external_id: Uuid,
        workspace: Option<WorkspaceId>,
        now: Instant,
    ) -> Option<TenantFacts> {
        let id = match workspace {
            Some(workspace) => *self.bound.get(&(workspace, external_id))?,
            None => {
                let (id, seen_at) = *self.unbound.get(&external_id)?;
                (now.saturating_duration_since(seen_at) < UNBOUND_TTL).then_some(id)?
            }
        };
        self.tenants.get(&id).cloned()
    }
}

fn insert_bounded<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= ENTRIES_MAX && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: i64, workspace: i64) -> TenantFacts {
        TenantFacts {
            id: TenantId(id),
            workspace_id: WorkspaceId(workspace),
            workspace_slug: "contoso".into(),
            external_id: Uuid::from_u128(7),
        }
    }

    #[test]
    fn a_directory_id_is_known_within_its_workspace_only() {
        let mut known = Known::default();
        known.remember_tenant(&facts(1, 10));
        let now = Instant::now();
        let external_id = Uuid::from_u128(7);
        assert_eq!(known.by_external_id(external_id, Some(WorkspaceId(10)), now), Some(facts(1, 10)));
        assert_eq!(known.by_external_id(external_id, Some(WorkspaceId(11)), now), None);
        assert_eq!(known.by_external_id(external_id, None, now), None, "it may be in other workspaces too");
    }

    #[test]
    fn an_unbound_answer_is_trusted_for_its_time_only() {
        let mut known = Known::default();
        known.remember_tenant(&facts(1, 10));
        let now = Instant::now();
        known.unbound.insert(Uuid::from_u128(7), (TenantId(1), now));
        assert!(known.by_external_id(Uuid::from_u128(7), None, now).is_some());
        assert!(known.by_external_id(Uuid::from_u128(7), None, now + UNBOUND_TTL).is_none());
    }

    #[test]
    fn a_full_map_is_emptied_and_never_grows_beyond_its_limit() {
        let mut map = HashMap::new();
        for key in 0..=ENTRIES_MAX {
            insert_bounded(&mut map, key, ());
        }
        assert_eq!(map.len(), 1);
        insert_bounded(&mut map, ENTRIES_MAX, ());
        assert_eq!(map.len(), 1, "a known key does not empty the map");
    }
}
