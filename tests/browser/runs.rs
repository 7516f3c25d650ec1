//! Runs: filter, look at one, learn why a request is refused, cancel, ask again.

use atlasd::sandbox::faults::{Fault, FaultKind, On};
use atlasd::store::Role;
use serde_json::json;

use crate::world::{World, quick, slow};

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_shows_what_it_names_and_can_be_taken_away() {
    let world = World::start(quick()).await;
    let kept = world.fetched("Tailspin Toys", json!({"policy_types": ["mobileApp"]})).await;
    let other = world.fetched("Fabrikam Health", json!({"policy_types": ["mobileApp"]})).await;
    let tenant = world.tenant("Tailspin Toys").await;
    let browser = world.browser(Role::Viewer).await;
    browser.go("/runs").await;
    browser.find(&format!("#run-{other}")).await;
    browser.choose("#f-tenant_id", &tenant.to_string()).await;
    browser.choose("#f-type", "assignments.fetch").await;
    browser.press("form[data-filter] button").await;
    assert_eq!(browser.path().await, format!("/runs?tenant_id={tenant}&type=assignments.fetch"));
    browser.find(&format!("#run-{kept}")).await;
    assert_eq!(browser.count(&format!("#run-{other}")).await, 0);
    browser.choose("#f-outcome", "failed").await;
    browser.press("form[data-filter] button").await;
    browser.until_text("#runs", "No run matches").await;
    browser.press("#runs .empty a").await;
    browser.find(&format!("#run-{other}")).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_to_older_runs_and_back() {
    let world = World::start(quick()).await;
    for types in [["mobileApp"], ["compliancePolicy"], ["deviceConfiguration"]] {
        world.fetched("Tailspin Toys", json!({"policy_types": types})).await;
    }
    let browser = world.browser(Role::Viewer).await;
    browser.go("/runs?limit=2").await;
    let newest = "#runs tbody tr a.id";
    let first = browser.text(newest).await;
    browser.press(".pager [rel=next]").await;
    assert_eq!(browser.count("#runs tbody tr").await, 1);
    browser.press(".pager [rel=prev]").await;
    assert_eq!(browser.text(newest).await, first);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_explained_and_run_again_by_hand() {
    let world = World::start(quick()).await;
    let run = world.fetched("Northwind Traders", json!({})).await;
    assert_eq!(
        world.fetch("Northwind Traders", json!({})).await,
        run,
        "the second is refused with the first"
    );
    let browser = world.browser(Role::Operator).await;
    browser.go(&format!("/runs/{run}")).await;
    browser.click("[aria-labelledby=why] summary").await;
    let why = browser.text("[aria-labelledby=why]").await;
    for words in
        ["Accepted again in 14 min", "cooldown", "all types", "contoso-group", "15 min", "no difference"]
    {
        assert!(why.contains(words), "{words} in {why}");
    }
    browser.until_text("[aria-labelledby=refused]", "answered 1 request").await;
    browser.press("form[action$='/retry'] button").await;
    browser.until_text("#flash", "accepted as run").await;
    let again = browser.path().await;
    assert_ne!(again, format!("/runs/{run}"));
    browser.until_text(".head .badge", "succeeded").await;
    // The message is told once.
    browser.go(&again).await;
    assert_eq!(browser.count("#flash").await, 0);
    browser.go(&format!("/runs/{run}")).await;
    browser.until_text("[aria-labelledby=why]", "Answered by run").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_executes_is_cancelled_by_a_click() {
    let world = World::start(slow(400)).await;
    let run = world.fetch("Contoso Manufacturing", json!({})).await;
    let browser = world.browser(Role::Operator).await;
    browser.go(&format!("/runs/{run}")).await;
    browser.press("form[action$='/cancel'] button").await;
    browser.find("#flash").await;
    browser.until_text("[aria-labelledby=failures]", "run.cancelled").await;
    browser.until_text("[aria-labelledby=why]", "left no cooldown").await;
    assert_eq!(browser.count("form[action$='/cancel']").await, 0);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_no_button_and_a_failed_run_says_what_to_do() {
    let world = World::start(quick()).await;
    world
        .bed
        .sandbox
        .state()
        .add_fault(Fault::new(FaultKind::Forbidden).policy_type("mobileApp").on(On::List));
    let run = world.fetched("Tailspin Toys", json!({"policy_types": ["mobileApp"]})).await;
    let browser = world.browser(Role::Viewer).await;
    browser.go(&format!("/runs/{run}")).await;
    browser.until_text("[aria-labelledby=failures]", "graph.").await;
    assert!(browser.text("[aria-labelledby=failures] .why").await.len() > 20);
    assert_eq!(browser.count("main form").await, 0);
    browser.close().await;
}
