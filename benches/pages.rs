//! Every list of the endpoint and every page, over a ledger with 1,000 tenants and 1,000,000 runs, on both engines; each
//! by itself, over HTTP, with the time that it takes at the median and at the 95th percentile.
//!
//! ```text
//! cargo bench --bench pages                                          everything
//! cargo bench --bench pages -- --engine sqlite                       one engine
//! cargo bench --bench pages -- --runs 100000 --only tenants          less, and of it what is called so
//! cargo bench --bench pages -- --engine sqlite --keep /tmp/big.db    a ledger to look at: `atlasd serve` takes it
//! ```
//!
//! Not a criterion bench: what counts is a bound ([`BOUND`]), and what is over it is said.

use std::time::{Duration, Instant};

use atlasd::config::{Config, Span};
use atlasd::daemon::{Daemon, DaemonOptions};
use atlasd::ids::InstanceId;
use atlasd::store::{NewInstance, NewTenant, NewToken, Role};
use sha2::{Digest, Sha256};

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

#[path = "support/history.rs"]
mod history;

use support::{Engine, Ledger};

const TOKEN: &str = "bench-token";
/// What every list and page is to answer within, at the 95th percentile.
const BOUND: Duration = Duration::from_millis(100);
/// Answers per list or page.
const ROUNDS: usize = 40;

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that this builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let asked = Asked::read();
    let size = history::Size { tenants: 1_000, runs: asked.runs };
    let mut over = 0;
    for engine in Engine::ALL {
        if asked.engine.as_deref().is_none_or(|name| name == engine.name()) {
            over += measure(engine, size, &asked);
        }
    }
    println!("{over} over {} ms at p95", BOUND.as_millis());
}

/// What the command line asks for.
struct Asked {
    engine: Option<String>,
    runs: u64,
    only: Option<String>,
    keep: Option<String>,
}

impl Asked {
    fn read() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1).cloned()
        };
        let runs = value("--runs").map_or(1_000_000, |runs| runs.parse().expect("a number of runs"));
        Self { engine: value("--engine"), runs, only: value("--only"), keep: value("--keep") }
    }
}

/// Measures everything on one engine; how many are over the bound.
fn measure(engine: Engine, size: history::Size, asked: &Asked) -> usize {
    let ledger = Ledger::create(engine);
    let daemon = daemon(&ledger);
    let runtime = support::runtime();
    let instance = InstanceId::fresh();
    runtime.block_on(furnish(&daemon, size, instance));
    let began = Instant::now();
    let now = atlasd::clock::Clock::system().now().micros();
    history::write(engine, &ledger.url, size, now, &instance.0.simple().to_string());
    println!("{}: {} runs written in {:.0} s", engine.name(), size.runs, began.elapsed().as_secs_f64());
    if let Some(path) = &asked.keep {
        daemon.stop().expect("the daemon stops");
        std::fs::copy(ledger.url.trim_start_matches("sqlite://"), path)
            .expect("a SQLite ledger and a place for it");
        return 0;
    }
    let over = runtime.block_on(async {
        let client = client(&daemon).await;
        let mut over = 0;
        for (name, path) in targets(&client, &daemon).await {
            if asked.only.as_deref().is_some_and(|only| !name.contains(only)) {
                continue;
            }
            over += usize::from(report(engine, &name, &time(&client, &daemon, &path).await));
        }
        over
    });
    daemon.stop().expect("the daemon stops");
    over
}

/// A daemon that looks and does nothing by itself.
fn daemon(ledger: &Ledger) -> Daemon {
    let mut config = Config::default();
    let never = Span(Duration::from_secs(100 * 86_400));
    config.execution.poll = never;
    config.execution.tenants_max = 0;
    config.reconcile.every = never;
    config.reconcile.idle_every = never;
    config.reconcile.queued_max = never;
    config.retention.every = never;
    let url = ledger.url.parse().expect("a URL of ours");
    Daemon::start(DaemonOptions::new(config, url, "127.0.0.1:0".to_owned())).expect("the daemon starts")
}

/// Workspaces, tenants, a token, and an instance that lives.
async fn furnish(daemon: &Daemon, size: history::Size, instance: InstanceId) {
    let store = daemon.handle().store();
    for number in 1..=5 {
        let slug = format!("workspace-{number}");
        store.add_workspace(&slug, &format!("Workspace {number}")).await.expect("a fresh ledger");
    }
    for number in 1..=size.tenants {
        let tenant = NewTenant {
            workspace_id: atlasd::ids::WorkspaceId(history::workspace_of(number, size)),
            external_id: atlasd::ids::fresh_uuid(),
            // Names in another order than ids.
            name: format!("Tenant {:04}", number * 7919 % size.tenants),
            cloud: "global".to_owned(),
            credential: "none".to_owned(),
        };
        store.add_tenant(tenant).await.expect("a fresh ledger");
    }
    let sha256 = Sha256::digest(TOKEN).into();
    let token = NewToken { name: "bench".to_owned(), sha256, role: Role::Admin, workspace_id: None };
    store.add_token(token).await.expect("a fresh ledger");
    let lease = Duration::from_secs(100 * 86_400);
    let row = NewInstance { id: instance, hostname: "bench".into(), pid: 1, version: "0".into(), lease };
    store.register_instance(&row, false).await.expect("a fresh ledger");
}

/// A client that is signed in, for calls and pages alike.
async fn client(daemon: &Daemon) -> reqwest::Client {
    let builder = || reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let form = format!("token={TOKEN}&next=/");
    let sign_in = builder().build().expect("a client").post(format!("http://{}/login", daemon.address()));
    let sign_in = sign_in.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = sign_in.send().await.expect("the daemon answers");
    assert_eq!(answer.status(), 303, "the token is let in");
    let cookies = answer.headers().get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<&str> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("cookie", pairs.join("; ").parse().expect("cookies make a header"));
    builder().default_headers(headers).build().expect("a client")
}

/// Every list and every page, by name.
async fn targets(client: &reqwest::Client, daemon: &Daemon) -> Vec<(String, String)> {
    let mut targets = Vec::new();
    // Every combination of filters of the list of runs; of each filter the values that are common, rare and not there.
    let filters: [(&str, &[&str]); 5] = [
        ("workspace_id", &["1", "3", "5"]),
        ("tenant_id", &["1", "7", "1000"]),
        ("type", &["assignments.fetch", "assignments.restore", "ops.reconcile_adapter_runs"]),
        ("status", &["queued", "running", "completed"]),
        ("outcome", &["pending", "succeeded", "failed"]),
    ];
    let mut queries = vec![String::new()];
    for (name, values) in filters {
        let more = queries
            .iter()
            .flat_map(|query| values.iter().map(move |value| format!("{query}&{name}={value}")));
        let more: Vec<_> = more.collect();
        queries.extend(more);
    }
    for query in &queries {
        targets.push((format!("api runs {query}"), format!("/api/v1/runs?limit=50{query}")));
    }
    // In the middle of the list, and at its end. A cursor is the key of the last item, as JSON in base64.
    for (place, cursor) in [("middle", "NTAwMDAw"), ("end", "MTAw")] {
        for query in
            ["", "&workspace_id=1", "&tenant_id=1", "&outcome=failed", "&workspace_id=5&outcome=failed"]
        {
            targets.push((
                format!("api runs {place} {query}"),
                format!("/api/v1/runs?limit=50&cursor={cursor}{query}"),
            ));
        }
    }
    let run = first_id(client, daemon, "/api/v1/runs?tenant_id=1&outcome=succeeded&limit=1").await;
    let identity = format!("{:064x}", run - 1);
    for query in ["", "&tenant_id=1", "&tenant_id=2", "&status=completed&outcome=failed"] {
        let path = format!("/api/v1/runs?run_identity_hash={identity}{query}");
        targets.push((format!("api runs identity {query}"), path));
    }
    let newest = first_id(client, daemon, "/api/v1/tenants/1/snapshots?limit=1").await;
    let before = second_id(client, daemon, "/api/v1/tenants/1/snapshots?limit=2").await;
    let others = [
        ("api run", format!("/api/v1/runs/{run}")),
        ("api attempts", format!("/api/v1/runs/{run}/attempts")),
        ("api items", format!("/api/v1/runs/{run}/items")),
        ("api workspaces", "/api/v1/workspaces".to_owned()),
        ("api tenants", "/api/v1/tenants?limit=500".to_owned()),
        ("api policies", "/api/v1/tenants/1/policies?limit=500".to_owned()),
        ("api snapshots", "/api/v1/tenants/1/snapshots?limit=500".to_owned()),
        ("api snapshot", format!("/api/v1/snapshots/{newest}?limit=500")),
        ("api diff", format!("/api/v1/snapshots/{before}/diff/{newest}")),
        ("api failures", "/api/v1/failures?group_by=code,type,tenant&since=30days".to_owned()),
        ("api system", "/api/v1/system".to_owned()),
        ("page overview", "/".to_owned()),
        ("page overview week", "/?span=7d".to_owned()),
        ("page overview month", "/?span=30d".to_owned()),
        ("page runs", "/runs".to_owned()),
        ("page runs failed", "/runs?outcome=failed".to_owned()),
        ("page run", format!("/runs/{run}")),
        ("page failures", "/failures".to_owned()),
        ("page system", "/system".to_owned()),
        ("page tenants", "/tenants".to_owned()),
        ("page tenants search", "/tenants?name=99".to_owned()),
        ("page tenant", "/tenants/1".to_owned()),
        ("page tenant that fails", "/tenants/1000".to_owned()),
        ("page policies", "/tenants/1/policies".to_owned()),
        ("page policies search", "/tenants/1/policies?name=4999".to_owned()),
        ("page snapshot", format!("/snapshots/{newest}")),
        ("page diff of 5,000 policies", format!("/snapshots/{before}/diff/{newest}")),
        ("page restore", "/restore".to_owned()),
        ("page restore tenant", "/restore?tenant=1".to_owned()),
        ("page restore choose", format!("/restore/new?snapshot={newest}")),
        ("page schedules", "/schedules".to_owned()),
        ("page audit", "/audit".to_owned()),
    ];
    targets.extend(others.map(|(name, path)| (name.to_owned(), path)));
    targets
}

async fn id_at(client: &reqwest::Client, daemon: &Daemon, path: &str, index: usize) -> i64 {
    let answer = client.get(format!("http://{}{path}", daemon.address())).send().await.expect("an answer");
    let body: serde_json::Value = answer.json().await.expect("a list");
    body["items"][index]["id"]
        .as_i64()
        .unwrap_or_else(|| panic!("expected an item {index} in {path}: {body}"))
}

async fn first_id(client: &reqwest::Client, daemon: &Daemon, path: &str) -> i64 {
    id_at(client, daemon, path, 0).await
}

async fn second_id(client: &reqwest::Client, daemon: &Daemon, path: &str) -> i64 {
    id_at(client, daemon, path, 1).await
}

/// How long each answer took, shortest first, and the status of the last.
async fn time(client: &reqwest::Client, daemon: &Daemon, path: &str) -> (u16, Vec<Duration>) {
    let url = format!("http://{}{path}", daemon.address());
    let mut times = Vec::with_capacity(ROUNDS);
    let mut status = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let answer = client.get(&url).send().await.expect("the daemon answers");
        status = answer.status().as_u16();
        answer.bytes().await.expect("a whole answer");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    (status, times)
}

/// Prints a line, for combinations of filters only where it is slow; whether it is over the bound.
fn report(engine: Engine, name: &str, (status, times): &(u16, Vec<Duration>)) -> bool {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    let (median, tail) = (at(50), at(95));
    let over = tail > BOUND.as_secs_f64() * 1000.0;
    let slow = tail > BOUND.as_secs_f64() * 250.0;
    if over || slow || *status != 200 || !name.starts_with("api runs &") {
        let mark = if over { "  OVER" } else { "" };
        println!("{:<9} {name:<60} {status}  p50 {median:7.1} ms  p95 {tail:7.1} ms{mark}", engine.name());
    }
    over
}
