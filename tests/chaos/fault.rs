//! The faults, each by its name. Striking one includes its end: afterwards the world is as it should be, and what
//! suffered has to come back by itself.

use std::time::Duration;

use crate::cluster::{CONNECTIONS_MAX, Stop};
use crate::moments::Moments;
use crate::proxy::Weather;
use crate::support::Engine;
use crate::world::{Needs, World};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of a daemon.
    Kill,
    /// SIGSTOP for longer than its lease, then SIGCONT.
    Pause,
    /// SIGTERM in the middle of everything.
    Stop,
    /// An actor of the first daemon panics: a tenant's, or the reconcile actor.
    ActorPanics,
    /// The registry of the first daemon panics, which ends the process.
    RegistryPanics,
    /// `pg_ctl restart -m fast`.
    ServerRestarts,
    /// `pg_ctl restart -m immediate`.
    ServerCrashes,
    /// The server ends the daemons' backends again and again.
    BackendsKilled,
    /// Somebody else has all connections that the server can have.
    ConnectionsTaken,
    /// All connections of all daemons are dropped, and no new ones taken.
    Cut,
    /// Nothing is forwarded, and nothing closed.
    HalfOpen,
    /// Open connections are forgotten for ever; new ones work.
    Forgotten,
    /// One daemon cannot reach the database, the others can.
    Partition,
    /// Everything takes long.
    Latency,
    /// A few bytes at a time.
    Dribble,
    /// The daemons' clock is set forwards, and later back.
    ClockForwards,
    /// The daemons' clock is set back, and later right.
    ClockBackwards,
    /// The server's clock is set forwards, and later back.
    ServerClockForwards,
    /// The server's clock is set back, and later right.
    ServerClockBackwards,
    /// No room on the ledger's disk.
    DiskFull,
}

impl Fault {
    pub const ALL: [Self; 20] = [
        Self::Kill,
        Self::Pause,
        Self::Stop,
        Self::ActorPanics,
        Self::RegistryPanics,
        Self::ServerRestarts,
        Self::ServerCrashes,
        Self::BackendsKilled,
        Self::ConnectionsTaken,
        Self::Cut,
        Self::HalfOpen,
        Self::Forgotten,
        Self::Partition,
        Self::Latency,
        Self::Dribble,
        Self::ClockForwards,
        Self::ClockBackwards,
        Self::ServerClockForwards,
        Self::ServerClockBackwards,
        Self::DiskFull,
    ];

    /// Whether it can strike a ledger on this engine.
    pub fn strikes(self, engine: Engine) -> bool {
        let own = [
            Self::Kill,
            Self::Pause,
            Self::Stop,
            Self::ActorPanics,
            Self::RegistryPanics,
            Self::ClockForwards,
            Self::ClockBackwards,
            Self::DiskFull,
        ];
        engine == Engine::Postgres || own.contains(&self)
    }

    /// What it needs.
    pub fn needs(self) -> Needs {
        Needs {
            clock: matches!(self, Self::ClockForwards | Self::ClockBackwards),
            server_clock: matches!(self, Self::ServerClockForwards | Self::ServerClockBackwards),
            disk: self == Self::DiskFull,
            here: matches!(self, Self::ActorPanics | Self::RegistryPanics),
        }
    }

    /// Strikes, and ends.
    pub async fn strike(self, world: &World, moments: &mut Moments) {
        let seat = &world.seats[usize::try_from(moments.below(world.seats.len() as u64)).expect("an index")];
        let bed = world.bed();
        match self {
            Self::Kill => seat.kill(bed, moments.millis(0, 2_500)).await,
            Self::Pause => {
                seat.signal("STOP").await;
                tokio::time::sleep(moments.millis(1_600, 4_000)).await;
                seat.signal("CONT").await;
            }
            Self::Stop => {
                let code = seat.stop(bed).await;
                assert!(
                    code.is_none_or(|code| code == 0),
                    "a daemon that is told to stop ends with 0: {code:?}"
                );
            }
            Self::ActorPanics => super::actors::panic(world, moments).await,
            Self::RegistryPanics => super::actors::panic_registry(world).await,
            Self::ServerRestarts => world.cluster().restart(Stop::Fast).await,
            Self::ServerCrashes => world.cluster().restart(Stop::Immediate).await,
            Self::BackendsKilled => kill_backends(world, moments.millis(1_000, 3_000)).await,
            Self::ConnectionsTaken => take_connections(world, moments.millis(1_500, 4_000)).await,
            Self::Cut => all(world, Weather::Cut, moments.millis(500, 4_000)).await,
            Self::HalfOpen => all(world, Weather::Silent, moments.millis(500, 6_000)).await,
            Self::Forgotten => {
                for proxy in world.seats.iter().filter_map(|seat| seat.proxy.as_ref()) {
                    proxy.forget();
                }
            }
            Self::Partition => {
                let proxy = seat.proxy.as_ref().expect("it strikes on PostgreSQL only");
                proxy.set(*moments.one_of(&[Weather::Cut, Weather::Silent]));
                tokio::time::sleep(moments.millis(1_600, 5_000)).await;
                proxy.mend();
            }
            Self::Latency => {
                let late = Weather::Late(moments.millis(20, 150));
                all(world, late, moments.millis(2_000, 4_000)).await;
            }
            Self::Dribble => {
                let bytes = usize::try_from(1 + moments.below(64)).expect("a small number");
                let dribbling = Weather::Dribbling { bytes, pause: Duration::from_millis(1) };
                all(world, dribbling, moments.millis(2_000, 4_000)).await;
            }
            Self::ClockForwards => jump(&world.ground.clock, 1, moments).await,
            Self::ClockBackwards => jump(&world.ground.clock, -1, moments).await,
            Self::ServerClockForwards => jump(&world.ground.server_clock, 1, moments).await,
            Self::ServerClockBackwards => jump(&world.ground.server_clock, -1, moments).await,
            Self::DiskFull => fill_the_disk(world, moments.millis(1_000, 4_000)).await,
        }
    }

    /// Whether times in the ledger tell nothing afterwards.
    pub fn moves_the_ledgers_clock(self, engine: Engine) -> bool {
        match self {
            Self::ClockForwards | Self::ClockBackwards => engine == Engine::Sqlite,
            Self::ServerClockForwards | Self::ServerClockBackwards => true,
            _ => false,
        }
    }
}

/// The same weather for all daemons, for a while.
async fn all(world: &World, weather: Weather, lasting: Duration) {
    let proxies = || world.seats.iter().filter_map(|seat| seat.proxy.as_ref());
    proxies().for_each(|proxy| proxy.set(weather));
    tokio::time::sleep(lasting).await;
    proxies().for_each(|proxy| proxy.mend());
}

async fn kill_backends(world: &World, lasting: Duration) {
    let end = tokio::time::Instant::now() + lasting;
    let mut killer = None;
    while tokio::time::Instant::now() < end {
        if killer.is_none() {
            killer = world.cluster().connect().await;
        }
        if let Some(client) = &killer
            && world.cluster().terminate_backends(client).await.is_none()
        {
            killer = None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Takes every connection, ends those of the daemons and takes these, too.
async fn take_connections(world: &World, lasting: Duration) {
    let cluster = world.cluster();
    let end = tokio::time::Instant::now() + lasting;
    let mut taken = Vec::new();
    while tokio::time::Instant::now() < end {
        match cluster.connect().await {
            Some(client) => taken.push(client),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        if let Some(client) = taken.first()
            && taken.len() < CONNECTIONS_MAX
        {
            cluster.terminate_backends(client).await;
        }
    }
}

/// Sets a clock minutes or an hour off, and right again.
async fn jump(clock: &crate::clock::FakeClock, direction: i64, moments: &mut Moments) {
    let seconds = *moments.one_of(&[5, 60, 600, 3_600, 86_400]);
    println!("the clock jumps by {} s", direction * seconds);
    clock.set(direction * seconds);
    tokio::time::sleep(moments.millis(1_000, 4_000)).await;
    clock.set(0);
}

async fn fill_the_disk(world: &World, lasting: Duration) {
    world.disk().fill();
    let end = tokio::time::Instant::now() + lasting;
    while tokio::time::Instant::now() < end {
        // What is freed meanwhile (a log that was cut short) is taken, too.
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.disk().fill();
    }
    world.disk().free();
    if world.ground.engine == Engine::Postgres {
        assert!(world.cluster().revive().await, "the server runs again: {}", world.cluster().log());
    }
}
