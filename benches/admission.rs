//! Admissions by 64 callers at once through the registry, on both engines: distinct identities beside their floor (the
//! same rows from a bare loop with group commit), and refused duplicates.

use std::time::Duration;

use atlasd::config::{Config, Span};
use atlasd::daemon::{Daemon, DaemonOptions};
use atlasd::domain::operation::Operation;
use atlasd::ids::{TenantId, WorkspaceId};
use atlasd::store::NewTenant;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "support/mod.rs"]
mod support;

#[path = "support/floor.rs"]
mod floor;

use support::{Engine, Ledger, request, runtime, share};

/// A daemon with one tenant that nobody executes for: admission is measured, not execution.
fn daemon(ledger: &Ledger) -> (Daemon, WorkspaceId, TenantId) {
    let mut config = Config::default();
    // LIMIT: no executions, so that the queue only grows.
    config.execution.poll = Span(Duration::from_secs(3600));
    config.execution.tenants_max = 0;
    let url = ledger.url.parse().expect("a URL of ours");
    let daemon =
        Daemon::start(DaemonOptions::new(config, url, "127.0.0.1:0".to_owned())).expect("the daemon starts");
    let runtime = runtime();
    let store = daemon.handle().store().clone();
    let (workspace, tenant) = runtime.block_on(async {
        let workspace = store.add_workspace("bench", "bench").await.expect("a fresh ledger");
        let tenant = NewTenant {
            workspace_id: workspace.id,
            external_id: atlasd::ids::fresh_uuid(),
            name: "bench".to_owned(),
            cloud: "global".to_owned(),
            credential: "none".to_owned(),
        };
        (workspace.id, store.add_tenant(tenant).await.expect("a fresh ledger").id)
    });
    (daemon, workspace, tenant)
}

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    for engine in Engine::ALL {
        let runtime = runtime();

        let ledger = Ledger::create(engine);
        let (daemon, workspace, tenant) = daemon(&ledger);
        let handle = daemon.handle().clone();
        let mut first = 0;
        group.bench_function(BenchmarkId::new("distinct", engine.name()), |bencher| {
            bencher.iter_custom(|total| {
                let (handle, offset) = (handle.clone(), first);
                first += total;
                share(&runtime, total, move |number| {
                    let handle = handle.clone();
                    async move {
                        let verdicts = handle.admit(vec![request(workspace, tenant, offset + number)]).await;
                        let verdicts = verdicts.expect("the gate is wide enough");
                        assert_eq!(verdicts[0].as_ref().expect("the ledger is there").as_str(), "accepted");
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("duplicates", engine.name()), |bencher| {
            bencher.iter_custom(|total| {
                let handle = handle.clone();
                let held = first;
                share(&runtime, total, move |number| {
                    let handle = handle.clone();
                    async move {
                        let identity = support::identity(number % held.min(1000));
                        let verdict = handle
                            .ask(identity, Operation::Fetch, false, "bench")
                            .await
                            .expect("the gate is wide enough");
                        assert_eq!(verdict.expect("the run is active").as_str(), "active");
                    }
                })
            });
        });
        daemon.stop().expect("the daemon stops");

        let ledger = Ledger::create(engine);
        let (daemon, workspace, tenant) = self::daemon(&ledger);
        daemon.stop().expect("the daemon stops");
        let floor = floor::Floor::start(&runtime, engine, &ledger.url, (workspace.0, tenant.0));
        let mut first = 0;
        group.bench_function(BenchmarkId::new("distinct_floor", engine.name()), |bencher| {
            bencher.iter_custom(|total| {
                let (floor, offset) = (floor.clone(), first);
                first += total;
                share(&runtime, total, move |number| {
                    let floor = floor.clone();
                    async move { floor.write(offset + number).await }
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, admission);
criterion_main!(benches);
