//! Live updates: how soon what happens is on the page, and what is said while it cannot be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use atlasd::ids::RunId;
use atlasd::store::Role;
use serde_json::{Value, json};

use crate::world::{World, quick, slow};

/// Keeps, in the page, when each text of the progress was there first.
const WATCH: &str = "
    window.__seen = {};
    const look = () => {
        const words = document.querySelector('[data-progress] .words');
        if (words && !(words.textContent in window.__seen)) window.__seen[words.textContent] = Date.now();
    };
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
    look();
    return true;";

#[tokio::test(flavor = "multi_thread")]
async fn progress_reaches_the_page_within_a_second() {
    let world = World::start(slow(120)).await;
    let browser = world.browser(Role::Viewer).await;
    let run = world.fetch("Contoso Manufacturing", json!({})).await;
    browser.go(&format!("/runs/{run}")).await;
    browser.until_text("#live", "Live").await;
    browser.run(WATCH).await;

    // What the execution says of itself, as soon as it says it.
    let handle = world.daemon.handle().clone();
    let watching = tokio::spawn(async move {
        let mut said: HashMap<String, u128> = HashMap::new();
        let begun = Instant::now();
        let mut missing = 0;
        while begun.elapsed() < Duration::from_secs(60) && missing < 200 {
            match handle.progress(RunId(run)) {
                None => missing += 1,
                Some(now) => {
                    missing = 0;
                    let words = format!(
                        "{} of {} types, {} of {} policies read",
                        now.types_done, now.types_total, now.read, now.listed
                    );
                    said.entry(words).or_insert_with(wall_clock_ms);
                }
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        said
    });
    world.ended(run).await;
    browser.until_text(".head .badge", "succeeded").await;
    let said = watching.await.expect("the watch ends");
    let seen = browser.run("return window.__seen").await;
    let delays: Vec<_> = seen
        .as_object()
        .expect("texts and times")
        .iter()
        .filter_map(|(words, at)| Some((words, at.as_u64()? as i128 - *said.get(words)? as i128)))
        .collect();
    assert!(delays.len() >= 3, "expected several steps on the page, got {seen} of {said:?}");
    let worst = delays.iter().map(|(_, delay)| *delay).max().unwrap_or_default();
    println!("progress on the page: {} steps, at the latest after {worst} ms", delays.len());
    assert!(worst <= 1000, "{delays:?}");
    browser.close().await;
}

fn wall_clock_ms() -> u128 {
    u128::try_from(atlasd::clock::Clock::system().now().micros() / 1000).expect("after 1970")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_follows_what_happens() {
    let world = World::start(quick()).await;
    let browser = world.browser(Role::Viewer).await;
    browser.go("/runs").await;
    browser.until_text("#runs", "No runs yet").await;
    browser.until_text("#live", "Live").await;
    let run = world.fetch("Fabrikam Health", json!({})).await;
    browser.until_text(&format!("#run-{run}"), "succeeded").await;
    // A refused request is on the page, too, when it has been told.
    world.fetch("Fabrikam Health", json!({})).await;
    browser.go(&format!("/runs/{run}")).await;
    browser.until_text("[aria-labelledby=refused]", "1 request").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_when_it_is_cut_off() {
    let world = World::start(quick()).await;
    let browser = world.browser(Role::Viewer).await;
    browser.go("/runs").await;
    browser.until_text("#live", "Live").await;
    let control = world.daemon.control();
    control.try_send(atlasd::daemon::Control::Stop).expect("the daemon takes commands");
    browser.until_text("#live", "Reconnecting").await;
    assert_eq!(
        browser.run("return document.getElementById('live').getAttribute('role')").await,
        Value::from("status")
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_out_of_the_browsers_cache_lives_again() {
    let world = World::start(quick()).await;
    let browser = world.browser(Role::Viewer).await;
    browser.go("/runs").await;
    browser.until_text("#live", "Live").await;
    // What a browser tells a page that it keeps and shows again; whether it keeps one is its own affair.
    let left_and_shown = "
        window.__before = true;
        for (const name of ['pagehide', 'pageshow']) {
            dispatchEvent(new PageTransitionEvent(name, {persisted: true}));
        }
        return true;";
    browser.run(left_and_shown).await;
    browser.until("the page is a fresh one", "return window.__before === undefined").await;
    browser.until_text("#live", "Live").await;
    let run = world.fetch("Fabrikam Health", json!({})).await;
    browser.until_text(&format!("#run-{run}"), "succeeded").await;
    browser.close().await;
}
