//! Faults drawn by chance, one or two at a time: three rounds as a rule, or for `ATLASD_TEST_CHAOS` minutes.

use std::time::Duration;

use tokio::time::Instant;

use crate::bed::block_on;
use crate::disk::is_user;
use crate::fault::Fault;
use crate::load::Load;
use crate::moments::{Moments, from_env};
use crate::support::{Engine, for_each_engine};
use crate::world::{Ground, Needs, World};

/// Rounds without a word about how long.
const ROUNDS: usize = 3;

/// What can be drawn. Actors of another process cannot be reached.
fn faults(engine: Engine) -> Vec<Fault> {
    let mut out_of_reach = vec![Fault::ActorPanics, Fault::RegistryPanics];
    if is_user() {
        println!("not as root: no disk is filled in this storm");
        out_of_reach.push(Fault::DiskFull);
    }
    Fault::ALL.into_iter().filter(|fault| fault.strikes(engine) && !out_of_reach.contains(fault)).collect()
}

for_each_engine!(nothing_is_lost_by_a_storm_of_faults, |engine| {
    let minutes = from_env("ATLASD_TEST_CHAOS", 0);
    let mut moments = Moments::seeded();
    let faults = faults(engine);
    let needs = faults.iter().fold(Needs::default(), |needs, fault| needs.and(fault.needs()));
    let ground = Ground::make(engine, needs);
    block_on(async {
        let world = World::inhabit(ground).await;
        let load = Load::begin(&world, moments.0);
        let end = Instant::now() + Duration::from_secs(60 * minutes);
        let mut clocks_jumped = false;
        let mut round = 0;
        while if minutes == 0 { round < ROUNDS } else { Instant::now() < end } {
            round += 1;
            let (one, other) = (*moments.one_of(&faults), *moments.one_of(&faults));
            clocks_jumped |= [one, other].iter().any(|fault| fault.moves_the_ledgers_clock(engine));
            let mut others = Moments(moments.below(u64::MAX));
            tokio::time::sleep(moments.millis(200, 1_000)).await;
            // Two of the same would end each other.
            match one == other {
                true => one.strike(&world, &mut moments).await,
                false => {
                    tokio::join!(one.strike(&world, &mut moments), other.strike(&world, &mut others));
                }
            }
            println!("round {round}: {one:?} and {other:?}; recovered after {:?}", world.recovered().await);
        }
        crate::works_again(&load).await;
        let book = load.end().await;
        world.check(&book, clocks_jumped).await;
    });
});
