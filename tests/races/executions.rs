//! Two instances at one queue: each run is executed once, and a tenant's runs one after the other.

use std::time::Duration;

use atlasd::ids::{InstanceId, RunId, TenantId};
use atlasd::store::{Claim, Settled};
use serde::{Deserialize, Serialize};

use crate::PATIENT;
use crate::bed::{block_on, until_within};
use crate::door::{self, arranged, registered};
use crate::field::{Task, race};
use crate::identical::{done, lease_of};
use crate::many::sized;
use crate::many::{bed_of, request, submit, tenants};
use crate::process::Process;
use crate::support::{Database, Engine, for_each_engine};

const TENANTS: usize = 32;

/// Claims and settles whatever these tenants have, until nobody has anything.
#[derive(Serialize, Deserialize)]
pub struct Execute {
    url: String,
    instance: InstanceId,
    tenants: Vec<TenantId>,
}

/// What a racer executed.
#[derive(Serialize, Deserialize)]
pub struct Executed(Vec<RunId>);

impl Execute {
    pub async fn run(self, ready: &mut impl FnMut()) -> Executed {
        let store = door::store(&self.url).await;
        ready();
        let mut executed = Vec::new();
        let mut idle = 0;
        // A tenant that is busy or another's is asked again, until each of them says that there is nothing.
        while idle < self.tenants.len() {
            idle = 0;
            for tenant in &self.tenants {
                match store.claim_next(*tenant, self.instance).await.expect("no claim meets an index") {
                    Claim::Claimed { run, .. } => {
                        let settled = store.settle(lease_of(&run), done()).await;
                        assert!(matches!(settled, Ok(Settled::Done(_))), "{settled:?}");
                        executed.push(run.id);
                        store.release_tenant(*tenant, self.instance).await.expect("it is given back");
                    }
                    Claim::Idle { .. } => {
                        idle += 1;
                        store.release_tenant(*tenant, self.instance).await.expect("it is given back");
                    }
                    Claim::Busy | Claim::Elsewhere => {}
                    Claim::Fenced => panic!("the lease lasts for the whole race"),
                }
            }
        }
        store.close().await;
        Executed(executed)
    }
}

/// Runs of tenants that took more than one attempt, or none.
const NOT_ONCE: &str = "SELECT count(*) AS n FROM (SELECT r.id FROM operation_runs r \
     LEFT JOIN run_attempts a ON a.run_id = r.id WHERE r.tenant_id IS NOT NULL \
     GROUP BY r.id HAVING count(a.run_id) <> 1) x";
/// Attempts that began before the tenant's last one had ended.
const OVERLAPPING: &str = "SELECT count(*) AS n FROM (SELECT a.started_at, lag(a.ended_at) OVER \
     (PARTITION BY r.tenant_id ORDER BY a.started_at, a.ended_at) AS before FROM run_attempts a \
     JOIN operation_runs r ON r.id = a.run_id WHERE r.tenant_id IS NOT NULL) x WHERE x.before > x.started_at";
const WORKERS: &str = "SELECT count(DISTINCT a.instance_id) AS n FROM run_attempts a \
     JOIN operation_runs r ON r.id = a.run_id WHERE r.tenant_id IS NOT NULL";
const OPEN: &str =
    "SELECT count(*) AS n FROM operation_runs WHERE tenant_id IS NOT NULL AND status <> 'completed'";

fn judge(database: &Database, workers: i64) {
    assert_eq!(database.number(NOT_ONCE), 0, "each run took one attempt");
    assert_eq!(database.number(OVERLAPPING), 0, "a tenant's attempts never overlap");
    assert_eq!(database.number(WORKERS), workers, "all worked");
}

for_each_engine!(two_processes_at_one_queue_execute_each_run_once, |engine| {
    let runs = sized(1000, 10_000);
    let database = Database::migrated(engine);
    let url = database.url_text();
    block_on(async {
        let (store, workspace, first) = arranged(&url).await;
        let mut tenants = vec![first];
        while tenants.len() < TENANTS {
            tenants.push(door::tenant(&store, workspace).await);
        }
        let requests: Vec<_> =
            (0..runs).map(|index| door::request(workspace, tenants[index % TENANTS], index as u64)).collect();
        for some in requests.chunks(500) {
            store.admit(some.to_vec()).await.expect("they are admitted");
        }
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let instance = registered(&store).await;
            tasks.push(Task::Execute(Execute { url: url.clone(), instance, tenants: tenants.clone() }));
        }
        let begun = std::time::Instant::now();
        let reports: Vec<Executed> = race(tasks).await;
        let each: Vec<usize> = reports.iter().map(|Executed(runs)| runs.len()).collect();
        println!("{runs} runs claimed and settled, {engine:?}: {each:?} in {:.1?}", begun.elapsed());
        let mut executed: Vec<_> = reports.into_iter().flat_map(|Executed(runs)| runs).collect();
        executed.sort_unstable();
        executed.dedup();
        assert_eq!((each.iter().sum::<usize>(), executed.len()), (runs, runs), "each was executed once");
        store.close().await;
    });
    judge(&database, 2);
});

// The double counts the calls: an execution that the ledger did not see would show there.
for_each_engine!(daemons_execute_each_run_once, |engine| {
    let count = sized(200, 10_000);
    let instances = if engine == Engine::Sqlite { 1 } else { 2 };
    let bed = bed_of(engine, TENANTS, Duration::ZERO, PATIENT);
    block_on(async {
        let mut daemons = Vec::new();
        for _ in 0..instances {
            daemons.push(Process::start(&bed).await);
        }
        let client = daemons[0].client(&bed);
        let tenants = tenants(&client, TENANTS).await;
        let begun = std::time::Instant::now();
        submit(&client, (0..count).map(|index| request(&tenants, index)).collect()).await;
        until_within(Duration::from_secs(600), "all have ended", || async { bed.database.number(OPEN) == 0 })
            .await;
        println!("{count} runs by {instances} daemons, {engine:?}: {:.1?}", begun.elapsed());
        judge(&bed.database, instances);
        let lists = bed.sandbox.state().stats().by_kind["list"];
        assert_eq!(usize::try_from(lists), Ok(count), "each of these runs reads one list, once");
    });
    bed.cli(&["doctor"]);
});
