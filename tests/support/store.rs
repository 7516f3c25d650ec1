//! The lab of the store's tests: a store on a fresh database, and what its tests arrange and ask again and again.

#![allow(dead_code, reason = "every test binary includes this file and uses its own part of it")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::DatabaseConfig;
use atlasd::domain::admission::Request;
use atlasd::domain::counts::{CountKey, Counts};
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::identity::IdentityHash;
use atlasd::domain::operation::Operation;
use atlasd::domain::run::{Completion, HandBackReason, Lease, Outcome, Run, Settlement};
use atlasd::ids::{InstanceId, RunId, TenantId, WorkspaceId};
use atlasd::store::{Admitted, Claim, NewInstance, NewTenant, Settled, Store};

mod database;

pub use database::{Database, Engine};

/// Declares tests whose body runs against a fresh database of each engine: `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_each_engine {
    ($($(#[$doc:meta])* async fn $name:ident($lab:ident: &Lab) $body:block)*) => {$(
        $(#[$doc])*
        mod $name {
            use super::*;
            async fn body($lab: &Lab) $body
            #[test]
            fn sqlite() {
                $crate::support::run(Engine::Sqlite, |lab| Box::pin(body(lab)));
            }
            #[test]
            fn postgres() {
                $crate::support::run(Engine::Postgres, |lab| Box::pin(body(lab)));
            }
        }
    )*};
}

/// Runs `test` on a fresh, migrated database.
pub fn run(
    engine: Engine,
    test: impl for<'a> FnOnce(&'a Lab) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>,
) {
    let database = Database::migrated(engine);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let lab = Lab::furnish(database).await;
        test(&lab).await;
        lab.store.close().await;
    });
}

/// A store on a fresh database, with a workspace, three tenants and a live instance.
pub struct Lab {
    pub engine: Engine,
    pub store: Store,
    pub clock: Clock,
    pub database: Arc<Database>,
    pub workspace: WorkspaceId,
    pub tenants: Vec<TenantId>,
    pub instance: InstanceId,
    next_identity: AtomicU16,
}

/// The cooldown that the tests settle with.
pub const COOLDOWN: Duration = Duration::from_secs(900);
/// The lease of the tests' instances.
pub const LEASE: Duration = Duration::from_secs(10);

impl Lab {
    pub async fn furnish(database: Database) -> Self {
        let clock = Clock::system();
        let runtime = tokio::runtime::Handle::current();
        let config = DatabaseConfig::default();
        let store =
            Store::open(&database.url, &config, clock.clone(), runtime).await.expect("the store opens");
        let workspace = store.add_workspace("contoso", "Contoso").await.expect("a workspace").id;
        let mut tenants = Vec::new();
        for name in ["one", "two", "three"] {
            tenants.push(store.add_tenant(tenant_of(workspace, name)).await.expect("a tenant").id);
        }
        let lab = Self {
            engine: database.engine,
            store,
            clock,
            database: Arc::new(database),
            workspace,
            tenants,
            instance: InstanceId::fresh(),
            next_identity: AtomicU16::new(1),
        };
        lab.register(lab.instance, false).await;
        lab
    }

    pub fn tenant(&self) -> TenantId {
        self.tenants[0]
    }

    pub async fn register(&self, id: InstanceId, sole: bool) {
        let instance =
            NewInstance { id, hostname: "host".into(), pid: 7, version: "0.0.0".into(), lease: LEASE };
        self.store.register_instance(&instance, sole).await.expect("registered");
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(chrono::Duration::from_std(by).expect("a short time"));
    }

    /// A request with an identity that no other request of this lab has.
    pub fn request(&self) -> Request {
        let [high, low] = self.next_identity.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut bytes = [low; 32];
        bytes[31] ^= high;
        self.request_of(self.tenant(), IdentityHash(bytes))
    }

    pub fn request_of(&self, tenant: TenantId, identity: IdentityHash) -> Request {
        Request {
            workspace_id: self.workspace,
            tenant_id: Some(tenant),
            user_id: None,
            initiator_name: "test".into(),
            operation: Operation::Fetch,
            identity,
            context: serde_json::Map::new(),
            force: false,
        }
    }

    /// A restore with these inputs, of an identity of its own.
    pub fn restore_request(&self, inputs: serde_json::Value) -> Request {
        let context = serde_json::Map::from_iter([("inputs".to_owned(), inputs)]);
        Request { operation: Operation::Restore, context, ..self.request() }
    }

    /// A restore of the first tenant that is running.
    pub async fn restoring(&self) -> Run {
        self.accepted(self.restore_request(serde_json::json!({}))).await;
        self.claimed().await
    }

    /// The lease of a claim that another has followed.
    pub async fn reclaimed(&self, run: &Run) -> Run {
        let back = Settlement::HandBack { reason: HandBackReason::Fenced };
        self.settled(lease(run), back).await;
        self.claimed().await
    }

    pub fn reconcile_request(&self) -> Request {
        Request {
            tenant_id: None,
            operation: Operation::Reconcile,
            ..self.request_of(self.tenant(), identity(0))
        }
    }

    pub async fn admit(&self, request: Request) -> Admitted {
        let mut admitted = self.store.admit(vec![request]).await.expect("a verdict");
        assert_eq!(admitted.len(), 1);
        admitted.remove(0)
    }

    pub async fn accepted(&self, request: Request) -> Run {
        accepted(self.admit(request).await)
    }

    pub async fn held(&self, request: Request) -> Run {
        match self.admit(request).await {
            Admitted::Held(run) => run,
            other => panic!("expected Held, got {other:?}"),
        }
    }

    pub async fn claimed(&self) -> Run {
        self.claimed_by(self.instance).await
    }

    pub async fn claimed_by(&self, instance: InstanceId) -> Run {
        match self.store.claim_next(self.tenant(), instance).await.expect("a claim") {
            Claim::Claimed { run, .. } => *run,
            other => panic!("expected Claimed, got {other:?}"),
        }
    }

    /// A run of the first tenant that is running.
    pub async fn running(&self) -> Run {
        self.accepted(self.request()).await;
        self.claimed().await
    }

    pub async fn settled(&self, lease: Lease, settlement: Settlement) -> Run {
        match self.store.settle(lease, settlement).await.expect("an answer") {
            Settled::Done(run) => *run,
            Settled::Stale => panic!("expected Done, got Stale"),
        }
    }

    /// A run of the first tenant that has succeeded and is in cooldown.
    pub async fn completed(&self) -> Run {
        let run = self.running().await;
        self.settled(lease(&run), succeeded()).await
    }

    pub async fn run(&self, id: RunId) -> Run {
        self.store.run(id).await.expect("an answer").expect("the run exists")
    }
}

pub fn tenant_of(workspace: WorkspaceId, name: &str) -> NewTenant {
    NewTenant {
        workspace_id: workspace,
        external_id: atlasd::ids::fresh_uuid(),
        name: name.into(),
        cloud: "global".into(),
        credential: "default".into(),
    }
}

pub fn identity(number: u8) -> IdentityHash {
    IdentityHash([number; 32])
}

pub fn accepted(admitted: Admitted) -> Run {
    match admitted {
        Admitted::Accepted(run) => run,
        other => panic!("expected Accepted, got {other:?}"),
    }
}

pub fn lease(run: &Run) -> Lease {
    Lease { run_id: run.id, token: run.lease_token }
}

pub fn counts(total: u64) -> Counts {
    Counts::default().with(CountKey::Total, total)
}

pub fn succeeded() -> Settlement {
    Settlement::Complete(Completion {
        outcome: Outcome::Succeeded,
        counts: counts(3),
        failures: Vec::new(),
        context: serde_json::Map::new(),
        cooldown: COOLDOWN,
    })
}

pub fn failed(code: Code) -> Settlement {
    Settlement::Complete(Completion {
        outcome: Outcome::Failed,
        counts: counts(2),
        failures: vec![Failure::new(code, "it did not work")],
        context: serde_json::Map::new(),
        cooldown: COOLDOWN,
    })
}
