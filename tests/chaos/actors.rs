//! Actors that panic, in a daemon within the test: no signal reaches an actor of another process.

use atlasd::actors::supervisor::{ChildKey, PanicChild};
use atlasd::ids::TenantId;

use crate::moments::Moments;
use crate::world::World;

/// A tenant's actor or the reconcile actor panics, a few times.
pub async fn panic(world: &World, moments: &mut Moments) {
    for _ in 0..3 {
        let tenants = world.read.iter().chain(world.restored.iter().map(|tenant| &tenant.id));
        let mut actors: Vec<_> = tenants.map(|tenant| ChildKey::Tenant(TenantId(*tenant))).collect();
        actors.push(ChildKey::Reconcile);
        let actor = *moments.one_of(&actors);
        // A tenant without work has no actor at the moment: it cannot panic.
        let panicked = world.seats[0]
            .with_daemon(async |daemon| daemon.handle().panic_child(PanicChild(actor)).await)
            .await;
        println!("{actor:?} panicked: {panicked}");
        tokio::time::sleep(moments.millis(100, 600)).await;
    }
}

/// The registry panics: the process has to end.
pub async fn panic_registry(world: &World) {
    let registry = PanicChild(ChildKey::Registry);
    world.seats[0].with_daemon(async |daemon| daemon.handle().panic_child(registry).await).await;
    let ended = async || world.seats[0].with_daemon(async |daemon| daemon.has_ended()).await;
    while !ended().await {
        crate::bed::tick().await;
    }
}
