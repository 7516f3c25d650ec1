//! Chaos: daemons at work, on SQLite and on PostgreSQL, struck by one fault or by many.
//!
//! # Running it
//!
//! ```text
//! ./scripts/test --test chaos                                  each fault once on each engine that it can strike
//! ./scripts/test --test chaos -- half_open                     one of them
//! ATLASD_TEST_SEED=17 ./scripts/test --test chaos -- half_open the moments and the choice of a failed run again
//! ATLASD_TEST_CHAOS=30 ./scripts/test --test chaos -- storm    half an hour of faults drawn by chance, two at a time
//! ```
//!
//! Each test prints its seed. A seed replays what is drawn (which daemon, when, for how long); what the machine makes
//! of it is its own affair.
//!
//! # What it is
//!
//! A world ([`world`]) is a ledger, a daemon on SQLite or two on PostgreSQL (processes, each with its own proxy in
//! front of a server of the test's own), and the sandbox as Graph. Clients ([`load`]) ask for fetches, restores,
//! duplicates, reconciles and cancellations all the time, and keep every answer. A fault ([`fault`]) strikes and ends. Then every
//! daemon has to admit work again within 45 s, or has ended by itself with exit code 1 and a word why and is started
//! again, as systemd would. At the end ([`checks`]):
//!
//! - every run that was answered `accepted` is in the ledger and completed, and succeeded unless somebody cancelled it;
//! - no client got an answer other than a verdict or 503;
//! - no write to Graph happened twice, by the sandbox's log: a policy never got the same content twice in a row;
//! - no two attempts of a tenant overlap, and every claim is an attempt on record;
//! - `atlasd doctor` finds nothing broken, before and after the daemons stop; they stop with exit code 0;
//! - nobody panicked.
//!
//! # What it needs
//!
//! PostgreSQL's server programs (`TEST_POSTGRES_BIN`), libfaketime (`TEST_FAKETIME_LIB`), and root for the full disk
//! (a small tmpfs). `./scripts/test` finds or installs them. What is missing fails; nothing is skipped.

#[path = "../support/database.rs"]
mod support;

#[path = "../support/bed.rs"]
mod bed;
#[path = "../support/moments.rs"]
mod moments;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/proxy.rs"]
mod proxy;

mod world;

mod clock;
mod cluster;
mod disk;
mod seat;

mod checks;
mod load;

mod actors;
mod fault;
mod storm;

use std::time::Duration;

use fault::Fault;
use load::Load;
use moments::Moments;
use support::{Engine, for_each_engine};
use world::{Ground, Needs, World};

/// The load before a fault strikes, in milliseconds.
const BEFORE: (u64, u64) = (500, 1_500);

/// Lets a world work, strikes it with each fault in turn, and looks at what it has come to.
fn survives(engine: Engine, faults: &[Fault]) {
    let mut moments = Moments::seeded();
    let needs = faults.iter().fold(Needs::default(), |needs, fault| needs.and(fault.needs()));
    let ground = Ground::make(engine, needs);
    bed::block_on(async {
        let world = World::inhabit(ground).await;
        let load = Load::begin(&world, moments.0);
        for fault in faults {
            tokio::time::sleep(moments.millis(BEFORE.0, BEFORE.1)).await;
            fault.strike(&world, &mut moments).await;
            println!("{fault:?} on {engine:?}: all admit work again after {:?}", world.recovered().await);
        }
        works_again(&load).await;
        let book = load.end().await;
        world.check(&book, faults.iter().any(|fault| fault.moves_the_ledgers_clock(engine))).await;
    });
}

/// Somebody's request is accepted again.
async fn works_again(load: &Load) {
    let before = load.accepted();
    bed::until("requests are accepted again", || async { load.accepted() >= before + 5 }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
}

for_each_engine!(nothing_is_lost_by_kill_9, |engine| {
    survives(engine, &[Fault::Kill, Fault::Kill]);
});

for_each_engine!(nothing_is_lost_by_a_sleep_that_outlasts_the_lease, |engine| {
    survives(engine, &[Fault::Pause]);
});

for_each_engine!(nothing_is_lost_by_sigterm, |engine| {
    survives(engine, &[Fault::Stop, Fault::Stop]);
});

for_each_engine!(nothing_is_lost_by_actors_that_panic, |engine| {
    survives(engine, &[Fault::ActorPanics]);
});

for_each_engine!(nothing_is_lost_by_a_registry_that_panics, |engine| {
    survives(engine, &[Fault::RegistryPanics]);
});

for_each_engine!(nothing_is_lost_by_a_clock_that_is_set_forwards, |engine| {
    survives(engine, &[Fault::ClockForwards]);
});

for_each_engine!(nothing_is_lost_by_a_clock_that_is_set_backwards, |engine| {
    survives(engine, &[Fault::ClockBackwards]);
});

for_each_engine!(nothing_is_lost_by_a_full_disk, |engine| {
    survives(engine, &[Fault::DiskFull]);
});

/// Faults of PostgreSQL and of the way to it.
macro_rules! on_postgres {
    ($($name:ident: $fault:ident,)*) => {
        $(#[test]
        fn $name() {
            survives(Engine::Postgres, &[Fault::$fault]);
        })*
    };
}

on_postgres! {
    nothing_is_lost_by_a_server_that_restarts: ServerRestarts,
    nothing_is_lost_by_a_server_that_crashes: ServerCrashes,
    nothing_is_lost_by_backends_that_are_killed: BackendsKilled,
    nothing_is_lost_by_connections_that_others_took: ConnectionsTaken,
    nothing_is_lost_by_connections_that_are_cut: Cut,
    nothing_is_lost_by_half_open_connections: HalfOpen,
    nothing_is_lost_by_connections_that_were_forgotten: Forgotten,
    nothing_is_lost_by_a_partition_of_one_instance: Partition,
    nothing_is_lost_by_latency: Latency,
    nothing_is_lost_by_dribbling_bytes: Dribble,
    nothing_is_lost_by_a_server_whose_clock_is_set_forwards: ServerClockForwards,
    nothing_is_lost_by_a_server_whose_clock_is_set_backwards: ServerClockBackwards,
}
