//! The ledger goes away and comes back: 503s, then recovery without a restart, and nothing accepted that is not
//! durable.

use atlasd::sandbox::SandboxConfig;
use serde_json::json;

use crate::bed::{Bed, block_on, run_id, until};
use crate::proxy::Proxy;
use crate::support::Engine;

#[test]
fn postgres_gone_for_a_while_is_503_then_recovers_without_a_restart() {
    let bed = Bed::new(Engine::Postgres, SandboxConfig::single(60));
    let direct = bed.database.url_text();
    let authority = direct.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next()).expect("a URL");
    let target = authority.rsplit('@').next().expect("a host").to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let proxy = runtime.block_on(Proxy::start(target.clone()));
    let mut options = bed.options();
    options.database_url =
        direct.replacen(&target, &proxy.address.to_string(), 1).parse().expect("a URL through the proxy");
    let daemon = atlasd::daemon::Daemon::start(options).expect("the daemon starts");
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let first = run_id(&client.fetch(tenant, json!({"policy_types": ["intent"]})).await);
        client.completed(first).await;

        proxy.cut();
        let refused = client.fetch(tenant, json!({"policy_types": ["mobileApp"]})).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.retry_after.is_some(), "{refused:?}");
        until("the daemon says that it is not ready", || async { client.get("/readyz").await.status == 503 })
            .await;
        assert_eq!(client.get("/healthz").await.status, 200);

        proxy.mend();
        until("the daemon is ready again", || async { client.get("/readyz").await.status == 200 }).await;
        let accepted = client.fetch(tenant, json!({"policy_types": ["mobileApp"]})).await;
        let run = client.completed(run_id(&accepted)).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        let runs = client.all(&format!("/runs?tenant_id={tenant}")).await;
        assert_eq!(runs.len(), 2, "what was answered 503 was not written: {runs:?}");
    });
    daemon.stop().expect("the daemon stops");
}

#[test]
fn a_locked_sqlite_file_is_503_then_recovers() {
    let bed = Bed::with(
        Engine::Sqlite,
        SandboxConfig::single(60),
        "[database]\nacquire_timeout = \"500ms\"\nstatement_timeout = \"300ms\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let lock = bed.database.lock_sqlite();
        let refused = client.fetch(tenant, json!({})).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        drop(lock);
        until("the daemon is ready again", || async { client.get("/readyz").await.status == 200 }).await;
        let accepted = client.fetch(tenant, json!({})).await;
        assert_eq!(accepted.body["verdict"], "accepted", "{accepted:?}");
        client.completed(run_id(&accepted)).await;
    });
}
