//! A whole lifecycle in the ledger by 64 callers at once: admit, claim, do nothing, complete; each step durable. Beside
//! it the bare admission of the same rows (the floor of the first of its three writes).

use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::DatabaseConfig;
use atlasd::domain::counts::Counts;
use atlasd::domain::run::{Completion, Lease, Outcome, Settlement};
use atlasd::ids::InstanceId;
use atlasd::store::{Claim, NewInstance, NewTenant, Settled, Store};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "support/mod.rs"]
mod support;

use support::{CALLERS, Engine, Ledger, request, runtime, share};

fn lifecycle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lifecycle");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    for engine in Engine::ALL {
        let runtime = runtime();
        let ledger = Ledger::create(engine);
        let url = ledger.url.parse().expect("a URL of ours");
        let store = runtime
            .block_on(Store::open(
                &url,
                &DatabaseConfig::default(),
                Clock::system(),
                runtime.handle().clone(),
            ))
            .expect("the ledger opens");
        let instance = InstanceId::fresh();
        // A tenant per caller: a tenant's runs execute one at a time.
        let (workspace, tenants) = runtime.block_on(async {
            let lease = Duration::from_secs(3600);
            let row =
                NewInstance { id: instance, hostname: "bench".into(), pid: 1, version: "0".into(), lease };
            store.register_instance(&row, false).await.expect("a fresh ledger");
            let workspace = store.add_workspace("bench", "bench").await.expect("a fresh ledger");
            let mut tenants = Vec::new();
            for _ in 0..CALLERS {
                let tenant = NewTenant {
                    workspace_id: workspace.id,
                    external_id: atlasd::ids::fresh_uuid(),
                    name: "bench".to_owned(),
                    cloud: "global".to_owned(),
                    credential: "none".to_owned(),
                };
                tenants.push(store.add_tenant(tenant).await.expect("a fresh ledger").id);
            }
            (workspace.id, tenants)
        });
        let free = std::sync::Arc::new(std::sync::Mutex::new(tenants));
        let mut first = 0;
        group.bench_function(BenchmarkId::new("admit_claim_complete", engine.name()), |bencher| {
            bencher.iter_custom(|total| {
                let offset = first;
                first += total;
                let (store, free) = (store.clone(), free.clone());
                share(&runtime, total, move |number| {
                    let (store, free) = (store.clone(), free.clone());
                    async move {
                        let tenant = free.lock().expect("nobody panics").pop().expect("a tenant per caller");
                        store
                            .admit(vec![request(workspace, tenant, offset + number)])
                            .await
                            .expect("admitted");
                        let Ok(Claim::Claimed { run, .. }) = store.claim_next(tenant, instance).await else {
                            panic!("the tenant's only run is due")
                        };
                        let lease = Lease { run_id: run.id, token: run.lease_token };
                        let done = Settlement::Complete(Completion {
                            outcome: Outcome::Succeeded,
                            counts: Counts::default(),
                            failures: Vec::new(),
                            context: serde_json::Map::new(),
                            cooldown: Duration::from_secs(900),
                        });
                        let settled = store.settle(lease, done).await.expect("settled");
                        assert!(matches!(settled, Settled::Done(_)));
                        free.lock().expect("nobody panics").push(tenant);
                    }
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lifecycle);
criterion_main!(benches);
