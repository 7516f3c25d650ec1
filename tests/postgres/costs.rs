//! What the small things cost a server of the test's own, where nobody else writes: a heartbeat, a refusal, a claim.

use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::DatabaseConfig;
use atlasd::domain::run::{Completion, Lease, Outcome, Settlement};
use atlasd::ids::InstanceId;
use atlasd::sandbox::SandboxConfig;
use atlasd::store::{self, Claim, NewInstance, NewTenant, Store};
use serde_json::json;
use tokio_postgres::Client;

use crate::bed::{Bed, block_on, run_id, until};
use crate::cluster::Cluster;
use crate::process::Process;
use crate::support::Database;

/// A connection to look with, to the database itself: its counters of tables are its own.
async fn looking(database: &Database) -> Client {
    let (client, driver) =
        tokio_postgres::connect(&database.url_text(), tokio_postgres::NoTls).await.expect("the server");
    tokio::spawn(driver);
    // Vacuum, too, writes log.
    for text in ["ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()"] {
        client.batch_execute(text).await.expect("a superuser may");
    }
    client
}

/// The ledger, a connection to look with, and an instance that lives for `lease`.
async fn living(database: &Database, lease: Duration) -> (Store, Client, InstanceId) {
    let handle = tokio::runtime::Handle::current();
    let config = DatabaseConfig::default();
    let store = Store::open(&database.url, &config, Clock::system(), handle).await.expect("it opens");
    let client = looking(database).await;
    let id = InstanceId::fresh();
    let row = NewInstance { id, hostname: "host".into(), pid: 7, version: "0".into(), lease };
    store.register_instance(&row, false).await.expect("registered");
    (store, client, id)
}

/// Bytes of log that the server has written.
async fn logged(client: &Client) -> i64 {
    let text = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    client.query_one(text, &[]).await.expect("a query").get(0)
}

#[test]
fn a_heartbeat_is_one_small_write_that_touches_no_index() {
    const BEATS: i64 = 500;
    let cluster = Cluster::start(None, Vec::new());
    let database = Database::on_server_of_the_test(&cluster.url());
    store::migrate(&database.url).expect("a fresh database migrates");
    block_on(async {
        let lease = Duration::from_secs(10);
        let (store, client, id) = living(&database, lease).await;
        // The first change of a page after a checkpoint is logged with the whole page.
        assert!(store.heartbeat(id, lease).await.expect("a beat").renewed);
        let before = logged(&client).await;
        for _ in 0..BEATS {
            assert!(store.heartbeat(id, lease).await.expect("a beat").renewed);
        }
        let each = (logged(&client).await - before) / BEATS;
        store.close().await;
        let updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'instances'";
        until("the server has counted them", || async {
            client.query_one(updates, &[]).await.expect("a query").get::<_, i64>(0) == BEATS + 1
        })
        .await;
        let hot: i64 = client.query_one(updates, &[]).await.expect("a query").get(1);
        println!("a heartbeat: {each} bytes of log, {hot} of {} without an index", BEATS + 1);
        assert!(each < 250, "{each} bytes of log each");
        assert!(hot > BEATS * 9 / 10, "only {hot} stayed on their page and touched no index");
    });
}

#[test]
fn refusals_cost_the_log_a_count_now_and_then_and_nothing_each() {
    const REFUSALS: i64 = 1000;
    let cluster = Cluster::start(None, Vec::new());
    let database = Database::on_server_of_the_test(&cluster.url());
    // No heartbeat falls into the time that is looked at, and nothing is flushed but the counts.
    let quiet = "[execution]\nheartbeat = \"60s\"\nlease = \"300s\"\n";
    let bed = Bed::on(database, SandboxConfig::single(60), quiet);
    block_on(async {
        let daemon = Process::start(&bed).await;
        let client = daemon.client(&bed);
        let (_, tenant) = client.single().await;
        let run = run_id(&client.fetch(tenant, json!({})).await);
        client.completed(run).await;
        let looking = looking(&bed.database).await;
        let before = logged(&looking).await;
        for _ in 0..REFUSALS {
            assert_eq!(client.fetch(tenant, json!({})).await.body["verdict"], "cooldown");
        }
        until("all are counted", || async {
            client.get(&format!("/runs/{run}")).await.body["duplicate_count"] == REFUSALS
        })
        .await;
        let bytes = logged(&looking).await - before;
        println!("{REFUSALS} refusals: {bytes} bytes of log");
        // The whole page once, and a small row per flush: an insert each would be some hundred bytes each.
        assert!(bytes < 40 * REFUSALS, "{bytes} bytes of log for {REFUSALS} refusals");
    });
}

/// Rows and index entries of the runs that were read, by everybody.
const READ: &str = "SELECT t.seq_tup_read::bigint + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i \
     WHERE i.relname = 'operation_runs')::bigint, t.n_tup_upd FROM pg_stat_user_tables t \
     WHERE t.relname = 'operation_runs'";

/// The server counts its rows in a quiet moment, when nothing is queued and nothing runs: then all small indexes look
/// empty to it, and one is as good as another, or as the tenant's whole history.
#[test]
fn a_claim_reads_nothing_of_the_tenants_history() {
    const HISTORY: i64 = 20_000;
    const CLAIMS: i64 = 30;
    let cluster = Cluster::start(None, Vec::new());
    let database = Database::on_server_of_the_test(&cluster.url());
    store::migrate(&database.url).expect("a fresh database migrates");
    block_on(async {
        let (store, client, id) = living(&database, Duration::from_secs(600)).await;
        let workspace = store.add_workspace("contoso", "Contoso").await.expect("added");
        let tenant = NewTenant {
            workspace_id: workspace.id,
            external_id: atlasd::ids::fresh_uuid(),
            name: "Contoso".into(),
            cloud: "global".into(),
            credential: "none".into(),
        };
        let tenant = store.add_tenant(tenant).await.expect("added").id;
        let insert = |status: &str, outcome: &str, ended: &str, hash: &str, holds: bool| {
            format!(
                "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
                 run_identity_hash, created_at, updated_at, priority, started_at, completed_at, holds_identity) \
                 SELECT {}, {}, 'test', 'assignments.fetch', '{status}', '{outcome}', {hash}, now(), now(), 1, {ended}, \
                 {ended}, {holds} FROM generate_series(1, ",
                workspace.id.0, tenant.0
            )
        };
        let history =
            insert("completed", "succeeded", "now()", "lpad(to_hex(generate_series), 64, '0')", false);
        client.batch_execute(&format!("{history}{HISTORY})")).await.expect("a history");
        client.batch_execute("VACUUM ANALYZE operation_runs").await.expect("it counts");
        let queued = insert("queued", "pending", "NULL", "lpad(to_hex(generate_series), 64, 'f')", true);
        client.batch_execute(&format!("{queued}{CLAIMS})")).await.expect("a queue");
        let before: i64 = client.query_one(READ, &[]).await.expect("a query").get(0);
        for _ in 0..CLAIMS {
            let claimed = store.claim_next(tenant, id).await.expect("a claim");
            let Claim::Claimed { run, .. } = claimed else { panic!("expected a run: {claimed:?}") };
            let busy = store.claim_next(tenant, id).await.expect("a claim");
            assert!(matches!(busy, Claim::Busy), "one at a time: {busy:?}");
            let completion = Completion {
                outcome: Outcome::Succeeded,
                counts: Default::default(),
                failures: Vec::new(),
                context: Default::default(),
                cooldown: Duration::ZERO,
            };
            let lease = Lease { run_id: run.id, token: run.lease_token };
            store.settle(lease, Settlement::Complete(completion)).await.expect("it is settled");
        }
        let idle = store.claim_next(tenant, id).await.expect("a claim");
        assert!(matches!(idle, Claim::Idle { next: None }), "{idle:?}");
        store.close().await;
        until("the server has counted them", || async {
            client.query_one(READ, &[]).await.expect("a query").get::<_, i64>(1) == 2 * CLAIMS
        })
        .await;
        let each = (client.query_one(READ, &[]).await.expect("a query").get::<_, i64>(0) - before) / CLAIMS;
        println!("a claim, a refused one and a settlement: {each} rows and index entries read");
        assert!(each < 4 * CLAIMS, "{each} read each, beside a history of {HISTORY}");
    });
}
