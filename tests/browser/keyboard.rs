//! The page without a mouse.

use atlasd::store::Role;
use fantoccini::key::Key;
use serde_json::json;

use crate::world::{World, quick};

#[tokio::test(flavor = "multi_thread")]
async fn keys_alone_go_from_the_list_to_a_run_and_ask_again() {
    let world = World::start(quick()).await;
    let run = world.fetched("Tailspin Toys", json!({"policy_types": ["mobileApp"]})).await;
    let browser = world.browser(Role::Operator).await;
    browser.go("/runs").await;
    // The first stop is the way past the navigation.
    browser.key(Key::Tab).await;
    assert_eq!(browser.run("return document.activeElement.className").await, "skip");
    browser.key(Key::Enter).await;
    assert_eq!(browser.run("return document.activeElement.id").await, "main");
    browser.keys("/").await;
    assert_eq!(browser.run("return document.activeElement.name").await, "tenant_id");
    let target = format!("return document.activeElement.getAttribute('href') === '/runs/{run}'");
    for _ in 0..12 {
        if browser.run(&target).await == true {
            break;
        }
        browser.key(Key::Tab).await;
    }
    assert_eq!(browser.run(&target).await, true, "the run is within reach of the tab key");
    let ring = browser.run("return getComputedStyle(document.activeElement).outlineStyle").await;
    assert_eq!(ring, "solid", "what has the focus shows it");
    browser.key(Key::Enter).await;
    browser.until_text("h1", &format!("Run #{run}")).await;
    browser.run("document.querySelector(\"form[action$='/retry'] button\").focus()").await;
    browser.key(Key::Enter).await;
    browser.until_text("#flash", "accepted").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_takes_the_focus_from_nobody() {
    let world = World::start(quick()).await;
    let run = world.fetched("Tailspin Toys", json!({"policy_types": ["mobileApp"]})).await;
    let browser = world.browser(Role::Viewer).await;
    browser.go("/runs").await;
    browser.until_text("#live", "Live").await;
    browser.run(&format!("document.querySelector('#run-{run} a').focus()")).await;
    let next = world.fetched("Fabrikam Health", json!({"policy_types": ["mobileApp"]})).await;
    browser.until_text(&format!("#run-{next}"), "succeeded").await;
    let focused = browser.run("return document.activeElement.getAttribute('href')").await;
    assert_eq!(focused, format!("/runs/{run}"));
    browser.close().await;
}
