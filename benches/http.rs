//! Admissions over HTTP by `wrk` with 64 connections, beside their floor in the same run: a bare JSON endpoint on the
//! same server library with as many workers.
//!
//! `cargo bench --bench http` needs `wrk` (package `wrk` of Debian, Fedora and Homebrew). Not a criterion bench: the load
//! comes from another process.

use std::process::Command;

use actix_web::{App, HttpResponse, HttpServer, web};
use atlasd::config::{Config, Span};
use atlasd::daemon::{Daemon, DaemonOptions};
use atlasd::store::{NewTenant, NewToken, Role};
use sha2::{Digest, Sha256};

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

use support::{Engine, Ledger};

const TOKEN: &str = "bench-token";
const SECONDS: u32 = 10;

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that this builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let floor = bare_endpoint();
    let bare = wrk(&format!("http://{floor}/"), "duplicates");
    println!("bare JSON endpoint             {bare:>9.0} requests/s");
    for engine in Engine::ALL {
        let ledger = Ledger::create(engine);
        let daemon = daemon(&ledger);
        let url = format!("http://{}/api/v1/runs", daemon.address());
        for mode in ["distinct", "duplicates"] {
            let rate = wrk(&url, mode);
            let percent = rate / bare * 100.0;
            println!(
                "{:<10} {mode:<11}         {rate:>9.0} requests/s, {percent:.0} % of the bare endpoint",
                engine.name()
            );
        }
        daemon.stop().expect("the daemon stops");
    }
}

/// Requests per second, as wrk measures them; every answer must be 200 or 202.
fn wrk(url: &str, mode: &str) -> f64 {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/http.lua");
    let duration = format!("-d{SECONDS}s");
    let output = Command::new("wrk")
        .args(["-t2", "-c64", &duration, "--latency", "-s", script, url, "--", mode, TOKEN])
        .output()
        .expect("wrk is not installed: install the package `wrk`, then run this again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("Non-2xx"), "refused requests: {text}");
    let number = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    println!("    {mode}: p50 {}, p99 {}", number("50%").unwrap_or("?"), number("99%").unwrap_or("?"));
    number("Requests/sec:").and_then(|rate| rate.parse().ok()).expect("wrk prints a rate")
}

/// The least that a JSON endpoint can do: parse a body, answer with an object.
fn bare_endpoint() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound listener has an address");
    std::thread::spawn(move || {
        let answer = |body: web::Json<serde_json::Value>| async move {
            HttpResponse::Ok().json(serde_json::json!({"type": body["type"]}))
        };
        let server = HttpServer::new(move || App::new().route("/", web::post().to(answer)))
            .workers(Config::default().http.workers)
            .disable_signals()
            .listen(listener)
            .expect("the listener is ours")
            .run();
        actix::System::new().block_on(server)
    });
    address
}

/// A daemon with tenant 1 that nobody executes for: admission is measured, not execution.
fn daemon(ledger: &Ledger) -> Daemon {
    let mut config = Config::default();
    config.execution.poll = Span(std::time::Duration::from_secs(3600));
    config.execution.tenants_max = 0;
    let url = ledger.url.parse().expect("a URL of ours");
    let daemon =
        Daemon::start(DaemonOptions::new(config, url, "127.0.0.1:0".to_owned())).expect("the daemon starts");
    let store = daemon.handle().store().clone();
    support::runtime().block_on(async {
        let workspace = store.add_workspace("bench", "bench").await.expect("a fresh ledger");
        let tenant = NewTenant {
            workspace_id: workspace.id,
            external_id: atlasd::ids::fresh_uuid(),
            name: "bench".to_owned(),
            cloud: "global".to_owned(),
            credential: "none".to_owned(),
        };
        assert_eq!(
            store.add_tenant(tenant).await.expect("a fresh ledger").id.0,
            1,
            "http.lua asks for tenant 1"
        );
        let sha256 = Sha256::digest(TOKEN).into();
        let token = NewToken { name: "bench".to_owned(), sha256, role: Role::Operator, workspace_id: None };
        store.add_token(token).await.expect("a fresh ledger");
    });
    daemon
}
