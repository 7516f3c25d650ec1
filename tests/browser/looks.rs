//! What every page keeps: no word to another host, nothing against its own policy, no sideways scrolling on a phone, both
//! colour schemes, names for what programs read aloud. And the pictures of all of them.

use std::path::PathBuf;

use atlasd::sandbox::faults::{Fault, FaultKind, On};
use atlasd::store::Role;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::restore::Narrowed;
use crate::states::{self, UnderWay};
use crate::world::{World, quick};

/// Addresses, by a name for each.
pub type Pages = Vec<(String, String)>;

/// Pages with these names.
pub fn named<const N: usize>(pages: [(&str, String); N]) -> Pages {
    pages.into_iter().map(|(name, path)| (name.to_owned(), path)).collect()
}

/// A world with something on every page; the pages.
async fn furnished() -> (World, Pages) {
    let narrowed = Narrowed::start().await;
    let again = narrowed.fetched_again().await;
    let (plan, guarded) = (narrowed.plan(true).await, narrowed.plan(false).await);
    let Narrowed { world, snapshot, .. } = narrowed;
    let run = world.fetch("Contoso Manufacturing", json!({})).await;
    let schedule =
        json!({"workspace_id": 1, "name": "nightly", "type": "assignments.fetch", "cron": "0 3 * * *"});
    world.client().post("/schedules", schedule).await;
    world.fetched("Northwind Traders", json!({})).await;
    world
        .bed
        .sandbox
        .state()
        .add_fault(Fault::new(FaultKind::Forbidden).policy_type("mobileApp").on(On::List));
    let failed = world.fetched("Tailspin Toys", json!({})).await;
    let tenant = world.tenant("Contoso Manufacturing").await;
    let pages = named([
        ("overview", "/".to_owned()),
        ("tenants", "/tenants".to_owned()),
        ("tenant", format!("/tenants/{tenant}")),
        ("policies", format!("/tenants/{tenant}/policies")),
        ("snapshots", format!("/tenants/{tenant}/snapshots")),
        ("snapshot", format!("/snapshots/{snapshot}")),
        ("diff", format!("/snapshots/{snapshot}/diff/{again}")),
        ("restore", "/restore".to_owned()),
        ("restore-tenant", format!("/restore?tenant={tenant}")),
        ("restore-choose", format!("/restore/new?snapshot={snapshot}")),
        ("restore-plan", format!("/restore/{plan}")),
        ("restore-confirm", format!("/restore/{plan}/confirm")),
        ("restore-guarded", format!("/restore/{guarded}")),
        ("restore-nothing", format!("/restore/{guarded}/confirm")),
        ("schedules", "/schedules".to_owned()),
        ("audit", "/audit".to_owned()),
        ("runs", "/runs".to_owned()),
        ("runs-empty", "/runs?status=running".to_owned()),
        ("run", format!("/runs/{run}")),
        ("run-failed", format!("/runs/{failed}")),
        ("failures", "/failures".to_owned()),
        ("system", "/system".to_owned()),
        ("not-found", "/runs/999999".to_owned()),
    ]);
    (world, pages)
}

/// What is wrong with the page as programs read it.
const UNNAMED: &str = "
    const bad = [];
    for (const e of document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, progress')) {
        const named = e.textContent?.trim() || e.getAttribute('aria-label') || e.labels?.length || e.title;
        if (!named) bad.push(e.outerHTML.slice(0, 120));
    }
    for (const e of document.querySelectorAll('table')) if (!e.caption) bad.push('a table without a caption');
    for (const e of document.querySelectorAll('th')) if (!e.scope) bad.push('a heading without a scope: ' + e.innerText);
    const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
    for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push('twice the id ' + id);
    if (document.querySelectorAll('h1').length !== 1) bad.push('not one h1');
    return bad;";

/// Panels that what they hold sticks out of.
const CRAMPED: &str = "
    return [...document.querySelectorAll('.panel')]
        .filter((e) => e.scrollWidth > e.clientWidth + 1)
        .map((e) => e.getAttribute('aria-labelledby') || e.getAttribute('aria-label') || e.innerText.slice(0, 60));";

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_its_own_and_fits_and_can_be_read_aloud() {
    let (world, pages) = furnished().await;
    let browser = world.browser(Role::Admin).await;
    browser.requests().await;
    browser.complaints().await;
    for (name, path) in &pages {
        for width in [1280, 390] {
            browser.resize(width, 844).await;
            browser.go(path).await;
            browser.find("h1").await;
            assert_fits(&browser, name, width).await;
        }
        let unnamed = browser.run(UNNAMED).await;
        assert_eq!(unnamed, Value::Array(vec![]), "{name}");
    }
    let own = format!("{}/", world.url());
    let foreign: Vec<_> = browser
        .requests()
        .await
        .into_iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:"))
        .collect();
    assert_eq!(foreign, Vec::<String>::new(), "no page asks another host");
    let complaints: Vec<_> =
        browser.complaints().await.into_iter().filter(|line| !line.contains("404 (Not Found)")).collect();
    assert_eq!(complaints, Vec::<String>::new(), "no page breaks its own policy");
    browser.close().await;
}

/// Nothing scrolls sideways, and nothing sticks out.
async fn assert_fits(browser: &Browser, name: &str, width: u32) {
    assert!(!browser.overflows().await, "{name} scrolls sideways at {width}: {}", widest(browser).await);
    assert_eq!(browser.run(CRAMPED).await, Value::Array(vec![]), "{name} at {width}");
}

/// The elements that are wider than what is seen.
async fn widest(browser: &Browser) -> Value {
    let script = "return [...document.querySelectorAll('*')]
        .filter((e) => e.getBoundingClientRect().right > document.scrollingElement.clientWidth + 1)
        .slice(0, 6).map((e) => e.outerHTML.slice(0, 100))";
    browser.run(script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_light_or_dark_as_the_browser_prefers_or_somebody_chose() {
    let world = World::start(quick()).await;
    let browser = world.browser(Role::Viewer).await;
    let colour = "return getComputedStyle(document.body).backgroundColor";
    browser.prefer("light").await;
    browser.go("/runs").await;
    let light = browser.run(colour).await;
    browser.prefer("dark").await;
    let dark = browser.run(colour).await;
    assert_ne!(light, dark);
    browser.click("form[data-theme-form] button").await;
    assert_eq!(browser.run(colour).await, light, "light was chosen");
    browser.go("/system").await;
    assert_eq!(browser.run(colour).await, light, "the choice survives");
    browser.click("form[data-theme-form] button").await;
    assert_eq!(browser.run(colour).await, dark, "dark was chosen");
    browser.close().await;
}

/// Pictures of every page and of the states that it can be in, wide and narrow, light and dark; see
/// `scripts/screenshots`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures for people to look at: scripts/screenshots runs it"]
async fn screenshots() {
    let album = Album::open();
    let (world, mut pages) = furnished().await;
    let stranger = Browser::start(&world.url()).await;
    album.take(&stranger, &named([("login", "/login".to_owned())])).await;
    stranger.sign_in("atlasd_wrong").await;
    album.keep(&stranger, "login-refused").await;
    stranger.close().await;
    if let Ok(further) = std::env::var("ATLASD_SCREENSHOTS_ALSO") {
        pages.extend(
            further
                .split_whitespace()
                .map(|path| (path.trim_matches('/').replace('/', "-"), path.to_owned())),
        );
    }
    album.visit(&world, "admin", Role::Admin, &pages).await;
    // An audit that is refused is the picture of a 403.
    let reads = ["overview", "run", "tenant", "restore-plan", "restore-choose", "schedules", "audit"];
    let reads = seen_by("viewer", &pages, reads);
    let shows = ["overview", "run", "tenant", "restore-plan", "restore-confirm", "schedules"];
    let shows = seen_by("readonly", &pages, shows);
    album.visit(&world, "reader", Role::Viewer, &reads).await;
    let world = world.reopened(|config| config.http.read_only = true).await;
    album.visit(&world, "admin again", Role::Admin, &shows).await;
    drop(world);
    let (world, pages) = states::nothing().await;
    album.visit(&world, "admin", Role::Admin, &pages).await;
    drop(world);
    let (world, pages) = states::many().await;
    album.visit(&world, "operator", Role::Operator, &pages).await;
    drop(world);
    let under_way = UnderWay::start().await;
    album.visit(&under_way.world, "operator", Role::Operator, &under_way.pages).await;
    let done = under_way.finish().await;
    album.visit(&under_way.world, "operator again", Role::Operator, &done).await;
}

/// Some of the pages, as somebody else sees them.
fn seen_by<const N: usize>(who: &str, pages: &Pages, some: [&str; N]) -> Pages {
    let some = pages.iter().filter(|(name, _)| some.contains(&name.as_str()));
    some.map(|(name, path)| (format!("{who}-{name}"), path.clone())).collect()
}

/// Where the pictures go.
struct Album(PathBuf);

impl Album {
    fn open() -> Self {
        let folder = std::env::var_os("ATLASD_SCREENSHOTS").expect("ATLASD_SCREENSHOTS names a directory");
        std::fs::create_dir_all(&folder).expect("the directory can be made");
        Self(folder.into())
    }

    /// Pictures of these pages as somebody sees them who has a new token of this name.
    async fn visit(&self, world: &World, name: &str, role: Role, pages: &Pages) {
        let browser = Browser::start(&world.url()).await;
        browser.sign_in(&world.token(name, role, None).await).await;
        self.take(&browser, pages).await;
        browser.close().await;
    }

    async fn take(&self, browser: &Browser, pages: &Pages) {
        for (name, path) in pages {
            browser.go(path).await;
            browser.find("h1").await;
            self.keep(browser, name).await;
        }
    }

    /// The page that is open, in each of its looks.
    async fn keep(&self, browser: &Browser, name: &str) {
        // The live mark has settled, or there is none.
        let settled = "const e = document.getElementById('live'); return !e || e.dataset.state === 'live'";
        browser.until("a settled page", settled).await;
        for (width, height) in [(1280, 900), (390, 844)] {
            browser.resize(width, height).await;
            assert_fits(browser, name, width).await;
            for scheme in ["light", "dark"] {
                browser.prefer(scheme).await;
                let file = self.0.join(format!("{name}-{width}-{scheme}.png"));
                std::fs::write(&file, browser.picture().await).expect("the directory is writable");
                println!("{}", file.display());
            }
        }
    }
}
