//! What a fault strikes: a ledger, one or two daemons, Graph's double, and tenants that have something to do.

use std::time::Duration;

use atlasd::sandbox::config::CLIENT_SECRET;
use atlasd::sandbox::{Policies, SandboxConfig, TenantSpec};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bed::{Bed, Client, run_id};
use crate::clock::FakeClock;
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::seat::Seat;
use crate::support::{Database, Engine};

/// Written whole, by one call: what a call sends is what the policy has afterwards.
const WRITTEN: [&str; 2] = ["compliancePolicy", "deviceConfiguration"];
/// Tenants that are only read.
const READ: usize = 3;
/// Tenants that are restored.
const RESTORED: usize = 2;

/// Quick leases, retries without an end, budgets that hold nobody up.
const CONFIG: &str = "[execution]\nheartbeat = \"200ms\"\nlease = \"1500ms\"\npoll = \"100ms\"\nbackoff_base = \"50ms\"\n\
    backoff_max = \"500ms\"\nretry_after_max = \"2s\"\nattempts_max = 1000\n\
    [database]\nacquire_timeout = \"1s\"\nstatement_timeout = \"3s\"\nconnections_max = 5\n\
    [restore]\nverify_timeout = \"2s\"\nverify_wait = \"20ms\"\nverify_wait_max = \"200ms\"\nparallel = 2\n\
    [graph]\nbackoff_base = \"20ms\"\nbackoff_max = \"200ms\"\ncall_timeout = \"5s\"\ncalls_per_20s = 1000000\n\
    writes_per_20s = 100000\ncalls_per_second_global = 100000\n\
    [operations.\"assignments.fetch\"]\ncooldown = \"2s\"\n\
    [shutdown]\ndrain = \"500ms\"\n";

/// What a fault needs beside daemons and a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Daemons whose wall clock can be set.
    pub clock: bool,
    /// A PostgreSQL server whose wall clock can be set.
    pub server_clock: bool,
    /// A ledger on a small disk.
    pub disk: bool,
    /// The first daemon within the test, where its actors can be reached.
    pub here: bool,
}

impl Needs {
    pub fn and(self, other: Self) -> Self {
        Self {
            clock: self.clock || other.clock,
            server_clock: self.server_clock || other.server_clock,
            disk: self.disk || other.disk,
            here: self.here || other.here,
        }
    }
}

/// What there is before any daemon.
pub struct Ground {
    // ORDER: the daemons are gone, then the bed goes, then what it stands on.
    pub bed: Bed,
    pub cluster: Option<Cluster>,
    pub disk: Option<Disk>,
    pub clock: FakeClock,
    pub server_clock: FakeClock,
    pub engine: Engine,
    pub needs: Needs,
}

impl Ground {
    pub fn make(engine: Engine, needs: Needs) -> Self {
        let disk = needs.disk.then(Disk::mount);
        let (clock, server_clock) = (FakeClock::right(), FakeClock::right());
        let room = disk.as_ref().map(Disk::path);
        let cluster = (engine == Engine::Postgres).then(|| {
            let environment = if needs.server_clock { server_clock.environment() } else { Vec::new() };
            Cluster::start(room, environment)
        });
        let database = match (&cluster, room) {
            (Some(cluster), _) => Database::on_server_of_the_test(&cluster.url()),
            (None, Some(room)) => Database::in_directory(room),
            (None, None) => Database::create(engine),
        };
        let bed = Bed::on(database, sandbox(), CONFIG);
        Self { bed, cluster, disk, clock, server_clock, engine, needs }
    }
}

fn sandbox() -> SandboxConfig {
    let mut config = SandboxConfig::single(0);
    config.latency = Duration::from_millis(5);
    let writable = WRITTEN.map(|key| (key.to_owned(), 3));
    let read = (0..READ).map(|index| TenantSpec::new(directory(index), "Read", Policies::Total(60)));
    let restored = (READ..READ + RESTORED).map(|index| {
        TenantSpec::new(directory(index), "Restored", Policies::Exactly(writable.clone().into()))
    });
    config.tenants = read.chain(restored).collect();
    for limit in [
        &mut config.throttle.calls_max,
        &mut config.throttle.writes_max,
        &mut config.throttle.tenant_calls_max,
        &mut config.throttle.tenant_writes_max,
        &mut config.throttle.global_calls_per_second_max,
    ] {
        *limit = 1_000_000;
    }
    config
}

fn directory(index: usize) -> Uuid {
    Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | (index as u128 + 1))
}

/// A tenant that goes from one snapshot to another and back.
#[derive(Clone, Debug)]
pub struct Restored {
    pub id: i64,
    pub external_id: Uuid,
    pub snapshots: Vec<i64>,
}

/// Daemons at work.
pub struct World {
    // ORDER: the daemons first.
    pub seats: Vec<Seat>,
    pub workspace: i64,
    /// A token of another workspace.
    foreign_token: String,
    pub read: Vec<i64>,
    pub restored: Vec<Restored>,
    pub ground: Ground,
}

impl World {
    /// Starts the daemons: one on SQLite, two on PostgreSQL.
    pub async fn inhabit(ground: Ground) -> Self {
        let count = if ground.engine == Engine::Sqlite { 1 } else { 2 };
        let server = ground.cluster.as_ref().map(Cluster::address);
        let environment = if ground.needs.clock { ground.clock.environment() } else { Vec::new() };
        let mut seats = Vec::new();
        for number in 0..count {
            let seat = Seat::new(&ground.bed, number, server, environment.clone()).await;
            match ground.needs.here && number == 0 {
                true => seat.start_here(&ground.bed).await,
                false => seat.start(&ground.bed).await,
            }
            seat.recovered(&ground.bed).await;
            seats.push(seat);
        }
        let (read, restored, foreign_token) = (Vec::new(), Vec::new(), String::new());
        let mut world = Self { seats, workspace: 0, foreign_token, read, restored, ground };
        world.furnish().await;
        world
    }

    async fn furnish(&mut self) {
        let client = self.client(0);
        let workspace = client.workspace("contoso").await;
        self.workspace = workspace;
        client.workspace("fabrikam").await;
        let token = ["token", "create", "--name", "stranger", "--role", "admin", "--workspace", "fabrikam"];
        self.foreign_token = self.bed().cli(&token);
        for index in 0..READ {
            self.read.push(client.tenant(workspace, directory(index)).await);
        }
        for index in READ..READ + RESTORED {
            let external_id = directory(index);
            let id = client.tenant(workspace, external_id).await;
            let mut snapshots = Vec::new();
            for group in 0..2 {
                self.assign_all(external_id, group);
                snapshots.push(snapshot(&client, id).await);
            }
            self.restored.push(Restored { id, external_id, snapshots });
        }
    }

    /// Gives each policy of a tenant one group of its own, as an administrator would.
    fn assign_all(&self, tenant: Uuid, group: usize) {
        let state = self.bed().sandbox.state();
        let groups = state.group_ids(tenant);
        for (at, (policy_type, id)) in state.expected(tenant).into_keys().enumerate() {
            let item = json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget",
                                         "groupId": groups[(2 * at + group) % groups.len()]}});
            state.set_assignments(tenant, &policy_type, &id, vec![item]).expect("the policy is there");
        }
    }

    pub fn bed(&self) -> &Bed {
        &self.ground.bed
    }

    pub fn client(&self, seat: usize) -> Client {
        self.seats[seat].client(self.bed())
    }

    pub fn stranger(&self, seat: usize) -> Client {
        self.seats[seat].client_with(&self.foreign_token)
    }

    /// What no log may hold.
    pub fn secrets(&self) -> [&str; 3] {
        [&self.bed().token, &self.foreign_token, CLIENT_SECRET]
    }

    pub fn cluster(&self) -> &Cluster {
        self.ground.cluster.as_ref().expect("a fault of the server strikes on PostgreSQL only")
    }

    pub fn disk(&self) -> &Disk {
        self.ground.disk.as_ref().expect("the fault has named its needs")
    }

    /// Every daemon admits work again, and does it: how long both took at the most.
    pub async fn recovered(&self) -> Duration {
        let begun = tokio::time::Instant::now();
        for seat in &self.seats {
            seat.recovered(self.bed()).await;
        }
        begun.elapsed()
    }
}

async fn snapshot(client: &Client, tenant: i64) -> i64 {
    let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "force": true});
    let run: Value = client.completed(run_id(&client.post("/runs", request).await)).await;
    assert_eq!(run["outcome"], "succeeded", "{run}");
    run["context"]["snapshot_id"].as_i64().expect("a fetch's context names its snapshot")
}
