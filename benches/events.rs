//! Admission while 200 readers listen to the stream of events, beside the same with none, in the same run.
//!
//! `cargo bench --bench events`. Not a criterion bench: what counts is the ratio. The readers are real connections
//! whose client shares the machine with the daemon, so with few cores a part of what is missing is the client's.

use std::time::Duration;

use atlasd::config::{Config, Span};
use atlasd::daemon::{Daemon, DaemonOptions};
use atlasd::domain::operation::Operation;
use atlasd::ids::{TenantId, WorkspaceId};
use atlasd::store::{NewTenant, NewToken, Role};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "support/mod.rs"]
#[expect(dead_code, reason = "each bench uses a part of what they share")]
mod support;

#[path = "../tests/races/times.rs"]
mod times;

use support::{Engine, Ledger, request, share};
use times::Times;

const TOKEN: &str = "bench-token";
const READERS: usize = 200;
const HELD: u64 = 1000;
const ROUNDS: usize = 3;
/// What a very large fleet asks for.
const RATE: u64 = 200;
const PACED_S: u64 = 5;

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that this builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let ledger = Ledger::create(Engine::Sqlite);
    let (daemon, workspace, tenant) = daemon(&ledger);
    let runtime = support::runtime();
    let (mut next, mut paced_next) = (0, 1 << 40);
    let mut distinct = |total: u64| {
        let (handle, offset) = (daemon.handle().clone(), next);
        next += total;
        let took = share(&runtime, total, move |number| {
            let handle = handle.clone();
            async move {
                let verdicts = handle.admit(vec![request(workspace, tenant, offset + number)]).await;
                assert_eq!(
                    verdicts.expect("a wide gate")[0].as_ref().expect("a ledger").as_str(),
                    "accepted"
                );
            }
        });
        total as f64 / took.as_secs_f64()
    };
    let duplicates = |total: u64| {
        let handle = daemon.handle().clone();
        let took = share(&runtime, total, move |number| {
            let handle = handle.clone();
            async move {
                let identity = support::identity(number % HELD);
                let verdict = handle.ask(identity, Operation::Fetch, false, "bench").await;
                assert_eq!(verdict.expect("a wide gate").expect("an active run").as_str(), "active");
            }
        });
        total as f64 / took.as_secs_f64()
    };
    distinct(HELD * 2);
    duplicates(HELD);
    let (mut alone, mut heard) = ([0.0; 2], [0.0; 2]);
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // Taken in turns, so that a machine that grows slower or faster does so for both.
        alone = best(alone, [distinct(5_000), duplicates(100_000)]);
        quiet.extend(paced(&runtime, &daemon, workspace, tenant, &mut paced_next));
        let readers: Vec<_> = (0..READERS).map(|_| runtime.spawn(listen(daemon.address()))).collect();
        until(|| daemon.handle().events().readers() == READERS);
        busy.extend(paced(&runtime, &daemon, workspace, tenant, &mut paced_next));
        heard = best(heard, [distinct(5_000), duplicates(100_000)]);
        assert_eq!(daemon.handle().events().readers(), READERS, "one that is dropped as slow costs nothing");
        readers.iter().for_each(tokio::task::JoinHandle::abort);
        until(|| daemon.handle().events().readers() == 0);
    }
    for (what, alone, heard) in [("distinct", alone[0], heard[0]), ("duplicates", alone[1], heard[1])] {
        println!(
            "{what:<11} {alone:>9.0}/s with no reader, {heard:>9.0}/s with {READERS}: {:.0} %",
            heard / alone * 100.0
        );
    }
    println!("{RATE} distinct per second, request to verdict with no reader: {}", Times::of(quiet));
    println!("{RATE} distinct per second, request to verdict with {READERS}: {}", Times::of(busy));
    daemon.stop().expect("the daemon stops");
}

/// How long requests take that come by the clock, at a rate that leaves the machine time: what a reader costs then is what
/// it makes others wait.
fn paced(
    runtime: &tokio::runtime::Runtime,
    daemon: &Daemon,
    workspace: WorkspaceId,
    tenant: TenantId,
    next: &mut u64,
) -> Vec<u64> {
    let (handle, begun) = (daemon.handle().clone(), tokio::time::Instant::now());
    let first = std::mem::replace(next, *next + RATE * PACED_S);
    runtime.block_on(async move {
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..RATE * PACED_S {
            let due = begun + Duration::from_secs(1) * u32::try_from(number).expect("few") / RATE as u32;
            tokio::time::sleep_until(due).await;
            let handle = handle.clone();
            asking.spawn(async move {
                let verdicts = handle.admit(vec![request(workspace, tenant, first + number)]).await;
                assert_eq!(
                    verdicts.expect("a wide gate")[0].as_ref().expect("a ledger").as_str(),
                    "accepted"
                );
                u64::try_from(due.elapsed().as_micros()).expect("a short time")
            });
        }
        asking.join_all().await
    })
}

fn best(known: [f64; 2], measured: [f64; 2]) -> [f64; 2] {
    [known[0].max(measured[0]), known[1].max(measured[1])]
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Reads the stream and forgets it.
async fn listen(address: std::net::SocketAddr) {
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("the daemon listens");
    let head =
        format!("GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("it takes a request");
    let mut part = vec![0; 64 * 1024];
    while socket.read(&mut part).await.expect("it answers") > 0 {}
}

/// A daemon with one tenant that nobody executes for: admission is measured, not execution.
fn daemon(ledger: &Ledger) -> (Daemon, WorkspaceId, TenantId) {
    let mut config = Config::default();
    config.execution.poll = Span(Duration::from_secs(3600));
    config.execution.tenants_max = 0;
    // Readers that have gone are noticed by the next heartbeat.
    config.events.heartbeat = Span(Duration::from_millis(500));
    let url = ledger.url.parse().expect("a URL of ours");
    let daemon =
        Daemon::start(DaemonOptions::new(config, url, "127.0.0.1:0".to_owned())).expect("the daemon starts");
    let store = daemon.handle().store().clone();
    let (workspace, tenant) = support::runtime().block_on(async {
        let workspace = store.add_workspace("bench", "bench").await.expect("a fresh ledger");
        let tenant = NewTenant {
            workspace_id: workspace.id,
            external_id: atlasd::ids::fresh_uuid(),
            name: "bench".to_owned(),
            cloud: "global".to_owned(),
            credential: "none".to_owned(),
        };
        let sha256 = Sha256::digest(TOKEN).into();
        let token = NewToken { name: "bench".to_owned(), sha256, role: Role::Viewer, workspace_id: None };
        store.add_token(token).await.expect("a fresh ledger");
        (workspace.id, store.add_tenant(tenant).await.expect("a fresh ledger").id)
    });
    (daemon, workspace, tenant)
}
