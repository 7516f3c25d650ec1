//! The two doors to a ledger that racers go through: a store of their own, or a daemon over HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::{DatabaseConfig, Span};
use atlasd::domain::admission::Request;
use atlasd::domain::identity::IdentityHash;
use atlasd::domain::operation::Operation;
use atlasd::ids::{InstanceId, RunId, TenantId, WorkspaceId};
use atlasd::store::{Admitted, DuplicateCount, NewInstance, NewTenant, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::bed::Client;

/// Where requests go.
#[derive(Clone, Serialize, Deserialize)]
pub enum Door {
    Store { url: String, workspace: i64, tenant: i64 },
    Http { base: String, token: String, tenant: i64 },
}

/// A door that is open.
pub enum Open {
    Store { store: Store, workspace: WorkspaceId, tenant: TenantId },
    Http { client: Client, tenant: i64 },
}

/// `accepted`, `active` or `cooldown`, and whose run it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub word: String,
    pub run: i64,
}

/// A store of this process on the race's ledger; patient, since dozens of processes share two cores and a file's lock.
pub async fn store(url: &str) -> Store {
    let patience = Span(Duration::from_secs(120));
    let config = DatabaseConfig {
        connections_max: 2,
        acquire_timeout: patience,
        statement_timeout: patience,
        ..DatabaseConfig::default()
    };
    let url = url.parse().expect("a URL of the race");
    let store = Store::open(&url, &config, Clock::system(), tokio::runtime::Handle::current()).await;
    let store = store.expect("the store opens");
    store.ping().await.expect("a connection is there before the start");
    store
}

/// A store on a ledger that is empty, its first workspace and tenant.
pub async fn arranged(url: &str) -> (Store, WorkspaceId, TenantId) {
    let store = store(url).await;
    let workspace = store.add_workspace("contoso", "Contoso").await.expect("a workspace").id;
    let tenant = tenant(&store, workspace).await;
    (store, workspace, tenant)
}

/// Another tenant.
pub async fn tenant(store: &Store, workspace: WorkspaceId) -> TenantId {
    let external_id = atlasd::ids::fresh_uuid();
    let tenant = NewTenant {
        workspace_id: workspace,
        external_id,
        name: external_id.to_string(),
        cloud: "global".to_owned(),
        credential: "none".to_owned(),
    };
    store.add_tenant(tenant).await.expect("a tenant").id
}

/// An instance that lives for as long as a race lasts.
pub async fn registered(store: &Store) -> InstanceId {
    let lease = Duration::from_secs(3600);
    let id = InstanceId::fresh();
    let row = NewInstance { id, hostname: "race".to_owned(), pid: 1, version: "0".to_owned(), lease };
    store.register_instance(&row, false).await.expect("an instance");
    id
}

impl Door {
    pub async fn open(self) -> Open {
        match self {
            Self::Store { url, workspace, tenant } => Open::Store {
                store: store(&url).await,
                workspace: WorkspaceId(workspace),
                tenant: TenantId(tenant),
            },
            Self::Http { base, token, tenant } => {
                let client = Client::new(&base, &token);
                assert_eq!(
                    client.get("/healthz").await.status,
                    200,
                    "a connection is there before the start"
                );
                Open::Http { client, tenant }
            }
        }
    }
}

impl Open {
    /// Asks for the runs with these numbers in one call; the verdicts, in order.
    pub async fn ask(&self, numbers: &[u64]) -> Vec<Verdict> {
        match self {
            Self::Store { store, workspace, tenant } => {
                let requests = numbers.iter().map(|number| request(*workspace, *tenant, *number)).collect();
                let admitted = store.admit(requests).await.expect("a conflict is an answer, never an error");
                admitted.into_iter().map(verdict).collect()
            }
            Self::Http { client, tenant } => {
                let body = |number: &u64| {
                    let inputs =
                        json!({"policy_types": ["intent"], "policy_ids": [format!("policy-{number}")]});
                    json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": inputs})
                };
                match numbers {
                    [number] => vec![told(&client.post("/runs", body(number)).await.body)],
                    _ => {
                        let requests: Vec<_> = numbers.iter().map(body).collect();
                        let answer = client.post("/runs/batch", json!({"requests": requests})).await.body;
                        let verdicts = answer["verdicts"].as_array();
                        verdicts.unwrap_or_else(|| panic!("{answer}")).iter().map(told).collect()
                    }
                }
            }
        }
    }

    /// Counts refusals as a daemon would; one that was asked has done so itself.
    pub async fn count(&self, verdicts: impl IntoIterator<Item = &Verdict>) {
        let Self::Store { store, .. } = self else { return };
        let mut refused = BTreeMap::<i64, i64>::new();
        for verdict in verdicts.into_iter().filter(|verdict| verdict.word != "accepted") {
            *refused.entry(verdict.run).or_default() += 1;
        }
        let last_at = Clock::system().now();
        let counts =
            refused.into_iter().map(|(run, count)| DuplicateCount { run_id: RunId(run), count, last_at });
        store.count_duplicates(counts.collect()).await.expect("refusals are counted");
    }
}

/// The request with a number.
pub fn request(workspace: WorkspaceId, tenant: TenantId, number: u64) -> Request {
    Request {
        workspace_id: workspace,
        tenant_id: Some(tenant),
        user_id: None,
        initiator_name: "race".to_owned(),
        operation: Operation::Fetch,
        identity: IdentityHash(Sha256::digest(number.to_le_bytes()).into()),
        context: serde_json::Map::new(),
        force: false,
    }
}

fn verdict(admitted: Admitted) -> Verdict {
    let (word, run) = match admitted {
        Admitted::Accepted(run) => ("accepted", run),
        Admitted::Held(run) if run.is_active() => ("active", run),
        Admitted::Held(run) => {
            assert!(
                run.cooldown_until.is_some(),
                "what has ended holds its identity for a cooldown: {run:?}"
            );
            ("cooldown", run)
        }
        Admitted::Gone => panic!("nobody removes the tenant"),
    };
    Verdict { word: word.to_owned(), run: run.id.0 }
}

fn told(answer: &Value) -> Verdict {
    let word = answer["verdict"].as_str().unwrap_or_else(|| panic!("a verdict: {answer}")).to_owned();
    Verdict { word, run: answer["run"]["id"].as_i64().unwrap_or_else(|| panic!("it names a run: {answer}")) }
}
