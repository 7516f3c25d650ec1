//! Failures: rolled up, and asked for again with one click.

use atlasd::sandbox::faults::{Fault, FaultKind, On};
use atlasd::store::Role;
use serde_json::json;

use crate::world::{World, quick};

#[tokio::test(flavor = "multi_thread")]
async fn one_click_asks_again_for_all_that_failed_in_one_way() {
    let world = World::start(quick()).await;
    let fault = |policy_type: &str| Fault::new(FaultKind::Forbidden).policy_type(policy_type).on(On::List);
    let types = ["mobileApp", "compliancePolicy"];
    types.iter().for_each(|key| world.bed.sandbox.state().add_fault(fault(key)));
    for key in types {
        let run = world.fetch("Tailspin Toys", json!({"policy_types": [key]})).await;
        assert_eq!(world.ended(run).await["outcome"], "failed");
    }
    world.bed.sandbox.state().clear_faults();
    let browser = world.browser(Role::Operator).await;
    browser.go("/failures").await;
    assert_eq!(browser.count(".failures tbody tr").await, 1, "{}", browser.text("main").await);
    browser.until_text(".failures .why", ".").await;
    browser.press(".failures form button").await;
    browser.until_text("#flash", "Asked for 2 again: 2 accepted.").await;
    browser.go("/runs?status=completed&outcome=succeeded").await;
    browser.until("both runs", "return document.querySelectorAll('#runs tbody tr').length === 2").await;
    // What has succeeded since is not asked for a third time.
    browser.go("/failures").await;
    browser.press(".failures form button").await;
    browser.until_text("#flash", "Nothing to retry").await;
    browser.close().await;
}
