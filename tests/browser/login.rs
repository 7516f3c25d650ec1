//! Signing in and out.

use atlasd::store::Role;

use crate::browser::Browser;
use crate::world::{World, quick};

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_opens_the_pages_and_signing_out_closes_them() {
    let world = World::start(quick()).await;
    let token = world.token("reader", Role::Viewer, None).await;
    let browser = Browser::start(&world.url()).await;
    browser.go("/runs?status=completed").await;
    assert!(browser.path().await.starts_with("/login?next="), "{}", browser.path().await);
    assert!(browser.text("main").await.contains("atlasd token create"), "it says where a token comes from");

    browser.fill("#token", "atlasd_wrong").await;
    browser.press("form button").await;
    browser.until_text("[role=alert]", "no token").await;

    browser.fill("#token", &token).await;
    browser.press("form button").await;
    assert_eq!(browser.path().await, "/runs?status=completed", "the way leads to where it was to go");
    assert!(browser.text(".who").await.contains("reader"));
    let cookie = browser.run("return document.cookie").await;
    assert!(!cookie.to_string().contains("atlasd_session"), "no script reads the session: {cookie}");
    let source = browser.run("return document.documentElement.outerHTML").await.to_string();
    assert!(!source.contains(&token), "the token is nowhere in the page");

    browser.press("form[action='/logout'] button").await;
    browser.go("/runs").await;
    assert!(browser.path().await.starts_with("/login"), "{}", browser.path().await);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_on_a_page() {
    let world = World::start(quick()).await;
    let browser = world.browser(Role::Viewer).await;
    for path in ["/runs/999999", "/runs/x", "/nothing/here", "/runs?status=odd"] {
        browser.go(path).await;
        browser.find("#problem").await;
    }
    browser.go("/runs/999999").await;
    browser.until_text("main", "run.not_found").await;
    browser.close().await;
}
