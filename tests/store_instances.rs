//! Many instances on one ledger: tenant leases, hints, newer schemas.

#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use atlasd::config::DatabaseConfig;
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::identity::IdentityHash;
use atlasd::domain::run::Settlement;
use atlasd::domain::run::Status;
use atlasd::ids::{InstanceId, RunId, TenantId};
use atlasd::metrics::Metrics;
use atlasd::store::{
    self, Claim, ClockStep, DueTenant, Hint, Holding, Instance, NewInstance, Store, StoreError,
};
use support::*;

/// Longer than [`LEASE`].
const OVER: Duration = Duration::from_secs(11);

impl Lab {
    async fn another(&self) -> InstanceId {
        let id = InstanceId::fresh();
        self.register(id, false).await;
        id
    }

    async fn claim_by(&self, instance: InstanceId) -> Claim {
        self.store.claim_next(self.tenant(), instance).await.expect("a claim")
    }
}

on_each_engine! {
    async fn a_clock_that_was_set_back_keeps_nothing_waiting(lab: &Lab) {
        let longest_wait = Duration::from_secs(60);
        let run = lab.running().await;
        lab.clock.advance(chrono::Duration::days(1));
        // A day ahead: an instance registers and dies, and a try is put off.
        let dead = lab.another().await;
        let retry = Settlement::Retry {
            next_attempt_at: lab.store.now().await.unwrap() + Duration::from_secs(2),
            counts: counts(1),
            failures: vec![Failure::new(Code::GraphThrottled, "throttled")],
        };
        lab.settled(lease(&run), retry).await;
        lab.store.release_tenant(lab.tenant(), lab.instance).await.unwrap();
        let before = lab.store.now().await.unwrap();
        lab.clock.advance(-chrono::Duration::days(1));

        let after = lab.store.now().await.unwrap();
        lab.store.clock_was_set_back(ClockStep { low: after, high: before }, longest_wait).await.unwrap();
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        assert_eq!(lab.claimed().await.id, run.id, "it is tried again now, not in a day");
        let alive = |instances: Vec<Instance>, now| {
            instances.iter().find(|one| one.id == dead).expect("it is there").lease_until > now
        };
        assert!(alive(lab.store.instances().await.unwrap(), lab.store.now().await.unwrap()), "a whole lease from now");
        lab.advance(OVER);
        assert!(!alive(lab.store.instances().await.unwrap(), lab.store.now().await.unwrap()));
    }

    async fn a_clock_that_was_set_back_while_nobody_lived_is_noticed_at_the_start(lab: &Lab) {
        let instance = NewInstance {
            id: InstanceId::fresh(), hostname: "host".into(), pid: 7, version: "0.0.0".into(), lease: LEASE,
        };
        assert_eq!(lab.store.register_instance(&instance, false).await.unwrap(), None);
        lab.clock.advance(-chrono::Duration::days(1));
        let instance = NewInstance { id: InstanceId::fresh(), ..instance };
        let step = lab.store.register_instance(&instance, false).await.unwrap().expect("a step");
        assert!(step.high - step.low > chrono::Duration::hours(23), "{step:?}");
    }

    async fn a_tenant_belongs_to_one_instance_until_it_is_released(lab: &Lab) {
        let other = lab.another().await;
        for _ in 0..3 { lab.accepted(lab.request()).await; }
        let first = lab.claimed().await;
        assert!(matches!(lab.claim_by(other).await, Claim::Elsewhere));
        lab.settled(lease(&first), succeeded()).await;
        assert!(matches!(lab.claim_by(other).await, Claim::Elsewhere), "between two runs, too");
        let queued = lab.accepted(lab.request()).await;
        assert!(lab.store.claim_run(queued.id, other).await.unwrap().is_none());
        assert!(!lab.store.release_tenant(lab.tenant(), other).await.unwrap(), "not its own to give");
        assert!(lab.store.release_tenant(lab.tenant(), lab.instance).await.unwrap());
        lab.claimed_by(other).await;
        assert!(matches!(lab.claim_by(lab.instance).await, Claim::Elsewhere));
    }

    async fn a_tenant_of_a_dead_instance_is_free(lab: &Lab) {
        for _ in 0..2 { lab.accepted(lab.request()).await; }
        let run = lab.claimed().await;
        lab.settled(lease(&run), succeeded()).await;
        lab.advance(OVER);
        let other = lab.another().await;
        let run = lab.claimed_by(other).await;
        assert_eq!(run.lease_owner, Some(other));
        // The first lives again, and finds its tenant gone.
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        assert!(matches!(lab.claim_by(lab.instance).await, Claim::Elsewhere));
        lab.store.stop_instance(other).await.unwrap();
        assert!(matches!(lab.claim_by(lab.instance).await, Claim::Busy), "its run is still running");
    }

    async fn due_tenants_say_whose_they_are_and_how_the_work_is_spread(lab: &Lab) {
        let other = lab.another().await;
        for (tenant, number) in lab.tenants.iter().zip(1..) {
            for more in [0, 100] {
                lab.accepted(lab.request_of(*tenant, identity(number + more))).await;
            }
        }
        let Claim::Claimed { run, .. } = lab.store.claim_next(lab.tenants[0], lab.instance).await.unwrap() else {
            panic!("a run is due")
        };
        let due = lab.store.due_tenants(lab.instance, 10).await.unwrap();
        assert_eq!((due.with_work, due.live), (3, 2));
        let free = |tenant| DueTenant { tenant, holding: Holding::Free };
        assert_eq!(due.tenants, [free(lab.tenants[1]), free(lab.tenants[2])], "a busy tenant is not due");
        lab.settled(lease(&run), succeeded()).await;
        let holding = |instance| async move { lab.store.due_tenants(instance, 1).await.unwrap().tenants[0].holding };
        assert_eq!((holding(lab.instance).await, holding(other).await), (Holding::Ours, Holding::Theirs));
        lab.advance(OVER);
        lab.store.heartbeat(other, LEASE).await.unwrap();
        assert_eq!(holding(other).await, Holding::Free);
        assert_eq!(lab.store.due_tenants(other, 10).await.unwrap().live, 1);
    }

    async fn racing_instances_claim_each_run_once_and_meet_no_index(lab: &Lab) {
        let mut instances = vec![lab.instance];
        for _ in 0..4 { instances.push(lab.another().await); }
        for number in 0..20 {
            for (tenant, offset) in lab.tenants.iter().zip([0, 50, 100]) {
                lab.accepted(lab.request_of(*tenant, identity(number + offset + 1))).await;
            }
        }
        let mut claimants = tokio::task::JoinSet::new();
        for instance in instances.clone() {
            // Twice each: a claim whose answer nobody awaits any more is overtaken by the next.
            for _ in 0..2 {
                let (store, tenants) = (lab.store.clone(), lab.tenants.clone());
                claimants.spawn(async move {
                    let mut executed: Vec<(TenantId, RunId)> = Vec::new();
                    let mut idle = 0;
                    while idle < 3 {
                        idle += 1;
                        for tenant in &tenants {
                            if let Claim::Claimed { run, .. } = store.claim_next(*tenant, instance).await.expect("no error") {
                                idle = 0;
                                store.settle(lease(&run), succeeded()).await.expect("settled");
                                executed.push((*tenant, run.id));
                                store.release_tenant(*tenant, instance).await.expect("released");
                            }
                        }
                        tokio::task::yield_now().await;
                    }
                    executed
                });
            }
        }
        let executed: Vec<_> = claimants.join_all().await.into_iter().flatten().collect();
        let mut times = BTreeMap::new();
        for (_, run) in &executed { *times.entry(*run).or_insert(0) += 1; }
        assert!(times.values().all(|times| *times == 1), "{times:?}");
        // Whoever gave up early left the rest to be claimed: nothing is stuck.
        for instance in &instances {
            for tenant in &lab.tenants { lab.store.release_tenant(*tenant, *instance).await.unwrap(); }
        }
        for tenant in &lab.tenants {
            let mut last = lab.store.claim_next(*tenant, lab.instance).await.unwrap();
            while let Claim::Claimed { run, .. } = last {
                lab.settled(lease(&run), succeeded()).await;
                last = lab.store.claim_next(*tenant, lab.instance).await.unwrap();
            }
            assert!(matches!(last, Claim::Idle { next: None }), "{last:?}");
        }
    }

    async fn a_lost_instance_is_marked_and_a_renewal_takes_it_back(lab: &Lab) {
        let lost = async || lab.store.instances().await.unwrap()[0].lost_at;
        assert!(lab.store.mark_lost(Duration::ZERO).await.unwrap().is_empty());
        lab.advance(OVER);
        assert!(lab.store.mark_lost(LEASE).await.unwrap().is_empty(), "not before its time");
        assert_eq!(lab.store.mark_lost(Duration::ZERO).await.unwrap(), [lab.instance]);
        assert!(lost().await.is_some() && lab.store.mark_lost(Duration::ZERO).await.unwrap().is_empty());
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        assert!(lost().await.is_none(), "it was only away");
        lab.running().await;
    }

    async fn a_pass_that_began_of_late_is_found(lab: &Lab) {
        let minute = Duration::from_secs(60);
        let run = lab.accepted(lab.reconcile_request()).await;
        let within = async |age| lab.store.passes_within(vec![run.identity, IdentityHash([9; 32])], age).await.unwrap();
        assert!(within(minute).await.is_empty(), "it has not ended");
        let run = lab.store.claim_run(run.id, lab.instance).await.unwrap().expect("it is due");
        lab.settled(lease(&run), succeeded()).await;
        assert_eq!(within(minute).await, [run.identity]);
        lab.advance(minute);
        lab.store.heartbeat(lab.instance, LEASE).await.unwrap();
        assert!(within(minute).await.is_empty());
        let dry = lab.reconcile_request();
        let context = [("dry_run".to_owned(), true.into())].into_iter().collect();
        let dry = lab.accepted(atlasd::domain::admission::Request { context, force: true, ..dry }).await;
        let dry = lab.store.claim_run(dry.id, lab.instance).await.unwrap().expect("it is due");
        lab.settled(lease(&dry), succeeded()).await;
        assert!(within(minute).await.is_empty(), "a dry run repairs nothing");
    }

    async fn runs_are_read_by_id_whatever_their_state(lab: &Lab) {
        let queued = lab.accepted(lab.request()).await;
        let running = lab.claimed().await;
        assert_eq!(queued.id, running.id);
        let read = lab.store.runs_by_id(vec![running.id, RunId(999)]).await.unwrap();
        assert_eq!(read.iter().map(|run| (run.id, run.status)).collect::<Vec<_>>(), [(running.id, Status::Running)]);
        assert!(lab.store.ended(vec![running.id]).await.unwrap().is_empty());
    }
}

// --- schemas ---------------------------------------------------------------------------------------------------------

#[test]
fn a_program_runs_on_a_schema_that_is_newer_unless_the_schema_says_no() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let database = Database::create(engine);
        store::migrate(&database.url).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let open = || {
            let config = DatabaseConfig::default();
            runtime.block_on(Store::open(
                &database.url,
                &config,
                Default::default(),
                runtime.handle().clone(),
            ))
        };
        let running = open().expect("it opens");
        // A newer instance has migrated: what runs goes on, and what starts with the old program may.
        database.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9998')").unwrap();
        runtime.block_on(running.add_workspace("contoso", "Contoso")).expect("what runs goes on");
        assert!(open().is_ok(), "{engine:?}");
        assert!(store::migrate(&database.url).unwrap().is_empty(), "there is nothing that it could add");
        database.execute("INSERT INTO schema_breaks (version) VALUES ('9998')").unwrap();
        assert!(
            matches!(open(), Err(StoreError::SchemaNewer { version }) if version == "9998"),
            "{engine:?}"
        );
        runtime.block_on(running.add_workspace("fabrikam", "Fabrikam")).expect("what runs still goes on");
        runtime.block_on(running.close());
    }
}

// --- hints -----------------------------------------------------------------------------------------------------------

async fn next_of(hints: &mut tokio::sync::mpsc::Receiver<Vec<Hint>>) -> Vec<Hint> {
    let hints = tokio::time::timeout(Duration::from_secs(20), hints.recv()).await;
    hints.expect("hints arrive in time").expect("the listener lives")
}

#[test]
fn hints_reach_other_instances_and_a_lost_connection_is_made_anew() {
    run(Engine::Postgres, |lab| {
        Box::pin(async move {
            let (one, other) = (InstanceId::fresh(), InstanceId::fresh());
            let config = DatabaseConfig::default();
            let handle = tokio::runtime::Handle::current();
            let second = Store::open(&lab.database.url, &config, lab.clock.clone(), handle).await.unwrap();
            let (metrics, unused) = (Metrics::new(), Metrics::new());
            let mut heard = lab.store.listen(one, &metrics);
            let mut heard_too = second.listen(other, &unused);
            assert_eq!(next_of(&mut heard).await, [Hint::Rescan], "what came before is looked for");
            assert_eq!(next_of(&mut heard_too).await, [Hint::Rescan]);
            for _ in 0..100 {
                second.tell(Hint::Work(TenantId(7)));
                second.tell(Hint::Cancel(RunId(8)));
            }
            assert_eq!(
                next_of(&mut heard).await,
                [Hint::Work(TenantId(7)), Hint::Cancel(RunId(8))],
                "gathered"
            );
            lab.database
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = current_database() AND (query LIKE '%LISTEN atlasd%' OR query LIKE 'NOTIFY%') AND pid <> pg_backend_pid()",
                )
                .unwrap();
            while next_of(&mut heard).await != [Hint::Rescan] {}
            assert!(metrics.listener_reconnects.get() >= 1);
            assert_eq!(next_of(&mut heard_too).await, [Hint::Rescan], "and none of its own");
            second.tell(Hint::Released(TenantId(9)));
            assert_eq!(next_of(&mut heard).await, [Hint::Released(TenantId(9))]);
            second.close().await;
            assert!(heard_too.recv().await.is_none(), "the listener ends with its store");
        })
    });
}

#[test]
fn sqlite_has_nobody_to_listen_to() {
    run(Engine::Sqlite, |lab| {
        Box::pin(async move {
            lab.store.tell(Hint::Rescan);
            assert!(lab.store.listen(lab.instance, &Metrics::new()).recv().await.is_none());
            assert!(!lab.store.is_shared());
        })
    });
}
