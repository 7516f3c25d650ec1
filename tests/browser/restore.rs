//! A restore in four steps, as an administrator clicks it: choose, look at the plan, confirm, follow; then undo it. And
//! what has changed between two snapshots.

use atlasd::cli::seed;
use atlasd::store::Role;
use serde_json::{Value, json};

use crate::world::{World, quick};

const TENANT: &str = "Contoso Manufacturing";
const TYPE: &str = "compliancePolicy";
/// The button that shows another part of a snapshot's policies.
const FILTER: &str = "button[formaction^='/restore/new']";

/// A policy that the snapshot has for all devices and that is for one group by now: to put it back widens.
pub struct Narrowed {
    pub world: World,
    pub tenant: i64,
    pub snapshot: i64,
    pub policy: String,
    group: String,
}

impl Narrowed {
    pub async fn start() -> Self {
        let world = World::start(quick()).await;
        let directory = seed::external_ids().next().expect("the seed has tenants");
        let sandbox = world.bed.sandbox.state();
        let group = sandbox.group_ids(directory).first().cloned().expect("the tenant has groups");
        let everybody = json!({"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}});
        let policy = sandbox.add_policy(directory, TYPE, Some("Baseline of all devices"), vec![everybody]);
        let policy = policy.expect("the type is known");
        let run = world.fetched(TENANT, json!({})).await;
        let snapshot = world.ended(run).await["context"]["snapshot_id"].as_i64().expect("a snapshot");
        let one =
            json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group}});
        sandbox.set_assignments(directory, TYPE, &policy, vec![one]).expect("the policy exists");
        let tenant = world.tenant(TENANT).await;
        Self { world, tenant, snapshot, policy, group }
    }

    /// Makes the plan through the API, with or without what widens; the run.
    pub async fn plan(&self, allow_widening: bool) -> i64 {
        let inputs = json!({
            "snapshot_id": self.snapshot, "policy_ids": [self.policy], "dry_run": true, "allow_widening": allow_widening
        });
        let request = json!({"type": "assignments.restore", "tenant_id": self.tenant, "inputs": inputs});
        let reply = self.world.client().post("/runs", request).await;
        let run = reply.body["run"]["id"].as_i64().unwrap_or_else(|| panic!("no run in {}", reply.body));
        self.world.ended(run).await;
        run
    }

    /// A fetch of the one policy; the snapshot.
    pub async fn fetched_again(&self) -> i64 {
        let run = self.world.fetched(TENANT, json!({"policy_ids": [self.policy]})).await;
        self.world.ended(run).await["context"]["snapshot_id"].as_i64().expect("a snapshot")
    }

    /// The targets of the policy now.
    fn now(&self) -> Vec<Value> {
        let directory = seed::external_ids().next().expect("the seed has tenants");
        let truth = self.world.bed.sandbox.state().expected(directory);
        truth[&(TYPE.to_owned(), self.policy.clone())].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_chosen_planned_confirmed_followed_and_undone() {
    let narrowed = Narrowed::start().await;
    let browser = narrowed.world.browser(Role::Operator).await;
    browser.go(&format!("/restore?tenant={}", narrowed.tenant)).await;
    browser.press(&format!("a[href='/restore/new?snapshot={}']", narrowed.snapshot)).await;
    // What is ticked stays ticked when another part of the list is shown, and when it is not shown.
    browser.click("input[name=scope][value=some]").await;
    browser.fill("#f-name", "Baseline of all").await;
    browser.press(FILTER).await;
    let tick = format!("input[type=checkbox][value='{}']", narrowed.policy);
    browser.click(&tick).await;
    browser.fill("#f-name", "no policy is called so").await;
    browser.press(FILTER).await;
    browser.until_text(".picking", "1 ticked that are not shown").await;
    browser.fill("#f-name", "Baseline").await;
    browser.press(FILTER).await;
    assert_eq!(browser.count(&format!("{tick}:checked")).await, 1);
    browser.press(".choice > .actions button").await;

    // The plan: what differs, and that it widens.
    browser.until_text("#restore", "Review and confirm").await;
    browser.until_text("#restore", "Baseline of all devices").await;
    browser.until_text("#restore", "Groups would become everybody").await;
    browser.press("a[href$='/confirm']").await;

    // The last look: no click without the tick.
    browser.until_text("h1", "Write 1 policy").await;
    let confirm = browser.path().await;
    browser.click("form.confirm button").await;
    assert_eq!(browser.path().await, confirm, "the browser asks for the tick");
    assert_eq!(narrowed.now()[0]["target"]["groupId"], json!(narrowed.group), "nothing was written");
    browser.click("input[name=allow_widening]").await;
    browser.press("form.confirm button").await;

    // Followed to its end.
    browser.until_text("#restore", "written and read back").await;
    let target = &narrowed.now()[0]["target"]["@odata.type"];
    assert_eq!(target, "#microsoft.graph.allDevicesAssignmentTarget");
    // It is not run again by one click: its page leads to a plan.
    let restore = browser.path().await;
    browser.go(&restore.replace("/restore/", "/runs/")).await;
    browser.find("a[href^='/restore/new?']").await;
    assert_eq!(browser.count("form[action$='/retry']").await, 0);
    browser.go(&restore).await;

    // And undone, by a plan of its own.
    browser.press("form[action$='/undo'] button").await;
    browser.until_text("#restore", "undo of").await;
    browser.until_text("#restore", "Review and confirm").await;
    browser.press("a[href$='/confirm']").await;
    browser.press("form.confirm button").await;
    browser.until_text("#restore", "written and read back").await;
    assert_eq!(narrowed.now()[0]["target"]["groupId"], json!(narrowed.group));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_the_guard_emptied_leads_to_one_that_can_be_confirmed() {
    let narrowed = Narrowed::start().await;
    let plan = narrowed.plan(false).await;
    let browser = narrowed.world.browser(Role::Operator).await;
    browser.go(&format!("/restore/{plan}/confirm")).await;
    browser.until_text("h1", "Nothing to confirm").await;
    browser.press(".empty a").await;
    browser.until_text("#restore", "This plan writes nothing").await;
    browser.press(".head .actions a.primary").await;
    browser.press(".choice > .actions button").await;
    browser.until_text("#restore", "has to be allowed when you confirm").await;
    browser.press("a[href$='/confirm']").await;
    browser.until_text("h1", "Write 1 policy").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_of_one_policy_is_not_taken_for_the_tenant() {
    let narrowed = Narrowed::start().await;
    narrowed.fetched_again().await;
    let browser = narrowed.world.browser(Role::Viewer).await;
    browser.go(&format!("/tenants/{}", narrowed.tenant)).await;
    browser.until_text("[aria-labelledby=snapshots]", "only a part").await;
    browser.until_text("[aria-labelledby=last]", "complete").await;
    browser.find(&format!("[aria-labelledby=last] a[href='/snapshots/{}']", narrowed.snapshot)).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_changed_is_read_in_words_and_names() {
    let narrowed = Narrowed::start().await;
    let before = narrowed.fetched_again().await;
    let browser = narrowed.world.browser(Role::Operator).await;
    browser.go(&format!("/snapshots/{before}/diff/{}", narrowed.snapshot)).await;
    browser.until_text("main", "1 policy differs").await;
    browser.until_text("main", "Baseline of all devices").await;
    browser.until_text("main", "Groups became everybody").await;
    browser.find(".difference .added").await;
    // The group has its name, and its id in the tooltip.
    assert_eq!(browser.count(&format!(".difference .removed .name[title='{}']", narrowed.group)).await, 1);
    // The other way round nothing widens.
    browser.press(".head .actions a").await;
    browser.until_text("main", "1 policy differs").await;
    assert_eq!(browser.count(".widens").await, 0);
    // Against the tenant as it is: a fetch, then the difference.
    browser.go(&format!("/snapshots/{before}")).await;
    browser.press("form[action$='/drift'] button").await;
    browser.until_text("h1", "What has changed").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_who_is_fresh_what_runs_and_what_failed() {
    let narrowed = Narrowed::start().await;
    let browser = narrowed.world.browser(Role::Operator).await;
    browser.go("/").await;
    browser.until_text("[aria-labelledby=tenants]", "1 fresh").await;
    browser.until_text("[aria-labelledby=failures]", "Nothing failed").await;
    browser.press(&format!(".map a[href='/tenants/{}']", narrowed.tenant)).await;
    browser.until_text("h1", TENANT).await;
    browser.until_text("[aria-labelledby=permissions]", "present").await;
    browser.go("/tenants").await;
    browser.fill("#f-name", "tailspin").await;
    browser.press("form[data-filter] button").await;
    browser.until_text("#tenants", "Tailspin Toys").await;
    assert_eq!(browser.count("#tenants tbody tr").await, 1);
    browser.close().await;
}
