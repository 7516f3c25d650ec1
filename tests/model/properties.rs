//! What has to hold in every state, and what has to be reachable, so that it does not hold for want of trying.

use stateright::Property;

use crate::steps::House;
use crate::world::{Admission, Broken, Process, Status, World};

pub const UNIQUE: &str = "G1: at most one active run per identity";
pub const COOLDOWN: &str = "G2: nothing is accepted within a cooldown";
pub const ENDS: &str = "G3: every accepted run ends";
pub const FINAL: &str = "G4: a completed run never changes";
pub const CURRENT: &str = "G5: only the latest claim settles its run";
pub const CANONICAL: &str = "G6: no call but for the claim that the run is leased to, or of one who slept";
pub const NO_LATE_CALL: &str = "G6: no call of one who slept, either";
pub const NO_OVERLAP: &str = "G6: no two executions of one tenant could call, but of one who slept";
pub const NO_INDEX: &str = "G11: no transition hits a unique index";
pub const HOLDER_STAYS: &str = "G12: no row that holds its identity is removed";
pub const VERDICT: &str = "every admission comes to a verdict";
pub const COMPLETES: &str = "a run completes";
pub const CLAIMED_AGAIN: &str = "a run is claimed again";
pub const FENCED: &str = "an instance fences itself";
pub const MEETS_HOLDER: &str = "a request meets a holder";
pub const GOES_ON: &str = "an execution goes on after its run was taken over";
pub const ACCEPTED_AGAIN: &str = "an identity is accepted again";

/// What must hold under the rules of the house.
pub const ALWAYS: [&str; 11] = [
    UNIQUE,
    COOLDOWN,
    ENDS,
    FINAL,
    CURRENT,
    CANONICAL,
    NO_LATE_CALL,
    NO_OVERLAP,
    NO_INDEX,
    HOLDER_STAYS,
    VERDICT,
];

pub fn all() -> Vec<Property<House>> {
    vec![
        Property::always(UNIQUE, |_, world: &World| {
            let active = |identity: u8| {
                world.rows.iter().filter(|row| row.identity == identity && row.is_active()).count()
            };
            (0..3).all(|identity| active(identity) <= 1)
        }),
        Property::always(COOLDOWN, |_, world: &World| !world.has(Broken::Cooldown)),
        Property::always(ENDS, |house: &House, world: &World| {
            // Time is over and all is done that is to be done, or not: then the world says nothing about it.
            let over = house.size.prompt && world.now == house.size.ticks && is_quiet(house, world);
            !over || world.rows.iter().all(|row| !row.is_active())
        }),
        Property::always(FINAL, |_, world: &World| !world.has(Broken::Final)),
        Property::always(CURRENT, |_, world: &World| !world.has(Broken::Stale)),
        Property::always(CANONICAL, |_, world: &World| !world.has(Broken::Canonical)),
        Property::always(NO_LATE_CALL, |_, world: &World| !world.has(Broken::LateCall)),
        Property::always(NO_OVERLAP, |_, world: &World| {
            let calls = |instance: &&crate::world::Instance| {
                let ready = instance.execution.is_some_and(|one| one.checked && !one.stopped);
                instance.process == Process::Up && !instance.slept && ready
            };
            world.instances.iter().filter(calls).count() <= 1
        }),
        Property::always(NO_INDEX, |_, world: &World| !world.has(Broken::Index)),
        Property::always(HOLDER_STAYS, |_, world: &World| !world.has(Broken::Holder)),
        Property::always(VERDICT, |_, world: &World| !world.has(Broken::Verdict)),
        Property::sometimes(COMPLETES, |_, world: &World| {
            world.rows.iter().any(|row| row.status == Status::Completed)
        }),
        Property::sometimes(CLAIMED_AGAIN, |_, world: &World| world.rows.iter().any(|row| row.claims > 1)),
        Property::sometimes(FENCED, |_, world: &World| {
            world.instances.iter().any(|instance| instance.fenced)
        }),
        Property::sometimes(MEETS_HOLDER, |_, world: &World| {
            world.instances.iter().any(|one| matches!(one.admission, Admission::Conflicted { .. }))
        }),
        Property::sometimes(GOES_ON, |_, world: &World| {
            let lost = |(who, instance): (usize, &crate::world::Instance)| {
                instance.execution.is_some_and(|one| one.checked && !world.owns(who, one.claim))
            };
            world.instances.iter().enumerate().any(lost)
        }),
        Property::sometimes(ACCEPTED_AGAIN, |_, world: &World| {
            world.rows.iter().filter(|row| row.is_committed() && row.identity == 0).count() > 1
        }),
    ]
}

/// Only requests and faults are left that could happen.
fn is_quiet(house: &House, world: &World) -> bool {
    use crate::steps::Action;
    use stateright::Model;
    let mut actions = Vec::new();
    house.actions(world, &mut actions);
    let fault = |action: &Action| {
        matches!(
            action,
            Action::Ask { .. } | Action::Crash(_) | Action::Pause(_) | Action::Suspend(_) | Action::Resume(_)
        )
    };
    actions.into_iter().all(|action| fault(&action) || house.next_state(world, action).is_none())
}
