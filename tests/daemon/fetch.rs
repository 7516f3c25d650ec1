//! `assignments.fetch` end to end: what the sandbox holds is what the snapshot says, whatever the way there was like.

use std::collections::BTreeMap;
use std::time::Duration;

use atlasd::domain::assignment::AssignmentSet;
use atlasd::domain::policy_types::{self, Read};
use atlasd::sandbox::config::{CLIENT_ID, SINGLE_TENANT};
use atlasd::sandbox::{Fault, FaultKind, On, Sandbox, SandboxConfig, ThrottleConfig};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, block_on, run_id, until};
use crate::support::{Engine, for_each_engine};

/// What a snapshot should hold, by the sandbox's own truth.
fn truth(sandbox: &Sandbox) -> BTreeMap<(String, String), String> {
    sandbox
        .state()
        .expected(SINGLE_TENANT)
        .into_iter()
        .map(|((policy_type, policy_id), items)| {
            let row = policy_types::find(&policy_type).expect("the sandbox holds types of the catalogue");
            let set = match row.read {
                Read::Object => AssignmentSet::from_role_assignment(&items[0]),
                _ => AssignmentSet::from_graph(row, &items),
            };
            let set = set.expect("the sandbox holds well-formed assignments");
            ((policy_type, policy_id), set.hash().to_string())
        })
        .collect()
}

/// What the snapshot of a run holds.
async fn snapshot(client: &Client, run: &Value) -> BTreeMap<(String, String), String> {
    let id = run["context"]["snapshot_id"].as_i64().expect("a fetch's context names its snapshot");
    let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
    client
        .all(&format!("/snapshots/{id}"))
        .await
        .iter()
        .map(|item| ((text(item, "policy_type"), text(item, "policy_id")), text(item, "assignments_hash")))
        .collect()
}

for_each_engine!(a_fetch_reads_what_the_tenant_holds_and_counts_it, |engine| {
    let bed = Bed::new(engine, SandboxConfig::single(200));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let accepted = client.fetch(tenant, json!({})).await;
        assert_eq!(
            (accepted.status, accepted.body["verdict"].as_str()),
            (202, Some("accepted")),
            "{accepted:?}"
        );
        let run = client.completed(run_id(&accepted)).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        let expected = truth(&bed.sandbox);
        assert_eq!(snapshot(&client, &run).await, expected);
        let counts = &run["summary_counts"];
        assert_eq!(counts["total"], expected.len(), "{counts}");
        assert_eq!(counts["succeeded"], expected.len(), "{counts}");
        assert_eq!(counts["created"], expected.len(), "{counts}");
        assert_eq!((&counts["updated"], &counts["deleted"]), (&json!(0), &json!(0)), "{counts}");

        let again = client.fetch(tenant, json!({"policy_types": null})).await;
        assert_eq!((again.status, again.body["verdict"].as_str()), (200, Some("cooldown")), "{again:?}");
        assert_eq!(again.body["run"]["id"], run["id"]);
        let wait: u64 = again.retry_after.as_deref().expect("Retry-After").parse().expect("seconds");
        assert!((890..=900).contains(&wait), "{wait}");
        assert_eq!(again.body["retry_after_s"], wait);
        assert!(again.body["retry_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{again:?}");

        let forced = client
            .post("/runs", json!({"type": "assignments.fetch", "tenant_id": tenant, "force": true}))
            .await;
        assert_eq!(forced.status, 202, "{forced:?}");
        assert_eq!(forced.body["run"]["context"]["forced_by"], "test", "{forced:?}");
        let second = client.completed(run_id(&forced)).await;
        let changed: Vec<_> =
            ["created", "updated", "deleted"].map(|key| second["summary_counts"][key].clone()).into();
        assert_eq!(changed, [json!(0), json!(0), json!(0)], "nothing has changed since: {second}");
    });
});

/// 2,000 policies and a service that throttles nobody.
fn calm_weather() -> SandboxConfig {
    let mut config = SandboxConfig::single(2000);
    config.throttle.calls_max = 1_000_000;
    config
}

/// The same 2,000 policies behind small throttle limits.
fn rough_weather() -> SandboxConfig {
    let mut config = SandboxConfig::single(2000);
    config.throttle = ThrottleConfig { calls_max: 300, window: Duration::from_secs(1), ..config.throttle };
    config
}

/// Everything at once that a fetch must survive.
fn switch_faults_on(sandbox: &Sandbox) {
    let unavailable = |status| FaultKind::Status { status, retry_after: None };
    let faults = [
        Fault::new(FaultKind::Throttled { retry_after: Some("1".to_owned()) }).on(On::Token).times(1),
        Fault::new(FaultKind::EmptyExpand).policy_type("deviceConfiguration"),
        Fault::new(FaultKind::ExpireTokens).on(On::Batch).every(20).times(3),
        Fault::new(FaultKind::BatchOuter424).on(On::Batch).every(3),
        Fault::new(FaultKind::LostItem).on(On::BatchItem).every(101),
        Fault::new(unavailable(503)).on(On::Nav).every(37),
        Fault::new(unavailable(504)).on(On::List).every(9).times(4),
        Fault::new(FaultKind::CloseBefore).on(On::Batch).every(17).times(4),
        Fault::new(FaultKind::CutJson).on(On::List).every(11).times(3),
        Fault::new(FaultKind::HtmlBody).on(On::Batch).every(23).times(2),
    ];
    for fault in faults {
        sandbox.state().add_fault(fault);
    }
}

/// What both fetches may have cost.
fn assert_calls(plain: &Sandbox, rough: &Sandbox) {
    let (plain, rough) = (plain.state().stats(), rough.state().stats());
    println!("calm: {plain:?}\nrough: {rough:?}");
    // 2,000 policies, of which a list's `$expand` gives about half: 54 pages of lists, the other half (and the empty
    // sets that nobody confirmed) in batches of 20, and two pages beyond a first.
    let kind = |name: &str| plain.by_kind.get(name).copied().unwrap_or(0);
    assert_eq!(
        (kind("token"), kind("list"), kind("batch"), kind("batch_item")),
        (1, 54, 83, 1025),
        "{plain:?}"
    );
    // And the names of groups and filters that nobody knew yet, once each.
    assert_eq!((kind("directory"), kind("filters")), (1, 1), "{plain:?}");
    assert_eq!(plain.requests, 142, "{plain:?}");
    assert_eq!((plain.throttled, plain.faults_fired), (0, 0));
    assert!(rough.requests < 3 * plain.requests, "faults cost repetitions, not fetches: {rough:?}");
    assert!(rough.throttled > 0 && rough.faults_fired > 50, "the weather was rough: {rough:?}");
    assert_eq!(rough.retries_early, 0, "nothing is asked again before the time that was told");
    assert_eq!((rough.trap_requests, rough.trap_tokens), (0, 0));
}

/// Asserted on SQLite: the way to Graph does not depend on the ledger's engine, and 2,000 policies take their time.
#[test]
fn throttling_and_faults_do_not_change_what_a_fetch_of_2000_policies_finds() {
    // The client's own budget is out of the way: the sandbox is to throttle.
    let plain = Bed::with(Engine::Sqlite, calm_weather(), "[graph]\ncalls_per_20s = 100000\n");
    let rough = Bed::with(
        Engine::Sqlite,
        rough_weather(),
        "[graph]\nbackoff_base = \"20ms\"\nbackoff_max = \"500ms\"\ntries_max = 12\ncalls_per_20s = 100000\n",
    );
    switch_faults_on(&rough.sandbox);
    let read = |bed: &Bed| {
        let daemon = bed.daemon();
        let client = bed.client(daemon.address());
        block_on(async {
            let (_, tenant) = client.single().await;
            let run = client.completed(run_id(&client.fetch(tenant, json!({})).await)).await;
            assert_eq!(run["outcome"], "succeeded", "{run}");
            (snapshot(&client, &run).await, run)
        })
    };
    let (calm, _) = read(&plain);
    let (stormy, run) = read(&rough);
    assert_eq!(calm.len(), 2000);
    assert_eq!(calm, truth(&plain.sandbox));
    assert_eq!(stormy, calm, "the same seed, the same snapshot");
    assert_eq!(run["summary_counts"]["total"], 2000);
    assert_calls(&plain.sandbox, &rough.sandbox);
}

for_each_engine!(one_refused_type_does_not_stop_the_others, |engine| {
    let bed = Bed::new(engine, SandboxConfig::single(100));
    bed.sandbox.state().add_fault(Fault::new(FaultKind::Forbidden).policy_type("mobileApp"));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let run = client.completed(run_id(&client.fetch(tenant, json!({})).await)).await;
        assert_eq!(run["outcome"], "failed", "{run}");
        assert_eq!(run["attempt"], 1, "a missing permission is not tried again: {run}");
        assert_eq!(run["failure_summary"][0]["code"], "graph.permission_missing", "{run}");
        let mut expected = truth(&bed.sandbox);
        expected.retain(|(policy_type, _), _| policy_type != "mobileApp");
        assert_eq!(snapshot(&client, &run).await, expected, "what the other types gave is kept");
        let id = run["context"]["snapshot_id"].as_i64().unwrap();
        let coverage = &client.get(&format!("/snapshots/{id}")).await.body["coverage"]["mobileApp"];
        assert_eq!(coverage["complete"], false, "{coverage}");
        assert!(
            coverage["refused"]["graph.permission_missing"].as_u64().is_some_and(|count| count >= 1),
            "{coverage}"
        );
    });
});

for_each_engine!(a_tenant_without_a_configured_credential_fails_with_its_code_and_calls_nothing, |engine| {
    let bed = Bed::new(engine, SandboxConfig::single(60));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    let tenant = block_on(async { client.single().await.1 });
    daemon.stop().expect("the daemon stops");
    // The next start does not know the credential any more.
    let text = std::fs::read_to_string(bed.config_path())
        .unwrap()
        .replace("[credentials.sandbox]", "[credentials.other]");
    std::fs::write(bed.config_path(), text).unwrap();
    let before = bed.sandbox.state().stats().requests;
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let run = client.completed(run_id(&client.fetch(tenant, json!({})).await)).await;
        assert_eq!(run["failure_summary"][0]["code"], "run.credentials_missing", "{run}");
    });
    assert_eq!(bed.sandbox.state().stats().requests, before);
});

for_each_engine!(runs_are_cancelled_at_once_when_queued_and_soon_when_running, |engine| {
    let mut config = SandboxConfig::single(300);
    config.latency = Duration::from_millis(300);
    let bed = Bed::with(engine, config, "[graph]\nparallel = 1\n");
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let running = run_id(&client.fetch(tenant, json!({})).await);
        let queued = run_id(&client.fetch(tenant, json!({"policy_types": ["intent"]})).await);
        until("the first run executes", || async {
            client.get(&format!("/runs/{running}")).await.body["status"] == "running"
        })
        .await;
        let answer = client.post(&format!("/runs/{queued}/cancel"), json!({})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let run = client.get(&format!("/runs/{queued}")).await.body;
        assert_eq!(
            (run["status"].as_str(), run["failure_summary"][0]["code"].as_str()),
            (Some("completed"), Some("run.cancelled"))
        );
        let asked = tokio::time::Instant::now();
        assert_eq!(client.post(&format!("/runs/{running}/cancel"), json!({})).await.status, 202);
        let run = client.completed(running).await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(run["failure_summary"][0]["code"], "run.cancelled", "{run}");
        assert_eq!(run["cooldown_until"], Value::Null, "a cancelled run leaves no cooldown: {run}");
        let late = client.post(&format!("/runs/{running}/cancel"), json!({})).await;
        assert_eq!(
            (late.status, late.body["code"].as_str()),
            (409, Some("run.already_completed")),
            "{late:?}"
        );
        let retried = client.post(&format!("/runs/{queued}/retry"), json!({})).await;
        assert_eq!(
            (retried.status, retried.body["verdict"].as_str()),
            (202, Some("accepted")),
            "{retried:?}"
        );
        assert_eq!(retried.body["run"]["run_identity_hash"], run_hash(&client, queued).await);
        client.post(&format!("/runs/{}/cancel", run_id(&retried)), json!({})).await;
    });
});

async fn run_hash(client: &Client, run: i64) -> Value {
    client.get(&format!("/runs/{run}")).await.body["run_identity_hash"].clone()
}

for_each_engine!(a_credential_with_another_secret_signs_in_by_itself, |engine| {
    let secret = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(secret.path(), "not the secret").expect("the file is ours");
    let wrong = format!(
        "[credentials.wrong]\nclient_id = \"{CLIENT_ID}\"\nclient_secret_file = \"{}\"\n",
        secret.path().display()
    );
    let bed = Bed::with(engine, SandboxConfig::single(60), &wrong);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, right) = client.single().await;
        let run = client.completed(run_id(&client.fetch(right, json!({})).await)).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        let other = client.workspace("fabrikam").await;
        let wrong = client
            .post(
                "/tenants",
                json!({"workspace_id": other, "external_id": SINGLE_TENANT, "name": "same directory",
                       "cloud": "sandbox", "credential": "wrong"}),
            )
            .await;
        let wrong = wrong.body["id"].as_i64().expect("an id");
        let run = client.completed(run_id(&client.fetch(wrong, json!({})).await)).await;
        assert_eq!(run["failure_summary"][0]["code"], "graph.auth_failed", "{run}");
        let again = client
            .post("/runs", json!({"type": "assignments.fetch", "tenant_id": right, "force": true}))
            .await;
        let run = client.completed(run_id(&again)).await;
        assert_eq!(run["outcome"], "succeeded", "the refusal is the other credential's alone: {run}");
    });
});

// SQLite, whose triggers take one statement: the rule is the execution's, not the engine's.
#[test]
fn a_result_that_the_ledger_refuses_ends_the_run_with_a_code() {
    let bed = Bed::new(Engine::Sqlite, SandboxConfig::single(60));
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON operation_runs WHEN NEW.outcome = 'succeeded' \
         AND NEW.type = 'assignments.fetch' BEGIN SELECT RAISE(ABORT, 'refused'); END";
    bed.database.execute(refuse).unwrap();
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let run = client.completed(run_id(&client.fetch(tenant, json!({})).await)).await;
        assert_eq!(run["failure_summary"][0]["code"], "internal.unexpected", "{run}");
        let attempts = client.get(&format!("/runs/{}/attempts", run["id"])).await.body;
        assert_eq!(attempts["items"].as_array().map(Vec::len), Some(1), "{attempts}");
    });
}
