//! A soak: so many runs a second for so many minutes through a whole daemon on PostgreSQL; what that costs the server
//! and the daemon, and how long requests and runs take. Then a burst of refused duplicates, which should cost no log.
//!
//! `./scripts/soak [MINUTES] [RATE]` runs it on a server of its own: the server's log and counters are then nobody
//! else's. Not a criterion bench: there is one measurement, and it takes as long as it is told.
//!
//! The load is open: requests are sent by the clock, whatever became of those before, and a time counts from when the
//! request was due. Every request is a run of its own: admitted over HTTP, executed against the Graph double (the list
//! of one type of policies, which is empty), and heard of as completed by the stream of events.

use std::time::Duration;

#[path = "../../tests/support/database.rs"]
mod support;

#[path = "../../tests/support/bed.rs"]
mod bed;
#[path = "../../tests/support/many.rs"]
mod many;
#[path = "../../tests/support/process.rs"]
mod process;

#[path = "../../tests/races/times.rs"]
mod times;

mod load;
mod server;

use atlasd::sandbox::Policies;
use bed::{block_on, until_within};
use load::Load;
use many::{bed_with, tenants};
use process::Process;
use server::{Costs, Sampler, Server};
use support::Engine;

/// With each of the types that can be read, 150 seconds of 200 requests a second of which no two are the same.
const TENANTS: usize = 640;
/// How long the server is watched idle, and then refusing.
const WATCH: Duration = Duration::from_secs(20);
/// The cooldown is over when the requests come round again. The sections are named to have the program's own defaults and
/// not those of the tests.
const CONFIG: &str = "[operations.\"assignments.fetch\"]\ncooldown = \"2m\"\n[execution]\n[graph]\n[admission]\n[shutdown]\n[database]\n";
const OPEN: &str =
    "SELECT count(*) AS n FROM operation_runs WHERE tenant_id IS NOT NULL AND status <> 'completed'";

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to know that this builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let minutes = from_env("ATLASD_SOAK_MINUTES", 1.0);
    let rate = from_env("ATLASD_SOAK_RATE", 200.0);
    let connections = from_env("ATLASD_SOAK_CONNECTIONS", 8.0) as usize;
    let config = format!("{CONFIG}connections_max = {connections}\n");
    let bed = bed_with(Engine::Postgres, TENANTS, Policies::Total(0), Duration::ZERO, &config);
    block_on(async {
        let daemon = Process::start_at(&bed, "warn").await;
        let client = daemon.client(&bed);
        let tenants = tenants(&client, TENANTS).await;
        let server = Server::of(&bed).await;
        server.checkpoint().await;

        println!("{rate} runs/s for {minutes} minutes, {TENANTS} tenants, {connections} connections");
        let begun = server.costs().await;
        let sampler = Sampler::start(&server, daemon.id()).await;
        let load = Load::run(&client, &tenants, rate, Duration::from_secs_f64(minutes * 60.0)).await;
        let costs = server.costs().await.since(&begun);
        load.print();
        println!("runs that are still open: {}", server.number(OPEN).await);
        until_within(Duration::from_secs(600), "all have ended", || async { server.number(OPEN).await == 0 })
            .await;
        sampler.stop().await.print();
        costs.print_per_run(load.runs());
        server.print_sizes().await;

        let idle = watched(&server, tokio::time::sleep(WATCH)).await;
        let refusals = load::Refusals::new(&client, tenants[0]).await;
        let mut refused = 0;
        let burst = watched(&server, async { refused = refusals.ask_for(WATCH).await }).await;
        println!("idle for {WATCH:?}: {} bytes of log (heartbeats, polling)", idle.wal_bytes);
        println!(
            "refusing {refused} duplicates in {WATCH:?}: {} bytes of log; beyond the idle ones {:.3} per refusal",
            burst.wal_bytes,
            (burst.wal_bytes - idle.wal_bytes) as f64 / refused as f64
        );
    });
    bed.cli(&["doctor"]);
}

/// What the server spent while `what` was going on.
async fn watched(server: &Server, what: impl Future<Output = ()>) -> Costs {
    let begun = server.costs().await;
    what.await;
    server.costs().await.since(&begun)
}

fn from_env(name: &str, default: f64) -> f64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}
