//! What pages look like in states that a furnished ledger at rest does not show: work under way, a thousand
//! tenants, none. Each is a world of its own, and the pages that are worth a look there.

use std::time::Instant;

use atlasd::actors::Progress;
use atlasd::cli::seed;
use atlasd::clock::Clock;
use atlasd::ids::{RunId, WorkspaceId};
use atlasd::sandbox::faults::{Fault, FaultKind, On};
use atlasd::store::NewTenant;
use serde_json::{Value, json};

use crate::bed::{self, PATIENCE};
use crate::looks::{Pages, named};
use crate::world::{World, quick};

/// Policies that lost their assignments and are to get them back.
const LOST: usize = 6;
const KINDS: [&str; 3] = ["compliancePolicy", "deviceConfiguration", "configurationPolicy"];

/// Work that stands still half-way: Graph keeps silent, or asks to wait.
pub struct UnderWay {
    pub world: World,
    pub pages: Pages,
    restore: i64,
}

impl UnderWay {
    pub async fn start() -> Self {
        let world = World::start(quick()).await;
        let restore = restore(&world).await;
        let mut directories = seed::external_ids();
        let (contoso, fabrikam) = (directories.next(), directories.nth(1));
        let sandbox = world.bed.sandbox.state();
        let silence = Fault::new(FaultKind::TimeoutBefore { millis: 15_000 });
        sandbox.add_fault(Fault { tenant: contoso, skip: 30, ..silence });
        let wait = Fault::new(FaultKind::Throttled { retry_after: Some("110".to_owned()) });
        sandbox.add_fault(Fault { tenant: fabrikam, skip: 12, ..wait });
        let run = world.fetch("Contoso Manufacturing", json!({})).await;
        let queued = world.fetch("Contoso Manufacturing", json!({"policy_types": ["mobileApp"]})).await;
        let waits = world.fetch("Fabrikam Health", json!({})).await;
        until(&world, restore, |now| now.restore.is_some_and(|restore| restore.policies_done > 1)).await;
        until(&world, run, |now| now.types_done > 0 && now.read > 0).await;
        until(&world, waits, |now| now.throttled_until.is_some()).await;
        let tenant = world.tenant("Contoso Manufacturing").await;
        let pages = named([
            ("busy-overview", "/".to_owned()),
            ("busy-runs", "/runs".to_owned()),
            ("busy-run", format!("/runs/{run}")),
            ("busy-run-queued", format!("/runs/{queued}")),
            ("busy-run-waits", format!("/runs/{waits}")),
            ("busy-tenant", format!("/tenants/{tenant}")),
            ("busy-restore", format!("/restore/{restore}")),
        ]);
        Self { world, pages, restore }
    }

    /// Lets the restore go on to its end; its pages.
    pub async fn finish(&self) -> Pages {
        self.world.bed.sandbox.state().clear_faults();
        // What Graph keeps silent about stays so for its time; then it is sent again.
        let (client, run) = (self.world.client(), format!("/runs/{}", self.restore));
        bed::until_within(PATIENCE * 3, "the restore has ended", || async {
            client.get(&run).await.body["status"] == "completed"
        })
        .await;
        named([
            ("restore-done", format!("/restore/{}", self.restore)),
            ("run-restore", format!("/runs/{}", self.restore)),
        ])
    }
}

/// A restore of lost assignments: one policy cannot have them, and Graph is silent from the third write on.
async fn restore(world: &World) -> i64 {
    let name = "Northwind Traders";
    let directory = seed::external_ids().nth(1).expect("the seed has tenants");
    let run = world.fetched(name, json!({})).await;
    let snapshot = world.ended(run).await["context"]["snapshot_id"].clone();
    let sandbox = world.bed.sandbox.state();
    let truth = sandbox.expected(directory);
    let groups = sandbox.group_ids(directory);
    let lost =
        truth.iter().filter(|((kind, _), set)| KINDS.contains(&kind.as_str()) && is_plain(set, &groups));
    let lost: Vec<_> = lost.map(|((kind, id), _)| (kind, id)).take(LOST).collect();
    assert_eq!(lost.len(), LOST, "the tenant has as many");
    for (kind, id) in &lost {
        sandbox.set_assignments(directory, kind, id, Vec::new()).expect("the policy exists");
    }
    let silence = Fault::new(FaultKind::TimeoutBefore { millis: 15_000 }).tenant(directory).on(On::Write);
    sandbox.add_fault(Fault { skip: 2, ..silence });
    let policies: Vec<_> = lost.iter().map(|(_, id)| id).collect();
    let inputs = json!({"snapshot_id": snapshot, "policy_ids": policies, "allow_widening": true});
    let tenant = world.tenant(name).await;
    let request = json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": inputs});
    bed::run_id(&world.client().post("/runs", request).await)
}

/// Whether a policy is for groups that exist, and without a filter.
fn is_plain(set: &[Value], groups: &[String]) -> bool {
    let is_known = |item: &Value| {
        let target = &item["target"];
        let filter = &target["deviceAndAppManagementAssignmentFilterId"];
        filter.is_null() && groups.iter().any(|group| target["groupId"] == *group)
    };
    !set.is_empty() && set.iter().all(is_known)
}

/// Waits until a run is so far.
async fn until(world: &World, run: i64, is_there: impl Fn(&Progress) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !world.daemon.handle().progress(RunId(run)).as_ref().is_some_and(&is_there) {
        let body = world.client().get(&format!("/runs/{run}")).await.body;
        let is_open = body["status"] != "completed" && Instant::now() < deadline;
        assert!(is_open, "the run did not come so far: {body}");
        bed::tick().await;
    }
}

/// A daemon that knows no tenant yet.
pub async fn nothing() -> (World, Pages) {
    let world = World::empty(quick()).await;
    let pages = ["", "runs", "tenants", "restore", "failures", "schedules", "audit", "system"];
    let name =
        |page: &str| if page.is_empty() { "empty-overview".to_owned() } else { format!("empty-{page}") };
    (world, pages.into_iter().map(|page| (name(page), format!("/{page}"))).collect())
}

/// A thousand tenants: most are fresh, some in every other state.
pub async fn many() -> (World, Pages) {
    const GROUPS: [&str; 10] = [
        "Adatum",
        "Contoso",
        "Fabrikam",
        "Fourth Coffee",
        "Litware",
        "Northwind",
        "Proseware",
        "Tailspin",
        "Trey Research",
        "Woodgrove",
    ];
    const TRADES: [&str; 10] =
        ["Air", "Bank", "Care", "Energy", "Foods", "Logistics", "Motors", "Retail", "Schools", "Travel"];
    let world = World::empty(quick()).await;
    let store = world.daemon.handle().store();
    let workspace = store.add_workspace("everybody", "Everybody").await.expect("a fresh ledger");
    for number in 0..1_000 {
        let (group, trade) = (GROUPS[number % 10], TRADES[number / 10 % 10]);
        let tenant = NewTenant {
            workspace_id: workspace.id,
            external_id: atlasd::ids::fresh_uuid(),
            name: format!("{group} {trade} {}", number / 100 + 1),
            cloud: seed::SANDBOX.to_owned(),
            credential: seed::SANDBOX.to_owned(),
        };
        store.add_tenant(tenant).await.expect("a fresh ledger");
    }
    world.bed.database.execute(&history(workspace.id)).expect("the ledger takes runs");
    let pages = named([
        ("many-overview", "/".to_owned()),
        ("many-tenants", "/tenants".to_owned()),
        ("many-runs", "/runs".to_owned()),
    ]);
    (world, pages)
}

/// A run of each tenant but a few: hours ago, for some days or weeks; some failed.
fn history(workspace: WorkspaceId) -> String {
    let now = Clock::system().now().micros();
    format!(
        "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
         run_identity_hash, summary_counts, failure_summary, context, started_at, completed_at, created_at, \
         updated_at, attempt, priority, lease_token, holds_identity) \
         SELECT {workspace}, id, 'nightly', 'assignments.fetch', 'completed', \
         CASE WHEN luck < 13 THEN 'failed' ELSE 'succeeded' END, printf('%064x', id), \
         '{{\"total\":412,\"processed\":412,\"succeeded\":412,\"items\":1630,\"updated\":5}}', \
         CASE WHEN luck < 13 THEN '[{{\"code\":\"graph.auth_failed\",\"message\":\"expired\"}}]' \
         ELSE '[]' END, \
         '{{\"identity_version\":1,\"inputs\":{{\"policy_ids\":null,\"policy_types\":null}}}}', \
         at, at + 9000000, at, at + 9000000, 1, 10, 1, FALSE FROM (SELECT id, luck, {now} - 3600000000 * \
         CASE WHEN luck < 13 THEN luck WHEN luck < 35 THEN 200 + luck WHEN luck < 110 THEN 30 + luck \
         ELSE luck % 9 END - 60000000 * (luck % 60) AS at \
         FROM (SELECT id, id * 7919 % 1000 AS luck FROM tenants) WHERE luck > 3) ORDER BY at"
    )
}
